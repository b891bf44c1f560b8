"""The lease of one replica by its own clock: when nothing is begun any more, and what is under way stops."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.actions import Action
from rollout.core.errors import Fenced, StoreError
from rollout.core.model import Kind, Phase, RegionPhase, Service
from rollout.ports import Fence, Held, Replica, Reply
from rollout.reconciling.holding import Holding
from rollout.testing import ManualClock
from tests.scenarios.world import ONE, START, World, new_store
from tests.simulation.loop import VirtualLoop

ANN = Replica(id="ann", incarnation="ann-1", lease_s=15.0)


class _Answers:
    """A store that grants one service, each time some seconds after it was asked."""

    def __init__(self, clock: ManualClock, late_s: float = 0.0) -> None:
        self._clock, self._late_s = clock, late_s

    async def hold(self, replica: Replica, *, instead_of: str | None, busy: Collection[str]) -> Held:
        self._clock.advance(self._late_s)
        return Held(claims={"mail": 1}, replicas=1, now=self._clock.now())


def _seconds(clock: ManualClock) -> Callable[[], float]:
    def passed() -> float:
        return (clock.now() - START).total_seconds()

    return passed


async def _held(late_s: float = 0.0) -> tuple[Holding, ManualClock]:
    clock = ManualClock(START)
    holding = Holding(_Answers(clock, late_s), _seconds(clock), ANN)  # type: ignore[arg-type]
    await holding.renew()
    return holding, clock


async def test_nothing_is_begun_in_the_last_third_of_a_lease() -> None:
    holding, clock = await _held()
    clock.advance(8.4)
    assert holding.may_act("mail")
    assert not holding.may_act("billing")
    clock.advance(0.1)
    assert not holding.may_act("mail")
    assert not holding.is_over("mail")
    clock.advance(4.9)
    assert not holding.is_over("mail")


async def test_a_lease_ends_a_tenth_earlier_here_since_clocks_run_so_much_slower_than_others() -> None:
    holding, clock = await _held()
    clock.advance(13.4)
    assert not holding.is_over("mail")
    clock.advance(0.1)
    assert holding.is_over("mail")


async def test_a_lease_is_counted_from_when_it_was_asked_for_however_late_the_answer_comes() -> None:
    holding, clock = await _held(late_s=8)
    assert holding.may_act("mail")
    clock.advance(1)
    assert not holding.may_act("mail")
    clock.advance(4.5)
    assert holding.is_over("mail")


async def test_a_lease_is_counted_right_by_a_clock_that_the_answer_sets() -> None:
    clock = ManualClock(START)
    holding = Holding(
        _Answers(clock),  # type: ignore[arg-type]
        _seconds(clock),
        ANN,
        told_time=lambda _told, _at_once: clock.advance(-60) and None,
    )
    await holding.renew()
    clock.advance(13.5)
    assert holding.is_over("mail")


async def test_a_service_that_was_lost_is_neither_acted_for_nor_written() -> None:
    holding, _ = await _held()
    assert holding.fence("mail").epoch == 1
    holding.lost(Fence(service="mail", owner="ann", epoch=1))
    assert not holding.may_act("mail")
    assert holding.is_over("mail")
    with pytest.raises(Fenced, match="does not hold service 'mail'"):
        holding.fence("mail")


async def test_what_is_under_way_is_stopped_when_the_lease_is_over_and_cannot_be_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(new_store(tmp_path), ONE)
    world.store.database.clock = world.clock.now  # type: ignore[attr-defined]
    world.reconciler = world.another_controller(ANN)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    deployer = world.plugins.fake_deployer("R3")
    ended: list[str] = []
    answers = deployer.apply

    async def never(key: str, action: Action) -> Reply:
        if action.kind is not Kind.DEPLOY:
            return await answers(key, action)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(key)
            raise
        raise AssertionError("nobody sets it")

    async def gone(*_: Any, **__: Any) -> Held:
        raise StoreError("The database cannot be reached.")

    with monkeypatch.context() as patched:
        patched.setattr(deployer, "apply", never)
        while (await world.rollout(rollout_id)).region("R3").phase is not RegionPhase.DEPLOYING:
            await world.reconciler.tick()
            await asyncio.sleep(0)
            world.clock.advance(1)
        await asyncio.sleep(0)
        patched.setattr(world.store, "hold", gone)
        world.clock.advance(20)
        with pytest.raises(StoreError):
            await world.reconciler.tick()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(ended) == 1
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", Kind.DEPLOY) == ["1.1.0"]
    world.store.close()  # type: ignore[attr-defined]


class _LoopClock(ManualClock):
    """The time of a virtual loop, which timers go by as well."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(START)
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def advance(self, seconds: float) -> datetime:
        self._loop.now += seconds
        return self.now()


