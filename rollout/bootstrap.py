"""Wiring by hand: the only place where concrete parts meet."""

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx

from rollout.access import Access
from rollout.adopting import fresh
from rollout.clock import SteadyClock, SystemClock, stopwatch
from rollout.commands import Commands
from rollout.config import ConfigurationFiles
from rollout.core.errors import InvalidInput, StoreError, TransientError
from rollout.core.model import Region
from rollout.emergency.reconciled import Emergencies
from rollout.emergency.record import Record
from rollout.emergency.seal import make_seal
from rollout.health import Health
from rollout.highwater import HighWater
from rollout.http import client
from rollout.ids import new_id
from rollout.lifesigns import Beacon, Supervised
from rollout.looking import Looking
from rollout.ports import Clock, Deployer, Keep, MetricSource, Notice, Notifier, Replica, Store
from rollout.queries import Queries
from rollout.reconciler import Reconciler
from rollout.registry import DEPLOYERS, NOTIFIERS, SOURCES, Surroundings
from rollout.schedule import Heartbeat
from rollout.settings import Settings
from rollout.signing import secrets_in
from rollout.store import SqlStore, open_store
from rollout.store.revisions import StoredRevisions
from rollout.tail import Tail
from rollout.telemetry import Telemetry
from rollout.telemetry.events import Figure

THREADS = 128  # looking up names and waiting for disks: those that hang leave threads for those that do not


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One running controller: what the API, the page and the heartbeat work with."""

    settings: Settings
    store: Store
    clock: Clock
    files: ConfigurationFiles
    access: Access
    commands: Commands
    queries: Queries
    looking: Looking
    reconciler: Reconciler
    heartbeat: Heartbeat
    tail: Tail
    emergencies: Emergencies | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    beacon: Beacon | None = None


class Linked:
    """Gives each notice the link that its reader needs: to the decision that is asked, or to the rollout.

    One that is about no rollout leads to the front page, which shows every service and region.

    The core knows no address; the page leads on from `/r/{rollout id}` by what is true when it is opened.
    """

    def __init__(self, notifier: Notifier, public_url: str) -> None:
        self._notifier, self._url = notifier, public_url.rstrip("/")

    async def send(self, notice: Notice) -> None:
        """Deliver it with its link. Raises as the notifier does."""
        place = f"r/{notice.rollout_id}" if notice.rollout_id else ""
        await self._notifier.send(replace(notice, link=f"{self._url}/{place}"))


class Plugins:
    """Builds each region's deployer and source once, and anew when what is written about it changes."""

    def __init__(self, settings: Settings, clock: Clock, http: httpx.AsyncClient) -> None:
        self._settings, self._clock, self._http = settings, clock, http
        self._deployers: dict[str, tuple[Region, Deployer]] = {}
        self._sources: dict[str, tuple[Region, MetricSource]] = {}

    def deployer(self, region: Region) -> Deployer:
        """The deployer of a region. Raises InvalidInput."""
        kept = self._deployers.get(region.name)
        if kept is None or kept[0] != region:
            built = DEPLOYERS.build(region.deployer.kind, region.deployer.options, self._around(region.name))
            kept = self._deployers[region.name] = (region, built)
        return kept[1]

    def source(self, region: Region) -> MetricSource:
        """The metric source of a region. Raises InvalidInput."""
        kept = self._sources.get(region.name)
        if kept is None or kept[0] != region:
            built = SOURCES.build(region.source.kind, region.source.options, self._around(region.name))
            kept = self._sources[region.name] = (region, built)
        return kept[1]

    def notifier(self) -> Notifier:
        """Where notices go: the log, and a file beside the database."""
        options = {"file": str(self._settings.data / "notices.jsonl")}
        return Linked(NOTIFIERS.build("log", options, self._around("")), self._settings.public_url)

    def channels(self) -> Mapping[str, Notifier]:
        """Where notices go beside that, by name. Raises InvalidInput for what cannot be used."""
        options = self._settings.notified()
        if options is None:
            return {}
        try:
            file = Path(options["secret_file"]) if "secret_file" in options else None
            secrets_in(self._settings.data, file, options.get("secret_env"))
        except TransientError as error:
            raise InvalidInput(str(error)) from error
        webhook = NOTIFIERS.build("webhook", options, self._around(""))
        return {"webhook": Linked(webhook, self._settings.public_url)}

    def _around(self, region: str) -> Surroundings:
        return Surroundings(region=region, http=self._http, clock=self._clock, directory=self._settings.data)


