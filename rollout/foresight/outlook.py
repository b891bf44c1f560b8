"""What each bake of a plan can see at the traffic there is, in numbers. The words are in sight.py."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from rollout.core.judge import tolerance
from rollout.core.judge.baseline import LEAST_MARGIN
from rollout.core.judge.calibrate import LEAST_DAYS, LEAST_PAST_S
from rollout.core.judge.reach import ENOUGH, Compared, Level, Stream
from rollout.core.plan import Plan, SetWeight
from rollout.core.policy import Bake, CheckSpec
from rollout.core.signals import BaselineKind, Signal, SignalKind
from rollout.foresight.traffic import Traffic

WEIGHTS = 5  # percent between the weights that are tried

Regions = Mapping[str, Traffic]
Reach = Stream | Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one bake can see of one check in one region.

    `bake_s` seconds are baked at `weight` percent; `seen` is the candidate's exposure that is judged then:
    requests, instance-hours, items, or blocks of a level. `rises` are the smallest rises over the baseline
    that it can rule out at 5 %, as ratios, by where (an edge of a distribution; "" of all else); of a level
    that harms when it falls, 2 is a fall to half. `tolerance` is the rise that a pass rules out, and
    `needed_s` how long this bake would have to be for it. inf where there is none; `known` is whether there
    is anything to tell from. `unseen` says that the tolerance is out of reach even if the rate is as high as
    chance may hide. `rate` and `exposure` are what was read lately; a level has no exposure.
    """

    region: str
    check: CheckSpec
    baseline: BaselineKind | None
    weight: int
    bake_s: float
    tolerance: float
    seen: float | None = None
    rate: float | None = None
    exposure: float | None = None
    per_s: float = 0.0  # exposure of the whole region a second
    rises: Mapping[str, float] = field(default_factory=dict)
    needed_s: float = math.inf
    known: bool = False
    unseen: bool = False

    @property
    def rise(self) -> float:
        """The smallest rise that it can rule out wherever it looks; inf where there is none."""
        return max(self.rises.values(), default=math.inf)


def bakes(plan: Plan, region: str) -> Iterator[tuple[int, Bake]]:
    """Every bake of a region, with the weight that it follows."""
    weight = 0
    for step in plan.stages[plan.stage_of(region)].steps:
        weight = step.weight if isinstance(step, SetWeight) else weight
        if isinstance(step, Bake):
            yield weight, step


def outlook(
    plan: Plan, region: str, check: CheckSpec, regions: Regions, *, weight: int, bake_s: float
) -> Outlook:
    """What a bake so long at `weight` percent sees of `check` in `region`; `regions` is what each carries."""
    return _Look(plan, region, check, regions, weight, bake_s).outlook()


def enough_weight(plan: Plan, region: str, check: CheckSpec, regions: Regions, bake_s: float) -> int | None:
    """The least weight at which a bake so long sees the tolerance of `check`, or None."""
    full = round(100 - plan.holdback)
    looks = (
        outlook(plan, region, check, regions, weight=w, bake_s=bake_s)
        for w in range(WEIGHTS, full + 1, WEIGHTS)
    )
    return next((look.weight for look in looks if look.rise <= look.tolerance), None)


