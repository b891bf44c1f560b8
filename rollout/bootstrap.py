"""Wiring by hand: the only place where concrete parts meet."""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx

from rollout.access import Access
from rollout.clock import SteadyClock, SystemClock
from rollout.commands import Commands
from rollout.config import ConfigurationFiles
from rollout.core.errors import StoreError
from rollout.core.model import Region
from rollout.http import client
from rollout.ports import Clock, Deployer, Keep, MetricSource, Notifier, Store
from rollout.queries import Queries
from rollout.reconciler import Reconciler
from rollout.registry import DEPLOYERS, NOTIFIERS, SOURCES, Surroundings
from rollout.schedule import Heartbeat
from rollout.settings import Settings
from rollout.store import open_store


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
    reconciler: Reconciler
    heartbeat: Heartbeat


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
        return NOTIFIERS.build("log", options, self._around(""))

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
def only_controller(settings: Settings) -> Iterator[None]:
    """Hold the data directory: SQLite is for one controller. Raises StoreError while another holds it."""
    with (settings.data / "controller.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise StoreError(
                f"Another controller, process {file.read().strip() or 'unknown'}, works on {settings.data}. "
                "End it, or choose another directory with ROLLOUT_DATA."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@asynccontextmanager
async def _wired(settings: Settings) -> AsyncIterator[Controller]:
    clock = SteadyClock()
    files = ConfigurationFiles(settings.config, clock, settings.revisions)
    store = open_store(settings.database_url)
    async with client() as http:
        plugins = Plugins(settings, SystemClock(), http)
        reconciler = Reconciler(
            store=store,
            clock=clock,
            configuration=lambda: files.current,
            deployer=plugins.deployer,
            source=plugins.source,
            notifier=plugins.notifier(),
            collect_s=settings.collect_s,
            keep=_keep(settings),
        )
        heartbeat = Heartbeat(reconciler, files, clock, tick_s=settings.tick_s)
        reconciler.changed = heartbeat.wake
        built = Controller(
            settings=settings,
            store=store,
            clock=clock,
            files=files,
            access=Access(store, clock),
            commands=Commands(store, clock, lambda: files.current, heartbeat.wake),
            queries=Queries(store, clock, lambda: files.current),
            reconciler=reconciler,
            heartbeat=heartbeat,
        )
        try:
            yield built
        finally:
            await heartbeat.stop()
            await reconciler.stop()
            store.close()


def _keep(settings: Settings) -> Keep:
    return Keep(
        raw_s=settings.samples_keep_s,
        fine_days=settings.history_fine_days,
        days=settings.history_keep_days,
        raw_bytes=settings.samples_bytes_per_service,
        day_bytes=settings.history_bytes_per_service_day,
        database_bytes=settings.database_bytes,
    )
