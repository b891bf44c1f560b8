"""A good release travels R3 → R1 → R2; a bad one comes back by itself."""

from rollout.core.model import ObligationState, Outcome, Phase, RegionPhase
from tests.scenarios.world import World


async def test_a_good_release_travels_r3_r1_r2_and_is_watched(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.PROMOTED
    passed = [region.passed_at for region in view.regions]
    assert passed == sorted(passed)
    assert [await world.running(name) for name in ("R3", "R1", "R2")] == [{"1.1.0": 3, "1.0.0": 1}] * 3
    await world.run(40)
    case = await world.case(rollout_id)
    assert {owed.state for owed in case.obligations} == {ObligationState.MET}
    assert await world.running("R2") == {"1.1.0": 4}


async def test_a_passed_bake_says_what_it_did_not_rule_out(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    rows = [event.transition for event in await world.store.events(rollout_id=rollout_id)]
    (said,) = [row.reason.text for row in rows if row.reason.code == "region.passed"]
    on, _, rest = said.partition("; ")
    assert on.startswith("R3 passed its whole bake on ")
    assert rest == "not ruled out: ×2 failed requests, ×5 restarts."


async def test_weights_rise_step_by_step_with_one_baseline_instance_held_back(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    assert await world.running("R3") == {"1.1.0": 1, "1.0.0": 3}
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    assert await world.running("R3") == {"1.1.0": 3, "1.0.0": 1}
    assert await world.running("R2") == {"1.0.0": 4}
    assert [e.action.weight for e in world.plugins.fake_deployer("R3").effects][-2:] == [25, 75]


async def test_harm_in_r1_restores_every_touched_region_and_r2_never_receives_it(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R1", RegionPhase.BAKING)
    world.given_harm("R1", "1.2.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ROLLED_BACK
    assert "R1 failed requests" in view.reason.text
    assert [await world.running(name) for name in ("R3", "R1", "R2")] == [{"1.0.0": 4}] * 3
    assert world.effects("R2", "deploy") == []
    assert view.reason.region == "R1"
    assert view.reason.signal == "errors"


async def test_harm_that_begins_in_the_watch_still_rolls_back_everywhere(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    await world.run(5)
    world.given_harm("R2", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in ("R3", "R1", "R2")] == [{"1.0.0": 4}] * 3


async def test_after_a_rollback_the_release_is_nobodys_known_good(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R1", RegionPhase.BAKING)
    good = {k.region: k.known_good[0].release.version for k in await world.store.service_regions("mail")}
    assert good["R3"] == "1.2.0"  # earned by its whole bake there
    world.given_harm("R1", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    regions = await world.store.service_regions("mail")
    assert {k.known_good[0].release.version for k in regions} == {"1.0.0"}


async def test_evidence_is_collected_before_each_restore(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    world.given_harm("R3", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    kinds = [action.kind for _, action in world.plugins.fake_deployer("R3").calls]
    assert kinds.index("collect") < kinds.index("restore")


async def test_stalled_work_is_found_and_resumed_until_the_backlog_is_normal(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    world.plugins.fake_deployer("R3").stall("mail", {"send-1": 40.0, "send-2": 35.0}, backlog=3)
    world.given_harm("R3", "1.2.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(20)
    owed = (await world.case(rollout_id)).obligations
    assert [o.state for o in owed if o.kind == "recovery"] == [ObligationState.MET]
    assert owed[-1].progress["resumed"] == 2
    resumed = [e.items for e in world.plugins.fake_deployer("R3").effects if e.items]
    assert resumed == [("send-1", "send-2")]
