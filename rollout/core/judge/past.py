"""History of one cell in base blocks: what calibration and forecasts learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rollout.core.judge.baseline import DAY
from rollout.core.judge.counts import MEMORY
from rollout.core.judge.mixture import Floats
from rollout.core.judge.samples import COUNTS, LEVELS, block_of, cell_of, told
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import Sample, SignalKind

LEAST_BLOCKS = 30
LEAST_EVENTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """History of one cell: per region and version, per base block, [events, exposure], or levels and 1."""

    region: str
    zone: str
    length: float
    family: str
    cells: Mapping[tuple[str, str], Mapping[int, list[float]]] = field(default_factory=dict)

    def of(self, region: str) -> dict[int, list[float]]:
        """All versions of a region together: sums of counts, means of levels."""
        found: dict[int, list[float]] = {}
        for (where, _), blocks in self.cells.items():
            for block, (value, exposure) in blocks.items() if where == region else ():
                cell = found.setdefault(block, [0.0, 0.0])
                cell[0] += value
                cell[1] += exposure
        return found

    def arms(self) -> dict[str, Mapping[int, list[float]]]:
        """The versions of the region itself."""
        return {version: blocks for (where, version), blocks in self.cells.items() if where == self.region}

    def days(self, region: str) -> float:
        """How many days of base blocks with exposure there are."""
        return sum(cell[1] > 0 for cell in self.of(region).values()) * self.length / DAY


def gathered(plan: Plan, check: CheckSpec, region: str, samples: Sequence[Sample], edge: float) -> Past:
    """Base blocks of one cell's history."""
    signal, length = plan.signals[check.signal], plan.block(check)
    cells: dict[tuple[str, str], dict[int, list[float]]] = {}
    levels: dict[tuple[str, str, int], list[float]] = {}
    family = LEVELS if signal.kind is SignalKind.GAUGE else COUNTS
    if signal.kind is SignalKind.THROUGHPUT and not any(sample.exposure > 0 for sample in samples):
        family = LEVELS
    for sample in samples:
        if edge >= 0 and cell_of(sample.signal)[1] != edge:
            continue
        said, place = told(signal, sample), (sample.region, sample.version)
        block = block_of(sample.time.timestamp(), length)
        if said.family != family:
            continue
        if family == LEVELS:
            levels.setdefault((*place, block), []).append(said.value)
            continue
        sums = cells.setdefault(place, {}).setdefault(block, [0.0, 0.0])
        sums[0] += said.value
        sums[1] += said.exposure
    for (where, version, block), values in levels.items():
        cells.setdefault((where, version), {})[block] = [float(np.median(values)), 1.0]
    zone = plan.regions[region].time_zone if region in plan.regions else "UTC"
    return Past(region=region, zone=zone, length=length, family=family, cells=cells)


def pairs(past: Past) -> tuple[Floats, bool]:
    """Pairs of blocks, and whether they are of two versions at the same time.

    Of one version alone, a block and the two around it: a rise or fall through the three is no noise.
    """
    arms = past.arms()
    largest = sorted(arms, key=lambda version: (-sum(n for _, n in arms[version].values()), version))
    if len(largest) > 1:
        one, other = arms[largest[1]], arms[largest[0]]
        beside = _rows([(one[block], other[block]) for block in sorted(one.keys() & other.keys())])
        if len(beside) >= LEAST_BLOCKS and beside[:, [0, 2]].sum() >= LEAST_EVENTS:
            return beside, True
    alone = sorted((block, version) for version, sums in arms.items() for block in sums if block % 3 == 0)
    found = [
        (arms[version][b], [one + other for one, other in zip(before, after, strict=True)])
        for b, version in alone
        if (before := arms[version].get(b - 1)) and (after := arms[version].get(b + 1))
    ]
    return _rows(found), False


def _rows(found: list[tuple[list[float], list[float]]]) -> Floats:
    table = np.array([[*one, *other] for one, other in found], dtype=np.float64).reshape(-1, 4)
    return table[(table[:, 1] > 0) & (table[:, 3] > 0)]


def usual_of(past: Past) -> tuple[float, float]:
    """Events and exposure of the region at the end of history, fading as the tests let them fade."""
    events = exposure = 0.0
    for _, (seen, of) in sorted(past.of(past.region).items()):
        events, exposure = MEMORY * events + seen, MEMORY * exposure + of
    return events, exposure
