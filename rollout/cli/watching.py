"""The verb watch: look again every second until the rollout ends. Stopping to watch stops nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from rich.live import Live
from rich.text import Text

from rollout.cli import ci, render
from rollout.cli.exits import Exit, Failure, end_of, wait_of
from rollout.cli.finding import find
from rollout.cli.reading import Ref
from rollout.cli.session import Session, visible
from rollout.client.client import path
from rollout.core.policy import seconds

EVERY_S = 1.0
PATIENCE_S = 60.0  # how long the server may be away, for example while it restarts
T = TypeVar("T")
Timeout = Annotated[
    str | None,
    typer.Option(help="Give up after this time, such as 30m; the rollout goes on.", metavar="DURATION"),
]
FOOTER = "Ctrl-C stops watching; the rollout goes on."


class Until(StrEnum):
    """When watching is over."""

    DONE = "done"  # the rollout ended
    ATTENTION = "attention"  # or it waits for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The rollout at one moment, and what happened since the look before."""

    view: render.View
    events: tuple[render.View, ...]


def watch(
    session: Session,
    ref: Ref,
    until: Annotated[Until, typer.Option(help="attention: stop also when a person is needed.")] = Until.DONE,
    timeout: Timeout = None,
) -> Exit | None:
    """Follow a rollout to its end; the exit code says how it ended."""
    within = timeout_s(timeout, "watch")
    deadline = deadline_of(session, within)
    found = patiently(session, lambda: find(session, ref), ref, within)
    return follow(session, found.body["id"], until=until, deadline=deadline)


def follow(
    session: Session, rollout_id: str, *, until: Until = Until.DONE, deadline: datetime | None = None
) -> Exit | None:
    """Watch one rollout by its id."""
    live = session.out.is_terminal and not session.json
    show = _live if live else _lines
    try:
        return show(session, _looks(session, rollout_id, deadline), _ended(until), rollout_id)
    except KeyboardInterrupt:
        session.say(
            f"Stopped watching. The rollout {rollout_id} goes on; see it with: rollout watch {rollout_id}"
        )
        return Exit.INTERRUPTED


def _lines(
    session: Session, looks: Iterator[Look], ended: Callable[[render.View], Exit | None], _id: str
) -> Exit | None:
    """One line for each change; with --json one JSON object, {"event"} each and {"rollout"} last."""
    view: render.View = {}
    try:
        for look in looks:
            for event in look.events:
                _line(session, event)
            view, code = look.view, ended(look.view)
            if code is not None:
                _last(session, view)
                return _over(session, view, code)
    except Failure as failure:
        return ci.gave_up(session, view, failure)
    return Exit.STILL_RUNNING


def _last(session: Session, view: render.View) -> None:
    if session.json:
        session.line({"rollout": view})
    else:
        session.out.print(render.status(visible(view)), soft_wrap=True)


def _line(session: Session, event: render.View) -> None:
    if session.json:
        session.line({"event": event})
    else:
        session.out.print(line_of(session, event), soft_wrap=True)


def line_of(session: Session, event: render.View) -> Text:
    """One event as a line, safe to print."""
    return render.event(visible(event), session.world.clock.now())


def _live(
    session: Session, looks: Iterator[Look], ended: Callable[[render.View], Exit | None], _id: str
) -> Exit | None:
    """The status, redrawn in place."""
    with Live(console=session.out, auto_refresh=False) as screen:
        for look in looks:
            code = ended(look.view)
            drawn = render.status(visible(look.view))
            footer = Text("" if code is not None else f"\n{FOOTER}", style="dim")
            screen.update(Text.assemble(drawn, footer), refresh=True)
            if code is not None:
                return _over(session, look.view, code)
    return Exit.STILL_RUNNING


def _over(session: Session, view: render.View, code: Exit) -> Exit:
    if not session.json:
        again = f"   again: rollout retry {view['id']}" if "retry" in view["possible"] else ""
        session.say(f"why: rollout why {view['id']}   report: rollout report {view['id']}{again}")
    ci.ended(session, view, code)
    return code


def _ended(until: Until) -> Callable[[render.View], Exit | None]:
    def ended(view: render.View) -> Exit | None:
        end = end_of(view)
        return wait_of(view) if end is None and until is Until.ATTENTION else end

    return ended


def _looks(session: Session, rollout_id: str, deadline: datetime | None) -> Iterator[Look]:
    """Look until nobody asks for more. Raises Failure as `_patiently` does."""
    after = 0

    def look() -> Look:
        view = session.remote.get(path(rollout_id)).body
        return Look(view=view, events=tuple(history(session, rollout_id, after)))

    while True:
        seen = _until_answered(session, look, rollout_id, deadline)
        after = max((event["sequence"] for event in seen.events), default=after)
        yield seen
        _pause(session, rollout_id, deadline)


def patiently(session: Session, ask: Callable[[], T], ref: str, within_s: float | None = None) -> T:
    """Ask until there is an answer. Raises Failure 40 when the server stays away, 20 in the end."""
    return _until_answered(session, ask, ref, deadline_of(session, within_s))


def _until_answered(session: Session, ask: Callable[[], T], ref: str, deadline: datetime | None) -> T:
    """Ask until there is an answer. Raises Failure 40 when the server stays away, 20 at the deadline."""
    away_since = None
    while True:
        now = session.world.clock.now()
        try:
            return ask()
        except Failure as failure:
            away_since = _bear(session, failure, away_since, now)
        _pause(session, ref, deadline)


def _pause(session: Session, ref: str, deadline: datetime | None) -> None:
    """Wait for the next look. Raises Failure 20 when there is no time for one."""
    if deadline is not None and session.world.clock.now() >= deadline:
        message = f"The time to watch is over; the rollout {ref} goes on."
        raise Failure(message, Exit.STILL_RUNNING, f"rollout watch {ref}")
    session.world.sleep(EVERY_S)


def history(session: Session, rollout_id: str | None, after: int) -> Iterator[dict[str, Any]]:
    """What happened so far after a place in the sequence, to one rollout or to all, oldest first."""
    place = path(rollout_id, "events") if rollout_id else "/v1/events"
    while page := session.remote.get(place, after=after).body["items"]:
        yield from page
        after = page[-1]["sequence"]


def _bear(session: Session, failure: Failure, since: datetime | None, now: datetime) -> datetime:
    """Stay when the server is away for a while; raises anything else, and this when it lasts."""
    if failure.exit_code is not Exit.UNREACHABLE:
        raise failure
    if since is None:
        session.say(
            f"{failure.message} Asking again for {PATIENCE_S:g} s; the rollout does not depend on it."
        )
        return now
    if now - since >= timedelta(seconds=PATIENCE_S):
        raise failure
    return since


def timeout_s(timeout: str | None, verb: str) -> float | None:
    """A duration such as 30m in seconds. Raises Failure."""
    try:
        return None if timeout is None else float(seconds(timeout))
    except ValueError as error:
        raise Failure(f"--timeout: {error}.", Exit.USAGE, f"rollout {verb} --help") from error


def deadline_of(session: Session, within_s: float | None) -> datetime | None:
    """When `within_s` seconds from now are over."""
    return None if within_s is None else session.world.clock.now() + timedelta(seconds=within_s)
