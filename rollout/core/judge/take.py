"""begin, hold_off, update: from samples to evidence. The only place that writes evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.judge import blocks, calibrate, gaps, guards
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.samples import arm_of, cell_of, usable
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, Sample, SignalKind, series_name

NEARLY = 1e-6  # seconds by which an interval may seem to begin early, from rounding
ASTRAY = 3600.0  # seconds; a candidate that is further ahead of the baseline hides no silence


def begin(
    plan: Plan, *, region: str, candidate: str, baseline: str, now: datetime, history: Sequence[Sample]
) -> RegionEvidence:
    """Evidence of a region before its first sample, calibrated on `history`, which may be empty.

    `history` holds samples of known-good versions only, of the region and of its peers: what they show counts
    as normal, whether they ran one after the other or beside each other. A version that was rolled back would
    make its harm normal. Samples that end by `now` are never evidence. Judging begins after the warm-up; say
    with `hold_off` when the weight was read back later.
    """
    before = [sample for sample in history if sample.time <= now]
    peers = plan.peers(region)
    checks: dict[str, dict[str, Any]] = {}
    for check in plan.checks:
        for cell, state in calibrate.settle(plan, check, region, before, peers).items():
            checks[cell] = state.dump()
    compared = any(raw["base"] == BaselineKind.PEERS for raw in checks.values())
    return RegionEvidence(
        region=region,
        candidate=candidate,
        baseline=baseline,
        started_at=now,
        judged_from=now + timedelta(seconds=plan.judging.warmup),
        peers=peers if compared else (),
        checks={**checks, **gaps.begin(plan, region)},
    )


def hold_off(evidence: RegionEvidence, until: datetime) -> RegionEvidence:
    """Keep intervals that begin before `until` out of the sequential tests; guards still see them.

    Another `until` than before means another weight: what spoke for a pass was of the old and starts anew.
    Evidence of harm stays, and so does the count of all that the candidate answered.
    """
    if until == evidence.judged_from:
        return evidence
    checks = {cell: blocks.anew(raw) for cell, raw in evidence.checks.items()}
    return replace(evidence, judged_from=until, checks=checks)


def update(plan: Plan, evidence: RegionEvidence, samples: Sequence[tuple[int, Sample]]) -> RegionEvidence:
    """Take in samples in order of their sequence numbers, each once. Junk is counted and is no evidence.

    Samples of signals that the plan does not check belong to others and are passed over.
    """
    checks = {check.signal: check for check in plan.checks}
    taker = _Taker(plan, evidence)
    seen = evidence.seen
    for sequence, sample in samples:
        if sequence <= seen:
            continue
        seen = sequence
        name, edge = cell_of(sample.signal)
        if name in checks:
            taker.take(checks[name], edge, sample)
    return replace(evidence, seen=seen, checks={**evidence.checks, **taker.dumped()})


class _Taker:
    """The states of one update, loaded when the first sample of their check comes."""

    def __init__(self, plan: Plan, evidence: RegionEvidence) -> None:
        self._plan, self._evidence = plan, evidence
        self._states: dict[str, CheckState] = {}

    def dumped(self) -> Mapping[str, dict[str, Any]]:
        """Every state that was loaded, as JSON."""
        return {cell: state.dump() for cell, state in self._states.items()}

    def take(self, check: CheckSpec, edge: float | None, sample: Sample) -> None:
        """Take one sample in, or count it as junk."""
        signal = self._plan.signals[check.signal]
        if edge is not None and signal.kind is SignalKind.DISTRIBUTION:
            waiting = self._state(check.signal)
            if waiting is not None and waiting.family == "buckets":
                self._settle(check, waiting, edge, sample)
                return
            cell = series_name(check.signal, le=f"{edge:g}")
        else:
            cell = check.signal
        state = self._state(cell)
        if state is None:
            self._heard(check, sample)
        elif not self._into(check, state, sample):
            state.junk += 1

    def _heard(self, check: CheckSpec, sample: Sample) -> None:
        """A bucket that is no edge: nothing to compare, but a candidate that shows it is not silent."""
        mine = sample.version == self._evidence.candidate and sample.region == self._evidence.region
        if not mine or not usable(SignalKind.DISTRIBUTION, sample) or sample.exposure <= 0:
            return
        for name in self._evidence.checks:
            state = self._state(name) if cell_of(name)[0] == check.signal else None
            if state is not None and sample.time.timestamp() > (state.active or 0.0):
                state.active, state.quiet = sample.time.timestamp(), 0.0

    def _state(self, cell: str) -> CheckState | None:
        if cell not in self._states:
            raw = self._evidence.checks.get(cell)
            if raw is None:
                return None
            self._states[cell] = CheckState.load(raw)
        return self._states[cell]

    def _settle(self, check: CheckSpec, waiting: CheckState, edge: float, sample: Sample) -> None:
        """Collect the baseline's buckets until they say where the edges of a distribution are."""
        evidence = self._evidence
        if sample.region != evidence.region or sample.time <= evidence.started_at:
            return
        if not usable(SignalKind.DISTRIBUTION, sample):
            return
        time = sample.time.timestamp()
        if sample.version == evidence.candidate:
            waiting.newest[CANDIDATE] = waiting.active = max(time, waiting.active or time)
        if sample.version != evidence.baseline:
            return
        if time > waiting.newest.get(BASELINE, time):  # all buckets of the intervals before are in
            self._states |= calibrate.settled(self._plan, check, evidence.region, waiting)
        if waiting.family == "buckets":
            waiting.newest[BASELINE] = time
            calibrate.collect(waiting, edge, sample)

    def _into(self, check: CheckSpec, state: CheckState, sample: Sample) -> bool:
        """Take one sample into one state. False when it is junk."""
        plan, evidence = self._plan, self._evidence
        signal = plan.signals[check.signal]
        arm = arm_of(
            sample,
            region=evidence.region,
            candidate=evidence.candidate,
            baseline=evidence.baseline,
            peers=evidence.peers,
        )
        if arm is None or (sample.instance and arm not in (CANDIDATE, BASELINE)):
            return sample.region != evidence.region
        if sample.instance:
            return self._restarts(signal.kind, arm, state, sample)
        time = sample.time.timestamp()
        if not usable(signal.kind, sample) or time <= state.newest.get(arm, float("-inf")):
            return False
        if sample.time <= evidence.started_at:
            return True
        if check is plan.checks[0]:
            gaps.note(plan, check, evidence, self._state(gaps.GAPS), arm, time)
        state.newest[arm] = time
        _note(plan, check, signal.kind, arm, state, sample)
        began = time - sample.duration_s + NEARLY
        if began < evidence.judged_from.timestamp():
            return True
        if arm == BASELINE and (
            state.active is None or began >= state.active or time < state.active - ASTRAY
        ):
            state.quiet += sample.exposure
        calibrate.reread(plan, check, evidence.region, state, sample)
        return blocks.add(plan, check, arm, state, sample)

    def _restarts(self, kind: SignalKind, arm: str, state: CheckState, sample: Sample) -> bool:
        """Restarts of one instance: only the crash-loop guard, and only of the candidate."""
        whole = replace(sample, exposure=1.0)  # instances carry no exposure of their own
        if kind is not SignalKind.RATE or not usable(kind, whole):
            return False
        if arm == BASELINE or sample.time <= self._evidence.started_at:
            return True
        return guards.note_restarts(self._plan, state, sample)


def _note(
    plan: Plan, check: CheckSpec, kind: SignalKind, arm: str, state: CheckState, sample: Sample
) -> None:
    """What presence and the hard guards remember of an interval, judged or not."""
    level = kind is SignalKind.GAUGE or (kind is SignalKind.THROUGHPUT and sample.exposure <= 0)
    if level:
        guards.note_level(plan, check, state, sample, arm)
    if arm == CANDIDATE:
        state.exposed += sample.exposure
    if arm == CANDIDATE and (sample.exposure > 0 or level):
        state.active, state.quiet = sample.time.timestamp(), 0.0
        if kind is SignalKind.RATIO and sample.signal == guards.ERRORS:
            guards.note_success(plan, state, sample)
