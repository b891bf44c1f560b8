"""Several regions, in one stage or behind a barrier, each standing where it stands."""

from collections.abc import Callable

from rollout.core.model import IntentKind, Kind, Phase, RegionPhase
from tests.scenarios.world import DANA, HEALTHY, NAMES, Health, World

MakeWorld = Callable[[dict[str, object]], World]
STEPS = [{"set_weight": 75}, {"bake": "6s"}]
TOGETHER = {"steps": STEPS, "stages": [{"regions": ["R3"]}, {"regions": ["R1", "R2"]}]}
BARRIER = {
    "steps": [{"set_weight": 25}, {"bake": "6s"}, {"approval": {"min": 1}}, *STEPS],
    "stages": [{"regions": ["R3", "R1"]}, {"regions": ["R2"], "steps": STEPS}],
}
FEW: Health = {"errors": (0.0, 3.0), "restarts": HEALTHY["restarts"]}


async def test_two_regions_of_a_stage_stand_in_different_places(make_world: MakeWorld) -> None:
    world = make_world(TOGETHER)
    await world.given_known_good()
    world.plugins.fake_deployer("R2").slow(Kind.DEPLOY, 12)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R1", RegionPhase.PASSED)
    rollout = await world.rollout(rollout_id)
    assert rollout.region("R2").phase is RegionPhase.DEPLOYING
    assert rollout.phase is Phase.PROGRESSING
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_stage_begins_only_when_every_region_before_it_passed(make_world: MakeWorld) -> None:
    world = make_world({"steps": STEPS, "stages": [{"regions": ["R3", "R1"]}, {"regions": ["R2"]}]})
    await world.given_known_good()
    world.given_harm("R1", "1.1.0", FEW)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    await world.run(5)
    rollout = await world.rollout(rollout_id)
    assert rollout.region("R1").phase is RegionPhase.BAKING
    assert rollout.region("R2").phase is RegionPhase.PENDING
    await world.until_region(rollout_id, "R2", RegionPhase.DEPLOYING)
    assert (await world.rollout(rollout_id)).region("R1").phase is RegionPhase.PASSED


async def test_a_deploy_that_fails_beside_another_takes_both_back(make_world: MakeWorld) -> None:
    world = make_world(TOGETHER)
    await world.given_known_good()
    world.plugins.fake_deployer("R1").fail_next(Kind.DEPLOY, "no capacity")
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_the_barrier_waits_for_the_slowest_region_and_asks_once(make_world: MakeWorld) -> None:
    world = make_world(BARRIER)
    await world.given_known_good()
    world.plugins.fake_deployer("R1").slow(Kind.DEPLOY, 10)
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    assert {(r.region, r.step) for r in view.regions if r.touched_at} == {("R3", 2), ("R1", 2)}
    await world.commands.decide_approval(rollout_id, DANA, IntentKind.APPROVE, "both look good")
    await world.until(rollout_id, Phase.SUCCEEDED)
    asked = [n for n in world.notices() if "waits for 1 approval" in n]
    assert len(asked) == 1


async def test_nothing_more_is_touched_while_an_earlier_region_cannot_be_judged(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        {"steps": [{"set_weight": 75}, {"bake": "12s"}], "stages": [{"regions": [n]} for n in NAMES]}
    )
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.silent |= {("R3", "1.1.0"), ("R3", "1.0.0")}
    await world.until(rollout_id, Phase.HELD)
    assert world.effects("R2", "deploy") == []
    assert (await world.rollout(rollout_id)).region("R2").phase is RegionPhase.PENDING


async def test_a_bake_until_pass_ends_when_harm_is_ruled_out(make_world: MakeWorld) -> None:
    bake = {"bake": {"until": "pass", "min": "4s", "max": "60s"}}
    steps = [{"set_weight": 75}, bake]
    world = make_world(
        {"steps": steps, "stages": [{"regions": ["R3"]}], "checks": [{"signal": "errors", "tolerance": 2}]}
    )
    await world.given_known_good()
    ordinary: Health = {"errors": (2.0, 50.0)}
    world.given_harm("R3", "1.0.0", ordinary)
    world.given_harm("R3", "1.1.0", ordinary)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    began = world.clock.now()
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.finished_at is not None
    assert 4 <= (view.finished_at - began).total_seconds() < 60


async def test_a_bake_until_pass_that_stays_undecided_is_held_and_resume_bakes_again(
    make_world: MakeWorld,
) -> None:
    bake = {"bake": {"until": "pass", "min": "4s", "max": "10s"}}
    world = make_world({"steps": [{"set_weight": 75}, bake], "stages": [{"regions": ["R3"]}]})
    rollout_id = await world.given_baking("1.1.0")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "bake.undecided"
    assert "harm is not ruled out for" in view.reason.text
    await world.commands.resume(rollout_id, DANA, "look longer")
    await world.run(6)
    assert (await world.rollout(rollout_id)).phase is Phase.PROGRESSING
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "bake.undecided"
    assert world.effects("R3", "deploy") == ["1.1.0"]
