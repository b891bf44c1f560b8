"""Fixtures of the plugin tests.

A new deployer joins the contract by a laboratory of its own (deployer_lab.py) and a parameter of `lab`.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from command_lab import obeying, program
from deployer_lab import (
    Lab,
    fake_lab,
    fake_region,
    process_lab,
    process_options,
    ready,
    relayed_lab,
    supervised,
)
from haproxy_lab import haproxy_over
from webhook_lab import Target, listening, webhook_deployer

from rollout import http as web
from rollout.clock import SystemClock
from rollout.deployers.command import CommandDeployer, CommandOptions
from rollout.deployers.process import ProcessDeployer, ProcessOptions
from rollout.registry import DEPLOYERS, Surroundings
from rollout.supervisor import files
from rollout.supervisor.files import Desired

NUMBERS = itertools.count(1)
MakeDeployer = Callable[..., ProcessDeployer]


@pytest.fixture
async def process_deployer(tmp_path: Path) -> AsyncIterator[MakeDeployer]:
    """Makes the deployer of this test's region R3; keywords change the options of its service."""
    async with web.client() as client:

        def make(http: httpx.AsyncClient = client, **changes: object) -> ProcessDeployer:
            around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=tmp_path)
            made = DEPLOYERS.build("process", process_options(**changes), around)
            assert isinstance(made, ProcessDeployer)
            return made

        yield make


@pytest.fixture(scope="module")
def region_of_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A region with a real supervisor, for many services one after the other."""
    directory = tmp_path_factory.mktemp("region")
    with supervised(directory / "R3"):
        yield directory


@asynccontextmanager
async def fake_here(_place: Path) -> AsyncIterator[Lab]:
    """A region in memory."""
    yield fake_lab(fake_region())


@asynccontextmanager
async def webhook_region(place: Path) -> AsyncIterator[Lab]:
    """A region behind a real HTTP target on loopback."""
    fake = fake_region()
    async with web.client() as http, listening(Target(fake)) as target:
        yield relayed_lab(webhook_deployer(target, http, place, fences=True), fake)


@asynccontextmanager
async def command_region(place: Path) -> AsyncIterator[Lab]:
    """A region behind a real program."""
    fake = fake_region()
    async with web.client() as http, obeying(Target(fake), place):
        around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=place)
        options = {"commands": program(place), "fences": True}
        yield relayed_lab(CommandDeployer(CommandOptions.model_validate(options), around), fake)


@asynccontextmanager
async def haproxy_region(place: Path) -> AsyncIterator[Lab]:
    """A region whose traffic a pretend haproxy splits; the instances are in memory."""
    fake = fake_region()
    async with haproxy_over(fake, place) as deployer:
        yield relayed_lab(deployer, fake)


RELAYED = {
    "fake": fake_here,
    "webhook": webhook_region,
    "command": command_region,
    "haproxy": haproxy_region,
}
REAL = [pytest.param(kind, marks=pytest.mark.real) for kind in ("process", "webhook", "command")]


@pytest.fixture(params=["fake", "haproxy", *REAL])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A region that runs the good version of a service of this test's own, for each implementation."""
    if request.param in RELAYED:
        async with RELAYED[request.param](tmp_path) as made:
            yield await ready(made)
        return
    directory = request.getfixturevalue("region_of_processes")
    service = f"mail-{next(NUMBERS)}"
    async with web.client() as client:
        around = Surroundings(region="R3", http=client, clock=SystemClock(), directory=directory)
        deployer = ProcessDeployer(ProcessOptions.model_validate(process_options(service)), around)
        yield await ready(process_lab(deployer, directory / "R3", service))
    leave = Desired(command=("none",), key="leave", generation=1000, slots=())
    files.write(directory / "R3" / service / "desired.json", leave)
