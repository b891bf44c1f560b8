"""Two replicas on one database: who is away too long loses its claims; nothing is done twice or forgotten."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout import reconciler as shell
from rollout.core.errors import Fenced, StoreError
from rollout.core.model import Kind, Phase, RegionPhase, Service
from rollout.ports import Replica
from rollout.reconciler import Reconciler
from tests.scenarios.world import DANA, ONE, World, new_store

ANN, BOB = (Replica(id=name, incarnation=f"{name}-1", lease_s=15.0) for name in ("ann", "bob"))


@pytest.fixture
def world(tmp_path: Path) -> Any:
    store = new_store(tmp_path)
    found = World(store, ONE)
    store.database.clock = found.clock.now
    found.reconciler = found.another_controller(ANN)
    yield found
    store.close()


@pytest.fixture
def bob(world: World) -> Reconciler:
    return world.another_controller(BOB)


async def _look(replica: Reconciler) -> None:
    await replica.tick()
    await replica.settle()


async def test_a_second_replica_touches_nothing_while_the_first_one_lives(
    world: World, bob: Reconciler
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    for _ in range(30):
        await _look(bob)
        await world.tick()
    assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED
    keys = [effect.key for effect in world.plugins.fake_deployer("R3").effects]
    assert len(keys) == len(set(keys))
    assert set(world.reconciler.held) == {"mail"}
    assert not bob.held


async def test_another_replica_goes_on_when_the_lease_is_over_and_not_before(
    world: World, bob: Reconciler
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    stood = (await world.rollout(rollout_id)).version
    for _ in range(13):
        world.clock.advance(1)
        await _look(bob)
    assert (await world.rollout(rollout_id)).version == stood
    world.clock.advance(5)
    world.reconciler = bob
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", Kind.DEPLOY) == ["1.1.0"]


async def test_one_that_stops_in_order_is_followed_at_once(world: World, bob: Reconciler) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.reconciler.stop()
    await world.reconciler.leave()
    stood = (await world.rollout(rollout_id)).version
    world.clock.advance(1)
    await _look(bob)
    assert (await world.rollout(rollout_id)).version > stood


async def test_one_that_was_frozen_in_a_decision_writes_nothing_of_it(
    world: World, bob: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    real = world.store.commit

    async def thawed_late(change: Any, fence: Any) -> Any:
        monkeypatch.setattr(world.store, "commit", real)
        world.clock.advance(20)
        await _look(bob)
        taken.append((await world.rollout(rollout_id)).version)
        with pytest.raises(Fenced):
            await real(change, fence)
        raise Fenced("as the store said")

    taken: list[int] = []
    monkeypatch.setattr(world.store, "commit", thawed_late)
    await _look(world.reconciler)
    assert [(await world.rollout(rollout_id)).version] == taken
    world.clock.advance(1)
    await _look(world.reconciler)  # holds nothing any more, and says nothing
    assert [(await world.rollout(rollout_id)).version] == taken


@pytest.mark.parametrize("early", [True, False], ids=["while the lease is asked for", "after that"])
async def test_an_attempt_that_slept_through_its_lease_ends_also_where_the_service_has_come_back(
    world: World, bob: Reconciler, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    deployer, wakes, sent = world.plugins.fake_deployer("R3"), asyncio.Event(), list[str]()
    real = deployer.apply

    async def sleeps(key: str, action: Any) -> Any:
        if action.kind is Kind.DEPLOY:
            monkeypatch.setattr(deployer, "apply", real)
            await wakes.wait()
            sent.append(key)
        return await real(key, action)

    monkeypatch.setattr(deployer, "apply", sleeps)
    while deployer.apply is not real:
        await world.reconciler.tick()
        await asyncio.sleep(0)
        world.clock.advance(1)
    world.clock.advance(20)  # its machine sleeps, and its timers do
    await _look(bob)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    while (await world.rollout(rollout_id)).phase is not Phase.ROLLED_BACK:
        world.clock.advance(1)
        await _look(bob)
    await bob.stop()
    await bob.leave()
    hold = world.store.hold

    async def slowly(*arguments: Any, **named: Any) -> Any:
        if early:
            wakes.set()
            for _ in range(9):
                await asyncio.sleep(0)
        return await hold(*arguments, **named)

    monkeypatch.setattr(world.store, "hold", slowly)
    await world.reconciler.tick()  # it wakes, and holds the service again
    assert set(world.reconciler.held) == {"mail"}
    wakes.set()
    await world.reconciler.settle()
    assert sent == []


async def test_an_order_that_takes_longer_than_the_lease_is_done_once(world: World, bob: Reconciler) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    deployer = world.plugins.fake_deployer("R3")
    deployer.slow(Kind.DEPLOY, 2)
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.tick()
    world.clock.advance(15)
    await _look(bob)
    await _look(world.reconciler)
    assert not world.reconciler.held
    world.reconciler = bob
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", Kind.DEPLOY) == ["1.1.0"]


async def test_what_was_done_and_not_recorded_by_the_first_is_asked_again_with_the_same_key(
    world: World, bob: Reconciler
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    world.plugins.fake_deployer("R3").lose_answer(Kind.DEPLOY)
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.tick()
    world.clock.advance(20)
    world.reconciler = bob
    await world.until(rollout_id, Phase.SUCCEEDED)
    asked = [key for key, action in world.plugins.fake_deployer("R3").calls if action.kind is Kind.DEPLOY]
    assert len(asked) > 1
    assert len(set(asked)) == 1
    assert world.effects("R3", Kind.DEPLOY) == ["1.1.0"]


async def test_two_replicas_share_the_services_and_each_sample_is_counted_once(
    world: World, bob: Reconciler
) -> None:
    await world.given_known_good()
    for name in ("a", "b", "c"):
        await world.store.put_service(Service(name=name, policy="standard"))
        for region in ("R3", "R1", "R2"):
            world.plugins.fake_deployer(region).install(name, "1.0.0")
    for _ in range(12):
        await _look(bob)
        await world.tick()
    assert len(world.reconciler.held) == len(bob.held) == 2
    assert set(world.reconciler.held) | set(bob.held) == {"mail", "a", "b", "c"}
    found = await world.store.samples("a", ("R3",), limit=1000)
    ends = [(sample.time, sample.signal) for _, sample in found]
    assert len(ends) == len(set(ends)) > 10
    assert max(end for end, _ in ends) >= world.clock.now() - timedelta(seconds=3)


# ------------------------------------------------------------------ what is only in memory


def _remembered(replica: Reconciler) -> dict[str, int]:
    """How much of services and rollouts a replica has in memory alone."""
    return {
        "troubled": len(replica._troubled),
        "wanted": len(replica._observation._wanted),
        "histories": len(replica._histories._tasks) + len(replica._histories._failed),
        "unstored": len(replica._effects._unstored),
    }


async def _full(*_: Any, **__: Any) -> Any:
    raise StoreError("The disk is full.")


def _undecided(*_: Any) -> Any:
    raise ZeroDivisionError("a fault that nobody foresaw")


async def test_a_replica_that_lost_a_service_remembers_nothing_of_it(
    world: World, bob: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "history", _full)
        await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
        broken.setattr(world.store, "save_action", _full)
        await world.commands.rollback(rollout_id, DANA, "not today")
        await world.tick()
        broken.setattr(shell, "decide", _undecided)
        await world.run(2)
        assert all(_remembered(world.reconciler).values()), _remembered(world.reconciler)
    world.clock.advance(20)
    await _look(bob)
    await _look(world.reconciler)
    assert not world.reconciler.held
    assert not any(_remembered(world.reconciler).values()), _remembered(world.reconciler)


async def test_a_replica_remembers_nothing_of_a_rollout_that_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "history", _full)
        await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
        while world.reconciler._histories._tasks or not world.reconciler._histories._failed:
            await world.tick()
        await world.commands.rollback(rollout_id, DANA, "not today")
        await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(70)
    assert not any(_remembered(world.reconciler).values()), _remembered(world.reconciler)


async def test_a_trouble_that_another_replica_has_taken_is_forgotten_beside_other_services(
    world: World, bob: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.store.put_service(Service(name="other", policy="standard"))
    with monkeypatch.context() as broken:
        broken.setattr(shell, "decide", _undecided)
        await world.run(4)
        assert set(world.reconciler._troubled) == {rollout_id}
    for _ in range(4):  # of two services, a replica gives the first one to another that has none
        await _look(bob)
        await _look(world.reconciler)
        assert "other" in world.reconciler.held
        world.clock.advance(4)
    assert set(world.reconciler.held) == {"other"}
    assert not world.reconciler._troubled
