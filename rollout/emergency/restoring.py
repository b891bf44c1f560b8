"""One region back to a known good, ordered by a person: tried until it was read back, twice in a row.

It needs the target and nothing else. What is recorded before the first order makes a repeated call the same
order: the same key, the same generation.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from rollout.core.actions import Action
from rollout.core.errors import PermanentError, RolloutError, gone_wrong
from rollout.core.model import Kind, KnownGood
from rollout.emergency.known_good import Pair
from rollout.emergency.record import Record
from rollout.ids import new_id
from rollout.ports import Clock, Deployer, Emergency, Progress

CALL_S = 30.0  # for one answer of the target
LOOK_S = 10.0  # for a reading
POLL_S = 0.5
RETRY_S, RETRY_CAP_S = 0.5, 5.0
TWICE = 2  # readings in a row that show the known good
RAISED = 3  # times that the generation may turn out too low
ABOVE = 1_000  # what a controller that does not know of it yet orders meanwhile stays below


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a target told of itself; `generation` is 0 where it tells none."""

    running: Mapping[str, int]
    generation: int
    trouble: str = ""  # why nothing could be read

    @property
    def text(self) -> str:
        """Counts of instances in words."""
        return self.trouble or " + ".join(f"{n} × {v}" for v, n in sorted(self.running.items())) or "nothing"


class Restoring:
    """Orders for one service in one region. `say` tells a person how it goes."""

    def __init__(
        self,
        deployer: Deployer,
        record: Record,
        clock: Clock,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._deployer, self._record, self._clock = deployer, record, clock
        self._say, self._sleep = say, sleep
        self._said = ""

    async def look(self, pair: Pair) -> Seen:
        """Read what runs now."""
        return await self._look(pair.service, pair.region, pair.generation)

    def begun(self, pair: Pair, good: KnownGood, seen: Seen, by: str, reason: str) -> Emergency:
        """The emergency that is ordered now, on the record: a new one, or the one that has not ended.

        Raises StoreError when the record cannot be written, InvalidInput when it cannot be trusted.
        """
        found = self._record.under_way(pair.service, pair.region, good.release.version)
        if found is not None and found.generation >= seen.generation:
            return found
        now = self._clock.now()
        before = found.generation if found else 0
        emergency = Emergency(
            key=f"emergency/{pair.service}/{pair.region}/{new_id('em', now)}",
            service=pair.service,
            region=pair.region,
            known_good=good,
            generation=max(pair.generation, seen.generation, before) + ABOVE,
            by=by,
            reason=reason,
            at=now,
        )
        self._record.append(emergency)
        return emergency

    async def until_read_back(self, emergency: Emergency, until: datetime) -> Emergency:
        """Order it until it was read back, its target refuses it, or the time is over: still `begun`."""
        for _ in range(RAISED):
            ended = await self._ordered(emergency, until)
            if ended.state != "failed":
                return ended
            seen = await self._look(emergency.service, emergency.region, emergency.generation)
            if seen.generation <= emergency.generation:
                return ended
            self._tell(f"The target has seen generation {seen.generation}; it is ordered again above that.")
            above = seen.generation + ABOVE
            emergency = replace(emergency, generation=above, key=_next(emergency.key))
            self._record.append(emergency)
        return ended

    async def _ordered(self, emergency: Emergency, until: datetime) -> Emergency:
        release, wait_s = emergency.known_good.release, RETRY_S
        order = Action(
            kind=Kind.RESTORE,
            region=emergency.region,
            service=emergency.service,
            version=release.version,
            artifact=release.artifact,
            weight=100,
            generation=emergency.generation,
        )
        while self._clock.now() < until:
            try:
                async with asyncio.timeout(CALL_S):
                    reply = await self._deployer.apply(emergency.key, order)
            except PermanentError as error:
                return self._ended(emergency, "failed", {}, str(error))
            except Exception as error:
                self._tell(f"{gone_wrong(error, CALL_S)} It is tried again.")
                await self._sleep(wait_s)
                wait_s = min(RETRY_CAP_S, 2 * wait_s)
                continue
            if reply.progress is Progress.FAILED:
                return self._ended(emergency, "failed", reply.result.running, reply.result.message)
            if reply.progress is Progress.SUCCEEDED:
                return await self._read_back(emergency, until)
            self._tell(reply.result.message)
            await self._sleep(POLL_S)
        return emergency

    async def _read_back(self, emergency: Emergency, until: datetime) -> Emergency:
        version, shown = emergency.known_good.release.version, 0
        while self._clock.now() < until:
            seen = await self._look(emergency.service, emergency.region, emergency.generation)
            shown = shown + 1 if set(seen.running) == {version} and seen.running[version] else 0
            if shown == TWICE:
                return self._ended(emergency, "done", seen.running, f"Read back: {seen.text}.")
            if not shown:
                self._tell(f"Read back: {seen.text}; awaited is {version} alone.")
            await self._sleep(POLL_S)
        return emergency

    def _ended(self, emergency: Emergency, state: str, running: Mapping[str, int], message: str) -> Emergency:
        ended = replace(emergency, state=state, running=running, message=message, ended_at=self._clock.now())
        try:
            self._record.append(ended)
        except RolloutError as error:  # what was done is done: the controller then finds it begun, and asks
            self._tell(str(error))
        return ended

    async def _look(self, service: str, region: str, generation: int) -> Seen:
        key = f"emergency/{service}/{region}/look/{new_id('em', self._clock.now())}"
        order = Action(kind=Kind.VERIFY, region=region, service=service, generation=generation)
        try:
            async with asyncio.timeout(LOOK_S):
                while (reply := await self._deployer.apply(key, order)).progress is Progress.RUNNING:
                    await self._sleep(POLL_S)
        except Exception as error:  # whatever it is, the region is put back all the same
            return Seen(running={}, generation=0, trouble=gone_wrong(error, LOOK_S))
        told = reply.result.details.get("generation", 0)
        trouble = "" if reply.progress is Progress.SUCCEEDED else reply.result.message
        seen = told if isinstance(told, int) else 0
        return Seen(running=reply.result.running, generation=seen, trouble=trouble)

    def _tell(self, text: str) -> None:
        """Each sentence once, however often it is true."""
        if text != self._said:
            self._said = text
            self._say(text)


def _next(key: str) -> str:
    """The key of the same emergency after its generation was raised."""
    head, _, number = key.rpartition("+")
    return f"{head}+{int(number) + 1}" if head and number.isdigit() else f"{key}+1"
