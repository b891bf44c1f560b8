"""A deploy counts when it was read back; one that fails, stalls or lies goes back."""

from collections.abc import Callable

from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Kind, Phase, RegionPhase
from tests.scenarios.world import NAMES, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
OLD = {"1.0.0": 4}


async def then_rolled_back(world: World, rollout_id: str) -> str:
    """Wait until everything is back; the reason."""
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in NAMES] == [OLD] * 3
    return view.reason.text


async def test_a_deploy_that_fails_for_good_rolls_back_everything_touched(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R1").fail_next(Kind.DEPLOY, PermanentError("The image does not exist."))
    rollout_id = await world.start("1.1.0")
    said = await then_rolled_back(world, rollout_id)
    assert said == "R1 could not be brought to 75 % of 1.1.0: The image does not exist."
    assert world.effects("R3", "restore") == ["1.0.0"]


async def test_a_deploy_that_its_target_calls_failed_rolls_back_without_another_look(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").fail_next(Kind.DEPLOY, "There is no room.")
    said = await then_rolled_back(world, await world.start("1.1.0"))
    assert said == "R3 could not be brought to 75 % of 1.1.0: There is no room."


async def test_a_deploy_past_its_deadline_rolls_back(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 10_000)
    assert "not done within 20 s" in await then_rolled_back(world, await world.start("1.1.0"))


async def test_a_deploy_whose_answer_is_lost_takes_effect_once(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").lose_answer(Kind.DEPLOY)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", "deploy") == ["1.1.0"]


async def test_a_deploy_that_is_refused_for_a_moment_is_tried_again(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    for _ in range(3):
        world.plugins.fake_deployer("R3").fail_next(Kind.DEPLOY, TransientError("429"))
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", "deploy") == ["1.1.0"]


async def test_a_target_that_says_done_and_runs_something_else_rolls_back(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    deployer = world.plugins.fake_deployer("R3")
    real = deployer._wanted
    deployer._wanted = lambda action: (  # type: ignore[method-assign]
        ["1.0.5"] * 4 if action.kind is Kind.DEPLOY else real(action)
    )
    said = await then_rolled_back(world, await world.start("1.1.0"))
    assert "not read back in 20 s: it runs 4 × 1.0.5." in said


async def test_a_weight_that_was_not_reached_is_no_bake(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    deployer = world.plugins.fake_deployer("R3")
    real = deployer._wanted
    deployer._wanted = lambda action: (  # type: ignore[method-assign]
        ["1.1.0", "1.0.0", "1.0.0", "1.0.0"] if action.kind is Kind.DEPLOY else real(action)
    )
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.run(10)
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.DEPLOYING
    await then_rolled_back(world, rollout_id)
