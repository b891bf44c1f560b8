"""The time in which an order could not begin is none of its own, whatever kept it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.actions import ActionRecord, Lane
from rollout.core.errors import PermanentError
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.reconciling.lanes import AT_ONCE, Lanes
from tests.scenarios.test_put_back import put_back, taken
from tests.scenarios.world import ONE, World, new_store

WAITED_S = 25  # deadlines.deploy is 20 s


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = new_store(tmp_path)
    yield World(store, ONE)
    store.close()


def begins_no_deploy(world: World) -> None:
    """As where the region is in doubt."""
    world.reconciler._effects._forbidden = _deploys


def _deploys(record: ActionRecord) -> bool:
    return record.action.kind is Kind.DEPLOY


def slow(world: World) -> None:
    """The order needs its time, and the first reading of what it did fails."""
    target = world.plugins.fake_deployer("R3")
    target.slow(Kind.DEPLOY, 2)
    target.fail_next(Kind.VERIFY, PermanentError("not now"))


async def given_waiting(world: World) -> str:
    """A rollout whose deploy in R3 is recorded, and does not begin; its id."""
    begins_no_deploy(world)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    return rollout_id


async def then_it_succeeds(world: World, rollout_id: str) -> None:
    view = await world.until(rollout_id, Phase.SUCCEEDED, Phase.ROLLED_BACK)
    assert view.phase is Phase.SUCCEEDED, view.reason.text


async def test_a_deploy_that_no_controller_was_there_to_begin_has_its_whole_time(world: World) -> None:
    rollout_id = await given_waiting(world)
    world.clock.advance(WAITED_S)
    world.reconciler = world.another_controller()
    slow(world)
    await then_it_succeeds(world, rollout_id)


async def test_a_deploy_of_a_backup_that_was_put_back_later_has_its_whole_time(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await given_waiting(world)
    backup = taken(world, tmp_path / "copy")
    world.clock.advance(WAITED_S)
    again = await put_back(world, backup, world.clock.now())
    again.configuration = world.configuration
    await again.run(1)
    slow(again)
    await then_it_succeeds(again, rollout_id)


async def test_a_deploy_that_waited_for_room_has_its_whole_time(world: World) -> None:
    rollout_id = await given_waiting(world)
    world.reconciler = world.another_controller()
    effects = world.reconciler._effects
    effects._lanes = Lanes({**AT_ONCE, Lane.FORWARD: 0})
    await world.run(WAITED_S)
    effects._lanes = Lanes()
    slow(world)
    await then_it_succeeds(world, rollout_id)


async def test_the_slice_that_was_held_back_has_its_whole_time_to_follow(world: World) -> None:
    rollout_id = await world.given_succeeded()
    begins_no_deploy(world)
    while (await world.rollout(rollout_id)).region("R3").weight < 100:
        await world.tick()
    await world.run(WAITED_S)
    world.reconciler = world.another_controller()
    slow(world)
    await world.run(10)
    assert (await world.rollout(rollout_id)).region("R3").running == {"1.1.0": 4}
    assert world.pages() == []
