"""Observe: every declared service is read in every region.

Failing to ask is an error with a time, never a sample. Cursor and samples are stored in one transaction.
Nothing here judges or decides.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from rollout.config import Configuration
from rollout.core.errors import Fenced, RolloutError, StoreError, gone_wrong
from rollout.core.model import Instance, Region, Service
from rollout.core.plan import Plan
from rollout.core.signals import Sample, Signal
from rollout.http import pool
from rollout.ports import Ask, Clock, Deployer, Fence, MetricSource, Observed, Store
from rollout.reconciling.holding import Holding
from rollout.telemetry.onlooker import NOBODY, Onlooker, Read

log = structlog.get_logger(__name__)

COLLECT_TIMEOUT_S = 5.0
OBSERVE_WAIT_S = 1.0  # that one tick waits for its readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How often a region under a rollout is read, and which signals its plan judges."""

    interval_s: float
    signals: Mapping[str, Signal] = field(default_factory=dict)


class Observation:
    """Begins the readings that are due, each in a task of its own."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        source: Callable[[Region], MetricSource],
        collect_s: float,
        holding: Holding,
        onlooker: Onlooker = NOBODY,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._deployer, self._source, self._collect_s = deployer, source, collect_s
        self._holding, self._onlooker = holding, onlooker
        self._wanted: dict[tuple[str, str], Wanted] = {}
        self._observing: dict[tuple[str, str], asyncio.Task[None]] = {}

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """The readings that have not ended."""
        return tuple(self._observing.values())

    def want(self, service: str, plan: Plan, *, judged: bool) -> None:
        """Read the regions of a rollout that is under way, or watched, as often as its plan says."""
        for region in plan.regions:
            if judged:
                wanted = Wanted(interval_s=plan.judging.interval, signals=plan.signals)
                self._wanted[service, region] = wanted
            else:
                self._wanted.pop((service, region), None)

    def leave_lost(self, held: Collection[str]) -> None:
        """Forget what was wanted for services that are not held any more."""
        self._wanted = {key: wanted for key, wanted in self._wanted.items() if key[0] in held}

    async def observe(self) -> None:
        """Begin every reading that is due; wait for those that answer soon, never for one that hangs."""
        now = self._clock.now()
        known = {(o.service, o.region): o for o in await self._store.observed()}
        begun = []
        for service in await self._services():
            for region in self._regions_of(service):
                key = (service.name, region.name)
                old = known.get(key) or Observed(service=service.name, region=region.name)
                want = self._wanted.get(key, Wanted(interval_s=self._collect_s))
                if key not in self._observing and self._is_due(old, want, now):
                    fence = self._holding.fence(service.name)  # of now: a newer claim reads for itself
                    look = self._observe_one(service, region, old, want, now, fence)
                    task = asyncio.create_task(look)
                    self._observing[key] = task
                    task.add_done_callback(partial(self._ended, key))
                    begun.append(task)
        if begun:
            answered, _ = await asyncio.wait(begun, timeout=OBSERVE_WAIT_S)
            for error in (task.exception() for task in answered):
                if isinstance(error, StoreError):
                    raise error  # nothing can be stored: there is no use in going on

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        """One that ends in an error after its tick, or beside another, is heard of all the same."""
        self._observing.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("reading not stored", service=key[0], region=key[1], error=str(error))

    async def _services(self) -> list[Service]:
        """Those that this replica holds: of two that read one, both would count what they read."""
        held = self._holding.services
        return [service for service in await self._store.services() if service.name in held]

    def _is_due(self, old: Observed, want: Wanted, now: datetime) -> bool:
        if old.collected_at is None:
            return True
        waited = (now - old.collected_at).total_seconds()
        return waited < 0 or waited >= min(want.interval_s, self._collect_s) - 0.05

    def _regions_of(self, service: Service) -> list[Region]:
        regions = self._configuration().regions
        return [r for r in regions.values() if not service.regions or r.name in service.regions]

    async def _observe_one(
        self, service: Service, region: Region, old: Observed, want: Wanted, now: datetime, fence: Fence
    ) -> None:
        """Read one service in one region; failing to ask is kept as an error, never as a sample.

        `now` is of the whole look, so that sources which several regions share are asked the same once.
        """
        running: Mapping[str, int] | None = None
        try:
            signals = {**self._configuration().signals_for(service), **want.signals}
            with pool(f"look/{region.name}"):
                async with asyncio.timeout(COLLECT_TIMEOUT_S):
                    instances = await self._deployer(region).instances(service.name)
                    running = _count(instances)
                    reading = await self._source(region).collect(
                        Ask(
                            service=service.name,
                            region=region.name,
                            signals=tuple(s for s in signals.values() if region.source.kind in s.sources),
                            instances=instances,
                            cursor=old.cursor,
                            now=now,
                        )
                    )
        except Exception as error:  # whatever one region does, the others are read
            await self._failed(old, error, running, now, fence)
            return
        seen = replace(
            old,
            cursor=reading.cursor,
            collected_at=now,
            error="",
            error_since=None,
            problems=reading.problems[:20],
        )
        try:
            await self._save(seen, reading.samples, running, fence)
        except Exception as error:  # what cannot be stored of one region keeps no other from being read
            await self._failed(old, error, None, now, fence)
            return
        self._onlooker.read(Read(service=service.name, region=region.name))

    async def _failed(
        self,
        old: Observed,
        error: Exception,
        running: Mapping[str, int] | None,
        now: datetime,
        fence: Fence,
    ) -> None:
        """Keep why a region was not read. Raises StoreError when not even that can be stored."""
        message = gone_wrong(error, COLLECT_TIMEOUT_S)
        seen = replace(old, collected_at=now, error=message, error_since=old.error_since or now, problems=())
        if not old.error:
            unforeseen = not isinstance(error, RolloutError | TimeoutError)
            where = {"service": old.service, "region": old.region}
            log.warning("region cannot be asked", **where, error=message, exc_info=unforeseen)
        await self._save(seen, (), running, fence)
        self._onlooker.read(Read(service=old.service, region=old.region, error=error))

    async def _save(
        self, seen: Observed, samples: Sequence[Sample], running: Mapping[str, int] | None, fence: Fence
    ) -> None:
        """Store a reading, unless another replica reads the service now."""
        try:
            await self._store.save_reading(seen, samples, running, fence)
        except Fenced:
            self._holding.lost(fence)


def _count(instances: tuple[Instance, ...]) -> Mapping[str, int]:
    """Healthy instances by version: one that is not has not shown that it runs what it was told to."""
    counts: dict[str, int] = {}
    for instance in (one for one in instances if one.healthy):
        counts[instance.version] = counts.get(instance.version, 0) + 1
    return counts
