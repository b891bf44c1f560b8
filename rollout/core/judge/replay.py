"""What the judge would have said of recorded samples, by the very same begin, update and judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from rollout.core.judge.combine import judge
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.take import begin, update
from rollout.core.plan import Plan
from rollout.core.signals import Judgement, Sample, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was said at one time."""

    time: datetime
    judgement: Judgement

    @property
    def log_e(self) -> float:
        """The combined log e-value, in nats."""
        return self.judgement.log_e

    @property
    def failed(self) -> bool:
        """Whether the release fails."""
        return bool(self.judgement.culprits)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every verdict."""
        return self.judgement.verdicts


Timeline = tuple[Point, ...]


def replay(
    plan: Plan,
    *,
    candidate: str,
    baseline: str,
    deploys: Mapping[str, datetime],
    samples: Sequence[Sample],
    good: Sequence[str] = (),
) -> Timeline:
    """One point for each time at which an interval after the first of `deploys` ended, in order.

    `deploys` says when the candidate's weight was read back in each region; other regions of the plan count
    as not started, and are peers where the plan compares with peers. Samples of the baseline, and of other
    `good` versions, from before a region's deploy are its history. Judged are intervals after the warm-up.
    """
    ordered = sorted(samples, key=lambda sample: sample.time)
    evidence: dict[str, RegionEvidence] = {}
    points: list[Point] = []
    past: list[Sample] = []
    for time, group in groupby(ordered, key=lambda sample: sample.time):
        fresh = list(group)
        for region, started in deploys.items():
            if region not in evidence and started < time:
                before = [each for each in past if each.version in {baseline, *good}]
                evidence[region] = begin(
                    plan, region=region, candidate=candidate, baseline=baseline, now=started, history=before
                )
        past += fresh
        if not evidence:
            continue
        for region, known in evidence.items():
            numbered = list(enumerate(fresh, start=known.seen + 1))
            near = {region, *known.peers}
            evidence[region] = update(plan, known, [each for each in numbered if each[1].region in near])
        said = judge(plan, evidence, time)
        points.append(Point(time=time, judgement=said))
    return tuple(points)
