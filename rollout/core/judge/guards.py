"""Hard limits that act at once, outside the sequential tests and also during the warm-up.

What must not live here: silence, which needs to know the present time (presence.py).
"""

from dataclasses import dataclass

from rollout.core.judge.samples import told
from rollout.core.judge.state import CANDIDATE, CheckState
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import Direction, Sample

INSTANCES = 64  # restart times are kept for this many; the one quiet for longest is forgotten
PIECE = 10  # requests: fewer say nothing about the success of that moment
ERRORS = "errors"  # the signal that the success guard reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A hard guard that fired: `since` in epoch seconds, numbers in the signal's own unit."""

    guard: str
    since: float
    note: str
    value: float | None = None
    limit: float | None = None


def note_restarts(plan: Plan, state: CheckState, sample: Sample) -> bool:
    """Take in restarts of one candidate instance. False when the sample repeats or is out of order."""
    loop = plan.guards.crash_loop
    time = sample.time.timestamp()
    times = state.loops.pop(sample.instance, [])
    if times and time <= times[-1]:
        state.loops[sample.instance] = times
        return False
    if sample.value < 1 and not times:
        return True
    times = [*times, *[time] * min(int(sample.value), loop.restarts)][-loop.restarts :]
    state.loops[sample.instance] = times
    if not state.loop and len(times) == loop.restarts and times[-1] - times[0] <= loop.within:
        state.loop, state.loop_instance = [times[0], times[-1]], sample.instance
    if len(state.loops) > INSTANCES:
        del state.loops[min(state.loops, key=lambda name: state.loops[name][-1])]
    return True


def note_success(plan: Plan, state: CheckState, sample: Sample) -> None:
    """Extend or end the run of bad success, in pieces of at least ten requests."""
    time = sample.time.timestamp()
    since, bad, seen = state.piece or [time - sample.duration_s, 0.0, 0.0]
    bad, seen = bad + told(plan.signals[sample.signal], sample).value, seen + sample.exposure
    if seen < PIECE:
        state.piece = [since, bad, seen]
        return
    state.piece = []
    if 1 - bad / seen >= plan.guards.success.below / 100:
        state.run = []
        return
    began, _, bad_before, seen_before = state.run or [since, since, 0.0, 0.0]
    state.run = [began, time, bad_before + bad, seen_before + seen]


def note_level(plan: Plan, check: CheckSpec, state: CheckState, sample: Sample, arm: str) -> None:
    """Remember a gauge, and since when it is beyond its limit without getting better than where it began."""
    time = sample.time.timestamp()
    state.level[arm] = sample.value
    if arm != CANDIDATE or check.limit is None:
        return
    side = -1.0 if plan.signals[check.signal].direction is Direction.DOWN else 1.0
    if side * sample.value <= side * check.limit:
        state.over = []
    elif not state.over or side * sample.value < side * state.over[1]:
        state.over = [time, sample.value, time, sample.value]
    else:
        state.over = [*state.over[:2], time, sample.value]


def fired(plan: Plan, check: CheckSpec, state: CheckState) -> Fired | None:
    """The guard that fired on this check, if any."""
    return _crash_loop(plan, state) or _success(plan, state) or _limit(plan, check, state)


def _crash_loop(plan: Plan, state: CheckState) -> Fired | None:
    if not state.loop:
        return None
    first, last = state.loop
    restarts = plan.guards.crash_loop.restarts
    note = f"instance {state.loop_instance} restarted {restarts} times in {last - first:.0f} s"
    return Fired(guard="crash_loop", since=first, note=note)


def _success(plan: Plan, state: CheckState) -> Fired | None:
    guard = plan.guards.success
    if not state.run or state.run[1] - state.run[0] < guard.for_:
        return None
    since, until, bad, seen = state.run
    note = f"only {seen - bad:.0f} of {seen:.0f} requests succeeded for {until - since:.0f} s"
    return Fired(guard="success", since=since, note=note, value=bad / seen, limit=1 - guard.below / 100)


def _limit(plan: Plan, check: CheckSpec, state: CheckState) -> Fired | None:
    if not state.over or state.over[2] - state.over[0] < check.limit_for:
        return None
    since, first, until, last = state.over
    down = plan.signals[check.signal].direction is Direction.DOWN
    if last == first or (last < first) is not down:
        return None
    side, way = ("below", "falling") if down else ("above", "rising")
    note = (
        f"{side} its limit of {check.limit:g} and {way} from {first:g} to {last:g} for {until - since:.0f} s"
    )
    return Fired(guard="limit", since=since, note=note, value=state.level[CANDIDATE], limit=check.limit)
