"""Verbs about who and what: token create, whoami, version, db upgrade."""

import asyncio
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer
from rich.text import Text

from rollout.access import ROLES, TOKEN_DAYS, Access
from rollout.cli.exits import Exit
from rollout.cli.session import Session
from rollout.store import open_store

Role = StrEnum("Role", {name.upper(): name for name in ROLES})  # type: ignore[misc]  # the roles are data


def create_token(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who or what it is for; history shows it.")],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    group: Annotated[list[str] | None, typer.Option("--group", help="Group for approvals; may repeat.")] = None,
    service: Annotated[list[str] | None, typer.Option("--service", help="Only this service; may repeat.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it ends.")] = TOKEN_DAYS,
    local: Annotated[
        bool, typer.Option("--local", help="Write into this machine's database, without a server.")
    ] = False,
) -> Exit | None:
    """Create a token. Its secret is printed once, on stdout, and stored only as a hash."""
    wanted: dict[str, Any] = {
        "name": name,
        "role": str(role.value),
        "groups": group or [],
        "services": service or [],
        "days": days,
    }
    made = asyncio.run(_local(session, wanted)) if local else session.remote.post("/v1/tokens", wanted).body
    session.show(made, lambda seen: Text(seen["secret"]))
    if not session.json:
        session.say("This secret is shown once. Keep it in a file and set ROLLOUT_TOKEN_FILE to it.")
    return None


async def _local(session: Session, wanted: dict[str, Any]) -> dict[str, Any]:
    settings = session.settings
    settings.data.mkdir(parents=True, exist_ok=True)
    store = open_store(settings.database_url)
    try:
        access = Access(store, session.world.clock)
        token, secret = await access.create_token(
            wanted["name"],
            wanted["role"],
            groups=wanted["groups"],
            services=wanted["services"],
            days=wanted["days"],
        )
    finally:
        store.close()
    return {"token": asdict(token), "secret": secret}


def whoami(session: Session) -> Exit | None:
    """Show what the token in use may do."""
    session.show(session.remote.get("/v1/whoami").body, _who)
    return None


def _who(token: dict[str, Any]) -> Text:
    groups = ", ".join(token.get("groups") or ()) or "no group"
    services = ", ".join(token.get("services") or ()) or "every service"
    ends = token.get("expires_at")
    until = f"until {ends[:10]}" if ends else "without an end"
    return Text(f"{token['name']}: {token['role']}, {groups}, {services}, {until}")


def version(session: Session) -> Exit | None:
    """Print the version of this program."""
    try:
        found = version_of("rollout-controller")
    except PackageNotFoundError:  # a source tree that nobody installed
        found = "unknown"
    session.show({"version": found}, lambda seen: Text(f"rollout {seen['version']}"))
    return None


def upgrade_database(session: Session) -> Exit | None:
    """Bring this machine's database to the newest schema. serve does the same when it starts."""
    settings = session.settings
    settings.data.mkdir(parents=True, exist_ok=True)
    open_store(settings.database_url).close()
    session.show(
        {"database": settings.database_url, "state": "newest"},
        lambda seen: Text(f"✔ {seen['database']} has the newest schema."),
    )
    return None
