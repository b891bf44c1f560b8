"""Samples out of a live source's history instead of a file. What must not live here: one kind of source."""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rollout.core.errors import InvalidInput
from rollout.core.model import Region
from rollout.core.plan import Plan
from rollout.core.policy import Policy
from rollout.core.signals import Sample, Signal
from rollout.offline.intake import HISTORY
from rollout.offline.record import bake_s, compiled
from rollout.offline.releases import PastRelease
from rollout.offline.samples import Row, Unusable
from rollout.ports import HistorySource, Past


class Remembered:
    """What sources remembered of one release, as a recording."""

    def __init__(self, name: str, samples: Sequence[Sample]) -> None:
        self.name, self.unusable = name, Unusable()
        self._samples = sorted(samples, key=lambda sample: sample.time)

    def __iter__(self) -> Iterator[Row]:
        for one in self._samples:
            duration = one.duration_s or math.nan
            yield Row(
                one.time,
                one.region,
                one.version,
                one.signal,
                one.value,
                one.exposure,
                duration,
                one.instance,
            )


async def remembered(
    sources: Mapping[str, HistorySource],
    release: PastRelease,
    policy: Policy,
    *,
    regions: Mapping[str, Region],
    signals: Mapping[str, Signal],
    now: datetime,
) -> Remembered:
    """Ask every region of the policy for the release's time and two weeks before.

    `sources` are by region. Raises InvalidInput when the release's regions have no source with a history or
    nothing was kept, OutsideError when one cannot be asked.
    """
    unknown = sorted(set(release.deploys) - set(sources))
    if unknown:
        known = ", ".join(sorted(sources)) or "none"
        text = f"{', '.join(unknown)} has no source with a history here; those that have: {known}."
        raise InvalidInput(text)
    named = {region for stage in policy.stages for region in stage.regions} | set(release.deploys)
    asked = [name for name in sources if name in named]
    stage = policy.stages[0].model_copy(update={"regions": tuple(asked)})
    plan = compiled(policy.model_copy(update={"stages": (stage,)}), regions, signals)
    until = min(now, max(release.deploys.values()) + _after(policy))
    found = await asyncio.gather(*(_ask(sources[name], name, release, plan, until) for name in asked))
    samples = [sample for of_region in found for sample in of_region]
    if not samples:
        text = (
            f"The sources of {', '.join(asked)} kept nothing of {release.service} from "
            f"{release.began - HISTORY:%Y-%m-%d} to {until:%Y-%m-%d %H:%M} UTC."
        )
        raise InvalidInput(text)
    return Remembered(release.service, samples)


def _after(policy: Policy) -> timedelta:
    """How long after its last deploy a release is judged at most."""
    stages = len(policy.stages)
    return timedelta(seconds=stages * bake_s(policy) + policy.watch + 3 * policy.deadlines.blind)


def _block_before(time: datetime, length: float) -> datetime:
    """The border of blocks before a time: intervals are asked for that fill a block each."""
    return datetime.fromtimestamp(time.timestamp() // length * length, UTC)


async def _ask(
    source: HistorySource, region: str, release: PastRelease, plan: Plan, until: datetime
) -> tuple[Sample, ...]:
    return await source.history(
        Past(
            service=release.service,
            region=region,
            signals=tuple(plan.signals[check.signal] for check in plan.checks),
            since=_block_before(release.began - HISTORY, plan.judging.block),
            until=until,
            interval_s=plan.judging.block,
        )
    )
