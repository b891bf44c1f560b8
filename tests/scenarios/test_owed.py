"""What is owed afterwards: the watch over a release, and the recovery after a rollback."""

from collections.abc import Callable
from typing import cast

import pytest

from rollout.core.errors import Conflict, PermanentError, TransientError
from rollout.core.model import Kind, ObligationKind, ObligationState, Phase, RegionPhase
from tests.scenarios.test_drift import by_hand
from tests.scenarios.world import DANA, HEALTHY, NAMES, ONE, POLICY, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
RELEASED = {"1.1.0": 4}
LONG_WATCH = {"steps": [{"set_weight": 75}, {"bake": "15s"}], "watch": "10m"}


async def owed(world: World, rollout_id: str, kind: ObligationKind) -> dict[str, ObligationState]:
    """Region → state of its newest obligation of one kind."""
    case = await world.case(rollout_id)
    return {o.region: o.state for o in case.obligations if o.kind is kind}


async def test_late_harm_under_a_newer_release_holds_that_pages_and_acts_where_the_older_still_runs(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG_WATCH)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until_region(second, "R3", RegionPhase.BAKING)
    world.given_harm("R1", "1.1.0")
    await world.until(first, Phase.ROLLED_BACK)
    assert await world.running("R1") == await world.running("R2") == {"1.0.0": 4}
    assert "1.2.0" in await world.running("R3")
    view = await world.until(second, Phase.HELD, within=5)
    assert view.hold is not None
    assert view.hold.owner == "controller"
    assert "turned out harmful" in view.reason.text
    assert any("mail 1.2.0 is held" in page for page in world.pages())
    await world.commands.rollback(second, DANA, "go back before both")
    await world.until(second, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"1.0.0": 4}


async def test_harm_in_the_same_second_as_a_newer_deploy_is_not_lost(make_world: MakeWorld) -> None:
    world = make_world(LONG_WATCH)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until(second, Phase.PREFLIGHT)
    world.given_harm("R3", "1.1.0", {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]})
    view = await world.until(first, Phase.ROLLED_BACK, Phase.SUCCEEDED)
    await world.run(60)
    view = await world.view(first)
    case = await world.case(second)
    assert view.phase is Phase.ROLLED_BACK or case.rollout.region("R3").touched_at
    assert not case.intents


async def test_what_newer_releases_replaced_everywhere_cannot_be_rolled_back_over_them(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until(second, Phase.SUCCEEDED)
    await world.run(40)
    try:
        await world.commands.rollback(first, DANA, "oops, the wrong id")
    except Conflict:
        return
    await world.run(20)
    assert (await world.rollout(first)).phase is Phase.SUCCEEDED
    assert [await world.running(name) for name in NAMES] == [{"1.2.0": 4}] * 3


async def test_a_watch_without_data_cannot_end_and_pages_once(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "guards": {"silence": "10m"}})
    rollout_id = await world.given_succeeded()
    world.silent |= {("R3", "1.1.0"), ("R3", "1.0.0")}
    await world.run(60)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.UNPROVEN}
    assert len([page for page in world.pages() if "cannot end without data" in page]) == 1
    assert len([page for page in world.pages() if "ended without data" in page]) == 1
    assert await world.running("R3") == {"1.0.0": 1, "1.1.0": 3}


async def test_a_watch_whose_data_come_back_in_time_ends_well(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "guards": {"silence": "10m"}})
    rollout_id = await world.given_succeeded()
    world.silent |= {("R3", "1.1.0"), ("R3", "1.0.0")}
    await world.run(35)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.OVERDUE}
    assert (await world.view(rollout_id)).needs_person
    world.silent.clear()
    await world.run(20)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.MET}
    assert await world.running("R3") == RELEASED


async def test_a_watch_that_sees_nothing_is_paged_long_before_it_ends(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "10m", "guards": {"silence": "10m"}})
    rollout_id = await world.given_succeeded()
    for _ in range(2):
        world.silent |= {("R3", "1.1.0"), ("R3", "1.0.0")}
        await world.run(60)
        world.silent.clear()
        await world.run(10)
    blind = [page for page in world.pages() if "in R3 has seen nothing for 21 s" in page]
    assert len(blind) == 2
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.OPEN}


async def test_an_overdue_watch_is_looked_at_as_often_as_it_is_judged(make_world: MakeWorld) -> None:
    often = {**cast(dict[str, object], POLICY["judging"]), "interval": "10s", "max_age": "30s"}
    late = {**cast(dict[str, object], POLICY["deadlines"]), "blind": "300s"}
    world = make_world({**ONE, "judging": often, "deadlines": late, "guards": {"silence": "10m"}})
    rollout_id = await world.given_succeeded()
    world.plugins.fake_deployer("R3")._arrange("mail", ["1.1.0"] * 3)  # its baseline is gone
    await world.run(60)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.OVERDUE}
    before = (await world.rollout(rollout_id)).version
    await world.run(100)
    assert (await world.rollout(rollout_id)).version - before == 10
    await world.run(200)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.UNPROVEN}
    assert (await world.rollout(rollout_id)).next_due_at is None


