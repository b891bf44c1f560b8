"""The verb wait: one long poll after another until it is so. Nothing is drawn; the end is the data."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import typer

from rollout.cli import ci, render
from rollout.cli.exits import Exit, Failure, end_of, wait_of
from rollout.cli.finding import find
from rollout.cli.reading import Ref
from rollout.cli.session import Session
from rollout.cli.watching import Timeout, history, line_of, patiently, timeout_s
from rollout.core.model import Phase, RegionPhase

View = Mapping[str, Any]
Stop = Callable[[View], Exit | None]
_UNTIL = "done, attention, approval, region=NAME or gate=NAME"


def wait(
    session: Session,
    ref: Ref,
    until: Annotated[
        str, typer.Option(help=f"What to wait for: {_UNTIL}.", metavar="WHAT", show_default=True)
    ] = "done",
    timeout: Timeout = None,
) -> Exit | None:
    """Wait for a rollout, as a pipeline does; the exit code says how it ended."""
    stop, within = _stop(until), timeout_s(timeout, "wait")
    found = patiently(session, lambda: find(session, ref), ref, within)
    rollout_id = found.body["id"]
    try:
        return _wait(session, rollout_id, stop, within)
    except KeyboardInterrupt:
        session.say(f"Stopped waiting. The rollout {rollout_id} goes on: rollout wait {rollout_id}")
        return Exit.INTERRUPTED


def _wait(session: Session, rollout_id: str, stop: Stop, within: float | None) -> Exit | None:
    after = 0
    view: View = {}
    try:
        for look in session.remote.looks(rollout_id, within):
            if look["row_version"] != view.get("row_version") and not session.json:
                after = _tell(session, rollout_id, after, within)
            view, code = look, stop(look)
            if code is not None:
                session.show(view, render.status)
                ci.ended(session, view, code)
                return code
    except Failure as failure:
        return ci.gave_up(session, view, failure)
    return Exit.STILL_RUNNING


def _tell(session: Session, rollout_id: str, after: int, within: float | None) -> int:
    """Say what happened since, and where in the sequence that ends."""
    found = patiently(session, lambda: list(history(session, rollout_id, after)), rollout_id, within)
    for event in found:
        session.say(line_of(session, event))
    return found[-1]["sequence"] if found else after


def _stop(until: str) -> Stop:
    """What ends the waiting, with its exit code; an end of the rollout always does."""
    kind, _, name = until.partition("=")
    if kind not in _WAITS or bool(name) != (kind in _NAMED):
        raise Failure(f"--until {until}: wait for {_UNTIL}.", Exit.USAGE, "rollout wait --help")

    def stop(view: View) -> Exit | None:
        reached = _NAMED[kind](view, name) if name else None
        if reached is not None:
            return reached
        end = end_of(view)
        return _WAITS[kind](view) if end is None else end

    return stop


def _for_nothing(_view: View) -> Exit | None:
    return None


def _for_approval(view: View) -> Exit | None:
    return Exit.AWAITING_APPROVAL if view["phase"] == Phase.AWAITING_APPROVAL else None


_WAITS: Mapping[str, Stop] = {
    "done": _for_nothing,
    "region": _for_nothing,
    "gate": _for_nothing,
    "attention": wait_of,
    "approval": _for_approval,
}


def _passed(view: View, name: str) -> Exit | None:
    regions = {region["region"]: region for stage in view["stages"] for region in stage["regions"]}
    _known(view, f"region={name}", name, regions)
    return Exit.SUCCEEDED if regions[name]["phase"] == RegionPhase.PASSED else None


def _awaited(view: View, name: str) -> Exit | None:
    """The gate stands open for a report, in any of the stages that have it."""
    gates = [gate for gate in view["gates"] if gate["name"] == name]
    _known(view, f"gate={name}", name, {gate["name"] for gate in view["gates"]})
    return Exit.SUCCEEDED if any(gate["status"] == "waiting" for gate in gates) else None


def _known(view: View, written: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    said = f"--until {written}: this rollout has none of that name; known: {', '.join(known) or 'none'}."
    raise Failure(said, Exit.USAGE, f"rollout status {view['id']}")


_NAMED: Mapping[str, Callable[[View, str], Exit | None]] = {"region": _passed, "gate": _awaited}
