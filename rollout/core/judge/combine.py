"""One budget over all regions, checks and looks of a release: cells, weights, threshold, culprits.

A cell is one check in one region of the plan. The e-values of all cells are averaged with weights that the
plan freezes; a cell that has not started counts as 1. The mean keeps P(ever >= 1/alpha) <= alpha under any
dependence, so one threshold serves every look. Of the budget, nine tenths belong to these tests, over
bakes and watch together (one process runs through both, see mixture.py), and one tenth is kept for the
hard guards, which have no e-value. Silence shares it equally among all checks and regions: each fires only
where one such silence, of independent requests, has at most its share of probability. Crash loop, success and
limit are thresholds without a probability: they are outside the promise.
"""

import math
from collections.abc import Mapping
from datetime import datetime

from rollout.core.judge import mixture, presence, verdicts
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.state import CheckState
from rollout.core.model import Judgement, SignalKind, Verdict, VerdictKind
from rollout.core.plan import Plan

Cell = tuple[str, str]  # region, signal

SEQUENTIAL = 0.9  # of the budget
GUARDS = 0.1
BLAMED = 0.1  # a cell is a culprit from this part of the largest contribution


def cell_weights(plan: Plan) -> dict[Cell, float]:
    """The part of each cell, summing to 1: the check's weight, equal over regions. Gauges have none."""
    tested = [check for check in plan.checks if plan.signals[check.signal].kind is not SignalKind.GAUGE]
    whole = sum(check.weight for check in tested) * len(plan.regions)
    return {(region, check.signal): check.weight / whole for region in plan.regions for check in tested}


def threshold(plan: Plan) -> float:
    """The log e-value at which a release fails, in nats."""
    return math.log(1 / (plan.budget * SEQUENTIAL))


def judge(
    plan: Plan,
    evidence: Mapping[str, RegionEvidence],
    now: datetime,
    errors: Mapping[str, tuple[str, datetime]] | None = None,
) -> Judgement:
    """What the evidence says at `now`, over all regions of the plan. `errors` is passed through."""
    states = {
        (region, signal): CheckState.view(raw)
        for region in plan.regions
        if region in evidence
        for signal, raw in evidence[region].checks.items()
    }
    total, blamed = _combine(plan, states)
    missed = _missed(plan, states)
    given = tuple(
        verdicts.verdict(
            plan,
            check,
            evidence[region],
            states[region, check.signal],
            now,
            blamed=(region, check.signal) in blamed,
            missed=missed.get(region, 0.0),
            alpha=plan.budget * GUARDS / (len(plan.regions) * len(plan.checks)),
        )
        for region in plan.regions
        for check in plan.checks
        if (region, check.signal) in states
    )
    return Judgement(
        verdicts=given,
        log_e=total,
        threshold=threshold(plan),
        culprits=_culprits(given, blamed),
        errors=dict(errors or {}),
    )


def _missed(plan: Plan, states: Mapping[Cell, CheckState]) -> dict[str, float]:
    """Per region, the most requests of one ratio signal that the candidate was to serve while it was silent.

    They speak for signals that have no requests of their own too (rates, gauges).
    """
    asked = [check.signal for check in plan.checks if check.no_data != "ignore"]
    served = [signal for signal in asked if plan.signals[signal].kind is SignalKind.RATIO]
    return {
        region: max(
            (presence.expected(plan, region, states[region, s]) for s in served if (region, s) in states),
            default=0.0,
        )
        for region in plan.regions
    }


def _combine(plan: Plan, states: Mapping[Cell, CheckState]) -> tuple[float, list[Cell]]:
    """The log of the mean e-value, and the cells to blame, worst first, when it crosses the threshold."""
    weights = cell_weights(plan)
    if not weights:
        return 0.0, []
    log_e = {cell: states[cell].log_e if cell in states else 0.0 for cell in weights}
    total = mixture.log_mean(list(log_e.values()), list(weights.values()))
    if total < threshold(plan):
        return total, []
    parts = {cell: log_e[cell] + math.log(weights[cell]) for cell in weights}
    least = max(parts.values()) + math.log(BLAMED)
    return total, sorted((cell for cell in parts if parts[cell] >= least), key=lambda cell: -parts[cell])


def _culprits(given: tuple[Verdict, ...], blamed: list[Cell]) -> tuple[Verdict, ...]:
    """Failed verdicts: what a guard stopped first, then by their part of the evidence."""
    order = {cell: place for place, cell in enumerate(blamed)}
    failed = [verdict for verdict in given if verdict.kind is VerdictKind.FAIL]
    return tuple(sorted(failed, key=lambda v: (not v.guard, order.get((v.region, v.signal), len(order)))))
