"""A region that was read back runs something else later: it is seen, ordered again, or left to people."""

from collections.abc import Callable

import pytest

from rollout.core.actions import Action
from rollout.core.errors import Conflict, NotAllowed
from rollout.core.model import IntentKind, Kind, ObligationState, Phase, RegionPhase
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, ONE, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
SEEN_IN, MENDED_IN = 10, 20  # seconds that F19 allows
LONG = {"steps": [{"set_weight": 75}, {"bake": "60s"}]}


def by_hand(world: World, region: str, *versions: str) -> None:
    """Somebody, or something, brings this to a region without an order."""
    world.plugins.fake_deployer(region)._arrange("mail", versions)


async def triggers(world: World, rollout_id: str, region: str | None) -> list[str]:
    """What history says of one region, or of the rollout itself."""
    rows = [event.transition for event in await world.store.events(rollout_id=rollout_id, limit=1000)]
    return [row.trigger for row in rows if row.region == region]


async def seconds_until(world: World, rollout_id: str, trigger: str, region: str | None = "R3") -> int:
    """How long a row of history takes to come."""
    before = (await triggers(world, rollout_id, region)).count(trigger)
    for second in range(60):
        if (await triggers(world, rollout_id, region)).count(trigger) > before:
            return second
        await world.tick()
    raise AssertionError(f"{region} never {trigger}: {await triggers(world, rollout_id, region)}")


async def test_a_baking_region_that_lost_its_release_is_ordered_again_and_bakes_anew(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    await world.run(40)
    before = (await world.rollout(rollout_id)).region("R3")
    by_hand(world, "R3", *["1.0.0"] * 4)
    assert await seconds_until(world, rollout_id, "drifted") <= SEEN_IN
    said = next(text for text in world.notices() if "ordered again" in text)
    assert said == (
        "mail 1.1.0: R3 runs 4 × 1.0.0, and 75 % of 1.1.0, the rest of 1.0.0, was read back there: ordered "
        "again, 1 of 3 within 1 h. Its bake begins anew unless it has passed."
    )
    assert await seconds_until(world, rollout_id, "deployed") <= MENDED_IN
    assert await world.running("R3") == {"1.1.0": 3, "1.0.0": 1}
    after = (await world.rollout(rollout_id)).region("R3")
    assert after.generation > before.generation
    assert after.bake_started_at is not None
    assert before.bake_started_at is not None
    assert after.bake_started_at > before.bake_started_at
    await world.run(50)
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.BAKING
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)


async def test_a_region_that_passed_is_read_back_again_and_its_bake_is_not_repeated(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    by_hand(world, "R3", *["1.0.0"] * 4)
    assert await seconds_until(world, rollout_id, "mended") <= MENDED_IN
    region = (await world.rollout(rollout_id)).region("R3")
    assert region.phase is RegionPhase.PASSED
    assert await world.running("R3") == {"1.1.0": 3, "1.0.0": 1}
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert (await triggers(world, rollout_id, "R3")).count("bake_passed") == 1


async def test_nothing_more_is_touched_while_a_region_is_not_what_was_ordered(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 12)
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.run(12)
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.DEPLOYING
    assert (await world.rollout(rollout_id)).region("R2").phase is RegionPhase.PENDING
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_late_deploy_after_a_region_was_restored_is_taken_back(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.plugins.fake_deployer("R1").unreachable = True  # keeps the rollback under way
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORED)
    by_hand(world, "R3", "1.1.0", "1.1.0", "1.1.0", "1.0.0")
    assert await seconds_until(world, rollout_id, "restored") <= MENDED_IN
    assert await world.running("R3") == {"1.0.0": 4}
    world.plugins.fake_deployer("R1").unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK)
    case = await world.case(rollout_id)
    owed = [o.region for o in case.obligations if o.kind == "recovery"]
    assert set(owed) == {"R1", "R3"}


