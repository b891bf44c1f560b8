"""One server for all examples, and a machine to run them on: a shell, curl, and the command `rollout`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.pipelines.lab import Lab, serving

_NUMBERS = count(1)


@pytest.fixture(scope="module")  # it never rests, and other tests have the machine to themselves
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("lab")) as opened:
        yield opened


@pytest.fixture
def service(lab: Lab) -> Callable[[str], str]:
    """A new service under a policy, which runs a known good version."""

    def make(policy: str = "quick") -> str:
        name = f"checkout-{next(_NUMBERS)}"
        lab.declare(name, policy)
        return name

    return make


@dataclass
class Machine:
    """Where a job runs: a directory of its own, and nothing in the environment but what is said."""

    home: Path
    path: str

    def run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": self.path, "HOME": str(self.home), "ROLLOUT_DATA": str(self.home / "var")}
        return subprocess.run(
            command,
            cwd=self.home,
            env={**given, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    command = binaries / "rollout"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={Path(__file__).parents[2]} exec {sys.executable} -m rollout.cli "$@"\n'
    )
    command.chmod(0o755)
    home = tmp_path / "job"
    home.mkdir()
    return Machine(home=home, path=f"{binaries}{os.pathsep}{os.defpath}")


def need(tool: str) -> None:
    """Skip by name without a real part, and fail where all of them are wanted."""
    if shutil.which(tool) is None:
        reason = f"{tool} is not installed"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
