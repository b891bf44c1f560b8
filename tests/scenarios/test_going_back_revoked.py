"""A way back whose target proves harmful before it ends: it goes on to the known good before both."""

from collections.abc import Callable
from dataclasses import replace

from rollout.core.model import Kind, Phase, RegionPhase
from tests.scenarios.test_known_good import forget_known_goods, known_good
from tests.scenarios.world import ADMIN, DANA, QUICK, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]
LONG = {**QUICK, "watch": "300s"}
SLOW = {**LONG, "name": "slow", "steps": [{"set_weight": 75}, {"bake": "60s"}]}
OLD = {"1.0.0": 4}


async def given_newer_over_watched(make_world: MakeWorld, region: str = "R3") -> tuple[World, str, str]:
    """1.1.0 is watched over 1.0.0, and 1.2.0 bakes in `region`: the ids of both."""
    world = make_world(LONG)
    with_policies(world, LONG, SLOW)
    older = await world.given_succeeded("1.1.0")
    newer = await world.start("1.2.0", policy="slow" if region == "R3" else "standard")
    await world.until_region(newer, region, RegionPhase.BAKING)
    return world, older, newer


async def given_on_the_way_back(make_world: MakeWorld, *, unreachable: bool = False) -> tuple[World, str]:
    """R3 goes back from 1.2.0 to 1.1.0, slowly or not at all, while 1.1.0 proves harmful in R1."""
    world, older, newer = await given_newer_over_watched(make_world)
    world.given_harm("R1", "1.1.0")
    await world.run(5)
    deployer = world.plugins.fake_deployer("R3")
    deployer.slow(Kind.RESTORE, 8)
    deployer.unreachable = unreachable
    await world.commands.rollback(newer, DANA, "users complain")
    await world.until(older, Phase.ROLLED_BACK)
    return world, newer


async def test_a_restore_under_way_goes_on_to_the_known_good_before_both(make_world: MakeWorld) -> None:
    world, newer = await given_on_the_way_back(make_world)
    await world.until(newer, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD
    region = (await world.rollout(newer)).region("R3")
    assert region.back_to is not None
    assert region.back_to.release.version == "1.0.0"
    assert (
        "mail 1.2.0: R3 was to run 1.1.0, which is not known good there any more: it goes on to 1.0.0."
    ) in world.notices()
    await world.run(60)
    assert world.effects("R3", Kind.RESTORE).count("1.0.0") == 1


async def test_a_region_that_does_not_answer_gets_the_other_order_when_it_does(make_world: MakeWorld) -> None:
    world, newer = await given_on_the_way_back(make_world, unreachable=True)
    await world.until_region(newer, "R3", RegionPhase.UNREACHABLE)
    await world.run(20)
    world.plugins.fake_deployer("R3").unreachable = False
    await world.until(newer, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD
    assert world.effects("R3", Kind.RESTORE) == ["1.0.0"]
    assert "bring 1.0.0 there by hand" in [page for page in world.pages() if "R3" in page][-1]


async def test_a_region_that_was_back_already_goes_on_while_another_is_not(make_world: MakeWorld) -> None:
    world, older, newer = await given_newer_over_watched(make_world, "R1")
    world.plugins.fake_deployer("R1").unreachable = True
    await world.commands.rollback(newer, DANA, "users complain")
    await world.until_region(newer, "R3", RegionPhase.RESTORED)
    assert await world.running("R3") == {"1.1.0": 4}
    world.given_harm("R2", "1.1.0")
    await world.until(older, Phase.ROLLED_BACK)
    world.plugins.fake_deployer("R1").unreachable = False
    await world.until(newer, Phase.ROLLED_BACK)
    await world.run(5)
    for region in ("R3", "R1", "R2"):
        assert await world.running(region) == OLD


async def test_with_no_known_good_before_it_people_are_paged_and_adopt(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    newer = await world.given_baking("1.2.0")
    world.plugins.fake_deployer("R3").slow(Kind.RESTORE, 8)
    await world.commands.rollback(newer, DANA, "users complain")
    await world.until_region(newer, "R3", RegionPhase.RESTORING)
    await forget_known_goods(world, await known_good(world))
    view = await world.until(newer, Phase.ROLLBACK_FAILED)
    assert "R3 cannot go back: no known good release is left" in view.reason.text
    await world.run(60)
    assert len([page for page in world.pages() if "R3 cannot go back" in page]) == 1
    world.plugins.fake_deployer("R3").install("mail", "0.9.0")
    await world.run(3)
    await world.commands.adopt("mail", ADMIN, "it served well", ["R3"])
    await world.until(newer, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"0.9.0": 4}


async def test_a_known_good_that_was_only_joined_by_a_newer_one_stays_the_target(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    newer = await world.given_baking("1.2.0", "R1")
    world.plugins.fake_deployer("R3").slow(Kind.RESTORE, 8)
    await world.commands.rollback(newer, DANA, "users complain")
    await world.until_region(newer, "R3", RegionPhase.RESTORING)
    (good, *_) = await known_good(world)
    await world.store.adopt([replace(good, since=world.clock.now())])
    release = replace(good.release, version="0.9.0")
    await world.store.adopt([replace(good, release=release, since=world.clock.now())])
    await world.until(newer, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD
    assert world.effects("R3", Kind.RESTORE) == ["1.0.0"]


async def test_what_is_offered_is_where_it_really_goes(make_world: MakeWorld) -> None:
    world, _, newer = await given_newer_over_watched(make_world)
    assert (await world.view(newer)).rollback_effect == "Roll back R3 to 1.1.0"
    world.given_harm("R1", "1.1.0")
    view = await world.until(newer, Phase.HELD)
    assert view.rollback_effect == "Roll back R3 to 1.0.0"
    await world.commands.rollback(newer, DANA, "both are bad")
    await world.until(newer, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD
