"""What every run begins with: policies, regions, and a database in which each region has its known good.

The database is made once in each process by the product itself, and copied for every run.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event

from rollout.config import Configuration
from rollout.core.model import Plugin, Service
from rollout.store.database import Database
from rollout.store.engine import open_database
from tests.scenarios.world import ADMIN, NAMES, POLICY, START, World, configuration, new_store
from tests.simulation.loop import VirtualLoop
from tests.simulation.store import Broken

_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_SCRATCH = "SIMULATION_SCRATCH"
EPOCH = START + timedelta(seconds=60)  # true time when a run begins
GOOD_BEFORE = "1.0.0"
SERVICES = ("mail", "push")
SECRET = "canary-5f1e"  # in the options of every plugin, and nowhere else (S16)
BAKE_S, MIN_REQUESTS, MAX_AGE_S, INTERVAL_S = 4.0, 50, 8.0, 2.0
_APPROVAL = {"approval": {"within": "30s"}}
_STEPS = [{"set_weight": 75}, {"bake": "4s"}]
_SHORT: dict[str, Any] = {
    **POLICY,
    "steps": _STEPS,
    "stages": [{"regions": ["R3"]}, {"regions": ["R1", "R2"]}],
    "judging": {
        "interval": "2s",
        "block": "2s",
        "warmup": "1s",
        "max_age": "8s",
        "min_requests": MIN_REQUESTS,
    },
    "guards": {"success": {"below": 50, "for": "2s"}, "silence": "10s"},
    "watch": "4s",
    "deadlines": {
        "preflight": "20s",
        "deploy": "20s",
        "restore": "20s",
        "collect": "2s",
        "blind": "10s",
        "queue": "1h",
    },
    "recovery": {"stalled_after": "10s", "check_every": "2s", "within": "30s"},
}
POLICIES: tuple[Mapping[str, Any], ...] = (
    {"name": "standard"},
    {"name": "short", "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}]},
    {"name": "wide"},
    {"name": "steps", "steps": [{"set_weight": 25}, {"bake": "4s"}, *_STEPS]},
    {"name": "asks", "stages": [{"regions": ["R3"], "steps": [*_STEPS, _APPROVAL]}, {"regions": ["R1"]}]},
    {
        "name": "gated",
        "stages": [
            {"regions": ["R3"], "steps": [*_STEPS, {"gate": {"name": "smoke", "within": "30s"}}]},
            {"regions": ["R1"]},
        ],
    },
    {"name": "supersedes", "concurrency": "supersede", "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}]},
)


@cache
def configured() -> Configuration:
    """The configuration of every run."""
    found = configuration(*({**_SHORT, **policy} for policy in POLICIES))
    regions = {
        name: replace(region, deployer=_secret(region.deployer)) for name, region in found.regions.items()
    }
    return replace(found, regions=regions)


def _secret(plugin: Plugin) -> Plugin:
    return replace(plugin, options={"token": SECRET})


@contextmanager
def scratch() -> Iterator[None]:
    """A place for the databases of this process and those that it starts; it is gone with the first."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=_MEMORY) as directory:
        os.environ[_SCRATCH] = directory
        yield


@cache
def _scratch() -> Path:
    directory = tempfile.mkdtemp(prefix="simulation-", dir=os.environ.get(_SCRATCH, _MEMORY))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(directory)


@cache
def template(services: int) -> Path:
    """A database with some services, read back everywhere and adopted."""
    directory = _scratch() / f"template-{services}"
    directory.mkdir()
    loop = VirtualLoop()
    try:
        loop.run_until_complete(_prepare(directory, SERVICES[:services]))
    finally:
        loop.close()
    return directory / "rollout.db"


async def _prepare(directory: Path, services: tuple[str, ...]) -> None:
    store = new_store(directory)
    world = World(store)
    store.database.clock = world.clock.now
    world.configuration = configured()
    for service in services:
        for name in NAMES:
            world.plugins.fake_deployer(name).install(service, GOOD_BEFORE)
        await store.put_service(Service(name=service, policy="standard"))
    await world.run(4)
    for service in services:
        await world.commands.adopt(service, ADMIN, "it serves well")
    await world.reconciler.leave()
    store.close()


def database(services: int, *, breaks: bool) -> tuple[Database, Broken]:
    """A copy of the prepared database, for one run, and what makes it fail if it ever `breaks`."""
    path = _scratch() / "run.db"
    for stale in _scratch().glob("run.db*"):
        stale.unlink()
    shutil.copyfile(template(services), path)
    opened, broken = _opened(path, breaks)
    opened.write.pool = opened.read.pool  # one connection: transactions of a run never overlap
    return opened, broken


@cache
def _opened(path: Path, breaks: bool) -> tuple[Database, Broken]:
    """Opened once, so that each statement is compiled once; a run that closes it leaves no connection."""
    opened = open_database(f"sqlite:///{path}")
    for engine in (opened.read, opened.write):
        event.listen(engine, "connect", _hurry)
    return opened, Broken(opened, ever=breaks)


def _hurry(connection: Any, _record: Any) -> None:
    """A power cut is not what a simulation is about, nor another process."""
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=MEMORY")
