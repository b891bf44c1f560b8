"""What each source finds of a service's signals now: for people who write signals, never for judging."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rollout.commands import compile_for
from rollout.config import Configuration
from rollout.core.errors import InvalidInput, NotFound, OutsideError
from rollout.core.model import Region, Service
from rollout.core.plan import GAPS
from rollout.core.signals import Signal
from rollout.ports import Ask, Clock, Deployer, Found, LookingSource, MetricSource, Store

WITHIN_S = 10.0  # for one region to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFound:
    """One signal in one region. `age_s`: how old its newest point is. `said`: what is missing or near."""

    region: str
    source: str
    signal: str
    series: int
    versions: Mapping[str, int]
    newest: datetime | None
    age_s: float | None
    said: str


def _checked(configuration: Configuration, service: Service) -> Mapping[str, Signal]:
    """What the policy checks; everything that signals.yaml names where the policy cannot be used."""
    try:
        plan = compile_for(configuration, service, service.policy)
    except (InvalidInput, NotFound):
        return configuration.signals_for(service)
    return {name: signal for name, signal in plan.signals.items() if name != GAPS}


class Looking:
    """Asks the sources themselves, within bounds of time; changes nothing and keeps nothing."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        source: Callable[[Region], MetricSource],
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._deployer, self._source = deployer, source

    async def signals(self, name: str) -> tuple[SignalFound, ...]:
        """Every signal that a service's policy checks, in every region, in their order. Raises NotFound."""
        service = await self._store.service(name)
        configuration = self._configuration()
        meanings = _checked(configuration, service)
        chosen = [
            region
            for region in sorted(configuration.regions.values(), key=lambda region: region.order)
            if not service.regions or region.name in service.regions
        ]
        found = await asyncio.gather(*(self._region(service, region, meanings) for region in chosen))
        return tuple(one for some in found for one in some)

    async def _region(
        self, service: Service, region: Region, meanings: Mapping[str, Signal]
    ) -> tuple[SignalFound, ...]:
        kind = region.source.kind
        readable = tuple(signal for signal in meanings.values() if kind in signal.sources)
        try:
            async with asyncio.timeout(WITHIN_S):
                found = {one.signal: one for one in await self._found(service, region, readable)}
        except (OutsideError, TimeoutError) as error:
            why = str(error) or f"no answer within {WITHIN_S:g} s"
            found = {signal.name: Found(signal=signal.name, said=why) for signal in readable}
        unread = f"it does not say how '{kind}' reads it; add '{kind}:' to it in policies/signals.yaml"
        return tuple(
            self._seen(region, found.get(name) or Found(signal=name, said=unread)) for name in meanings
        )

    async def _found(
        self, service: Service, region: Region, readable: tuple[Signal, ...]
    ) -> tuple[Found, ...]:
        source = self._source(region)
        if not isinstance(source, LookingSource):
            said = f"the source '{region.source.kind}' cannot say what it finds"
            return tuple(Found(signal=signal.name, said=said) for signal in readable)
        ask = Ask(
            service=service.name,
            region=region.name,
            signals=readable,
            instances=await self._deployer(region).instances(service.name),
            cursor={},
            now=self._clock.now(),
        )
        return await source.found(ask)

    def _seen(self, region: Region, found: Found) -> SignalFound:
        age = None if found.newest is None else (self._clock.now() - found.newest).total_seconds()
        return SignalFound(
            region=region.name,
            source=region.source.kind,
            signal=found.signal,
            series=found.series,
            versions=dict(found.versions),
            newest=found.newest,
            age_s=None if age is None else round(max(0.0, age), 1),
            said=found.said,
        )
