"""begin, hold_off, update: from samples to evidence. The only place that writes evidence."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.judge import counts, guards, mixture, rates
from rollout.core.judge.calibrate import calibrate
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.samples import arm_of, block_of, usable
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState, zeros
from rollout.core.model import Sample, SignalKind
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec

NEARLY = 1e-6  # seconds by which an interval may seem to begin early, from rounding
ASTRAY = 3600.0  # seconds; a candidate that is further ahead of the baseline hides no silence
TESTS = {SignalKind.RATIO: ("split", "sign"), SignalKind.RATE: ("split", "own")}
TOLERANCE = {SignalKind.RATIO: 2.0, SignalKind.RATE: 5.0}
"""The rise that a pass rules out where the author wrote none: twice the failures takes 2,000 requests
at 0.5 %, minutes of traffic; restarts are so rare that five times as many already take
63 instance-hours at 0.02."""


def begin(
    plan: Plan, *, region: str, candidate: str, baseline: str, now: datetime, history: Sequence[Sample]
) -> RegionEvidence:
    """Evidence of a region before its first sample, calibrated on `history`, which may be empty.

    `history` holds samples of known-good versions only: what they show counts as normal, whether they ran one
    after the other or beside each other. A version that was rolled back would make its harm normal.
    Samples that end by `now` are never evidence. Judging begins after the warm-up; say with `hold_off` when
    the weight was read back later.
    """
    length = plan.judging.block
    before = [sample for sample in history if sample.time <= now]
    checks = {
        check.signal: calibrate(plan.signals[check.signal], region, before, length).dump()
        for check in plan.checks
    }
    return RegionEvidence(
        region=region,
        candidate=candidate,
        baseline=baseline,
        started_at=now,
        judged_from=now + timedelta(seconds=plan.judging.warmup),
        checks=checks,
    )


def hold_off(evidence: RegionEvidence, until: datetime) -> RegionEvidence:
    """Keep intervals that begin before `until` out of the sequential tests; guards still see them.

    Another `until` than before means another weight: what spoke for a pass was of the old and starts anew.
    Evidence of harm stays, and so does the count of all that the candidate answered.
    """
    if until == evidence.judged_from:
        return evidence
    checks = {signal: _anew(raw) for signal, raw in evidence.checks.items()}
    return replace(evidence, judged_from=until, checks=checks)


def _anew(raw: dict[str, Any]) -> dict[str, Any]:
    """The state of a check at a new weight. Its open block is bet for harm and rules nothing out."""
    state = CheckState.load(raw)
    state.ruled_out, state.bake, state.judged_s, state.quiet = {}, zeros(), 0.0, 0.0
    state.mixed = any(state.sums)
    return state.dump()


def update(plan: Plan, evidence: RegionEvidence, samples: Sequence[tuple[int, Sample]]) -> RegionEvidence:
    """Take in samples in order of their sequence numbers, each once. Junk is counted and is no evidence.

    Samples of signals that the plan does not check belong to others and are passed over.
    """
    checks = {check.signal: check for check in plan.checks}
    states: dict[str, CheckState] = {}
    blocks, seen = mixture.horizon(plan), evidence.seen
    for sequence, sample in samples:
        if sequence <= seen:
            continue
        seen = sequence
        if sample.signal not in evidence.checks or sample.signal not in checks:
            continue
        if sample.signal not in states:
            states[sample.signal] = CheckState.load(evidence.checks[sample.signal])
        state = states[sample.signal]
        if not _take(plan, checks[sample.signal], evidence, state, sample, blocks):
            state.junk += 1
    taken: dict[str, dict[str, Any]] = {signal: state.dump() for signal, state in states.items()}
    return replace(evidence, seen=seen, checks={**evidence.checks, **taken})


def _take(
    plan: Plan, check: CheckSpec, evidence: RegionEvidence, state: CheckState, sample: Sample, blocks: int
) -> bool:
    """Take one sample in. False when it is junk."""
    kind = plan.signals[check.signal].kind
    arm = arm_of(sample, region=evidence.region, candidate=evidence.candidate, baseline=evidence.baseline)
    if arm is None:
        return False
    if sample.instance:
        return _take_instance(plan, evidence, kind, arm, state, sample)
    time = sample.time.timestamp()
    if not usable(kind, sample) or time <= state.newest.get(arm, float("-inf")):
        return False
    if sample.time <= evidence.started_at:
        return True
    state.newest[arm] = time
    _note(plan, check, kind, arm, state, sample)
    began = time - sample.duration_s + NEARLY
    if kind is SignalKind.GAUGE or began < evidence.judged_from.timestamp():
        return True
    if arm == BASELINE and (state.active is None or began >= state.active or time < state.active - ASTRAY):
        state.quiet += sample.exposure
    return _into_block(plan, check, kind, arm, state, sample, blocks)


def _take_instance(
    plan: Plan, evidence: RegionEvidence, kind: SignalKind, arm: str, state: CheckState, sample: Sample
) -> bool:
    """Restarts of one instance: only the crash-loop guard, and only of the candidate."""
    whole = replace(sample, exposure=1.0)  # instances carry no exposure of their own
    if kind is not SignalKind.RATE or not usable(kind, whole):
        return False
    if arm == BASELINE or sample.time <= evidence.started_at:
        return True
    return guards.note_restarts(plan, state, sample)


def _note(
    plan: Plan, check: CheckSpec, kind: SignalKind, arm: str, state: CheckState, sample: Sample
) -> None:
    """What presence and the hard guards remember of an interval, judged or not."""
    if kind is SignalKind.GAUGE:
        guards.note_level(check, state, sample, arm)
    if arm == CANDIDATE:
        state.exposed += sample.exposure
    if arm == CANDIDATE and (sample.exposure > 0 or kind is SignalKind.GAUGE):
        state.active, state.quiet = sample.time.timestamp(), 0.0
        if kind is SignalKind.RATIO and sample.signal == guards.ERRORS:
            guards.note_success(plan, state, sample)


def _into_block(
    plan: Plan, check: CheckSpec, kind: SignalKind, arm: str, state: CheckState, sample: Sample, blocks: int
) -> bool:
    """Add an interval to its block; a later block closes the open one. False when it comes too late."""
    length = plan.judging.block
    block = block_of(sample.time.timestamp(), length)
    if state.block is not None and block < state.block:
        return False
    if state.block is not None and block > state.block:
        close(state, kind, tolerance(check, kind), length, blocks)
    state.block = block
    place = 0 if arm == CANDIDATE else 2
    for sums in (state.sums, state.totals, state.bake):
        sums[place] += sample.value
        sums[place + 1] += sample.exposure
    if arm == CANDIDATE:
        state.judged_s += sample.duration_s
    return True


def tolerance(check: CheckSpec, kind: SignalKind) -> float:
    """The rise over the baseline that a pass of this check rules out."""
    return check.tolerance if check.tolerance is not None else TOLERANCE[kind]


def close(state: CheckState, kind: SignalKind, lift: float, length: float, blocks: int) -> None:
    """Bet the open block, once, and remember when the evidence of harm was at its lowest."""
    assert state.block is not None, "only an open block is closed"
    if state.low_at is None:
        state.low_at = state.block * length
    family = counts if kind is SignalKind.RATIO else rates
    family.bet(state, state.sums, lift, blocks)
    if state.mixed:
        state.mixed, state.ruled_out = False, {}
    state.log_e = counts.log_e(state, TESTS[kind], blocks)
    if state.log_e <= state.low:
        state.low, state.low_at, state.rise = state.log_e, (state.block + 1) * length, zeros()
    else:
        state.rise = [a + b for a, b in zip(state.rise, state.sums, strict=True)]
    state.sums = zeros()
