"""The verdict of one check in one region, with its numbers. What must not live here: the combination."""

import math
from dataclasses import replace
from datetime import UTC, datetime

from rollout.core.judge import mixture
from rollout.core.judge.detect import rule_out_information
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.guards import Fired, fired
from rollout.core.judge.presence import Absence, Silence, absence, expected
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState
from rollout.core.judge.take import TESTS, tolerance
from rollout.core.model import SignalKind, Verdict, VerdictKind
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec

WRONG_PASS = 0.05  # P(pass | harm equal to the tolerance) is at most this
ENOUGH = math.log(1 / WRONG_PASS)
UNSEEN = 3.0  # events that a rate may still hide when none was seen (95 %)
UNITS = {SignalKind.RATIO: "candidate requests", SignalKind.RATE: "candidate instance-hours"}


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
    own = expected(plan, evidence.region, state) if kind is SignalKind.RATIO else 0.0
    began = evidence.judged_from.timestamp()
    missing = absence(plan, state, began, now.timestamp(), Silence(missed, alpha), own)
    if missing is not None and check.no_data == "ignore":
        missing = replace(missing, fired=None)
    stopped = fired(plan, check, state) or (missing.fired if missing else None)
    if stopped is not None:
        return _guarded(known, stopped)
    if blamed:
        return _failed(known, state, tolerance(check, kind))
    if missing is not None:
        return _absent(known, check, missing)
    if kind is SignalKind.GAUGE:
        return replace(known, note=_joined(_gauge_note(check), known.note))
    if now < evidence.judged_from:
        waits = "not judged yet: the weight is changing, or its warm-up lasts"
        known = replace(known, note=_joined(waits, known.note))
    if _current(evidence, state) and passed(plan, kind, state):
        return replace(known, kind=VerdictKind.PASS)
    return replace(known, needs=needs(plan, check, kind, state))


def passed(plan: Plan, kind: SignalKind, state: CheckState) -> bool:
    """Whether harm of the tolerance is ruled out, on enough requests, with nothing that speaks for harm."""
    enough = kind is not SignalKind.RATIO or state.bake[1] >= plan.judging.min_requests
    return enough and ruled_out(kind, state) >= ENOUGH and state.log_e < ENOUGH


def ruled_out(kind: SignalKind, state: CheckState) -> float:
    """Nats against harm of the tolerance; the mean of two tests for a rate."""
    if kind is SignalKind.RATIO:
        return state.ruled_out.get("split", 0.0)
    return mixture.log_mean([state.ruled_out.get(test, 0.0) for test in TESTS[kind]])


def needs(plan: Plan, check: CheckSpec, kind: SignalKind, state: CheckState) -> str:
    """How much more of the candidate is expected to be needed for a pass, when nothing changed."""
    _, n1, _, n0 = state.bake
    if n1 <= 0 or n0 <= 0:
        return "first judged intervals of the candidate and of the baseline"
    events, beside = state.totals[2:]
    seen_none = events <= 0
    base = UNSEEN / beside if seen_none else events / beside
    told = rule_out_information(base, tolerance(check, kind), n1 / (n1 + n0)) / state.phi
    if told <= 0:
        return "more of the baseline beside it: there is next to nothing to compare with"
    more = max(0.0, ENOUGH - ruled_out(kind, state)) / told
    if kind is SignalKind.RATIO:
        more = max(more, plan.judging.min_requests - n1)
    if more <= 0:
        return "the next judged block"
    words = f"{'more than' if seen_none else 'about'} {_rounded(more)} more {UNITS[kind]}"
    if state.judged_s > 0:
        words += f", {_minutes(more * state.judged_s / n1)} at the present pace"
    return words + (" (the baseline shows none yet)" if seen_none else "")


def _numbers(check: CheckSpec, kind: SignalKind, evidence: RegionEvidence, state: CheckState) -> Verdict:
    """What is known either way. `limit` of a test is the baseline times the tolerance."""
    baseline = _value(kind, state, BASELINE)
    if kind is SignalKind.GAUGE:
        limit = check.limit
    else:
        limit = None if baseline is None else baseline * tolerance(check, kind)
    return Verdict(
        region=evidence.region,
        signal=check.signal,
        kind=VerdictKind.UNDECIDED,
        value=_value(kind, state, CANDIDATE),
        baseline=baseline,
        limit=limit,
        log_e=state.log_e,
        seen=state.bake[1],
        exposed=state.exposed,
        baseline_kind=_baseline_kind(kind, evidence, state),
        newest=_at(state.newest.get(CANDIDATE)),
        note=_joined(state.learned, f"{state.junk} unusable samples were ignored" if state.junk else ""),
    )


def _value(kind: SignalKind, state: CheckState, arm: str) -> float | None:
    if kind is SignalKind.GAUGE:
        return state.level.get(arm)
    return _rate(state.bake, arm)


def _rate(sums: list[float], arm: str) -> float | None:
    events, exposure = sums[:2] if arm == CANDIDATE else sums[2:]
    return events / exposure if exposure > 0 else None


def _baseline_kind(kind: SignalKind, evidence: RegionEvidence, state: CheckState) -> str:
    beside = f"instances beside it in {evidence.region}" if BASELINE in state.newest else ""
    if kind is SignalKind.GAUGE:
        return "its limit"
    if kind is SignalKind.RATE and state.rate_high is not None:
        return " and ".join(filter(None, [beside, f"the history of {evidence.region}"]))
    return beside or "none"


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


def _failed(known: Verdict, state: CheckState, lift: float) -> Verdict:
    """Numbers of the time since the rise began, where the whole would dilute them."""
    sums = state.rise if state.rise[1] > 0 and state.rise[3] > 0 else state.totals
    value, baseline = _rate(sums, CANDIDATE), _rate(sums, BASELINE)
    return replace(
        known,
        kind=VerdictKind.FAIL,
        value=value,
        baseline=baseline,
        limit=None if baseline is None else baseline * lift,
        since=_at(state.low_at),
        note=_joined("value and baseline are those since the rise began", known.note),
    )


def _absent(known: Verdict, check: CheckSpec, missing: Absence) -> Verdict:
    kind = VerdictKind.UNDECIDED if check.no_data == "ignore" else VerdictKind.NO_DATA
    needs_data = "samples of the candidate and of the baseline"
    return replace(known, kind=kind, since=_at(missing.since), needs=needs_data, note=missing.note)


def _current(evidence: RegionEvidence, state: CheckState) -> bool:
    """Whether both were heard after the newest warm-up: a pass must speak of what runs now."""
    heard = min(state.newest.get(arm, -math.inf) for arm in (CANDIDATE, BASELINE))
    return heard > evidence.judged_from.timestamp()


def _gauge_note(check: CheckSpec) -> str:
    if check.limit is None:
        return "a gauge without a limit is shown and cannot fail; set one to guard it"
    return f"a gauge is only guarded: above {check.limit:g} and rising for {check.limit_for:g} s fails"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _at(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)


def _rounded(amount: float) -> str:
    """Two digits are all that such a forecast is worth."""
    if amount < 100:
        return f"{amount:.2g}" if amount < 10 else f"{amount:.0f}"
    digits = math.floor(math.log10(amount)) - 1
    return f"{round(amount, -digits):,.0f}"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{_rounded(seconds / 60)} min" if seconds < 5400 else f"{_rounded(seconds / 3600)} h"