class _Hanging:
    """A world in virtual time whose first deploy never ends by itself, and whose renewals may hang too."""

    def __init__(self, directory: Path) -> None:
        self.loop = VirtualLoop()
        self.world = World(new_store(directory), ONE, clock=_LoopClock(self.loop))
        self.world.store.database.clock = self.world.clock.now  # type: ignore[attr-defined]
        self.renewed_at, self.ended_at = list[float](), list[float]()
        self.hangs = False
        self._renew, self._apply = self.world.store.hold, self.world.plugins.fake_deployer("R3").apply
        self.world.store.hold = self._hold  # type: ignore[method-assign]
        self.world.plugins.fake_deployer("R3").apply = self._answer  # type: ignore[method-assign]

    async def begin(self) -> None:
        self.world.reconciler = self.world.another_controller(ANN)
        await self.world.given_known_good()
        rollout_id = await self.world.start("1.1.0")
        while (await self.world.rollout(rollout_id)).region("R3").phase is not RegionPhase.DEPLOYING:
            await self.look()
        await self.look()

    async def look(self) -> None:
        await self.world.reconciler.tick()
        await asyncio.sleep(1)

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        try:
            self.loop.run_until_complete(story())
            self.loop.run_until_complete(self.world.reconciler.stop())
        finally:
            self.world.store.close()  # type: ignore[attr-defined]
            self.loop.close()

    async def _hold(self, *given: Any, **named: Any) -> Held:
        if self.hangs:
            await asyncio.Event().wait()
        self.renewed_at.append(self.loop.time())
        return await self._renew(*given, **named)

    async def _answer(self, key: str, action: Action) -> Reply:
        if action.kind is not Kind.DEPLOY:
            return await self._apply(key, action)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended_at.append(self.loop.time())
        raise AssertionError("nobody sets it")


def test_what_is_under_way_ends_with_the_lease_also_while_the_database_hangs(tmp_path: Path) -> None:
    found = _Hanging(tmp_path)

    async def story() -> None:
        await found.begin()
        found.hangs = True
        look = asyncio.create_task(found.look())
        await asyncio.sleep(5)
        assert found.ended_at == []
        await asyncio.sleep(20)
        assert not look.done()
        look.cancel()

    found.play(story)
    (ended_at,) = found.ended_at
    assert ended_at - found.renewed_at[-1] == pytest.approx(13.5, abs=0.01)


def test_what_is_under_way_goes_on_beyond_a_lease_that_is_renewed(tmp_path: Path) -> None:
    found = _Hanging(tmp_path)

    async def story() -> None:
        await found.begin()
        for _ in range(20):
            await found.look()
        assert found.ended_at == []

    found.play(story)
    assert len(found.ended_at) == 1


async def test_a_replica_asks_nobody_about_services_that_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(new_store(tmp_path), ONE)
    world.store.database.clock = world.clock.now  # type: ignore[attr-defined]
    world.reconciler = world.another_controller(ANN)
    await world.given_known_good(history_s=2)
    await world.store.put_service(Service(name="billing", policy="standard"))
    asked: list[str] = []
    answers = world.plugins.fake_deployer("R3").instances

    async def counted(service: str) -> Any:
        asked.append(service)
        return await answers(service)

    monkeypatch.setattr(world.plugins.fake_deployer("R3"), "instances", counted)
    bob = world.another_controller(Replica(id="bob", incarnation="bob-1", lease_s=15.0))
    for _ in range(3):
        await bob.tick()
        world.clock.advance(1)
    assert set(asked) == {"billing"}
    asked.clear()
    await world.tick()
    assert asked == ["mail"]
    world.store.close()  # type: ignore[attr-defined]


async def test_a_write_of_an_older_claim_that_was_refused_takes_no_newer_one_away() -> None:
    holding, _ = await _held()
    holding.lost(Fence(service="mail", owner="ann", epoch=0))
    assert holding.may_act("mail")


async def test_a_replica_that_another_process_has_become_holds_nothing_at_once() -> None:
    holding, clock = await _held()
    clock.advance(4)

    async def refused(*_: Any, **__: Any) -> Held:
        raise Fenced("Another process works as replica 'ann'")

    holding._store.hold = refused  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        await holding.renew()
    assert holding.is_over("mail")