async def test_crashed_instances_are_no_drift(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    deployer = world.plugins.fake_deployer("R3")
    for place in range(3):
        deployer.crash("mail", place, healthy=False)
    await world.run(8)
    for place in range(3):
        deployer.crash("mail", place)
    await world.run(4)
    assert "drifted" not in await triggers(world, rollout_id, "R3")


async def test_a_blip_that_a_read_back_does_not_confirm_changes_nothing(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.reconciler.tick()  # the reading; its read-back finds that it was undone
    by_hand(world, "R3", "1.1.0", "1.1.0", "1.1.0", "1.0.0")
    await world.run(10)
    assert "drifted" not in await triggers(world, rollout_id, "R3")
    region = (await world.rollout(rollout_id)).region("R3")
    assert region.drift is None
    assert region.reads_as == {}


async def test_readings_that_count_otherwise_than_read_backs_are_asked_about_twice_and_then_believed(
    make_world: MakeWorld,
) -> None:
    """Half of the servers with a tenth of the traffic, as a balancer has them."""
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    deployer = world.plugins.fake_deployer("R3")
    real = deployer.instances

    async def instances(service: str) -> object:
        return [one for one in await real(service) for _ in range(3 if one.version == "1.0.0" else 1)]

    deployer.instances = instances  # type: ignore[method-assign,assignment]
    asked = len([key for key, action in deployer.calls if action.kind is Kind.VERIFY])
    await world.run(30)
    assert "drifted" not in await triggers(world, rollout_id, "R3")
    assert len([key for key, action in deployer.calls if action.kind is Kind.VERIFY]) == asked + 2


async def test_a_version_of_nobody_is_left_alone_and_people_are_woken(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    by_hand(world, "R3", "9.9.9", "9.9.9", "1.1.0", "1.0.0")
    assert await seconds_until(world, rollout_id, "drifted", None) <= MENDED_IN
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.text.startswith("R3 runs 1 × 1.0.0, 1 × 1.1.0, 2 × 9.9.9, and 75 % of 1.1.0, the rest")
    assert "somebody brought 9.9.9, which is no part of this rollout" in view.reason.text
    await world.run(30)
    assert len([page for page in world.pages() if "9.9.9" in page]) == 1
    assert world.effects("R3", "deploy") == ["1.1.0"]
    await world.commands.resume(rollout_id, DANA, "that was me, it is over")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.until(rollout_id, Phase.SUCCEEDED, within=600)


async def test_the_fourth_time_within_an_hour_it_is_held_instead_of_fought(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    for _ in range(3):
        by_hand(world, "R3", *["1.0.0"] * 4)
        await seconds_until(world, rollout_id, "deployed")
    by_hand(world, "R3", *["1.0.0"] * 4)
    view = await world.until(rollout_id, Phase.HELD, within=30)
    assert "ordered again 3 times within 1 h, and something else orders there too" in view.reason.text
    assert any(view.reason.text in page for page in world.pages())
    orders = len(world.effects("R3", "deploy"))
    await world.run(30)
    assert len(world.effects("R3", "deploy")) == orders == 4


async def test_what_was_mended_more_than_an_hour_ago_does_not_count(make_world: MakeWorld) -> None:
    world = make_world({"steps": [{"set_weight": 75}, {"bake": "6h"}]})
    rollout_id = await world.given_baking("1.1.0")
    for _ in range(5):
        by_hand(world, "R3", *["1.0.0"] * 4)
        await seconds_until(world, rollout_id, "deployed")
        world.clock.advance(1500)
        await world.run(3)
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.BAKING
    assert len(world.effects("R3", "deploy")) == 6


async def test_a_rollout_that_is_held_orders_nothing_until_it_is_resumed(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "lunch")
    await world.until(rollout_id, Phase.HELD)
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.run(SEEN_IN)
    assert world.effects("R3", "deploy") == ["1.1.0"]
    (page,) = [page for page in world.pages() if "R3 runs 4 × 1.0.0" in page]
    assert page.endswith(
        f"Safe: `rollout rollback {rollout_id}` takes it back everywhere. Else, once that is mended: "
        f"`rollout resume {rollout_id}` orders it again."
    )
    view = await world.view(rollout_id)
    assert view.needs_person
    assert "held by dana: lunch" in view.blocked_by
    assert any(
        "R3 runs 4 × 1.0.0 since" in text and "and not 75 % of 1.1.0" in text for text in view.blocked_by
    )
    assert "drifted" in await triggers(world, rollout_id, None)
    await world.commands.resume(rollout_id, DANA, "lunch is over")
    assert await seconds_until(world, rollout_id, "deployed") <= SEEN_IN
    assert await world.running("R3") == {"1.1.0": 3, "1.0.0": 1}


async def test_what_was_set_right_by_hand_while_held_is_not_ordered_again(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    by_hand(world, "R3", *["9.9.9"] * 4)
    await world.until(rollout_id, Phase.HELD, within=30)
    by_hand(world, "R3", "1.1.0", "1.1.0", "1.1.0", "1.0.0")
    await world.run(5)
    await world.commands.resume(rollout_id, DANA, "it is right again")
    await world.run(5)
    assert world.effects("R3", "deploy") == ["1.1.0"]
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.BAKING


async def test_on_the_way_back_a_version_of_nobody_makes_the_rollback_a_failed_one(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    world.plugins.fake_deployer("R1").unreachable = True
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORED)
    by_hand(world, "R3", *["9.9.9"] * 4)
    view = await world.until(rollout_id, Phase.ROLLBACK_FAILED, within=MENDED_IN)
    assert "somebody brought 9.9.9" in view.reason.text
    assert await world.running("R3") == {"9.9.9": 4}
    by_hand(world, "R3", *["1.0.0"] * 4)
    world.plugins.fake_deployer("R1").unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK, within=60)


async def test_after_the_end_it_is_said_once_and_nothing_is_ordered(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "300s", "guards": {"silence": "1h"}})
    rollout_id = await world.given_succeeded()
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.run(30)
    assert world.effects("R3", "deploy") == ["1.1.0"]
    (page,) = [page for page in world.pages() if "R3 runs 4 × 1.0.0" in page]
    assert "Nothing is ordered after the end" in page
    assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED


async def test_the_release_that_comes_again_after_a_rollback_wakes_people(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "recovery": {"stalled_after": "10s", "check_every": "5s", "within": "60s"}})
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").stall("mail", {"m-1": 100.0})
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    by_hand(world, "R3", *["1.1.0"] * 4)
    await world.run(MENDED_IN)
    assert [page for page in world.pages() if "R3 runs 4 × 1.1.0, and 1.0.0 alone was read back" in page]


async def given_rolled_back(world: World) -> str:
    """A rollout that was taken back, and whose recovery has ended; its id."""
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(8)
    assert {o.state for o in (await world.case(rollout_id)).obligations} == {ObligationState.MET}
    return rollout_id


async def test_a_deploy_that_lands_after_the_recovery_has_ended_wakes_people(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "60s"})
    rollout_id = await given_rolled_back(world)
    await world.run(30)
    by_hand(world, "R3", *["1.1.0"] * 4)
    await world.run(MENDED_IN)
    (page,) = world.pages()
    assert "R3 runs 4 × 1.1.0, and 1.0.0 alone was read back there. Nothing is ordered after the end" in page
    assert (await world.rollout(rollout_id)).phase is Phase.ROLLED_BACK


async def given_come_again(make_world: MakeWorld) -> tuple[World, str]:
    """A rollout that was taken back in R3 and R1, and whose release came again in R1, as people know."""
    world = make_world({**QUICK, "watch": "60s"})
    rollout_id = await world.given_baking("1.1.0", "R1")
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert "rollback" not in (await world.view(rollout_id)).possible
    await world.run(8)
    by_hand(world, "R1", *["1.1.0"] * 4)
    await world.run(MENDED_IN)
    return world, rollout_id


async def test_what_came_again_after_a_rollback_is_shown_with_the_way_back(make_world: MakeWorld) -> None:
    world, rollout_id = await given_come_again(make_world)
    await world.run(90)  # longer than it is compared where nothing came
    view = await world.view(rollout_id)
    assert view.sentence == (
        "mail 1.1.0 was rolled back, but then came again: R1 runs 4 × 1.1.0; users of R3 are on 1.0.0."
    )
    assert view.needs_person
    assert "rollback" in view.possible
    assert view.rollback_effect == "Roll back R1 to 1.0.0"
    assert view.next is not None
    assert view.next.what == f"Restore R1 again: rollout rollback {rollout_id}"
    (text,) = view.blocked_by
    assert text.startswith("R1 runs 4 × 1.1.0 since ")
    assert text.endswith(", and not 1.0.0")
    listed, _ = await world.queries.rollouts(needs_person=True)
    assert [each.id for each in listed] == [rollout_id]
    (page,) = world.pages()
    assert page.endswith(f"by itself. `rollout rollback {rollout_id}` restores what was good there.")


async def test_asking_to_roll_back_again_restores_what_came_again(make_world: MakeWorld) -> None:
    world, rollout_id = await given_come_again(make_world)
    before = (await world.rollout(rollout_id)).region("R1").generation
    await world.commands.rollback(rollout_id, DANA, "it is there again")
    await world.until(rollout_id, Phase.ROLLING_BACK)
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R1") == {"1.0.0": 4}
    assert (await world.rollout(rollout_id)).region("R1").generation > before
    assert [world.effects(name, "restore") for name in ("R3", "R1")] == [["1.0.0"], ["1.0.0"] * 2]
    assert (view.outcome, view.needs_person) == ("aborted", False)
    assert view.sentence == "mail 1.1.0 was rolled back; users are on 1.0.0."


async def test_asking_to_roll_back_again_where_nothing_came_again_is_noted_and_orders_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world({**ONE, "watch": "60s"})
    rollout_id = await given_rolled_back(world)
    await world.commands.rollback(rollout_id, DANA, "to be sure")
    await world.run(3)
    assert (await world.rollout(rollout_id)).phase is Phase.ROLLED_BACK
    assert world.effects("R3", "restore") == ["1.0.0"]
    events = await world.store.events(rollout_id=rollout_id, limit=1000)
    assert any("to be sure. Nothing is ordered" in event.transition.reason.text for event in events)


async def test_what_came_again_is_forgotten_once_it_was_mended_by_hand(make_world: MakeWorld) -> None:
    world, rollout_id = await given_come_again(make_world)
    by_hand(world, "R1", *["1.0.0"] * 4)
    await world.run(5)
    view = await world.view(rollout_id)
    assert (view.needs_person, view.blocked_by, view.next) == (False, (), None)


async def test_what_was_rolled_back_is_adopted_only_by_an_admin_who_says_why(make_world: MakeWorld) -> None:
    world, rollout_id = await given_come_again(make_world)
    with pytest.raises(Conflict, match=f"R1 runs 1.1.0, which was rolled back by {rollout_id}"):
        await world.commands.adopt("mail", ADMIN, "it runs")
    with pytest.raises(NotAllowed, match="needs the role admin"):
        await world.commands.adopt("mail", DANA, "it runs", ["R1"], "the harm was not its own")
    (good,) = await world.commands.adopt("mail", ADMIN, "it runs", ["R1"], "the harm was not its own")
    assert good.release.version == "1.1.0"
    assert good.by.endswith("it runs (override: the harm was not its own)")
    await world.run(5)
    view = await world.view(rollout_id)
    assert (view.needs_person, "rollback" in view.possible) == (False, False)
    await world.commands.adopt("mail", ADMIN, "once more", ["R1"])  # it is known good there now


@pytest.mark.parametrize(("watch", "lasts"), [("60s", 60), ("1s", 20)])
async def test_a_region_that_was_restored_is_compared_as_long_as_a_watch_or_a_deploy_lasts(
    make_world: MakeWorld, watch: str, lasts: int
) -> None:
    world = make_world({**ONE, "watch": watch})
    rollout_id = await given_rolled_back(world)
    restored_at = (await world.rollout(rollout_id)).region("R3").restored_at
    assert restored_at is not None
    while (await world.rollout(rollout_id)).next_due_at is not None:
        await world.tick()
    assert lasts - 1 <= (world.clock.now() - restored_at).total_seconds() <= lasts + 2
    by_hand(world, "R3", *["1.1.0"] * 4)
    await world.run(MENDED_IN)
    assert world.pages() == []


async def test_what_a_fix_runs_after_a_rollback_is_no_drift(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "200s"})
    rollout_id = await given_rolled_back(world)
    fix = await world.start("1.2.0")
    await world.until(fix, Phase.SUCCEEDED)
    await world.run(20)
    assert "drifted" not in await triggers(world, rollout_id, None)


