"""The verdict of one check in one region, with its numbers. What must not live here: the combination."""

import math
from dataclasses import replace
from datetime import UTC, datetime

from rollout.core.judge import needs as needs_
from rollout.core.judge.calibrate import tolerance
from rollout.core.judge.counts import tempering
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.guards import Fired, fired
from rollout.core.judge.intervals import ratio_interval
from rollout.core.judge.presence import Absence, Silence, absence, expected
from rollout.core.judge.samples import COUNTS, LEVELS
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState
from rollout.core.plan import GAPS, Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, SignalKind, Verdict, VerdictKind

WRONG_PASS = 0.05  # P(pass | harm equal to the tolerance) is at most this
ENOUGH = math.log(1 / WRONG_PASS)
COUNTED = (SignalKind.RATIO, SignalKind.DISTRIBUTION)


def verdict(
    plan: Plan,
    check: CheckSpec,
    evidence: RegionEvidence,
    state: CheckState,
    now: datetime,
    *,
    blamed: bool,
    missed: float,
    alpha: float,
) -> Verdict:
    """One verdict: a guard first, then the combined failure, then lack of data, then pass or undecided.

    `missed` is how many requests the candidate was to be expected to serve here while it was silent, `alpha`
    what the silence guard of this check and region may spend.
    """
    kind = plan.signals[check.signal].kind
    known = _numbers(check, kind, evidence, state)
    own = expected(plan, evidence.region, state) if kind in COUNTED else 0.0
    missing = absence(plan, check, evidence, state, now.timestamp(), Silence(missed, alpha), own)
    if missing is not None and check.no_data == "ignore":
        missing = replace(missing, fired=None)
    stopped = fired(plan, check, state) or (missing.fired if missing else None)
    if stopped is not None:
        return _guarded(known, stopped)
    if blamed:
        return failed(known, state, tolerance(check, kind))
    if missing is not None:
        return _absent(known, check, missing)
    if not state.terms:
        return replace(known, note=_joined(_untested(check, state), known.note))
    if now < evidence.judged_from:
        waits = "not judged yet: the weight is changing, or its warm-up lasts"
        known = replace(known, note=_joined(waits, known.note))
    if _current(evidence, state) and passed(plan, kind, state):
        return replace(known, kind=VerdictKind.PASS)
    return replace(known, needs=needs_.needs(plan, check, kind, state, ENOUGH))


def passed(plan: Plan, kind: SignalKind, state: CheckState) -> bool:
    """Whether harm of the tolerance is ruled out, on enough requests, with nothing that speaks for harm."""
    enough = kind not in COUNTED or state.bake[1] >= plan.judging.min_requests
    if kind in COUNTED and state.bake[0] <= 0 and state.bake[1] >= needs_.SPOTLESS:
        return state.log_e < ENOUGH
    return enough and state.ruled_out >= ENOUGH and state.log_e < ENOUGH


def suspicion(plan: Plan, check: CheckSpec, evidence: RegionEvidence, state: CheckState) -> Verdict:
    """What is suspected of a check whose evidence is not enough to act; its kind stays undecided."""
    kind = plan.signals[check.signal].kind
    known = _numbers(check, kind, evidence, state)
    return replace(failed(known, state, tolerance(check, kind)), kind=VerdictKind.UNDECIDED)


def gaps_verdict(evidence: RegionEvidence, state: CheckState, *, blamed: bool) -> Verdict | None:
    """The verdict of missing data, where it is worth a word: it fails, or nothing is said."""
    if not blamed:
        return None
    known = _numbers(CheckSpec(signal=GAPS), SignalKind.RATE, evidence, state)
    return failed(known, state, float(state.terms["lift"]))


def _numbers(check: CheckSpec, kind: SignalKind, evidence: RegionEvidence, state: CheckState) -> Verdict:
    """What is known either way. `limit` of a test is the baseline times the tolerance."""
    baseline = _value(kind, state, BASELINE)
    lift = tolerance(check, kind)
    limit = _limit(state, baseline, lift)
    if check.limit is not None and state.family == LEVELS:
        limit = check.limit
    interval = _interval(state, state.bake, looks=1)
    return Verdict(
        region=evidence.region,
        signal=check.signal,
        kind=VerdictKind.UNDECIDED,
        edge=state.edge if state.edge >= 0 else None,
        value=_value(kind, state, CANDIDATE),
        baseline=baseline,
        limit=limit,
        log_e=state.log_e,
        seen=state.bake[1],
        exposed=state.exposed,
        baseline_kind=baseline_words(evidence, state),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        events=_pair(state, state.bake, 0),
        beside=_pair(state, state.bake, 2),
        rests_on=rests_on(state),
        newest=_at(state.newest.get(CANDIDATE)),
        note=_joined(state.learned, f"{state.junk} unusable samples were ignored" if state.junk else ""),
    )


def _limit(state: CheckState, baseline: float | None, lift: float) -> float | None:
    """What the value may not pass: the baseline times the tolerance, or divided by it where less is harm."""
    if baseline is None:
        return None
    falls = bool(state.terms) and bool(state.terms["tests"][0]["falls"])
    return baseline / lift if falls else baseline * lift


