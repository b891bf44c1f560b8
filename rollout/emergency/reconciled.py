"""The controller's side: it keeps known-good.json, and takes what people did without it into its database."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from rollout.core.actions import HIGHEST_TOLD, taken
from rollout.core.errors import InvalidInput, StoreError
from rollout.core.model import Doubt, Region, ServiceRegion
from rollout.emergency import known_good
from rollout.emergency.record import Record
from rollout.emergency.seal import Seal
from rollout.ports import Clock, Emergency, Store

log = structlog.get_logger(__name__)

LOOK_S = 2.0  # between two looks whether something changed
_UNTRUSTED = (
    "The record of emergencies on this machine is not as it was signed, so none of it is taken in, and "
    "what was restored may be ordered away again: the log names the line. See what runs in each region, move "
    "the file away, and adopt what is right: rollout adopt SERVICE."
)
AGAIN_S = 60.0  # after which the file is written all the same: its age says when the database was read last


class Emergencies:
    """One data directory's file of known goods, and its record of emergencies."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        regions: Callable[[], Mapping[str, Region]],
        file: Path,
        record: Record,
        seal: Seal,
    ) -> None:
        self._store, self._clock, self._regions = store, clock, regions
        self._file, self._seal, self._record = file, seal, record
        self._taken: tuple[int, int] | None = None
        self._known: frozenset[tuple[str, str]] = frozenset()  # key and state of what was taken in
        self._stamp: tuple[int, ...] = ()
        self._written_at: datetime | None = None
        self.trouble = ""  # why the record of emergencies is not taken in, for whoever asks

    async def begin(self) -> None:
        """At the start: what a new database does not know is taken from the file. Raises StoreError."""
        known = {(pair.service, pair.region) for pair in await self._store.every_region()}
        for pair in self._before():
            if (pair.service, pair.region) not in known and await self._store.know_again(pair):
                where = f"{pair.service} in {pair.region}"
                log.warning("known from the file of known goods, and in doubt", where=where)
        await self.take_in()
        await self.note()

    async def take_in(self) -> None:
        """Before anything is decided or ordered: what was ordered without this database. Raises StoreError.

        A record that cannot be trusted is said and left alone; the controller goes on.
        """
        stamp = self._record.stamp()
        if stamp == self._taken and (not self._known or self._known <= await self._store.taken_in()):
            return  # a database that went back since lacks some
        try:
            emergencies, self.trouble = self._record.read(), ""
        except InvalidInput as error:
            log.error("emergencies are not taken in", error=str(error))
            emergencies, self.trouble = (), _UNTRUSTED
        if all([await self._take_in(emergency) for emergency in emergencies]):
            self._taken, self._known = stamp, frozenset((one.key, one.state) for one in emergencies)

    async def _take_in(self, emergency: Emergency) -> bool:
        said = {"service": emergency.service, "region": emergency.region, "by": emergency.by}
        if emergency.generation > HIGHEST_TOLD:
            log.error(
                "the generation of an emergency is too large and is not taken; the region is in doubt, and "
                "its target refuses orders until what it remembers is set back",
                generation=emergency.generation,
                largest=HIGHEST_TOLD,
                **said,
            )
            emergency = replace(emergency, generation=0)
        try:
            new = await self._store.take_in(emergency, self._clock.now())
        except StoreError:
            raise
        except Exception:  # one that nobody foresaw must not stop everything else
            log.exception("emergency not taken in, and tried again; look at the region", **said)
            return False
        if new:
            version = emergency.known_good.release.version
            log.warning("emergency taken in", version=version, state=emergency.state, **said)
        return True

    async def run(self) -> None:
        """Keep the file up to date until it is cancelled."""
        while True:
            try:
                await self.note()
            except Exception as error:  # it goes on for as long as the controller
                log.warning("known goods not noted", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def note(self) -> None:
        """Write the file when something in it changed, or it is old. Raises StoreError.

        A disk that takes no more is no reason to stop, and a database that knows nothing is no reason to
        forget.
        """
        now, stamp = self._clock.now(), await self._store.known_good_stamp()
        deployers = {name: region.deployer for name, region in self._regions().items()}
        old = self._written_at is None or not 0 <= (now - self._written_at).total_seconds() < AGAIN_S
        if not old and (*stamp, hash(repr(deployers))) == self._stamp:
            return
        known = known_good.known_now(await self._store.every_region(), self._regions(), now)
        if not known.pairs and self._file.exists():
            return
        try:
            await asyncio.to_thread(known_good.save, self._file, known, self._seal)
        except OSError as error:
            log.warning("known goods not written", file=str(self._file), error=str(error))
            return
        self._stamp, self._written_at = (*stamp, hash(repr(deployers))), now

    def _before(self) -> tuple[ServiceRegion, ...]:
        """What the file knows, as it is put into a database that does not; all of it in doubt."""
        if not self._file.exists():
            return ()
        try:
            known = known_good.read(self._file, self._seal)
        except InvalidInput as error:
            log.error("the file of known goods is not trusted; it will be written anew", error=str(error))
            return ()
        written = f"{known.written_at:%Y-%m-%d %H:%M} UTC"
        text = f"this database did not know it; what was known good is from the file of {written}"
        now = self._clock.now()
        return tuple(
            ServiceRegion(
                service=pair.service,
                region=pair.region,
                generation=taken(pair.generation),
                known_good=pair.known_good,
                doubt=Doubt(since=now, text=text, believed={}, generation=taken(pair.generation)),
            )
            for pair in known.pairs
        )