async def test_what_a_newer_release_runs_is_no_drift_of_the_one_before(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "300s"})
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until(second, Phase.SUCCEEDED)
    await world.run(20)
    assert "drifted" not in await triggers(world, first, None)


async def test_the_slice_that_was_held_back_may_follow(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_succeeded()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 5)
    await world.run(60)
    assert await world.running("R3") == {"1.1.0": 4}
    assert "drifted" not in await triggers(world, rollout_id, None)


async def test_where_it_only_observes_nothing_drifts(make_world: MakeWorld) -> None:
    world = make_world({**LONG, "mode": "observe"})
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    by_hand(world, "R3", "1.1.0", "1.1.0", "1.1.0", "1.0.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    by_hand(world, "R3", *["9.9.9"] * 4)
    await world.run(10)
    assert not [text for text in world.notices() if "9.9.9" in text]


@pytest.mark.parametrize("running", [("1.0.0", "1.0.0"), ("1.1.0",) * 6 + ("1.0.0",) * 2])
async def test_fewer_or_more_instances_of_the_same_share_are_no_drift(
    make_world: MakeWorld, running: tuple[str, ...]
) -> None:
    """1.1.0 has crashed in all of its places, or the region has grown."""
    world = make_world({"steps": [{"set_weight": 25}, {"bake": "60s"}, {"set_weight": 75}, {"bake": "60s"}]})
    rollout_id = await world.given_baking("1.1.0")
    if len(running) > 4:
        await world.run(70)
    by_hand(world, "R3", *running)
    await world.run(10)
    assert "drifted" not in await triggers(world, rollout_id, "R3")


async def test_a_region_that_cannot_be_ordered_again_goes_back(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await world.given_baking("1.1.0")
    real = world.plugins.fake_deployer("R3")._wanted

    def wanted(action: Action) -> list[str]:
        return ["1.0.0"] * 4 if action.kind is Kind.DEPLOY else real(action)

    world.plugins.fake_deployer("R3")._wanted = wanted  # type: ignore[method-assign]
    by_hand(world, "R3", *["1.0.0"] * 4)
    view = await world.until(rollout_id, Phase.ROLLED_BACK, within=120)
    assert "not read back in 20 s: it runs 4 × 1.0.0" in view.reason.text


BARRIERS: list[dict[str, object]] = [{"gate": "smoke"}, {"approval": {"min": 1}}]


async def given_past(make_world: MakeWorld, barrier: dict[str, object]) -> tuple[World, str]:
    """R3 and R1 have passed a barrier of their stage together, and bake."""
    world = make_world(
        {
            "stages": [{"regions": ["R3", "R1"]}],
            "steps": [{"set_weight": 75}, barrier, {"bake": "20s"}],
        }
    )
    rollout_id = await world.given_baking("1.1.0")
    await world.until_region(rollout_id, "R1", RegionPhase.BAKING)
    await world.run(2)
    if "gate" in barrier:
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "passed")
    else:
        await world.commands.decide_approval(rollout_id, DANA, IntentKind.APPROVE, "fine")
    await world.run(5)
    return world, rollout_id


@pytest.mark.parametrize("barrier", BARRIERS)
async def test_what_drifts_behind_a_barrier_bakes_anew_and_does_not_ask_for_it_again(
    make_world: MakeWorld, barrier: dict[str, object]
) -> None:
    world, rollout_id = await given_past(make_world, barrier)
    before = (await world.rollout(rollout_id)).region("R3").bake_started_at
    by_hand(world, "R3", *["1.0.0"] * 4)
    assert await seconds_until(world, rollout_id, "deployed") <= SEEN_IN + MENDED_IN
    await world.run(2)
    region = (await world.rollout(rollout_id)).region("R3")
    assert region.step == 2
    assert before is not None
    assert region.bake_started_at is not None
    assert region.bake_started_at > before
    await world.until(rollout_id, Phase.SUCCEEDED)
    rows = await triggers(world, rollout_id, None)
    assert rows.count("approval_needed") + rows.count("gate_awaited") == 1
    assert not world.pages()


async def test_a_gate_that_is_reported_failed_later_does_not_stop_what_is_mended_behind_it(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_past(make_world, BARRIERS[0])
    await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "failed")
    by_hand(world, "R3", *["1.0.0"] * 4)
    assert await seconds_until(world, rollout_id, "deployed") <= SEEN_IN + MENDED_IN
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert "invariant_broken" not in await triggers(world, rollout_id, None)


async def test_what_the_way_back_of_a_newer_release_put_there_alone_is_no_drift(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "watch": "300s"})
    first = await world.given_succeeded("1.1.0")
    newer = await world.start("1.2.0")
    await world.until_region(newer, "R3", RegionPhase.BAKING)
    await world.commands.rollback(newer, DANA, "users complain")
    await world.until(newer, Phase.ROLLED_BACK)
    await world.run(15)
    assert await world.running("R3") == {"1.1.0": 4}
    region = (await world.rollout(first)).region("R3")
    assert (region.weight, dict(region.running), region.drift) == (100, {"1.1.0": 4}, None)
    assert not world.pages()
    (told,) = [text for text in world.notices() if text.startswith("mail 1.1.0: R3")]
    assert told == (
        "mail 1.1.0: R3 runs 4 × 1.1.0: an order above its own put it there (the way back of a newer "
        "release, or an emergency), also in place of the 25 % of 1.0.0 that were held back. With "
        "nothing beside it, its watch compares it with the past "
        "from here; where too little is known of that, it has guards only: look at it there."
    )
    view = await world.view(first)
    assert (view.blocked_by, view.needs_person) == ((), False)
    by_hand(world, "R3", *["1.0.0"] * 4)
    await world.run(SEEN_IN)
    (page,) = [page for page in world.pages() if page.startswith("mail 1.1.0: R3 runs")]
    assert "R3 runs 4 × 1.0.0, and 1.1.0 alone was read back there" in page


async def test_the_release_alone_that_nobody_ordered_stays_drift(make_world: MakeWorld) -> None:
    world = make_world({**QUICK, "watch": "300s"})
    rollout_id = await world.given_succeeded("1.1.0")
    by_hand(world, "R3", *["1.1.0"] * 4)
    await world.run(SEEN_IN)
    (page,) = [page for page in world.pages() if "R3 runs" in page]
    assert page.startswith("mail 1.1.0: R3 runs 4 × 1.1.0, and 75 % of 1.1.0, the rest of 1.0.0, was read")
    assert (await world.rollout(rollout_id)).region("R3").weight == 75
