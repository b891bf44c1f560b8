"""Two controllers on one PostgreSQL: each is woken by what the other writes, and neither needs it."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from rollout.bootstrap import controller
from rollout.core.model import Phase, RegionPhase
from rollout.schedule import Heartbeat
from rollout.settings import load_settings
from tests.scenarios.world import ADMIN, QUICK, World, new_store
from tests.store.builders import intent, plan, rollout, service, transition

DATABASES = ("postgresql",)
LONG_S = 60  # nothing here takes as long, however busy the machine is


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[Heartbeat]:
    """Every heartbeat that was woken, in order."""
    found: asyncio.Queue[Heartbeat] = asyncio.Queue()

    def wake(heartbeat: Heartbeat) -> None:
        found.put_nowait(heartbeat)

    monkeypatch.setattr(Heartbeat, "wake", wake)
    return found


async def until_woken(woken: asyncio.Queue[Heartbeat], heartbeat: Heartbeat) -> None:
    async with asyncio.timeout(LONG_S):
        while await woken.get() is not heartbeat:
            pass


@pytest.mark.real
async def test_what_one_controller_is_asked_another_hears_at_once(
    place: Any, tmp_path: Path, woken: asyncio.Queue[Heartbeat]
) -> None:
    url = place.empty()
    async with AsyncExitStack() as both:
        asked, other = [
            await both.enter_async_context(controller(load_settings(data=tmp_path / name, database_url=url)))
            for name in ("asked", "other")
        ]
        await until_woken(woken, other.heartbeat)  # its listener is connected
        other.tail._look_s = 3600  # it looks when it is rung, and not by itself
        following = asyncio.create_task(other.tail.after(await other.tail.newest(), LONG_S))
        await asked.store.put_service(service())
        await asked.store.add(rollout(), plan(), transition(1))
        await until_woken(woken, other.heartbeat)
        assert await following == 1
        await asked.store.ask(intent())
        await until_woken(woken, other.heartbeat)


SWEEP = 4  # seconds between two looks of a replica that nobody wakes


class Apart:
    """People talk to one replica and another one holds the service: it looks when woken, and at its sweep."""

    def __init__(self, directory: Path, url: str, *, heard: bool) -> None:
        self.world = World(new_store(directory, url), QUICK)
        self.other = World(new_store(directory, url), QUICK, self.world.clock)
        self.other.plugins = self.world.plugins
        self.world.reconciler = self.other.another_controller()
        self.heard, self.asked, self.waited = heard, Event(), list[int]()
        self._seconds = 0

    async def second(self) -> None:
        if self.asked.is_set() or self._seconds % SWEEP == 0:
            self.asked.clear()
            await self.world.tick()
        else:
            self.world.clock.advance(1)
        self._seconds += 1

    async def until(self, rollout_id: str, phase: Phase, region: str = "", stands: str = "") -> None:
        for _ in range(400):
            found = await self.world.rollout(rollout_id)
            if found.phase is phase and (not region or found.region(region).phase == stands):
                return
            await self.second()
        raise AssertionError(f"never {phase}: {found}")

    async def obeyed(self, rollout_id: str, asked: Awaitable[object]) -> None:
        """Somebody asks just after a sweep; notes in which second that was taken in."""
        while self._seconds % SWEEP != 1:
            await self.second()
        before = (await self.world.rollout(rollout_id)).transitions
        await asked
        if self.heard:
            assert await asyncio.to_thread(self.asked.wait, LONG_S)
        for second in range(2 * SWEEP):
            await self.second()
            if (await self.world.rollout(rollout_id)).transitions > before:
                self.waited.append(second)
                return
        raise AssertionError("a sweep found nothing to do")


async def story(apart: Apart) -> tuple[object, ...]:
    """A release goes out, is held, resumed and rolled back by people; everything that came of it."""
    world = apart.world
    await world.given_known_good()
    with apart.other.store.database.listening(wrote=lambda: None, asked=apart.asked.set):  # type: ignore[attr-defined]
        assert await asyncio.to_thread(apart.asked.wait, LONG_S)  # as every new connection says
        apart.asked.clear()
        one = await world.start("1.1.0")
        await apart.until(one, Phase.PROGRESSING, "R3", RegionPhase.BAKING)
        await apart.obeyed(one, world.commands.hold(one, ADMIN, "wait a moment"))
        await apart.obeyed(one, world.commands.resume(one, ADMIN, "go on"))
        await apart.obeyed(one, world.commands.rollback(one, ADMIN, "users complain"))
        await apart.until(one, Phase.ROLLED_BACK)
    triggers = [(e.transition.trigger, e.transition.region) for e in await world.store.events(rollout_id=one)]
    done = [
        (each.key.removeprefix(one), each.action.kind) for each in world.plugins.fake_deployer("R3").effects
    ]
    return triggers, done, await world.running("R3")


@pytest.mark.real
async def test_losing_every_notification_changes_when_and_nothing_else(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for heard in (True, False):
        if not heard:
            monkeypatch.setattr("rollout.store.postgres_listen._taken", lambda told: told.clear() or ())
        apart = Apart(tmp_path, place.empty(), heard=heard)
        found.append(await story(apart))
        assert apart.waited == ([0, 0, 0] if heard else [SWEEP - 1] * 3)
        for each in (apart.world, apart.other):
            each.store.close()  # type: ignore[attr-defined]
    assert found[0] == found[1]
    assert found[0][2] == {"1.0.0": 4}
