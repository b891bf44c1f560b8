"""Missingness as a signal: gaps in what the candidate reports, against those of the baseline beside it.

An episode counts once, however long it lasts, since gaps come in runs; how long it lasts is the business of
the hard guard on silence. The first check of the plan is what is listened to.
"""

from typing import Any

from rollout.core.judge import mixture
from rollout.core.judge.blocks import close
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.samples import block_of
from rollout.core.judge.sequential import Terms, Test
from rollout.core.judge.state import BASELINE, CANDIDATE, CheckState, dump_terms
from rollout.core.plan import GAPS, Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind

MISSED = 1.75  # intervals between two samples: the one in between is missing, whatever the jitter
GROWS = 1.05  # of the usual distance from one sample to the next: one odd sample is soon forgotten
LIFT = 10.0  # times the baseline's gaps; it never keeps a pass from anyone

INTERVAL = "interval"  # the shortest distance between two samples so far

__all__ = ["GAPS", "begin", "note"]


def begin(plan: Plan, region: str) -> dict[str, dict[str, Any]]:
    """The state of the pseudo check, where instances run beside each other to compare."""
    if GAPS not in plan.signals:  # a plan that was stored before there was such a signal
        return {}
    if BaselineKind.BESIDE not in plan.baselines(region, plan.checks[0]):
        return {}
    terms = Terms(
        tests=(Test("split", False, 1.0),),
        lift=LIFT,
        horizon=mixture.horizon(plan, plan.block(plan.checks[0])),
    )
    state = CheckState(
        base=BaselineKind.BESIDE.value, terms=dump_terms(terms), learned="gaps per instance-hour"
    )
    return {GAPS: state.dump()}


def note(
    plan: Plan,
    check: CheckSpec,
    evidence: RegionEvidence,
    state: CheckState | None,
    arm: str,
    time: float,
) -> None:
    """Count the time since the sample before, and a gap where one is missing.

    All buckets of one interval are one report.
    """
    if state is None or arm not in (CANDIDATE, BASELINE):
        return
    before = state.newest.get(arm)
    if before is not None and time <= before:
        return
    state.newest[arm] = time
    if before is None or before < evidence.judged_from.timestamp():
        return
    least = state.level[INTERVAL] = min(time - before, GROWS * state.level.get(INTERVAL, time - before))
    interval = max(plan.judging.interval, check.interval or 0.0, least)
    length = plan.block(check)
    block = block_of(time, length)
    if state.block is not None and block > state.block:
        close(state, length)
    state.block = max(block, state.block or block)
    missed = float(time - before > MISSED * interval)
    hours = (time - before) / 3600
    added = [missed, hours, 0.0, 0.0, 0.0] if arm == CANDIDATE else [0.0, 0.0, missed, hours, 0.0]
    for sums in (state.sums, state.totals, state.bake):
        for place in range(len(sums)):
            sums[place] += added[place]
