"""One budget over all regions, checks and looks of a release: cells, weights, threshold, culprits.

A cell is one check in one region of the plan (of a distribution, one of its edges). The e-values of all cells
are averaged with weights that the plan freezes; a cell that has not started counts as 1. The mean keeps
P(ever >= 1/alpha) <= alpha under any dependence, so one threshold serves every look. Of the budget, eight
tenths belong to these tests, over bakes and watch together (one process runs through both, see mixture.py),
and two tenths are kept for the hard guards, which have no e-value. Silence shares them equally among all
checks and regions: each fires only where one such silence, of independent requests, has at most its share of
probability. Crash loop, success and limit are thresholds without a probability: they are outside the promise.

Two sums are made. In the one that acts, evidence of forecasts counts for a hundredth until they are
calibrated, and checks that are not critical, or rises within the tolerance over a region's own past, count
for nothing. In the one that holds and pages, all count.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np

from rollout.core.judge import presence, verdicts
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.samples import BUCKETS, LEVELS, cell_of
from rollout.core.judge.state import CheckState
from rollout.core.plan import GAPS, Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, Judgement, Verdict, VerdictKind

Cell = tuple[str, str]  # region, cell of a check

SEQUENTIAL = 0.8  # of the budget
GUARDS = 0.2
GAPS_WEIGHT = 0.05  # of all checks together: data seldom go missing alone
BLAMED = 0.1  # a cell is a culprit from this part of the largest contribution


def cell_weights(plan: Plan, region: str, checks: Mapping[str, CheckState]) -> dict[Cell, float]:
    """The part of each cell of one region, summing to 1 over all regions once all have begun.

    What has nothing to compare with has no test, and no part.
    """
    cells = {
        cell: check.weight * checks[cell].part
        for check in plan.checks
        for cell in cells_of(check, checks)
        if checks[cell].terms or checks[cell].family == BUCKETS
    }
    whole = sum(cells.values()) * len(plan.regions)
    share = (1 - GAPS_WEIGHT) if GAPS in checks else 1.0
    weights = {(region, cell): share * weight / whole for cell, weight in cells.items()}
    if GAPS in checks:
        weights[region, GAPS] = GAPS_WEIGHT / len(plan.regions)
    return weights


def cells_of(check: CheckSpec, checks: Mapping[str, CheckState]) -> list[str]:
    """The cells of a check: itself, or its edges once they are settled."""
    edges = [cell for cell, state in checks.items() if state.edge >= 0 and cell_of(cell)[0] == check.signal]
    return edges or [check.signal] * (check.signal in checks)


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
        region: {cell: CheckState.view(raw) for cell, raw in evidence[region].checks.items()}
        for region in plan.regions
        if region in evidence
    }
    weights = {
        cell: weight
        for region, checks in states.items()
        for cell, weight in cell_weights(plan, region, checks).items()
    }
    acting, blamed = _combine(plan, states, weights, act=True)
    _, doubted = _combine(plan, states, weights, act=False)
    given = tuple(
        each
        for region in plan.regions
        if region in states
        for each in _region_verdicts(plan, evidence[region], states[region], now, blamed)
    )
    suspected = () if blamed else _suspected(plan, evidence, states, doubted)
    return Judgement(
        verdicts=given,
        log_e=acting,
        threshold=threshold(plan),
        culprits=_culprits(given, blamed),
        suspected=suspected,
        errors=dict(errors or {}),
    )


def _region_verdicts(
    plan: Plan,
    evidence: RegionEvidence,
    checks: Mapping[str, CheckState],
    now: datetime,
    blamed: list[Cell],
) -> list[Verdict]:
    region, missed = evidence.region, _missed(plan, evidence.region, checks)
    alpha = plan.budget * GUARDS / (len(plan.regions) * len(plan.checks))
    given = []
    for check in plan.checks:
        found = [
            verdicts.verdict(
                plan,
                check,
                evidence,
                checks[cell],
                now,
                blamed=(region, cell) in blamed,
                missed=missed,
                alpha=alpha,
            )
            for cell in cells_of(check, checks)
        ]
        if found:
            given.append(_of_edges(check, checks, found))
    if GAPS in checks:
        gaps = verdicts.gaps_verdict(evidence, checks[GAPS], blamed=(region, GAPS) in blamed)
        given += [gaps] if gaps else []
    return given


_WORST = (VerdictKind.FAIL, VerdictKind.NO_DATA, VerdictKind.UNDECIDED, VerdictKind.PASS)


def _of_edges(check: CheckSpec, checks: Mapping[str, CheckState], found: list[Verdict]) -> Verdict:
    """The verdict of a distribution is that of its worst edge.

    An edge that half of all are slower than cannot double, so it keeps no pass from the others.
    """
    cells = cells_of(check, checks)
    if checks[cells[0]].edge < 0:
        return found[0]
    named = [replace(said, edge=checks[cell].edge) for cell, said in zip(cells, found, strict=True)]
    tail = [each for each, cell in zip(named, cells, strict=True) if _can_rise(each, checks[cell])]
    bad = [each for each in named if each.kind in {VerdictKind.FAIL, VerdictKind.NO_DATA}]
    return min(bad or tail or named, key=lambda each: (_WORST.index(each.kind), -each.log_e))


def _can_rise(said: Verdict, state: CheckState) -> bool:
    """Whether so few are slower than an edge that a rise to the tolerance is possible there at all."""
    return said.baseline is None or said.baseline * float(state.terms["lift"]) < 1


def _missed(plan: Plan, region: str, checks: Mapping[str, CheckState]) -> float:
    """The most requests of one counted signal that the candidate was to serve while it was silent.

    They speak for signals that have no requests of their own too (rates, gauges).
    """
    asked = [
        cell
        for check in plan.checks
        if check.no_data != "ignore" and plan.signals[check.signal].kind in verdicts.COUNTED
        for cell in cells_of(check, checks)
    ]
    return max((presence.expected(plan, region, checks[cell]) for cell in asked), default=0.0)


def _combine(
    plan: Plan, states: Mapping[str, Mapping[str, CheckState]], weights: Mapping[Cell, float], *, act: bool
) -> tuple[float, list[Cell]]:
    """The log of the mean e-value, and the cells to blame, worst first, when it crosses the threshold."""
    critical = {check.signal for check in plan.checks if check.critical} | {GAPS}
    log_e = {}
    for region, cell in weights:
        state = states[region][cell]
        counted = not act or (cell_of(cell)[0] in critical and _acts(state))
        log_e[region, cell] = state.log_e - (state.discount if act else state.doubt) if counted else 0.0
    left = max(0.0, 1 - sum(weights.values()))
    parts = {cell: log_e[cell] + math.log(weights[cell]) for cell in weights}
    rest = [math.log(left)] if left > 1e-12 else []  # of cells that have not started
    total = float(np.logaddexp.reduce([*parts.values(), *rest])) if parts or rest else 0.0
    if total < threshold(plan):
        return total, []
    least = min(max(parts.values()) + math.log(BLAMED), threshold(plan))  # enough alone is never hidden
    return total, sorted((cell for cell in parts if parts[cell] >= least), key=lambda cell: -parts[cell])


def _acts(state: CheckState) -> bool:
    """Whether evidence may act at all: of a region's own past only when the rise is beyond the tolerance.

    Its forecast is the weakest comparison: the week, the season or a campaign move it by less than that.
    """
    if state.base != BaselineKind.HISTORY:
        return True
    x1, n1, x0, n0 = state.rise
    if n1 <= 0 or n0 <= 0:
        return False
    falls, lift = bool(state.terms["tests"][0]["falls"]), float(state.terms["lift"])
    if state.family == LEVELS:
        gap, usual = x1 / n1 - x0 / n0, abs(x0 / n0)
        reach = math.log(lift) if state.terms["relative"] else usual * (1 - 1 / lift if falls else lift - 1)
        return abs(gap) >= reach
    return x1 * n0 >= lift * x0 * n1 or (falls and x1 * n0 * lift <= x0 * n1)


def _suspected(
    plan: Plan,
    evidence: Mapping[str, RegionEvidence],
    states: Mapping[str, Mapping[str, CheckState]],
    doubted: list[Cell],
) -> tuple[Verdict, ...]:
    """Verdicts of the cells whose evidence is enough to hold and page, worst first, one for each check."""
    checks = {check.signal: check for check in plan.checks}
    found: dict[tuple[str, str], Verdict] = {}
    for region, cell in doubted:
        name, state = cell_of(cell)[0], states[region][cell]
        if name in checks:
            found.setdefault((region, name), verdicts.suspicion(plan, checks[name], evidence[region], state))
    return tuple(found.values())


def _culprits(given: tuple[Verdict, ...], blamed: list[Cell]) -> tuple[Verdict, ...]:
    """Failed verdicts: what a guard stopped first, then by their part of the evidence."""
    order: dict[Cell, int] = {}
    for place, (region, cell) in enumerate(blamed):
        order.setdefault((region, cell_of(cell)[0]), place)
    failed = [verdict for verdict in given if verdict.kind is VerdictKind.FAIL]
    return tuple(sorted(failed, key=lambda v: (not v.guard, order.get((v.region, v.signal), len(order)))))
