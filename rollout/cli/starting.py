"""Verbs that bring a release: start and plan."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from rollout.cli import render_plan
from rollout.cli.exits import Exit
from rollout.cli.session import Session
from rollout.cli.watching import follow

Service = Annotated[str, typer.Argument(help="A declared service.", show_default=False)]
Version = Annotated[str, typer.Argument(help="The version to move.", show_default=False)]
Policy = Annotated[str | None, typer.Option(help="Another policy than the service's own.")]


def start(
    session: Session,
    service: Service,
    version: Version,
    artifact: Annotated[str | None, typer.Option(help="What is deployed, pinned by digest.")] = None,
    lock_digest: Annotated[str | None, typer.Option(help="Digest of the dependency lock.")] = None,
    change_url: Annotated[str | None, typer.Option(help="Where the change can be read.")] = None,
    author: Annotated[str | None, typer.Option(help="Who wrote it; may not approve it.")] = None,
    policy: Policy = None,
    note: Annotated[str | None, typer.Option(help="A word to those who watch.")] = None,
    override: Annotated[
        str | None, typer.Option(help="Why a version that was rolled back may start again.", metavar="REASON")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, start nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
) -> Exit | None:
    """Start a rollout of VERSION."""
    body = _written(
        service=service,
        version=version,
        artifact=artifact,
        lock_digest=lock_digest,
        change_url=change_url,
        author=author,
        policy=policy,
        note=note,
        override=override,
    )
    if dry_run:
        _show_plan(session, body)
        return None
    started = session.remote.post("/v1/rollouts", body).body
    if not (watch and session.json):  # with both, stdout is the stream of watch
        session.show(started, lambda _: Text(started["id"]))
    if watch:
        return follow(session, started["id"])
    if not session.json:
        session.say(f"{service} {version} is recorded. Follow it: rollout watch {started['id']}")
    return None


def plan(session: Session, service: Service, version: Version, policy: Policy = None) -> Exit | None:
    """Show what start would do: stages, clock times, and what each bake can rule out."""
    _show_plan(session, _written(service=service, version=version, policy=policy))
    return None


def _show_plan(session: Session, body: Mapping[str, Any]) -> None:
    session.show(session.remote.post("/v1/rollouts/plan", body).body, render_plan.plan)


def _written(**given: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}
