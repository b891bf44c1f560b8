"""After somebody restored a region without the database: nothing fights it, and people see who did what."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rollout.core.errors import Fenced
from rollout.core.model import Kind, KnownGood, Phase, RegionPhase
from rollout.core.model import Release as Version
from rollout.emergency.restoring import ABOVE
from rollout.ports import Emergency, Fence, Replica
from tests.scenarios.test_watches_that_rest import BROKEN, LONG
from tests.scenarios.world import ADMIN, DANA, World

MakeWorld = Callable[[dict[str, object]], World]
REASON = "the database host burns, and R3 fails"


async def ordered(world: World, version: str, *, region: str = "R3", state: str = "done") -> Emergency:
    """What the command does while the database is gone: the region is put on `version`, above every fence."""
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == region]
    found = [good for good in pair.known_good if good.release.version == version]
    good = (
        found[0]
        if found
        else KnownGood(
            service="mail",
            region=region,
            release=Version(service="mail", version=version),
            since=world.clock.now(),
            how="adopted",
            by="before",
        )
    )
    target = world.plugins.fake_deployer(region)
    target.install("mail", version)
    generation = target._services["mail"].generation = pair.generation + ABOVE
    world.clock.advance(1)
    now = world.clock.now()
    return Emergency(
        key=f"emergency/mail/{region}/em_1",
        service="mail",
        region=region,
        known_good=good,
        generation=generation,
        by="ana@bastion",
        reason=REASON,
        at=now - timedelta(seconds=1),
        state=state,
        ended_at=None if state == "begun" else now,
        running={version: 4} if state == "done" else {},
    )


async def back(world: World, emergency: Emergency) -> None:
    """The database is there again, with a controller that knows only what is in it."""
    assert await world.store.take_in(emergency, world.clock.now())
    world.reconciler = world.another_controller()


async def given_pending(world: World) -> str:
    """A deploy to R3 that its target has taken, and that does not end; the id of its rollout."""
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 1000)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.run(2)
    return rollout_id


def orders(world: World, region: str = "R3") -> int:
    kinds = (Kind.DEPLOY, Kind.RESTORE)
    return sum(action.kind in kinds for _, action in world.plugins.fake_deployer(region).calls)


async def test_a_rollout_under_way_is_held_in_the_name_of_who_did_it(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    before = orders(world)
    await back(world, emergency)
    await world.run(60)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.HELD
    assert rollout.hold is not None
    assert rollout.hold.owner == "emergency (ana@bastion)"
    assert "restored R3 to 1.0.0 in an emergency, without the database" in rollout.hold.reason
    assert REASON in rollout.hold.reason
    assert orders(world) == before
    assert await world.running("R3") == {"1.0.0": 4}
    events = [event.transition for event in await world.store.events(rollout_id=rollout_id)]
    assert any(event.actor == "emergency (ana@bastion)" and event.to_phase == "held" for event in events)
    assert await world.store.doubted() == ()  # it was read back as it was recorded


async def test_people_are_woken_once_with_the_way_back_and_the_way_on(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0", "R1")
    await back(world, await ordered(world, "1.0.0"))
    await world.run(30)
    (page,) = [page for page in world.pages() if "in an emergency" in page]
    assert page.startswith("mail 1.1.0 is held: ana@bastion restored R3 to 1.0.0 in an emergency")
    assert page.endswith(
        f"{REASON}. R1 still runs 1.1.0. `rollout rollback {rollout_id}` takes it back everywhere; `rollout "
        f"resume {rollout_id}` puts 1.1.0 BACK into R3."
    )
    listed, _ = await world.queries.rollouts(needs_person=True)
    assert [view.id for view in listed] == [rollout_id]
    assert listed[0].next is not None
    assert f"rollout rollback {rollout_id}" in listed[0].next.what


async def test_in_doubt_where_the_release_still_runs_elsewhere_the_way_back_comes_before_adopting(
    world: World,
) -> None:
    rollout_id = await world.given_baking("1.1.0", "R1")
    emergency = await ordered(world, "1.0.0", state="begun")
    world.plugins.fake_deployer("R3").install("mail", "0.9.0")
    await back(world, emergency)
    await world.run(30)
    view = await world.view(rollout_id)
    assert view.next is not None
    adopt = 'rollout adopt mail --region R3 --reason "…"'
    assert view.next.what == f"R1 still runs 1.1.0: rollout rollback {rollout_id}; then: {adopt}"
    assert ("cancel" in view.possible, "rollback" in view.possible) == (False, True)
    await world.commands.rollback(rollout_id, ADMIN, "first the users of R1")
    await world.until_region(rollout_id, "R1", RegionPhase.RESTORED)
    assert await world.running("R1") == {"1.0.0": 4}


async def test_what_is_ended_in_doubt_after_an_emergency_says_so(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await back(world, await ordered(world, "1.0.0", state="begun"))
    await world.run(15)
    view = await world.view(rollout_id)
    assert "cancel" in view.possible
    await world.commands.cancel(rollout_id, ADMIN, "nobody knows what runs")
    view = await world.until(rollout_id, Phase.CANCELED)
    assert "ended it without acting: nobody knows what runs. It was in doubt: ana@bastion restored R3" in (
        view.reason.text
    )
    assert "put back" not in view.reason.text


async def test_what_was_read_back_is_shown_and_neither_bake_nor_reach_goes_on(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    await back(world, emergency)
    shown = []
    for seconds in (15, 60):
        await world.run(seconds)
        view = await world.view(rollout_id)
        (region,) = [one for one in view.regions if one.region == "R3"]
        assert region.bake is not None
        shown.append((region.running, region.bake.elapsed_s, view.exposure.duration_s, region.message))
    running, baked_s, reach_s, message = shown[0]
    assert shown[1] == shown[0]
    assert running == {"1.0.0": 4}
    assert 0 <= baked_s <= reach_s <= (emergency.at - (await world.rollout(rollout_id)).created_at).seconds
    assert message == f"1.1.0 does not run here since {emergency.at:%H:%M:%S} UTC"


async def test_a_deploy_that_was_pending_is_dropped_and_not_taken_for_a_failure(world: World) -> None:
    rollout_id = await given_pending(world)
    emergency = await ordered(world, "1.0.0")
    before = orders(world)
    await back(world, emergency)
    await world.run(60)
    rollout = await world.rollout(rollout_id)
    assert (rollout.phase, rollout.region("R3").phase) == (Phase.HELD, RegionPhase.DEPLOYING)
    assert orders(world) == before
    records = [record for record in (await world.case(rollout_id)).actions if record.state == "dropped"]
    assert "Not done: ana@bastion restored R3 to 1.0.0" in records[0].result.message


async def test_another_owner_of_the_hold_does_not_take_it_for_a_deploy_that_failed(world: World) -> None:
    rollout_id = await given_pending(world)
    await back(world, await ordered(world, "1.0.0"))
    await world.run(10)
    await world.commands.hold(rollout_id, DANA, "I look into it")
    await world.run(60)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.HELD
    assert rollout.hold is not None
    assert rollout.hold.owner == "dana"
    assert len(world.pages()) == 1


async def test_harm_of_what_arrives_there_late_takes_it_back(make_world: MakeWorld) -> None:
    world = make_world({"guards": LONG["guards"]})
    rollout_id = await world.given_baking("1.1.0")
    target = world.plugins.fake_deployer("R3")
    target.slow(Kind.DEPLOY, 1000)
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)  # from 25 % to 75 %
    await world.run(2)
    await back(world, await ordered(world, "1.0.0"))
    await world.run(15)
    target._arrange("mail", ["1.1.0"] * 3 + ["1.0.0"])
    world.given_harm("R3", "1.1.0", BROKEN)
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome == "rolled_back"
    assert await world.running("R3") == {"1.0.0": 4}


async def test_a_person_then_takes_the_release_back_everywhere(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    await back(world, emergency)
    await world.run(15)
    await world.commands.rollback(rollout_id, ADMIN, "it was bad")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"1.0.0": 4}
    assert view.outcome == "aborted"
    (pair, *_) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert pair.generation > emergency.generation


async def test_the_silence_of_what_it_took_away_is_no_harm_also_after_a_long_outage(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    world.clock.advance(300)
    await back(world, emergency)
    await world.run(120)
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
    await world.commands.resume(rollout_id, DANA, "mended")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert await world.running("R3") == {"1.1.0": 3, "1.0.0": 1}


async def test_harm_in_another_region_meanwhile_takes_the_release_back_everywhere(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0", "R1")
    await back(world, await ordered(world, "1.0.0"))
    await world.run(15)
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
    world.given_harm("R1", "1.1.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome == "rolled_back"
    assert await world.running("R1") == {"1.0.0": 4}


async def test_a_way_back_that_was_under_way_ends_where_the_emergency_put_the_region(world: World) -> None:
    """The target of the rollback was bad too, and somebody chose the one before it."""
    await world.given_known_good("0.9.0")
    for name in ("R3", "R1", "R2"):
        world.plugins.fake_deployer(name).install("mail", "1.0.0")
    await world.run(12)
    await world.commands.adopt("mail", ADMIN, "newer")
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    target = world.plugins.fake_deployer("R3")
    target.unreachable = True
    await world.commands.rollback(rollout_id, DANA, "bad")
    await world.run(8)
    assert (await world.rollout(rollout_id)).phase is Phase.ROLLING_BACK
    emergency = await ordered(world, "0.9.0")
    before = orders(world)
    await back(world, emergency)
    target.unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert orders(world) == before
    assert await world.running("R3") == {"0.9.0": 4}


async def test_the_watch_of_a_release_that_was_replaced_ends_and_brings_nothing_more(world: World) -> None:
    rollout_id = await world.given_succeeded("1.1.0")
    emergency = await ordered(world, "1.0.0")
    await back(world, emergency)
    await world.run(90)
    assert await world.running("R3") == {"1.0.0": 4}
    assert await world.running("R1") == {"1.1.0": 4}
    notes = [event.transition.reason.text for event in await world.store.events(rollout_id=rollout_id)]
    assert any("emergency" in text for text in notes)
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert pair.known_good[0].release.version == "1.0.0"
    assert "ana@bastion, in an emergency" in pair.known_good[0].by


async def test_what_was_rolled_back_is_not_known_good_again_by_an_emergency_that_is_heard_of_late(
    world: World,
) -> None:
    rollout_id = await world.given_succeeded("1.1.0")
    emergency = await ordered(world, "1.1.0")
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(20)
    await back(world, emergency)
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert "1.1.0" not in [good.release.version for good in pair.known_good]
    assert pair.generation >= emergency.generation


async def test_the_silence_of_a_watched_release_is_no_harm_where_an_emergency_took_it_away_in_a_long_outage(
    world: World,
) -> None:
    rollout_id = await world.given_succeeded("1.1.0")
    emergency = await ordered(world, "1.0.0")
    world.clock.advance(300)
    await back(world, emergency)
    await world.run(120)
    assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED
    assert await world.running("R1") == {"1.1.0": 4}


async def test_a_restore_that_was_refused_at_its_fence_is_ordered_again_above_it(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.1.0")
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(10)
    assert await world.running("R3") == {"1.1.0": 4}
    await back(world, emergency)
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"1.0.0": 4}
    assert (await world.rollout(rollout_id)).region("R3").tried == ()


async def test_automatic_promotion_of_the_service_stops(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    waiting = await world.start("1.2.0")
    emergency = await ordered(world, "1.0.0")
    await back(world, emergency)
    service = await world.store.service("mail")
    assert (service.stopped_by, service.stopped_at) == (rollout_id, emergency.at)
    await world.run(5)
    assert (await world.rollout(waiting)).phase is Phase.HELD


async def test_the_fence_is_never_lowered_and_the_same_emergency_is_taken_in_once(world: World) -> None:
    await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    await back(world, emergency)
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert pair.generation == emergency.generation
    assert not await world.store.take_in(emergency, world.clock.now())


async def test_what_ended_nobody_knows_how_stays_in_doubt_until_a_person_says(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0", state="begun")
    await back(world, emergency)
    await world.run(30)
    (pair,) = await world.store.doubted()
    assert pair.doubt is not None
    assert "how it ended is not recorded" in pair.doubt.text
    await world.commands.cancel(rollout_id, ADMIN, "it is over")
    await world.run(3)
    await world.commands.adopt("mail", ADMIN, "1.0.0 serves", ["R3"])
    await world.run(3)
    assert await world.store.doubted() == ()


async def test_an_emergency_of_long_ago_changes_nothing_that_became_good_since(world: World) -> None:
    """A new database has it from the signed file; the record in the same directory is older."""
    await world.given_known_good()
    emergency = await ordered(world, "0.9.0")
    world.plugins.fake_deployer("R3").install("mail", "1.0.0")
    await world.run(12)
    await world.commands.adopt("mail", ADMIN, "it serves again")
    await back(world, emergency)
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert [good.release.version for good in pair.known_good] == ["1.0.0"]
    assert pair.doubt is None
    assert pair.generation >= emergency.generation
    assert (await world.store.service("mail")).stopped_at is None


async def test_whoever_holds_the_service_is_fenced_off(world: World) -> None:
    await world.given_baking("1.1.0")
    emergency = await ordered(world, "1.0.0")
    mine = Replica(id="only", incarnation="in_2")
    held = await world.store.hold(mine, instead_of=None, busy=())
    await world.store.take_in(emergency, world.clock.now())
    fence = Fence(service="mail", owner="only", epoch=held.claims["mail"])
    with pytest.raises(Fenced):
        await world.store.settle_doubt("mail", "R3", None, fence)
    again = await world.store.hold(mine, instead_of=held.instead_of, busy=())
    assert again.claims["mail"] > held.claims["mail"]
