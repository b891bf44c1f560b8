"""Fixtures of the plugin tests.

A new deployer joins the contract by a laboratory of its own (deployer_lab.py) and a parameter of `lab`.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from deployer_lab import Lab, fake_lab, process_lab, process_options, ready, supervised

from rollout import http as web
from rollout.clock import SystemClock
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


@pytest.fixture(params=["fake", pytest.param("process", marks=pytest.mark.real)])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A region that runs the good version of a service of this test's own, for each implementation."""
    if request.param == "fake":
        yield await ready(fake_lab())
        return
    directory = request.getfixturevalue("region_of_processes")
    service = f"mail-{next(NUMBERS)}"
    async with web.client() as client:
        around = Surroundings(region="R3", http=client, clock=SystemClock(), directory=directory)
        deployer = ProcessDeployer(ProcessOptions.model_validate(process_options(service)), around)
        yield await ready(process_lab(deployer, directory / "R3", service))
    leave = Desired(command=("none",), key="leave", generation=1000, slots=())
    files.write(directory / "R3" / service / "desired.json", leave)
