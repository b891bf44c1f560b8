"""Whether there is anything to judge. No data is never good, and a silent candidate is harm.

A candidate that is heard and has no traffic while the baseline has is silent too, once that is unlikely to be
chance: a source that reports 0 of 0 lets quiet nights be told from a candidate that nobody reaches.
"""

import math
from dataclasses import dataclass

from rollout.core.judge.guards import Fired
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState
from rollout.core.plan import Plan

LEAST_SHARE = 0.01  # of the baseline's traffic: what a candidate is expected to have before it had any
MISSED = math.log(20)  # expected requests without one: chance is below 5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why there is nothing to judge, and since when (epoch seconds); `fired` when it is harm by itself."""

    note: str
    since: float
    fired: Fired | None = None


def absence(plan: Plan, state: CheckState, judged_from: float, now: float, alpha: float) -> Absence | None:
    """What is missing of one check, if anything. `alpha` is the budget of the silence guard."""
    old = plan.judging.max_age
    heard = {arm: _known(state.newest.get(arm), now + old) for arm in (CANDIDATE, BASELINE)}
    since = {arm: judged_from if time is None else max(time, judged_from) for arm, time in heard.items()}
    lost = {arm: now - since[arm] > old for arm in heard}
    if lost[BASELINE] and lost[CANDIDATE]:
        note = "neither the candidate nor the baseline reports: a fault of telemetry, not of the release"
        return Absence(note=note, since=max(since.values()))
    if lost[BASELINE]:
        never = heard[BASELINE] is None
        note = "no baseline beside it" if never else "the baseline stopped reporting"
        return Absence(note=note, since=since[BASELINE])
    if lost[CANDIDATE]:
        note = "the candidate reports nothing while the baseline does"
        return _silent(plan, note, since[CANDIDATE], now, certain=True)
    return _without_traffic(plan, state, judged_from, now, alpha)


def _known(time: float | None, latest: float) -> float | None:
    """A time, unless it lies in the future, where it would hide every silence."""
    return None if time is None or time > latest else time


def _without_traffic(
    plan: Plan, state: CheckState, judged_from: float, now: float, alpha: float
) -> Absence | None:
    """A candidate of a ratio signal that is heard and serves nothing while the baseline serves."""
    since = judged_from if state.active is None else max(state.active, judged_from)
    _, n1, _, n0 = state.totals
    expected = state.quiet * max(LEAST_SHARE, n1 / n0 if n0 > 0 else 0.0)
    if now - since <= plan.judging.max_age or expected < MISSED:
        return None
    note = f"the candidate serves nothing where {expected:.0f} requests were to be expected"
    return _silent(plan, note, since, now, certain=expected >= math.log(1 / alpha))


def _silent(plan: Plan, note: str, since: float, now: float, *, certain: bool) -> Absence:
    if not certain or now - since < plan.guards.silence:
        return Absence(note=note, since=since)
    note = f"{note}, for {now - since:.0f} s"
    return Absence(note=note, since=since, fired=Fired(guard="silence", since=since, note=note))
