"""Verbs by which a person decides: approve, reject, hold, resume, rollback, cancel. Each needs a reason."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from rollout.cli.exits import Exit, Failure
from rollout.cli.finding import find, path
from rollout.cli.reading import Ref
from rollout.cli.session import Session
from rollout.core.policy import seconds

Why = Annotated[str | None, typer.Option("--reason", help="Why; everybody on call reads it.")]


class Then(StrEnum):
    """What happens when a hold ends."""

    HOLD = "hold"
    RESUME = "resume"


def approve(
    session: Session,
    ref: Ref,
    reason: Why = None,
    seen: Annotated[
        int | None, typer.Option(help="The `seen` number that status showed; refuse if it moved on since.")
    ] = None,
) -> Exit | None:
    """Approve what a rollout waits for."""
    return _act(session, ref, "approve", reason, seen=seen)


def reject(session: Session, ref: Ref, reason: Why = None) -> Exit | None:
    """Say no: ends the rollout, or rolls back what it touched."""
    return _act(session, ref, "reject", reason)


def hold(
    session: Session,
    ref: Ref,
    reason: Why = None,
    for_: Annotated[str | None, typer.Option("--for", help="Such as 30m.", metavar="DURATION")] = None,
    then: Annotated[Then | None, typer.Option(help="What happens after --for; hold unless told.")] = None,
) -> Exit | None:
    """Stop a rollout where it is; judging goes on."""
    if then and for_ is None:
        raise Failure("--then is for the end of --for, which is missing.", Exit.USAGE, "rollout hold --help")
    extra = {"for": _duration(for_), "then": (then or Then.HOLD).value} if for_ else {}
    return _act(session, ref, "hold", reason, extra=extra)


def resume(session: Session, ref: Ref, reason: Why = None) -> Exit | None:
    """Let a held rollout go on."""
    return _act(session, ref, "resume", reason)


def rollback(session: Session, ref: Ref, reason: Why = None) -> Exit | None:
    """Take a release back from every region that it touched. Needs no approval."""
    return _act(session, ref, "rollback", reason)


def cancel(session: Session, ref: Ref, reason: Why = None) -> Exit | None:
    """End a rollout that has touched no region."""
    return _act(session, ref, "cancel", reason)


def _act(
    session: Session,
    ref: str,
    verb: str,
    reason: str | None,
    *,
    seen: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Exit | None:
    """Look, ask for the reason if a person is there, record what was asked, and say where to look next."""
    found = find(session, ref, verb)
    view = found.body
    if not reason and session.interactive:
        session.say(view["sentence"])
    body = {"reason": session.reason(reason, f"rollout {verb} {ref}"), **(extra or {})}
    etag = f'"{seen}"' if seen is not None else found.etag or f'"{view["row_version"]}"'
    answer = session.remote.post(
        path(view["id"], verb), body, seen=etag if verb in ("approve", "reject") else ""
    )
    session.show(answer.body, lambda _: Text(_asked(view, verb)))
    if not session.json:
        session.say(f"Follow it: rollout watch {view['id']}")
    return None


def _asked(view: Mapping[str, Any], verb: str) -> str:
    effect = f": {view['rollback_effect']}" if verb == "rollback" and view["rollback_effect"] else ""
    return f"{view['id']} {verb} recorded for {view['service']} {view['version']}{effect}"


def _duration(text: str) -> str:
    try:
        seconds(text)
    except ValueError as error:
        raise Failure(f"--for: {error}.", Exit.USAGE, "rollout hold --help") from error
    return text