@pytest.mark.parametrize("before_s", [0, 2])
async def test_a_watch_ends_by_nothing_that_was_seen_to_run_and_not_read_back_yet(
    make_world: MakeWorld, before_s: int
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_succeeded()
    (watch,) = (await world.case(rollout_id)).obligations
    while (watch.until - world.clock.now()).total_seconds() > before_s:
        await world.tick()
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.run(40)
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.UNPROVEN}
    assert await world.running("R3") == {"1.0.0": 4}


async def test_a_holdback_is_read_back_again_where_a_reading_failed(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_succeeded()
    world.plugins.fake_deployer("R3").fail_next(Kind.VERIFY, PermanentError("not now"))
    await world.run(50)
    region = (await world.rollout(rollout_id)).region("R3")
    assert (region.running, region.weight) == (RELEASED, 100)
    assert not world.pages()


async def test_a_holdback_that_was_ordered_and_never_shows_is_paged_once_its_time_is_over(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    await world.given_succeeded()
    world.plugins.fake_deployer("R3")._wanted = lambda _: ["1.1.0"] * 3 + ["1.0.0"]  # type: ignore[method-assign]
    await world.run(90)
    (page,) = world.pages()
    assert "R3 could not be brought from 75 % to 100 % of 1.1.0 after its watch: it was not read" in page
    assert "in 20 s: it runs 1 × 1.0.0, 3 × 1.1.0. The rest stays on 1.0.0" in page


async def test_a_holdback_that_cannot_be_released_is_paged(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_succeeded()
    world.plugins.fake_deployer("R3").fail_next(Kind.DEPLOY, PermanentError("no capacity"))
    await world.run(60)
    assert len([page for page in world.pages() if "R3" in page and "no capacity" in page]) == 1
    assert await owed(world, rollout_id, ObligationKind.WATCH) == {"R3": ObligationState.MET}


async def test_a_recovery_past_its_time_pages_once_and_goes_on(make_world: MakeWorld) -> None:
    world = make_world({"recovery": {"stalled_after": "10s", "check_every": "2s", "within": "20s"}})
    rollout_id = await world.given_baking("1.2.0")
    deployer = world.plugins.fake_deployer("R3")
    deployer._resume = lambda action: ()  # type: ignore[method-assign]
    deployer.stall("mail", {"send-1": 40.0}, backlog=3)
    await world.commands.rollback(rollout_id, DANA, "sends stall")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(60)
    assert await owed(world, rollout_id, ObligationKind.RECOVERY) == {"R3": ObligationState.OVERDUE}
    (page,) = [page for page in world.pages() if "has not recovered" in page]
    assert page.startswith("mail 1.2.0: R3 has not recovered after 2")
    assert "s: 1 item is still stalled." in page
    assert page.endswith(f"See: rollout status {rollout_id}")
    deployer._services["mail"].stalled.clear()
    await world.run(20)
    assert await owed(world, rollout_id, ObligationKind.RECOVERY) == {"R3": ObligationState.MET}


async def test_a_controller_that_was_away_asks_before_it_pages_that_recovery_is_late(
    make_world: MakeWorld,
) -> None:
    world = make_world({"recovery": {"stalled_after": "10s", "check_every": "2s", "within": "20s"}})
    rollout_id = await world.given_baking("1.2.0")
    deployer = world.plugins.fake_deployer("R3")
    deployer.stall("mail", {"send-1": 40.0}, backlog=3)
    await world.commands.rollback(rollout_id, DANA, "sends stall")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(3)
    assert await owed(world, rollout_id, ObligationKind.RECOVERY) == {"R3": ObligationState.OPEN}
    world.clock.advance(300)
    await world.run(10)
    assert await owed(world, rollout_id, ObligationKind.RECOVERY) == {"R3": ObligationState.MET}
    assert [page for page in world.pages() if "recovered" in page] == []


async def test_a_recovery_that_cannot_be_seen_is_paged_with_why(make_world: MakeWorld) -> None:
    world = make_world({"recovery": {"stalled_after": "10s", "check_every": "2s", "within": "20s"}})
    rollout_id = await world.given_baking("1.2.0")
    for _ in range(20):
        world.plugins.fake_deployer("R3").fail_next(Kind.FIND_STALLED, PermanentError("no such job."))
    await world.commands.rollback(rollout_id, DANA, "sends stall")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(60)
    (page,) = [page for page in world.pages() if "has not recovered" in page]
    assert "what is stalled there cannot be seen, no such job." in page


async def test_a_fix_may_be_released_while_recovery_goes_on(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.2.0")
    world.plugins.fake_deployer("R3").fail_next(Kind.FIND_STALLED, TransientError("later"))
    await world.commands.rollback(rollout_id, DANA, "sends stall")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    fix = await world.start("1.3.0")
    await world.until(fix, Phase.SUCCEEDED)
    assert await owed(world, rollout_id, ObligationKind.RECOVERY) == {"R3": ObligationState.MET}
