"""Harm is acted on in every phase from the first touched region on, everywhere at once."""

from collections.abc import Callable

import pytest

from rollout.core.errors import PermanentError
from rollout.core.model import Kind, Outcome, Phase, RegionPhase
from rollout.ports import Case
from tests.scenarios.world import DANA, NAMES, QUICK, Health, World

MakeWorld = Callable[[dict[str, object]], World]
APPROVED = {
    **QUICK,
    "stages": [
        {"regions": ["R3"], "steps": [{"set_weight": 75}, {"bake": "6s"}, {"approval": {"min": 1}}]},
        {"regions": ["R1"]},
        {"regions": ["R2"]},
    ],
}
BACK = {"1.0.0": 4}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": (0.0, 4 / 3600)}


def restores(case: Case) -> dict[str, str]:
    """Region → the transaction in which its restore was recorded, as the time of recording."""
    orders = [r for r in case.actions if r.action.kind is Kind.RESTORE]
    return {str(r.action.region): r.recorded_at.isoformat() for r in orders}


async def test_harm_while_held_rolls_back(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.2.0", "R1")
    await world.commands.hold(rollout_id, DANA, "wait")
    await world.until(rollout_id, Phase.HELD)
    world.given_harm("R3", "1.2.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.hold is None
    assert [await world.running(name) for name in NAMES] == [BACK] * 3


async def test_harm_while_people_are_asked_rolls_back_and_the_question_ends(make_world: MakeWorld) -> None:
    world = make_world(APPROVED)
    await world.given_known_good()
    rollout_id = await world.start("1.2.0")
    await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    world.given_harm("R3", "1.2.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.approval is None
    assert await world.running("R3") == BACK


async def test_harm_while_the_next_region_is_being_deployed_takes_that_deploy_back_too(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R1").slow("deploy", 15)
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R1", RegionPhase.DEPLOYING)
    world.given_harm("R3", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    case = await world.case(rollout_id)
    deploy = next(r for r in case.actions if r.action.kind is Kind.DEPLOY and r.action.region == "R1")
    restore = next(r for r in case.actions if r.action.kind is Kind.RESTORE and r.action.region == "R1")
    assert deploy.state == "dropped"
    assert restore.action.generation > deploy.action.generation
    assert await world.running("R1") == BACK
    assert world.effects("R1", "deploy") == []


async def test_every_restore_of_one_decision_is_recorded_in_one_transaction(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.2.0", "R2")
    world.given_harm("R1", "1.2.0")
    await world.until(rollout_id, Phase.ROLLING_BACK)
    case = await world.case(rollout_id)
    assert set(restores(case)) == {"R3", "R1", "R2"}
    assert len(set(restores(case).values())) == 1
    assert {r.phase for r in case.rollout.regions} == {RegionPhase.RESTORING}


async def test_harm_in_the_watch_rolls_back_all_three_at_once(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_succeeded()
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLING_BACK)
    assert len(set(restores(await world.case(rollout_id)).values())) == 1
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ROLLED_BACK
    assert [await world.running(name) for name in NAMES] == [BACK] * 3


async def test_a_hard_guard_acts_during_the_warm_up_too(make_world: MakeWorld) -> None:
    warming = {"judging": {"interval": "1s", "warmup": "60s"}, "steps": [{"set_weight": 75}, {"bake": "90s"}]}
    world = make_world({**QUICK, **warming, "guards": {"success": {"below": 50, "for": "5s"}}})
    rollout_id = await world.given_baking("1.2.0")
    world.given_harm("R3", "1.2.0", BROKEN)
    view = await world.until(rollout_id, Phase.ROLLED_BACK, within=15)
    assert view.reason.code == "guard.success"


async def test_after_the_decision_nothing_of_the_rollout_promotes_any_more(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.2.0", "R1")
    world.given_harm("R1", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    before = {name: world.effects(name, "deploy") for name in NAMES}
    await world.run(60)
    assert {name: world.effects(name, "deploy") for name in NAMES} == before


async def test_a_deploy_that_comes_after_the_restore_is_refused_by_the_fence(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.2.0")
    world.given_harm("R3", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    deployer = world.plugins.fake_deployer("R3")
    late = next(action for _, action in deployer.calls if action.kind is Kind.DEPLOY)
    with pytest.raises(PermanentError, match="which was decided before it"):
        await deployer.apply("a packet that was lost for a while", late)
    assert await world.running("R3") == BACK
