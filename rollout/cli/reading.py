"""Verbs that only look: list, status, why."""

from typing import Annotated

import typer

from rollout.cli import render
from rollout.cli.exits import Exit, end_of, wait_of
from rollout.cli.finding import find
from rollout.cli.session import Session
from rollout.core.model import Phase

Ref = Annotated[
    str,
    typer.Argument(metavar="ID", help="Rollout id, its beginning, or a service.", show_default=False),
]


def list_rollouts(
    session: Session,
    needs_me: Annotated[bool, typer.Option("--needs-me", help="Only those that wait for a person.")] = False,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    phase: Annotated[Phase | None, typer.Option(help="Only this phase.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Rollouts per page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
) -> Exit | None:
    """List rollouts, newest first."""
    page = session.remote.get(
        "/v1/rollouts",
        service=service,
        phase=phase.value if phase else None,
        needs="me" if needs_me else None,
        limit=limit,
        cursor=cursor,
    ).body
    session.show(page, render.rollouts)
    if page.get("next_cursor") and not session.json:
        session.say(f"More: rollout list --cursor {page['next_cursor']}")
    return None


def replicas(session: Session) -> Exit | None:
    """List the controllers that share the database, and what each works on."""
    session.show(session.remote.get("/v1/replicas").body, render.replicas)
    return None


def status(
    session: Session,
    ref: Ref,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with the code of the state; 20 while it moves.")
    ] = False,
) -> Exit | None:
    """Show where a rollout stands, why, who was reached and what comes next."""
    view = find(session, ref).body
    session.show(view, render.status)
    if not exit_code:
        return None
    end = end_of(view)
    return end if end is not None else wait_of(view) or Exit.STILL_RUNNING


def why(session: Session, ref: Ref) -> Exit | None:
    """Show the reason with its numbers, and every check."""
    session.show(find(session, ref).body, render.why)
    return None
