"""Crashes of real processes: the controller in the middle of a rollback, and the demo itself."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from rollout import http as web
from rollout.demo.world import FIRST, INSTANCES, REGIONS, SERVICE, World, ready

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
PATIENCE = 600  # looks of 0.1 s


async def until(what: str, done: Callable[[], Any]) -> Any:
    for _ in range(PATIENCE):
        if found := await done():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Operator:
    """Talks to the controller of a world."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world, self.http = world, http

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        token = self.world.token_file.read_text().strip()
        answer = await self.http.request(
            method, self.world.url + path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def phase(self, rollout_id: str) -> str:
        return str((await self.call("GET", f"/v1/rollouts/{rollout_id}"))["phase"])

    async def runs(self, version: str) -> bool:
        rows = (await self.call("GET", f"/v1/services/{SERVICE}/regions"))["items"]
        return all(row["running"] == {version: INSTANCES} for row in rows)


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    """Three regions on the first version, adopted as known good, with users and a controller."""
    with World(tmp_path / "demo") as world:
        world.start_regions()
        await until("the first version runs", lambda: world.install(FIRST))
        world.start_controller()
        world.start_load()
        async with web.client() as http:
            operator = Operator(world, http)
            await until("the controller is ready", lambda: ready(world.url, http))
            await operator.call("PUT", f"/v1/services/{SERVICE}", {"policy": "demo"})
            await until("every region is read back", lambda: operator.runs(FIRST))
            await operator.call("POST", f"/v1/services/{SERVICE}/adopt", {"reason": "serves well"})
            yield operator


async def test_a_controller_killed_in_the_middle_of_a_rollback_finishes_it_after_its_restart(
    operator: Operator,
) -> None:
    world = operator.world
    started = await operator.call("POST", "/v1/rollouts", {"service": SERVICE, "version": "1.1.0"})
    rollout = f"/v1/rollouts/{started['id']}"

    async def r1_is_touched() -> bool:
        view = await operator.call("GET", rollout)
        return bool(view["stages"][1]["regions"][0]["touched_at"])

    async def rolling_back() -> bool:
        return await operator.phase(started["id"]) == "rolling_back"

    async def rolled_back() -> bool:
        return await operator.phase(started["id"]) == "rolled_back"

    await until("R1 is touched", r1_is_touched)
    await operator.call("POST", f"{rollout}/rollback", {"reason": "to be interrupted"})
    await until("the rollback is decided", rolling_back)
    world.kill("controller")
    running = {name: {i.version for i in status.instances} for name, status in world.statuses().items()}
    assert any(versions != {FIRST} for versions in running.values()), "the kill came after the rollback"

    world.start_controller()
    await until("the controller is ready again", lambda: ready(world.url, operator.http))
    await until("the rollback is finished", rolled_back)
    await until("every region runs the known good", lambda: operator.runs(FIRST))
    events = (await operator.call("GET", f"{rollout}/events?limit=500"))["items"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert [e["region"] for e in events if e["to_phase"] == "restored"].count("R1") == 1
    assert not [e for e in events if e["region"] == list(REGIONS)[-1]], "R2 never received it"


def test_no_process_is_left_behind_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "rollout.cli", "demo", "--plain"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    async def everything_runs() -> list[psutil.Process] | None:
        found = psutil.Process(demo.pid).children(recursive=True)
        return found if len(found) >= len(REGIONS) * (INSTANCES + 1) + 1 else None

    async def play() -> list[psutil.Process]:
        found: list[psutil.Process] = await until("the demo runs", everything_runs)
        demo.send_signal(signal.SIGKILL)
        demo.wait()

        async def all_gone() -> bool:
            return not [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

        await until("every process of the demo has ended", all_gone)
        return found

    assert len(asyncio.run(play())) >= len(REGIONS) * (INSTANCES + 1) + 1
