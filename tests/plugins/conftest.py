"""Fixtures of the plugin tests.

A new deployer joins the contract by a laboratory of its own (deployer_lab.py) and a parameter of `lab`.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from deployer_lab import Lab, fake_lab, process_lab, process_options, ready, supervised

from rollout import http as web
from rollout.clock import SystemClock
from rollout.deployers.process import ProcessDeployer
from rollout.registry import DEPLOYERS, Surroundings

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


@pytest.fixture(params=["fake", pytest.param("process", marks=pytest.mark.real)])
async def lab(
    request: pytest.FixtureRequest, tmp_path: Path, process_deployer: MakeDeployer
) -> AsyncIterator[Lab]:
    """A region that runs the good version, for each implementation."""
    if request.param == "fake":
        yield await ready(fake_lab())
        return
    with supervised(tmp_path / "R3"):
        yield await ready(process_lab(process_deployer(), tmp_path / "R3"))
