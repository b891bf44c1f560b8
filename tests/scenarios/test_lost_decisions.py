"""What a failover lost: no order of it takes effect any more, and an emergency in it is known again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.actions import Action
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.emergency.reconciled import Emergencies
from rollout.emergency.record import Record
from rollout.emergency.seal import make_seal
from rollout.ports import Reply
from tests.scenarios.test_emergency import ordered, orders
from tests.scenarios.test_outbox_lanes import look
from tests.scenarios.test_replicas import ANN
from tests.scenarios.test_went_back import fail_over, replica, standby
from tests.scenarios.world import DANA, World, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = new_store(tmp_path)
    found = World(store)
    store.database.clock = found.clock.now
    found.reconciler = replica(found, ANN, tmp_path / "ann")
    yield found
    store.close()


async def given_hanging_deploy(world: World) -> asyncio.Event:
    """The next share for R3 is decided, and its order waits for a connection until this is set."""
    fake, begun, go = world.plugins.fake_deployer("R3"), asyncio.Event(), asyncio.Event()
    answers = fake.apply

    async def late(key: str, action: Action) -> Reply:
        if action.kind is Kind.DEPLOY:
            begun.set()
            await go.wait()
        return await answers(key, action)

    fake.apply = late  # type: ignore[method-assign]
    while not begun.is_set():
        await look(world)
    return go


async def recorded(world: World, rollout_id: str) -> dict[str, Action]:
    return {record.key: record.action for record in (await world.case(rollout_id)).actions}


async def test_an_order_that_began_before_takes_no_effect_after_the_way_back(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    path = standby(world, tmp_path)
    go = await given_hanging_deploy(world)
    fail_over(world, path)
    await world.commands.rollback(rollout_id, DANA, "it loses mails")
    for _ in range(20):
        await look(world)
    assert (await world.rollout(rollout_id)).phase is Phase.ROLLED_BACK
    go.set()
    await look(world)
    assert await world.running("R3") == {"1.0.0": 4}


async def test_its_result_is_not_stored_as_that_of_another_order_with_its_key(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    path = standby(world, tmp_path)
    await world.commands.note(rollout_id, DANA, "looks good so far")  # one event more than there will be
    go = await given_hanging_deploy(world)
    fail_over(world, path)
    world.plugins.fake_deployer("R3").slow(Kind.COLLECT, 50)
    await world.commands.rollback(rollout_id, DANA, "it loses mails")
    await look(world)
    before = await recorded(world, rollout_id)
    go.set()
    await look(world)
    after = await recorded(world, rollout_id)
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("tells", [True, False])
async def test_an_emergency_that_was_taken_in_before_is_taken_in_again(
    world: World, tmp_path: Path, tells: bool
) -> None:
    seal = make_seal(tmp_path / "key")
    record = Record(tmp_path / "emergency.jsonl", seal)
    good = tmp_path / "good.json"
    desk = Emergencies(world.store, world.clock, lambda: world.configuration.regions, good, record, seal)
    await world.given_known_good()
    target = world.plugins.fake_deployer("R3")
    target.slow(Kind.DEPLOY, 2)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    path = standby(world, tmp_path)  # which has the order, and not that it was done
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    record.append(await ordered(world, "1.0.0"))
    await desk.take_in()
    if not tells:
        target.fences, target._services["mail"].generation = False, 0
    before = orders(world)
    fail_over(world, path)
    for _ in range(40):
        await desk.take_in()  # before every tick, as the heartbeat does
        await world.tick()
    assert orders(world) == before
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
