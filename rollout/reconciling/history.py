"""Opens the evidence of a region on the history of its service.

That may take seconds (weeks of blocks, from a source far away), so it is read in a task of its own and holds
up no tick. Nothing is judged there until it was read whole; what came meanwhile is judged then. What was
opened is stored at once: a crash loses a reading under way and nothing else; it is read again, up to the same
moment.

What must not live here: judging, and what to do about it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from rollout.core.errors import RolloutError
from rollout.core.judge import begin
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.model import Region, RegionRollout, ServiceRegion
from rollout.core.plan import Plan
from rollout.core.signals import Sample
from rollout.ports import Case, Fence, MetricSource, Past, Store
from rollout.reconciling.outside import keeps_history

log = structlog.get_logger(__name__)

DAYS = 15  # of history: two weeks with both weekends, and a day that may be missing
TIMEOUT_S = 120.0  # of one region's history
JUST_AFTER = timedelta(microseconds=1)  # so that it begins anew also where it went on at the same moment
TRIES = 3  # of a source that gives none, then of what is stored here; after that it begins without any


class _Place(NamedTuple):
    service: str
    rollout_id: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Whose evidence is to be opened: `candidate` came to `region` at `at`, over `baseline`.

    `peers` are the regions that it may be compared with, `good` the versions whose past counts as normal.
    """

    rollout_id: str
    service: str
    plan: Plan
    region: Region
    peers: tuple[Region, ...]
    candidate: str
    baseline: str
    at: datetime
    good: frozenset[str]


def opening(
    case: Case, region: RegionRollout, places: Sequence[Region], known: Sequence[ServiceRegion]
) -> Opening:
    """Whose evidence `region` needs. `places` are it and then its peers; `known` says what is good there."""
    release, names = case.rollout.release, {place.name for place in places}
    good = {kept.release.version for each in known if each.region in names for kept in each.known_good}
    baseline = region.back_to.release.version if region.back_to else ""
    return Opening(
        rollout_id=case.rollout.id,
        service=release.service,
        plan=_as_deployed(case.plan, region, release.version),
        region=places[0],
        peers=tuple(places[1:]),
        candidate=release.version,
        baseline=baseline,
        at=came_at(case, region),
        good=frozenset((good | {baseline}) - {release.version, ""}),
    )


def came_at(case: Case, region: RegionRollout) -> datetime:
    """When the release came to a touched region, or came back: what is judged of it begins there."""
    at = region.touched_at
    if _alone(case.plan, region) and region.running_at is not None:
        at = region.running_at + JUST_AFTER
    assert at is not None, "only a touched region is judged"
    rested = (o.progress.get("rested_until") for o in case.obligations if o.region == region.region)
    return max([at, *(datetime.fromisoformat(until) for until in rested if until)])


def _alone(plan: Plan, region: RegionRollout) -> bool:
    """Whether it has the slice too that was to be held back beside it (decide/drift.py and owed.py)."""
    return region.weight == 100 and plan.holdback > 0 and not plan.observes


def _as_deployed(plan: Plan, region: RegionRollout, version: str) -> Plan:
    """The plan; where somebody else put the release everywhere at once, nothing is left beside it."""
    alone = plan.observes and bool(region.running) and set(region.running) == {version}
    return replace(plan, holdback=0.0) if alone or _alone(plan, region) else plan


class Histories:
    """Evidence that is being opened, or was and no decision rests on it yet."""

    def __init__(
        self, store: Store, source: Callable[[Region], MetricSource], fence: Callable[[str], Fence]
    ) -> None:
        self._store, self._source, self._fence = store, source, fence
        self._tasks: dict[_Place, asyncio.Task[RegionEvidence]] = {}
        self._failed: dict[_Place, int] = {}

    @property
    def under_way(self) -> tuple[asyncio.Task[RegionEvidence], ...]:
        """The readings that have not ended."""
        return tuple(task for task in self._tasks.values() if not task.done())

    def opened(self, want: Opening) -> RegionEvidence | None:
        """The evidence once its history was read; None until then. A reading that failed is begun again."""
        key = _Place(want.service, want.rollout_id, want.region.name)
        task = self._tasks.get(key)
        if task is None:
            self._tasks[key] = asyncio.create_task(self._open(want, self._failed.get(key, 0)))
        elif task.done():
            error = task.exception()
            if error is None:
                return task.result()
            self._failed[key] = self._failed.get(key, 0) + 1
            del self._tasks[key]
            log.warning("history not read", rollout_id=key.rollout_id, region=key.region, error=str(error))
        return None

    def close(self, rollout_id: str, keep: Sequence[str]) -> None:
        """Give up what is judged, or not wanted any more: all of a rollout but the regions of `keep`."""
        self._drop(lambda key: key.rollout_id == rollout_id and key.region not in keep)

    def leave_lost(self, held: Collection[str]) -> None:
        """Give up what is wanted for services that are not held any more."""
        self._drop(lambda key: key.service not in held)

    def _drop(self, unwanted: Callable[[_Place], bool]) -> None:
        for key in filter(unwanted, list(self._tasks)):
            task = self._tasks.pop(key)
            if not task.cancel() and not task.cancelled():
                task.exception()  # looked at, so that nobody warns of it later
        self._failed = {key: times for key, times in self._failed.items() if not unwanted(key)}

    async def _open(self, want: Opening, failed: int) -> RegionEvidence:
        past: list[Sample] = []
        for region in (want.region, *want.peers):
            async with asyncio.timeout(TIMEOUT_S):
                past += await self._past(want, region, failed)
        opened = await asyncio.to_thread(  # calibrating on weeks is work for a processor
            begin,
            want.plan,
            region=want.region.name,
            candidate=want.candidate,
            baseline=want.baseline,
            now=want.at,
            history=past,
        )
        await self._keep(want, opened)
        return opened

    async def _keep(self, want: Opening, opened: RegionEvidence) -> None:
        """So that a controller that is soon gone has read for the next one."""
        try:
            await self._store.begin_evidence(want.rollout_id, opened, self._fence(want.service))
        except RolloutError as error:
            where = {"rollout_id": want.rollout_id, "region": want.region.name}
            log.info("evidence not stored before a decision", **where, error=str(error))

    async def _past(self, want: Opening, region: Region, failed: int) -> Sequence[Sample]:
        """What the source itself keeps; what is stored here where it keeps nothing, or gave nothing so often.

        Judging without any history is worse than with it, and better than not judging: guards and instances
        beside it need none.
        """
        source = self._source(region)
        if keeps_history(source) and failed < TRIES:
            return [s for s in await source.history(_ask(want, region)) if s.version in want.good]
        if failed >= 2 * TRIES:
            log.error("judged without history", rollout_id=want.rollout_id, region=region.name)
            return ()
        return await self._store.history(
            want.service,
            (region.name,),
            signals=tuple(want.plan.signals.values()),
            versions=want.good,
            since=want.at - timedelta(days=DAYS),
            until=want.at,
            block_s=want.plan.judging.block,
        )


def _ask(want: Opening, region: Region) -> Past:
    signals = (s for s in want.plan.signals.values() if region.source.kind in s.sources)
    return Past(
        service=want.service,
        region=region.name,
        signals=tuple(signals),
        since=want.at - timedelta(days=DAYS),
        until=want.at,
        interval_s=want.plan.judging.block,
    )