def rests_on(state: CheckState) -> str:
    """What the promise about false rollbacks rests on: of rare rates, on what history says is usual."""
    if not state.terms:
        return "none"
    if state.base == BaselineKind.BESIDE:
        by_history = any(test["family"] == "joint" for test in state.terms["tests"])
        return "calibration" if by_history else "proof"
    return "calibration" if state.discount <= state.doubt else "uncalibrated"


def baseline_words(evidence: RegionEvidence, state: CheckState) -> str:
    """What is compared with, in words that fit after "on"."""
    if state.base == BaselineKind.PEERS:
        return f"peers {', '.join(evidence.peers)} by time of day" if evidence.peers else "no peers any more"
    if state.base == BaselineKind.HISTORY:
        return f"the past of {evidence.region} by time of day"
    if state.base != BaselineKind.BESIDE:
        return "its limit" if state.family == LEVELS else "none"
    if BASELINE not in state.newest:
        return "none"
    beside = f"instances beside it in {evidence.region}"
    known = any(test["family"] == "joint" for test in state.terms["tests"])
    return f"{beside} and the history of {evidence.region}" if known else beside


def _interval(state: CheckState, sums: list[float], looks: int) -> tuple[float, float] | None:
    if state.family != COUNTS or not state.terms:
        return None
    part = min(1.0, sums[1] / state.bake[1]) if state.bake[1] > 0 else 1.0
    bets = max(1.0, part * state.blocks / max(1, int(state.terms["every"])))
    temper = float(tempering((sums[0] + sums[2]) / bets, state.terms["rho"], state.terms["psi"]))
    return ratio_interval(_with_history(state, sums), temper, looks)


def _with_history(state: CheckState, sums: list[float]) -> list[float]:
    """The sums with what history knows of a rare rate, which is compared with as well."""
    if not state.terms or state.terms["known"][1] <= 0:
        return sums[:4]
    events, exposure = state.terms["known"]
    return [sums[0], sums[1], sums[2] + events - 0.5, sums[3] + exposure]


def _pair(state: CheckState, sums: list[float], place: int) -> tuple[float, float] | None:
    both = _with_history(state, sums)
    if state.family != COUNTS or both[place + 1] <= 0:
        return None
    return both[place], both[place + 1]


def _value(kind: SignalKind, state: CheckState, arm: str) -> float | None:
    """A rate of the bake; of a level its newest value, or what it was compared with."""
    if state.family != LEVELS or kind is SignalKind.THROUGHPUT:
        return _rate(_with_history(state, state.bake), arm)
    if arm == CANDIDATE or state.base in {"", BaselineKind.BESIDE}:
        return state.level.get(arm)
    return _rate(state.bake, arm)


def _rate(sums: list[float], arm: str) -> float | None:
    events, exposure = sums[:2] if arm == CANDIDATE else sums[2:4]
    return events / exposure if exposure > 0 else None


def _guarded(known: Verdict, stopped: Fired) -> Verdict:
    return replace(
        known,
        kind=VerdictKind.FAIL,
        guard=stopped.guard,
        value=known.value if stopped.value is None else stopped.value,
        limit=known.limit if stopped.limit is None else stopped.limit,
        since=_at(stopped.since),
        note=stopped.note,
    )


def failed(known: Verdict, state: CheckState, lift: float) -> Verdict:
    """Numbers of the time since the rise began, where the whole would dilute them."""
    since = state.rise[1] > 0 and state.rise[3] > 0
    sums = _shown(state) if since else state.totals
    both = _with_history(state, sums)
    value, baseline = _rate(both, CANDIDATE), _rate(both, BASELINE)
    interval = _interval(state, sums, looks=max(1, state.blocks))
    return replace(
        known,
        kind=VerdictKind.FAIL,
        value=value,
        baseline=baseline,
        limit=_limit(state, baseline, lift),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        events=_pair(state, sums, 0),
        beside=_pair(state, sums, 2),
        since=_at(state.low_at),
        note=_joined("value and baseline are those since the rise began", known.note),
    )


def _shown(state: CheckState) -> list[float]:
    """The sums since the rise began; levels that were compared as logarithms are levels again."""
    if state.family != LEVELS or not state.terms["relative"]:
        return state.rise
    own, blocks, usual, beside = state.rise
    return [math.exp(own / blocks), 1.0, math.exp(usual / beside), 1.0]


def _absent(known: Verdict, check: CheckSpec, missing: Absence) -> Verdict:
    kind = VerdictKind.UNDECIDED if check.no_data == "ignore" else VerdictKind.NO_DATA
    needs_data = "samples of the candidate and of what it is compared with"
    return replace(known, kind=kind, since=_at(missing.since), needs=needs_data, note=missing.note)


def _current(evidence: RegionEvidence, state: CheckState) -> bool:
    """Whether both were heard since the warm-up ended; a forecast needs no baseline to be heard."""
    arms = (CANDIDATE, BASELINE) if state.base == BaselineKind.BESIDE else (CANDIDATE,)
    heard = min(state.newest.get(arm, -math.inf) for arm in arms)
    return heard > evidence.judged_from.timestamp()


def _untested(check: CheckSpec, state: CheckState) -> str:
    if state.family == "buckets":
        return "waits for the baseline's first hundred events to set its edges"
    if check.limit is None:
        return "shown and cannot fail: there is nothing to compare with; guards only"
    return f"only guarded: beyond {check.limit:g} and getting worse for {check.limit_for:g} s fails"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _at(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)
