"""Somebody orders a region outside this controller, above its generations: it is left to people."""

from collections.abc import Callable

from rollout.core.errors import PermanentError
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.emergency.restoring import ABOVE
from tests.scenarios.test_emergency import back, ordered
from tests.scenarios.world import DANA, World

MakeWorld = Callable[[dict[str, object]], World]
LONG = {"steps": [{"set_weight": 75}, {"bake": "60s"}], "guards": {"silence": "1h"}}
TAKES_IN = "start the controller on the machine where that was called: it takes it in."


async def ordered_outside(world: World, version: str = "1.0.0") -> int:
    """An emergency restore of R3, which this controller does not know of; its generation."""
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    target = world.plugins.fake_deployer("R3")
    target._arrange("mail", [version] * 4)
    target._services["mail"].generation = pair.generation + ABOVE
    return pair.generation + ABOVE


def orders(world: World) -> list[int]:
    """The generations of what R3 was ordered."""
    asked = world.plugins.fake_deployer("R3").calls
    return [action.generation for _, action in asked if action.kind in (Kind.DEPLOY, Kind.RESTORE)]


async def test_a_baking_region_is_left_alone_until_a_person_lets_it_go_on(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    before, generation = orders(world), await ordered_outside(world)
    view = await world.until(rollout_id, Phase.HELD, within=20)
    assert "somebody ordered R3 outside this controller: its target has seen generation" in view.reason.text
    assert f"generation {generation}, and the newest that was ordered here is {generation - ABOVE}" in (
        view.reason.text
    )
    assert f"{TAKES_IN} Safe: `rollout rollback {rollout_id}` takes it back everywhere." in view.reason.text
    assert view.reason.text.endswith(f"`rollout resume {rollout_id}` orders it again.")
    await world.run(60)
    assert orders(world) == before
    assert len(world.pages()) == 1
    await world.commands.resume(rollout_id, DANA, "it was a rehearsal")
    await world.until(rollout_id, Phase.SUCCEEDED, within=600)
    assert orders(world)[len(before)] == generation + 1


async def test_a_region_that_is_being_deployed_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    await world.given_known_good()
    target = world.plugins.fake_deployer("R3")
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    while "1.1.0" not in await world.running("R3"):
        await world.reconciler.tick()
        await world.reconciler.settle()
    generation = await ordered_outside(world)
    before = len(orders(world))
    view = await world.until(rollout_id, Phase.HELD, within=10)
    assert view.reason.text.startswith("R3 runs 4 × 1.0.0, 75 % of 1.1.0 is ordered there, and somebody")
    assert view.reason.text.endswith(f"`rollout resume {rollout_id}` orders above that.")
    await world.run(60)
    assert (len(orders(world)), len(world.pages())) == (before, 1)
    await world.commands.resume(rollout_id, DANA, "it was a rehearsal")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING, within=20)
    assert orders(world)[before:] == [generation + 1]
    assert target.effects[-1].action.version == "1.1.0"


async def test_a_hold_that_ends_by_itself_does_not_order_above_others(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    while "1.1.0" not in await world.running("R3"):
        await world.reconciler.tick()
        await world.reconciler.settle()
    await world.commands.hold(rollout_id, DANA, "lunch", for_s=20, then="resume")
    await ordered_outside(world)
    before = orders(world)
    await world.run(60)
    assert len([page for page in world.pages() if "outside this controller" in page]) == 1
    assert (await world.rollout(rollout_id)).phase is Phase.HELD, "a clock is nobody's word"
    assert orders(world) == before


async def test_a_way_back_ends_where_somebody_put_the_region_once_that_was_taken_in(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.plugins.fake_deployer("R3").slow(Kind.RESTORE, 3)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(1)
    emergency = await ordered(world, "0.9.0")
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    await world.run(20)
    before = orders(world)
    await back(world, emergency)
    await world.until(rollout_id, Phase.ROLLED_BACK, within=60)
    assert await world.running("R3") == {"0.9.0": 4}
    assert orders(world) == before


async def test_harm_elsewhere_takes_the_rest_back_and_leaves_it_where_somebody_put_it(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0", "R1")
    before = orders(world)
    await ordered_outside(world)
    await world.until(rollout_id, Phase.HELD, within=20)
    world.given_harm("R1", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R1") == await world.running("R3") == {"1.0.0": 4}
    assert orders(world) == before


async def test_a_way_back_that_finds_something_else_there_is_a_failed_one_until_a_person_says(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.plugins.fake_deployer("R3").slow(Kind.RESTORE, 3)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(1)
    generation = await ordered_outside(world, "0.9.0")
    view = await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    await world.run(60)
    (page,) = [page for page in world.pages() if "R3 runs 4 × 0.9.0, and somebody ordered R3 outside" in page]
    assert "Ask to roll back again, which orders above that; or adopt what runs: rollout adopt mail" in page
    assert await world.running("R3") == {"0.9.0": 4}
    await world.commands.rollback(rollout_id, DANA, "0.9.0 is too old")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome == "aborted"
    assert await world.running("R3") == {"1.0.0": 4}
    assert orders(world)[-1] == generation + 1


async def test_a_restore_that_the_fence_refused_was_ordered_outside_and_is_not_tried_in_vain(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0", "R1")
    refusal = PermanentError("Generation 2 of mail is lower than 1002.")
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, refusal)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORING)
    await ordered_outside(world, "0.9.0")
    view = await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    await world.run(60)
    region = (await world.rollout(rollout_id)).region("R3")
    assert region.tried == ()
    (page,) = world.pages()
    assert "somebody ordered R3 outside this controller" in page
    assert "no known good" not in page
    assert region.trouble in view.reason.text
    assert region.trouble in (await world.view(rollout_id)).blocked_by


async def test_nothing_is_touched_where_somebody_else_has_ordered(world: World) -> None:
    await world.given_known_good()
    generation = await ordered_outside(world)
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.HELD, within=20)
    assert view.reason.text.startswith("R3 is not touched: somebody ordered R3 outside this controller")
    assert orders(world) == []
    await world.commands.resume(rollout_id, DANA, "that was me")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    assert orders(world)[0] > generation
