"""Verbs about services: adopt, service put, service list, service show."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rollout.cli import render
from rollout.cli.deciding import Why
from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.core.model import FINISHED, Phase

MOST_LISTED = 200  # rollouts of one page
Name = Annotated[str, typer.Argument(help="The service.", show_default=False)]
Regions = Annotated[list[str] | None, typer.Option("--region", help="A region; may be given again.")]


def adopt(
    session: Session,
    service: Name,
    reason: Why = None,
    region: Regions = None,
    override: Annotated[
        str | None, typer.Option(help="Why a version that was rolled back is good.", metavar="REASON")
    ] = None,
) -> Exit | None:
    """Call what runs now known good: the first way back of a service."""
    body = {"reason": session.reason(reason, f"rollout adopt {service}"), "regions": region or []}
    if override:
        body["override"] = override
    adopted = session.remote.post(_path(service, "adopt"), body).body
    running = session.remote.get(_path(service, "regions")).body["items"]
    session.show(adopted, lambda _: _running(service, running))
    if not session.json:
        session.say(_after_adopt(session, service))
    return None


def _after_adopt(session: Session, service: str) -> str:
    """The next command: held rollouts of the service may have waited for this, else a release can begin."""
    held = session.remote.get("/v1/rollouts", service=service, phase=Phase.HELD.value).body["items"]
    waiting = [view for view in held if "resume" in view["possible"]]
    return (
        "\n".join(
            f'{view["sentence"]} To let it go on: rollout resume {view["id"]} --reason "…"'
            for view in reversed(waiting)
        )
        or f"Now a release can be started: rollout start {service} VERSION"
    )


def put(
    session: Session,
    name: Name,
    policy: Annotated[str | None, typer.Option(help="Its policy; required the first time.")] = None,
    region: Regions = None,
    owner: Annotated[list[str] | None, typer.Option("--owner", help="Who is asked; repeatable.")] = None,
) -> Exit | None:
    """Declare a service, or change its declaration; what is not given stays as it is."""
    old, seen = _declared(session, name)
    chosen = policy or old.get("policy")
    if chosen is None:
        message = f"{name} is not declared yet, so it needs a policy."
        raise Failure(message, Exit.USAGE, f"rollout service put {name} --policy standard")
    body = {
        "policy": chosen,
        "regions": old.get("regions", []) if region is None else region,
        "owners": old.get("owners", []) if owner is None else owner,
        "signals": old.get("signals", {}),
    }
    session.show(session.remote.put(_path(name), body, seen=seen).body, _service)
    return None


def list_services(session: Session) -> Exit | None:
    """List the declared services."""
    session.show(session.remote.get("/v1/services").body, _services)
    return None


def show(session: Session, name: Name) -> Exit | None:
    """Show a service: its declaration, what really runs where, and what it can go back to."""
    service = session.remote.get(_path(name)).body
    running = session.remote.get(_path(name, "regions")).body["items"]
    data = {"service": service, "regions": running}
    session.show(data, lambda seen: Group(_service(seen["service"]), _running(name, seen["regions"])))
    if not session.json and service["stopped_by"]:
        for view in _stopped(session, service):
            session.say(
                f"! {service['stopped_by']} was rolled back, so the older {view['id']} ({view['version']}) "
                f"waits for a person: rollout why {view['id']}"
            )
    return None


def _stopped(session: Session, service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Unfinished rollouts of a service that were asked for before its last rollback."""
    stopped_at = datetime.fromisoformat(service["stopped_at"])
    listed = session.remote.get("/v1/rollouts", service=service["name"], limit=MOST_LISTED).body["items"]
    return [
        view
        for view in listed
        if view["phase"] not in FINISHED
        and view["id"] != service["stopped_by"]
        and datetime.fromisoformat(view["created_at"]) < stopped_at
    ]


def _declared(session: Session, name: str) -> tuple[Mapping[str, Any], str]:
    """What is declared now and its ETag; nothing for a new service."""
    try:
        answer = session.remote.get(_path(name))
    except Failure as failure:
        if failure.exit_code is Exit.NOT_FOUND:
            return {}, ""
        raise
    return answer.body, answer.etag


def _path(name: str, part: str = "") -> str:
    found = f"/v1/services/{quote(name, safe='')}"
    return f"{found}/{part}" if part else found


def _service(service: Mapping[str, Any]) -> Text:
    regions = ", ".join(service["regions"]) or "every region"
    owners = ", ".join(service["owners"]) or "nobody is named"
    return Text(f"{service['name']}: policy {service['policy']}; {regions}; owners: {owners}")


def _services(page: Mapping[str, Any]) -> Table | Text:
    if not page["items"]:
        return Text("No service is declared. Declare one: rollout service put NAME --policy standard")
    rows = [
        (s["name"], s["policy"], ", ".join(s["regions"]) or "all", ", ".join(s["owners"]) or "–")
        for s in page["items"]
    ]
    return render.table(("SERVICE", "POLICY", "REGIONS", "OWNERS"), rows)


def _running(service: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    none = f'none; if it is good: rollout adopt {service} --reason "…"'
    cells = [
        (
            row["region"],
            ", ".join(f"{n} × {version}" for version, n in row["running"].items()) or "nothing was read back",
            ", ".join(row["known_good"]) or none,
            row["rollout"] or "–",
            "; ".join(filter(None, (row["error"], *row["problems"]))) or "–",
        )
        for row in rows
    ]
    return render.table(("REGION", "RUNS", "KNOWN GOOD", "ROLLOUT", "PROBLEMS"), cells)
