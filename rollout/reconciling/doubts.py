"""After a database was put back: nothing is ordered in a region until it was seen that nothing happened.

It is settled when it runs exactly what the database believed, and its target, if it can tell, has seen no
newer generation. Anything else needs a person, who is told what differs: end the rollouts that are under way
there, and adopt what runs. Nothing here changes a region.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.errors import RolloutError
from rollout.core.model import Doubt, Kind, Rollout, ServiceRegion
from rollout.ports import Clock, Deployer, Notice, Progress, Reply, Store
from rollout.reconciling.holding import Holding

log = structlog.get_logger(__name__)

CHANGES = frozenset({Kind.DEPLOY, Kind.RESTORE, Kind.REHEARSE, Kind.RESUME_WORK})
LOOK_EVERY_S, LOOK_TIMEOUT_S = 10.0, 10.0
Pair = tuple[str, str]  # service, region


class Doubts:
    """Which regions are in doubt, and the readings that settle it.

    `deployer` may raise KeyError. `tell` tells people once for each key, and tries until it has.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        deployer: Callable[[str], Deployer],
        tell: Callable[[Notice], None],
        holding: Holding,
    ) -> None:
        self._store, self._clock, self._deployer, self._tell = store, clock, deployer, tell
        self._holding = holding
        self._pairs: Mapping[Pair, ServiceRegion] | None = None  # None: nobody knows
        self._reads = 0
        self._looked_at: datetime | None = None
        self._told: set[str] = set()
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Begin a round of readings when one is due; the caller waits for no region."""
        if self._pairs is None:
            await self.read()
        now, last = self._clock.now(), self._looked_at
        if not self._pairs or (last and 0 <= (now - last).total_seconds() < LOOK_EVERY_S):
            return
        if self._looking is None or self._looking.done():
            self._looked_at = now
            self._looking = asyncio.create_task(self._round())

    def forbid(self, record: ActionRecord) -> bool:
        """Whether an action would change a region that is in doubt, or may be."""
        action = record.action
        if action.kind not in CHANGES:
            return False
        return self._pairs is None or (action.service, action.region) in self._pairs

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """The round of readings that has not ended."""
        return (self._looking,) if self._looking and not self._looking.done() else ()

    async def read(self) -> None:
        """Which regions are in doubt; what a newer read has overtaken is not taken."""
        self._reads += 1
        this = self._reads
        found = await self._store.doubted()
        if this == self._reads:
            self._pairs = {(pair.service, pair.region): pair for pair in found}

    def forget(self) -> None:
        """What was read is of before the claims were gained: nothing is ordered until it is read anew."""
        self._pairs = None
        self._reads += 1

    async def _round(self) -> None:
        """Read every region at the same time, so that a silent one delays no other."""
        try:
            await self.read()  # what a person adopted meanwhile is in no doubt any more
            pairs = tuple(
                one for one in (self._pairs or {}).values() if one.service in self._holding.services
            )
            looks = (self._look_at(pair, pair.doubt) for pair in pairs if pair.doubt is not None)
            ended = await asyncio.gather(*looks, return_exceptions=True)
            stay: list[ServiceRegion] = []
            for pair, found in zip(pairs, ended, strict=True):
                if isinstance(found, BaseException):
                    log.warning("doubt stays", service=pair.service, region=pair.region, error=str(found))
                elif found is not None:
                    stay.append(replace(pair, doubt=found))
            await self._page(stay)
            await self.read()
        except RolloutError as error:
            log.warning("regions in doubt not read", error=str(error))

    async def _look_at(self, pair: ServiceRegion, doubt: Doubt) -> Doubt | None:
        fence = self._holding.fence(pair.service)  # of before the reading, as what it finds is
        found = await self._ask(pair, doubt)
        if not found.found:
            await self._store.settle_doubt(pair.service, pair.region, None, fence, of=doubt)
            log.info("region is in no doubt any more", service=pair.service, region=pair.region)
            return None
        if found != doubt:
            await self._store.settle_doubt(pair.service, pair.region, found, fence, of=doubt)
        return found

    async def _ask(self, pair: ServiceRegion, doubt: Doubt) -> Doubt:
        """What a reading says; `found` is empty when it settles the doubt."""
        action = Action(
            kind=Kind.VERIFY, region=pair.region, service=pair.service, generation=pair.generation
        )
        key = f"doubt/{pair.service}/{pair.region}/{self._clock.now().isoformat()}"
        try:
            deployer = self._deployer(pair.region)
        except KeyError:
            return replace(doubt, found="it is no longer in regions.yaml")
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return _compared(doubt, await deployer.apply(key, action))
        except (TimeoutError, RolloutError) as error:
            return replace(doubt, found=f"it does not answer: {error or 'nothing in time'}")
        except Exception as error:  # of a plugin: people hear of it as of any other
            log.exception("region in doubt not read back", service=pair.service, region=pair.region)
            return replace(doubt, found=f"it could not be read back: {type(error).__name__}: {error}")

    async def _page(self, pairs: Sequence[ServiceRegion]) -> None:
        """One notice for each service that was put in doubt at one time, with all its regions."""
        grouped: dict[tuple[str, datetime], list[ServiceRegion]] = {}
        for pair in pairs:
            if pair.doubt is not None:
                grouped.setdefault((pair.service, pair.doubt.since), []).append(pair)
        keys = {f"doubt/{service}/{since.isoformat()}": found for (service, since), found in grouped.items()}
        for key, found in keys.items():
            if key not in self._told:
                service = found[0].service
                text = _in_doubt(service, found, await self._store.active(service))
                self._tell(Notice(key=key, rollout_id="", service=service, text=text, urgent=True))
                self._told.add(key)


def _in_doubt(service: str, pairs: Sequence[ServiceRegion], active: Sequence[Rollout]) -> str:
    doubts = {pair.region: pair.doubt for pair in pairs if pair.doubt}
    whys = "; ".join(dict.fromkeys(doubt.text for doubt in doubts.values()))
    ends = [
        f'rollout cancel {one.id} --reason "…"'
        for one in active
        if {r.region for r in one.touched} & {*doubts}
    ]
    regions = " ".join(f"--region {region}" for region in doubts)
    return say.sentences(
        f"{service} in {', '.join(doubts)} is in doubt: {whys}",
        *(f"{region}: {doubt.found}" for region, doubt in doubts.items()),
        f"Nothing is ordered there. See what runs: rollout service show {service}",
        f"End what is under way there: {'; '.join(ends)}" if ends else "",
        f'Adopt what runs: rollout adopt {service} {regions} --reason "…"',
        "Where two versions run, that is refused; put one there instead: "
        f'rollout emergency restore {service} --region {next(iter(doubts))} --even-so --reason "…"',
    )


def _compared(doubt: Doubt, reply: Reply) -> Doubt:
    if reply.progress is not Progress.SUCCEEDED:
        return replace(doubt, found=f"it could not be read back: {reply.result.message}")
    told = reply.result.details.get("generation", 0)
    seen = told if isinstance(told, int) else 0
    text = ""
    if seen > doubt.generation:
        text = f"its target has seen generation {seen}, and the database ends at {doubt.generation}"
    elif dict(reply.result.running) != dict(doubt.believed):
        runs, believed = _shown(reply.result.running), _shown(doubt.believed)
        text = f"it runs {runs}, and the database believes {believed}"
    return replace(doubt, found=text, seen=seen)


def _shown(running: Mapping[str, int]) -> str:
    return " + ".join(f"{count} × {version}" for version, count in sorted(running.items())) or "nothing"
