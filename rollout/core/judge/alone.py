"""At which evidence of harm one check in one region acts alone, for people who ask how near it is."""

import math
from collections.abc import Mapping

from rollout.core.judge.combine import cell_weights, threshold
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.samples import cell_of
from rollout.core.judge.state import CheckState
from rollout.core.plan import Plan


def acts_at(plan: Plan, evidence: Mapping[str, RegionEvidence]) -> dict[tuple[str, str], float]:
    """Nats per region and check: of a distribution at its nearest edge, and none without a test."""
    found: dict[tuple[str, str], float] = {}
    for region, known in evidence.items():
        checks = {cell: CheckState.view(raw) for cell, raw in known.checks.items()}
        for (_, cell), weight in cell_weights(plan, region, checks).items():
            if checks[cell].terms:
                place = region, cell_of(cell)[0]
                needed = threshold(plan) - math.log(weight) + checks[cell].discount
                found[place] = min(needed, found.get(place, math.inf))
    return found