@asynccontextmanager
async def controller(settings: Settings) -> AsyncIterator[Controller]:
    """Open the database, read the configuration, wire everything. The heartbeat is not started yet.

    Raises StoreError and InvalidInput with what to mend.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    with only_controller(settings):
        async with _wired(settings) as built:
            yield built


@contextmanager
def only_controller(
    settings: Settings, then: str = "End it, or choose another directory with ROLLOUT_DATA."
) -> Iterator[None]:
    """Hold the data directory, which belongs to one process, also where replicas share a PostgreSQL.

    Raises StoreError while another holds it, which says `then`.
    """
    with (settings.data / "controller.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise StoreError(
                f"Another controller, process {file.read().strip() or 'unknown'}, works on {settings.data}. "
                f"{then}"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@asynccontextmanager
async def _wired(settings: Settings) -> AsyncIterator[Controller]:
    clock = SteadyClock()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "work"))
    async with _kept(settings, clock) as kept, client() as http:
        store, files = kept.store, kept.files
        tail = Tail(store.newest_sequence)
        store.wrote = tail.ring
        plugins, telemetry = Plugins(settings, SystemClock(), http), Telemetry()
        reconciler = Reconciler(
            store=store,
            clock=clock,
            configuration=lambda: files.current,
            deployer=plugins.deployer,
            source=plugins.source,
            notifier=plugins.notifier(),
            channels=plugins.channels(),
            collect_s=settings.collect_s,
            keep=_keep(settings),
            newest=kept.high_water.look,
            replica=_replica(settings),
            told_time=clock.follow,
            stopwatch=stopwatch,
            onlooker=telemetry,
        )
        heartbeat = Heartbeat(
            reconciler,
            files,
            clock,
            tick_s=settings.tick_s,
            onlooker=telemetry,
            before=kept.emergencies.take_in,
        )
        reconciler.changed = heartbeat.wake
        built = Controller(
            settings=settings,
            store=store,
            clock=clock,
            files=files,
            access=Access(store, clock),
            commands=Commands(store, clock, lambda: files.current, heartbeat.wake, fresh(settings.collect_s)),
            queries=Queries(
                store, clock, lambda: files.current, lambda region: plugins.deployer(region).supports
            ),
            looking=Looking(store, clock, lambda: files.current, plugins.deployer, plugins.source),
            reconciler=reconciler,
            heartbeat=heartbeat,
            emergencies=kept.emergencies,
            tail=tail,
            telemetry=telemetry,
            beacon=_beacon(settings, http, clock, Health(store, files, heartbeat), telemetry),
        )
        try:
            with _woken_by_others(store, tail, heartbeat):
                yield built
        finally:
            tail.close()
            await heartbeat.stop()
            await reconciler.stop()
            await reconciler.leave()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What outlives a process."""

    store: SqlStore
    files: ConfigurationFiles
    high_water: HighWater
    emergencies: Emergencies


@asynccontextmanager
async def _kept(settings: Settings, clock: Clock) -> AsyncIterator[_Kept]:
    """Open it, and take in what happened without this database before anything else is done."""
    store = open_store(settings.database_url)
    try:
        book = StoredRevisions(store.database, settings.revisions)
        files = ConfigurationFiles(settings.config, clock, book)
        high_water = HighWater(settings.newest_event, store, clock.now)
        emergencies = _emergencies(settings, store, clock, files)
        await high_water.compare()
        await emergencies.begin()
        yield _Kept(store, files, high_water, emergencies)
    finally:
        store.close()


def _woken_by_others(store: SqlStore, tail: Tail, heartbeat: Heartbeat) -> AbstractContextManager[object]:
    """What another replica writes is seen at once; without that, when it is looked for."""
    soon = asyncio.get_running_loop().call_soon_threadsafe
    return store.database.listening(wrote=partial(soon, tail.ring), asked=partial(soon, heartbeat.wake))


def _emergencies(settings: Settings, store: SqlStore, clock: Clock, files: ConfigurationFiles) -> Emergencies:
    """The signed file of known goods, and the record of what was ordered without a database."""
    seal = make_seal(settings.known_good_key)
    record = Record(settings.emergencies, seal)
    return Emergencies(store, clock, lambda: files.current.regions, settings.known_good, record, seal)


def _replica(settings: Settings) -> Replica:
    """Who this is among the replicas: the data directory, which one process holds at a time."""
    file, now = settings.data / "replica-id", SystemClock().now()
    name = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    if not name:
        name = new_id("rep", now)
        file.write_text(f"{name}\n", encoding="ascii")
    about = f"process {os.getpid()} on {socket.gethostname()}"
    return Replica(id=name, incarnation=new_id("in", now), about=about, lease_s=settings.lease_s)


@asynccontextmanager
async def beating(built: Controller) -> AsyncIterator[None]:
    """The heartbeat, and the signs of life for those outside, while inside."""
    supervised = Supervised()
    await built.heartbeat.start()
    supervised.tell("READY=1", "STATUS=Serving.")
    signs = [asyncio.create_task(supervised.run(built.heartbeat.alive))]
    if built.beacon is not None:
        signs.append(asyncio.create_task(built.beacon.run()))
    if built.emergencies is not None:
        signs.append(asyncio.create_task(built.emergencies.run()))
    try:
        yield
    finally:
        supervised.tell("STOPPING=1")
        for sign in signs:
            sign.cancel()
        await asyncio.gather(*signs, return_exceptions=True)
        await built.heartbeat.stop()


def _beacon(
    settings: Settings, http: httpx.AsyncClient, clock: Clock, health: Health, telemetry: Telemetry
) -> Beacon | None:
    url = settings.called_while_healthy()
    if url is None:
        return None
    return Beacon(
        url,
        http,
        clock,
        health.unwell,
        method=settings.heartbeat_method,
        every_s=settings.heartbeat_every_s,
        failed=lambda: telemetry.happened(Figure("rollout_heartbeat_out_failures", ())),
    )


def _keep(settings: Settings) -> Keep:
    return Keep(
        raw_s=settings.samples_keep_s,
        fine_days=settings.history_fine_days,
        days=settings.history_keep_days,
        raw_bytes=settings.samples_bytes_per_service,
        day_bytes=settings.history_bytes_per_service_day,
        database_bytes=settings.database_bytes,
        requests_s=settings.idempotency_keep_s,
        rollout_days=settings.rollouts_keep_days,
        token_days=settings.tokens_keep_days,
    )
