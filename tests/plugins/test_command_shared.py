"""The deployer `command` in two replicas of one machine that share its records."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import TransientError
from rollout.core.model import Kind
from rollout.deployers import command, command_runner, command_runs
from rollout.deployers.command import CommandDeployer
from rollout.deployers.command_runs import Runs
from rollout.ports import Progress
from rollout.registry import DEPLOYERS, Surroundings

pytestmark = pytest.mark.real
KEY, NEWER = "ro_01/7/0", "ro_01/9/1"
Replica = Callable[[str], CommandDeployer]


@pytest.fixture
async def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    """A deployer with a data directory of its own; a deploy goes on until there is a file `go`."""
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    slow = f"echo begun >> {tmp_path}/did; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo deployed"
    options = {
        "commands": {
            "deploy": ["/bin/sh", "-c", f"({slow}) >> {tmp_path}/did"],
            "restore": ["/bin/sh", "-c", f"echo restored >> {tmp_path}/did"],
            "verify": ["/bin/echo", '{"status": "succeeded", "running": {"1.0.0": 4}}'],
        },
        "records": str(tmp_path / "shared"),
    }
    made: list[CommandDeployer] = []
    async with web.client() as http:

        def build(name: str) -> CommandDeployer:
            around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=tmp_path / name)
            around.directory.mkdir()
            found = DEPLOYERS.build("command", options, around)
            assert isinstance(found, CommandDeployer)
            made.append(found)
            return found

        yield build
    (tmp_path / "go").touch()
    for runner in [runner for one in made for runner in one._runs._runners]:
        runner.wait()


def order(kind: Kind = Kind.DEPLOY, generation: int = 3) -> Action:
    return Action(
        kind=kind,
        region="R3",
        service="mail",
        version="1.1.0",
        from_version="1.0.0",
        weight=50,
        generation=generation,
    )


async def settled(deployer: CommandDeployer, key: str, action: Action) -> Progress:
    for _ in range(40):
        reply = await deployer.apply(key, action)
        if reply.progress is not Progress.RUNNING:
            return reply.progress
    raise AssertionError("still running")


def did(tmp_path: Path) -> list[str]:
    return (tmp_path / "did").read_text().split()


async def until_begun(deployer: CommandDeployer, tmp_path: Path) -> None:
    for _ in range(40):
        assert (await deployer.apply(KEY, order())).progress is Progress.RUNNING
        if (tmp_path / "did").exists():
            return
    raise AssertionError("was not begun")


def sleeping(runs: Runs, key: str, generation: int, directory: Path) -> bool:
    return runs.begin(
        key,
        ["/bin/sleep", "30"],
        environment={},
        details={},
        directory=directory,
        within_s=30,
        moves="mail",
        generation=generation,
    )


@pytest.fixture
def two(tmp_path: Path) -> Any:
    found = Runs(tmp_path / "runs"), Runs(tmp_path / "runs")
    yield found
    for child in (tmp_path / "runs").glob("*/child.json"):
        if running := command_runs._child(child.parent):
            command_runner.end_group(running[0])
    for runner in [runner for one in found for runner in one._runners]:
        runner.kill()
        runner.wait()


async def test_a_program_that_another_replica_began_is_waited_for_and_never_run_beside(
    replica: Replica, tmp_path: Path
) -> None:
    one, other = replica("one"), replica("other")
    await until_begun(one, tmp_path)
    assert (await other.apply(KEY, order())).progress is Progress.RUNNING
    (tmp_path / "go").touch()
    assert await settled(other, KEY, order()) is Progress.SUCCEEDED
    assert await settled(one, KEY, order()) is Progress.SUCCEEDED
    assert did(tmp_path) == ["begun", "deployed"]


async def test_a_way_back_ends_the_deploy_that_another_replica_began(
    replica: Replica, tmp_path: Path
) -> None:
    one, other = replica("one"), replica("other")
    await until_begun(one, tmp_path)
    assert await settled(other, NEWER, order(Kind.RESTORE, 4)) is Progress.SUCCEEDED
    (tmp_path / "go").touch()
    await asyncio.sleep(0.1)
    assert did(tmp_path) == ["begun", "restored"]


def test_of_two_orders_that_replicas_begin_at_once_the_older_gives_way(
    two: tuple[Runs, Runs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = two
    write = command_runner.write

    def interrupted(path: Path, content: dict[str, Any]) -> None:
        if path == older.place(KEY) / "request.json":
            assert sleeping(newer, NEWER, 4, tmp_path)
        write(path, content)

    monkeypatch.setattr(command_runner, "write", interrupted)
    with pytest.raises(TransientError, match="Another order for mail still runs"):
        sleeping(older, KEY, 3, tmp_path)
    assert (len(older._runners), len(newer._runners)) == (0, 1)


def test_a_run_that_another_replica_removes_while_it_is_begun_is_begun_only_later(
    two: tuple[Runs, Runs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.place(KEY).mkdir(parents=True)
    flock, removals = fcntl.flock, [KEY]

    def late(lock: int, how: int) -> None:
        if removals:
            other.forget(removals.pop())
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert sleeping(one, KEY, 3, tmp_path)
    assert one._runners == []  # its lock was that of a run that is gone
    assert sleeping(other, KEY, 3, tmp_path)
    assert sleeping(one, KEY, 3, tmp_path)
    assert (len(one._runners), len(other._runners)) == (0, 1)


def test_a_run_under_way_is_not_forgotten_by_another_replica(two: tuple[Runs, Runs], tmp_path: Path) -> None:
    one, other = two
    assert sleeping(one, KEY, 3, tmp_path)
    other.forget(KEY)
    assert other.known(KEY)
    assert sleeping(other, KEY, 3, tmp_path)
    assert other._runners == []


def test_an_order_that_has_ended_is_not_run_again(two: tuple[Runs, Runs], tmp_path: Path) -> None:
    one, other = two
    one.place(KEY).mkdir(parents=True)
    command_runner.write(one.place(KEY) / "result.json", {"exit": 0})
    assert sleeping(other, KEY, 3, tmp_path)
    assert other._runners == []
