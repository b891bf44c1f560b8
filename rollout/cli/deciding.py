"""Verbs that ask something of one rollout: decisions, which need a reason, and a pipeline's note and gate."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from rollout.cli import ci
from rollout.cli.exits import Exit, Failure
from rollout.cli.finding import find
from rollout.cli.moved import telling_what_moved
from rollout.cli.reading import Ref
from rollout.cli.session import Session
from rollout.client.client import path
from rollout.core.policy import seconds

Why = Annotated[str | None, typer.Option("--reason", help="Why; everybody on call reads it.")]


Seen = Annotated[
    int | None, typer.Option(help="The `seen` number that status showed; refuse if it moved on since.")
]


class Reported(StrEnum):
    """What a pipeline's test said."""

    PASSED = "passed"
    FAILED = "failed"


class Then(StrEnum):
    """What happens when a hold ends."""

    HOLD = "hold"
    RESUME = "resume"


def approve(session: Session, ref: Ref, reason: Why = None, seen: Seen = None) -> Exit | None:
    """Approve what a rollout waits for."""
    return _act(session, ref, "approve", reason, seen=seen)


def reject(session: Session, ref: Ref, reason: Why = None, seen: Seen = None) -> Exit | None:
    """Say no: ends the rollout, or rolls back what it touched."""
    return _act(session, ref, "reject", reason, seen=seen)


def promote(
    session: Session,
    ref: Ref,
    reason: Why = None,
    region: Annotated[str | None, typer.Option(help="Only the bake of this region.")] = None,
    seen: Seen = None,
) -> Exit | None:
    """End the bakes under way now: an override, kept with its reason."""
    return _act(session, ref, "promote", reason, seen=seen, extra={"region": region} if region else {})


def retry(session: Session, ref: Ref, reason: Why = None) -> Exit | None:
    """Start the release of an ended rollout again, and print the new id."""
    found = find(session, ref, "retry")
    view, given = found.body, session.reason(reason, f"rollout retry {ref}")
    with telling_what_moved(session, view["id"], None):
        again = session.remote.post(path(view["id"], "retry"), {"reason": given}).body
    session.show(again, lambda _: Text(again["id"]))
    ci.started(session, again)
    if not session.json:
        session.say(_retried(view, again))
    return None


def _retried(view: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    if again["id"] == view["id"]:
        return f"The way back is tried again. Follow it: rollout watch {again['id']}"
    release = f"{again['service']} {again['version']}"
    return f"{release} is recorded again, after {view['id']}. Follow it: rollout watch {again['id']}"


def note(session: Session, ref: Ref, text: Annotated[str, typer.Argument(help="The remark.")]) -> Exit | None:
    """Put a remark into the timeline, also of a rollout that has ended."""
    view = find(session, ref).body
    noted = session.remote.post(path(view["id"], "notes"), {"text": text}).body
    session.show(noted, lambda _: Text(f"{view['id']} note recorded for {_release(view)}"))
    return None


def gate(
    session: Session,
    ref: Ref,
    name: Annotated[str, typer.Argument(help="The gate, as the policy names it.", show_default=False)],
    status: Annotated[Reported, typer.Argument(help="What the test said.", show_default=False)],
    region: Annotated[str | None, typer.Option(help="For the stage of this region.")] = None,
    link: Annotated[str | None, typer.Option(help="Where the result can be read.")] = None,
    message: Annotated[str | None, typer.Option(help="A word about it.")] = None,
) -> Exit | None:
    """Report a pipeline's own test result; the newest report of a gate counts."""
    view = find(session, ref, "gate").body
    given = {"status": status.value, "region": region, "url": link, "message": message}
    body = {key: value for key, value in given.items() if value}
    answer = session.remote.put(path(view["id"], f"gates/{quote(name, safe='')}"), body)
    session.show(answer.body, lambda _: Text(f"{view['id']} gate {name} {status.value} for {_release(view)}"))
    return None


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
    looked_at = view["row_version"] if seen is None and session.interactive else seen
    with telling_what_moved(session, view["id"], looked_at):
        answer = session.remote.post(path(view["id"], verb), body, seen=_if_match(verb, view, seen))
    session.show(answer.body, lambda _: Text(_asked(view, verb)))
    if not session.json:
        session.say(f"Follow it: rollout watch {view['id']}")
    return None


def _if_match(verb: str, view: Mapping[str, Any], seen: int | None) -> str:
    """Approve, promote and reject are of what was looked at; to hold and to go back is right in any state."""
    if verb not in ("approve", "reject", "promote"):
        return ""
    return f'"{view["row_version"] if seen is None else seen}"'


def _asked(view: Mapping[str, Any], verb: str) -> str:
    effect = f": {view['rollback_effect']}" if verb == "rollback" and view["rollback_effect"] else ""
    return f"{view['id']} {verb} recorded for {_release(view)}{effect}"


def _release(view: Mapping[str, Any]) -> str:
    return f"{view['service']} {view['version']}"


def _duration(text: str) -> str:
    try:
        seconds(text)
    except ValueError as error:
        raise Failure(f"--for: {error}.", Exit.USAGE, "rollout hold --help") from error
    return text
