"""Verbs that bring a release: start and plan."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from rollout.cli import ci, render_plan
from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.cli.watching import Timeout, deadline_of, follow, timeout_s
from rollout.client import Answer

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
    wait: Annotated[
        bool,
        typer.Option("--wait", "--watch", help="Follow it to its end; the exit code says how it ended."),
    ] = False,
    timeout: Timeout = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="Starts once for each key; in a pipeline its run's own.", metavar="KEY"),
    ] = None,
) -> Exit | None:
    """Start a rollout of VERSION."""
    if timeout is not None and not wait:
        raise Failure("--timeout is for --wait, which is missing.", Exit.USAGE, "rollout start --help")
    within = timeout_s(timeout, "start")
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
    answer = session.remote.post("/v1/rollouts", body, key=idempotency_key or ci.key_of_run(service))
    _tell(session, answer, following=wait)
    if wait:
        return follow(session, answer.body["id"], deadline=deadline_of(session, within))
    return None


def _tell(session: Session, answer: Answer, *, following: bool) -> None:
    """The id is the data; the link, and whether it was there before, are talk."""
    view = answer.body
    ci.started(session, view)
    if session.json:
        if not following:  # else stdout is the stream of watch
            session.line(view)
        return
    session.out.print(Text(view["id"]), soft_wrap=True)
    release = f"{view['service']} {view['version']}"
    was = "was started before by this run or key" if answer.replayed else "is recorded"
    session.say(f"{release} {was}: {session.link(view['id'])}")
    if not following:
        session.say(f"Follow it: rollout watch {view['id']}")


def plan(session: Session, service: Service, version: Version, policy: Policy = None) -> Exit | None:
    """Show what start would do: stages, clock times, and what each bake can rule out."""
    _show_plan(session, _written(service=service, version=version, policy=policy))
    return None


def _show_plan(session: Session, body: Mapping[str, Any]) -> None:
    session.show(session.remote.post("/v1/rollouts/plan", body).body, render_plan.plan)


def _written(**given: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}
