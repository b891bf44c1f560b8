"""Verbs about who and what: token create, whoami, version, db upgrade."""

import asyncio
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

import rollout
from rollout.access import ROLES, TOKEN_DAYS, Access
from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.core.errors import StoreError

if TYPE_CHECKING:
    from rollout.store import SqlStore

Role = StrEnum("Role", {name.upper(): name for name in ROLES})  # type: ignore[misc]  # the roles are data


def create_token(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who or what it is for; history shows it.")],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Group for approvals; repeatable.")
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option("--service", help="Only this service; repeatable.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=TOKEN_DAYS, help="Days until it ends.")] = TOKEN_DAYS,
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
    store = _open(session)
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


def _open(session: Session) -> "SqlStore":
    from rollout.store import open_store  # noqa: PLC0415  # the database's library is slow to import

    session.settings.data.mkdir(parents=True, exist_ok=True)
    return open_store(session.settings.database_url)


def whoami(session: Session) -> Exit | None:
    """Show what the token in use may do."""
    session.show(session.remote.get("/v1/whoami").body, _who)
    return None


def _who(found: dict[str, Any]) -> Text:
    token, may = found["token"], ", ".join(found["permissions"])
    groups = ", ".join(token.get("groups") or ()) or "no group"
    services = ", ".join(token.get("services") or ()) or "every service"
    ends = token.get("expires_at")
    until = f"until {ends[:10]}" if ends else "without an end"
    return Text(f"{token['name']}: {token['role']}, {groups}, {services}, {until}; may {may}")


def version(session: Session) -> Exit | None:
    """Print the version of this program."""
    session.show({"version": rollout.__version__}, lambda seen: Text(f"rollout {seen['version']}"))
    return None


def upgrade_database(session: Session) -> Exit | None:
    """Bring this machine's database to the newest schema. serve does the same when it starts."""
    try:
        store = _open(session)
    except StoreError as error:  # it says itself what mends it, which doctor would only repeat
        raise Failure(str(error), Exit.USAGE, "mend that, then: rollout db upgrade") from error
    store.close()
    session.show(
        {"database": store.database.name, "state": "newest"},
        lambda seen: Text(f"✔ {seen['database']} has the newest schema."),
    )
    return None
