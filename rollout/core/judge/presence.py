"""Whether there is anything to judge. No data is never good, and a silent candidate is harm.

Silence is harm once so much of it is unlikely to be chance: exp(-expected requests) at most the budget of
the guard, with the expected requests taken from what the baseline served meanwhile. A candidate that is heard
and has no traffic is silent too: a source that reports 0 of 0 lets quiet nights be told from a candidate that
nobody reaches. Where no signal counts requests, silence is no data for ever and never harm.
"""

import math
from dataclasses import dataclass

from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.guards import Fired
from rollout.core.judge.samples import BUCKETS
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState
from rollout.core.plan import Plan, SetWeight
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind

LEAST_SHARE = 0.01  # of the baseline's traffic, where the plan orders no weight
MISSED = math.log(20)  # expected requests without one: chance is below 5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why there is nothing to judge, and since when (epoch seconds); `fired` when it is harm by itself."""

    note: str
    since: float
    fired: Fired | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Requests that the silent candidate was to be expected to serve, and what the guard may spend on it."""

    missed: float
    alpha: float

    @property
    def certain(self) -> bool:
        """Whether chance is at most `alpha`."""
        return self.missed >= math.log(1 / self.alpha)


def expected(plan: Plan, region: str, state: CheckState) -> float:
    """Requests of a ratio signal that the candidate was to serve since it last served one.

    From what the baseline served since, by the split between the two at this weight, else at those before,
    else by the least weight that the plan orders in the region.
    """
    for sums in (state.bake, state.totals):
        if sums[1] > 0 and sums[3] > 0:
            return state.quiet * sums[1] / sums[3]
    steps = plan.stages[plan.stage_of(region)].steps
    ordered = min((step.weight for step in steps if isinstance(step, SetWeight)), default=0)
    return state.quiet * (ordered / 100 or LEAST_SHARE)


def absence(
    plan: Plan,
    check: CheckSpec,
    evidence: RegionEvidence,
    state: CheckState,
    now: float,
    silence: Silence,
    own: float,
) -> Absence | None:
    """What is missing of one check, if anything. `own` are the missed requests of this very check.

    A source that tells late is asked what it could have told: silence is counted up to then.
    """
    old, judged_from = plan.max_age(check), evidence.judged_from.timestamp()
    if state.base != BaselineKind.BESIDE and state.family != BUCKETS:
        told = now - plan.delay(evidence.region, *evidence.peers)
        return _unheard(evidence, state, judged_from, told, old)
    now -= plan.delay(evidence.region)
    heard = {arm: _known(state.newest.get(arm), now + old) for arm in (CANDIDATE, BASELINE)}
    since = {arm: judged_from if time is None else max(time, judged_from) for arm, time in heard.items()}
    lost = {arm: now - since[arm] > old for arm in heard}
    if lost[BASELINE] and lost[CANDIDATE]:
        note = "neither the candidate nor the baseline reports: a fault of telemetry"
        return Absence(note=note, since=max(since.values()))
    if lost[BASELINE]:
        never = heard[BASELINE] is None
        uncompared = not state.base and state.family != BUCKETS
        lacking = state.learned if uncompared else "no baseline beside it"
        note = lacking if never else "the baseline stopped reporting"
        return Absence(note=note, since=since[BASELINE])
    if lost[CANDIDATE]:
        note = "the candidate reports nothing while the baseline does"
        # silent only while the baseline is heard: an outage seldom cuts both off in the same interval
        heard_until = max(heard[BASELINE] or judged_from, since[CANDIDATE])
        return _silent(plan, note, since[CANDIDATE], heard_until, silence)
    served = judged_from if state.active is None else max(state.active, judged_from)
    if now - served <= old or own < MISSED:
        return None
    note = f"the candidate serves nothing where {own:.0f} requests were to be expected"
    return _silent(plan, note, served, now, Silence(own, silence.alpha))


def _unheard(
    evidence: RegionEvidence, state: CheckState, judged_from: float, now: float, old: float
) -> Absence | None:
    """What is missing of a comparison with a forecast. Silence is no harm there: nobody says what was due."""
    own = max(_known(state.newest.get(CANDIDATE), now + old) or judged_from, judged_from)
    if now - own > old:
        return Absence(note="the candidate reports nothing", since=own)
    if state.base != BaselineKind.PEERS:
        return None
    if not evidence.peers:
        return Absence(note="no region is left that still runs the version before", since=judged_from)
    heard = [_known(state.newest.get(peer), now + old) or judged_from for peer in evidence.peers]
    since = max(*heard, judged_from)
    return Absence(note="no peer reports", since=since) if now - since > old else None


def _known(time: float | None, latest: float) -> float | None:
    """A time, unless it lies in the future, where it would hide every silence."""
    return None if time is None or time > latest else time


def _silent(plan: Plan, note: str, since: float, now: float, silence: Silence) -> Absence:
    if not silence.certain or now - since < plan.guards.silence:
        return Absence(note=note, since=since)
    counted = "" if "expected" in note else f" and {silence.missed:.0f} expected requests"
    note = f"{note}, for {now - since:.0f} s{counted}"
    return Absence(note=note, since=since, fired=Fired(guard="silence", since=since, note=note))