class _Look:
    """One check in one region during one bake."""

    def __init__(
        self, plan: Plan, region: str, check: CheckSpec, regions: Regions, weight: int, bake_s: float
    ) -> None:
        self.plan, self.region, self.check, self.regions = plan, region, check, regions
        self.signal: Signal = plan.signals[check.signal]
        self.weight, self.bake_s = weight, bake_s
        self.judged_s = max(0.0, bake_s - plan.judging.warmup)
        self.here = regions.get(region, Traffic())
        self.tolerance = tolerance(check, self.signal.kind)

    def outlook(self) -> Outlook:
        """The numbers; without traffic, or anything to compare with, only the settings."""
        kind = self._baseline()
        found = Outlook(
            region=self.region,
            check=self.check,
            baseline=kind,
            weight=self.weight,
            bake_s=self.bake_s,
            tolerance=self.tolerance,
        )
        reaches = self._reaches(self.here)
        if not reaches:
            return found
        found = self._measured(found, list(reaches.values())[-1])
        against = self._against(kind, self._pace(self.region))
        return self._told(found, reaches, against) if against and found.rate else found

    def _measured(self, found: Outlook, reach: Reach) -> Outlook:
        """What was read, of a distribution at its slowest edge."""
        if isinstance(reach, Level):
            return replace(found, seen=self._seen(reach), rate=reach.mean)
        return replace(
            found, seen=self._seen(reach), rate=reach.rate, exposure=reach.exposure, per_s=reach.per_s
        )

    def _told(self, found: Outlook, reaches: Mapping[str, Reach], against: Compared) -> Outlook:
        return replace(
            found,
            rises={where: self._smallest(each, against) for where, each in reaches.items()},
            needed_s=max(self._needed_s(each, against) for each in reaches.values()),
            known=True,
            unseen=any(self._out_of_reach(each, against) for each in reaches.values()),
        )

    # ------------------------------------------------------------------ what it is compared with

    def _baseline(self) -> BaselineKind | None:
        """The best kind of baseline that there is something of."""
        kinds = self.plan.baselines(self.region, self.check)
        least = {
            BaselineKind.BESIDE: 0.0,
            BaselineKind.PEERS: LEAST_DAYS,
            BaselineKind.HISTORY: LEAST_PAST_S / 86400,
        }
        return next((kind for kind in kinds if self.here.days >= least[kind]), None)

    def _against(self, kind: BaselineKind | None, pace: float) -> Compared | None:
        """`pace` is the exposure a second of the whole region."""
        share = self.weight / 100
        if kind is BaselineKind.BESIDE:
            return Compared(share=share, pace=pace * share)
        if kind is BaselineKind.HISTORY:
            return Compared(share=1.0, pace=pace * share, margin=LEAST_MARGIN, beside=False, forecast=True)
        others = sum(self._pace(name) for name in self.plan.peers(self.region))
        if kind is None or others <= 0:
            return None
        whole = pace * share + others
        return Compared(share=pace * share / whole, pace=pace * share, margin=LEAST_MARGIN, beside=False)

    def _pace(self, region: str) -> float:
        """Exposure a second of a whole region; levels count as equal."""
        reaches = self._reaches(self.regions.get(region, Traffic())).values()
        return max((each.per_s if isinstance(each, Stream) else 1.0 for each in reaches), default=0.0)

    # ------------------------------------------------------------------ what was read

    def _reaches(self, traffic: Traffic) -> Mapping[str, Reach]:
        """What is measured of the signal, by where: beyond each edge that a distribution is judged at."""
        name, kind = self.signal.name, self.signal.kind
        if kind is not SignalKind.DISTRIBUTION:
            found = traffic.reach(name, kind)
            return {"": found} if found else {}
        edges = traffic.edges.get(name, {}).items()
        there = ((f"{edge:g}", traffic.reach(series, kind)) for edge, series in edges)
        return {where: found for where, found in there if found}

    def _seen(self, reach: Reach) -> float:
        if isinstance(reach, Level):
            return self.judged_s // self.plan.block(self.check)
        return reach.per_s * self.weight / 100 * self.judged_s

    def _smallest(self, reach: Reach, against: Compared) -> float:
        seen = self._seen(reach)
        return reach.smallest(seen) if isinstance(reach, Level) else reach.smallest(seen, against)

    def _needed_s(self, reach: Reach, against: Compared) -> float:
        """How long the bake would have to be for the tolerance, with its warm-up."""
        if isinstance(reach, Level):
            blocks = reach.needed(self.tolerance)
            return blocks * self.plan.block(self.check) + self.plan.judging.warmup
        needed = reach.needed(self.tolerance, against)
        return needed / against.pace + self.plan.judging.warmup if against.pace > 0 else math.inf

    def _out_of_reach(self, reach: Reach, against: Compared) -> bool:
        if isinstance(reach, Level):
            return reach.nats(self._seen(reach), self.tolerance) < ENOUGH
        return reach.nats(self._seen(reach), self.tolerance, against, reach.highest) < ENOUGH
