"""What the judge would have said of recorded samples, by the very same begin, update and judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from rollout.core.judge.combine import judge
from rollout.core.judge.take import begin, update
from rollout.core.model import Sample, Verdict
from rollout.core.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The judgement at one time: combined log e-value, whether the release fails, and every verdict."""

    time: datetime
    log_e: float
    failed: bool
    verdicts: tuple[Verdict, ...]


Timeline = tuple[Point, ...]


def replay(
    plan: Plan,
    region: str,
    candidate: str,
    baseline: str,
    history: Sequence[Sample],
    samples: Sequence[Sample],
    *,
    started: datetime,
) -> Timeline:
    """One point for each time at which an interval after `started` ended, in order.

    Judged are intervals after the warm-up. Other regions of the plan count as not started.
    """
    evidence = begin(
        plan, region=region, candidate=candidate, baseline=baseline, now=started, history=history
    )
    points: list[Point] = []
    later = sorted((s for s in samples if s.time > started), key=lambda sample: sample.time)
    for time, group in groupby(later, key=lambda sample: sample.time):
        evidence = update(plan, evidence, list(enumerate(group, start=evidence.seen + 1)))
        said = judge(plan, {region: evidence}, time)
        points.append(Point(time=time, log_e=said.log_e, failed=bool(said.culprits), verdicts=said.verdicts))
    return tuple(points)
