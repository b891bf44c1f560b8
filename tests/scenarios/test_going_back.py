"""The way back: it is tried on, falls back, says what it cannot do, and ends only when it was read back."""

import re
from collections.abc import Callable

from rollout.core.errors import PermanentError
from rollout.core.model import Kind, Outcome, Phase, RegionPhase
from tests.scenarios.world import ADMIN, DANA, NAMES, ONE, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
OLD = {"1.0.0": 4}
GONE = PermanentError("The image is gone.")


async def given_harm_everywhere_touched(make_world: MakeWorld) -> tuple[World, str]:
    """1.2.0 bakes in R1 after R3, and harm has just begun."""
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.2.0", "R1")
    world.given_harm("R3", "1.2.0")
    return world, rollout_id


async def given_two_known_goods(make_world: MakeWorld) -> tuple[World, str]:
    """1.1.0 was earned over 1.0.0 everywhere; 1.2.0 bakes in R3."""
    world = make_world(QUICK)
    first = await world.given_succeeded()
    await world.run(40)
    assert (await world.rollout(first)).region("R3").holdback_released
    rollout_id = await world.start("1.2.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    return world, rollout_id


async def test_a_restore_that_fails_for_good_falls_back_to_the_known_good_before(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_two_known_goods(make_world)
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, GONE)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ABORTED
    assert await world.running("R3") == OLD
    assert (await world.rollout(rollout_id)).region("R3").tried == ("1.1.0",)


async def given_refused_restore_of_a_deploy_under_way(make_world: MakeWorld) -> tuple[World, str]:
    """R3 still works on the deploy, and has refused the restore; it runs the known good as yet."""
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 10_000)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.run(3)
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, GONE)
    await world.commands.rollback(rollout_id, DANA, "wrong release")
    await world.run(5)
    return world, rollout_id


async def test_what_a_refused_restore_left_under_way_may_still_arrive_so_one_good_reading_is_not_enough(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_refused_restore_of_a_deploy_under_way(make_world)
    assert await world.running("R3") == OLD
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.RESTORING
    world.plugins.fake_deployer("R3").install("mail", "1.1.0")
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    assert any("R3 could not be restored to 1.0.0: The image is gone." in page for page in world.pages())


async def test_after_a_refused_restore_a_deploy_that_never_arrives_is_waited_for_no_longer_than_its_time(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_refused_restore_of_a_deploy_under_way(make_world)
    await world.until(rollout_id, Phase.ROLLED_BACK)
    region = (await world.rollout(rollout_id)).region("R3")
    assert region.restored_at is not None
    assert await world.running("R3") == OLD


async def test_with_no_known_good_left_it_has_failed_and_a_person_can_try_again(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R1").fail_next(Kind.RESTORE, GONE)
    view = await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    harm_since, decided_at = view.harm_since, view.decided_at
    (page,) = [page for page in world.pages() if "R1" in page]
    assert page == (
        "mail 1.2.0: The rollback failed in R1 (35 % of users). R1 cannot go back: no known good release is "
        "left (tried 1.0.0). R1 could not be restored to 1.0.0: The image is gone. Mend it, or bring a good "
        'release there by hand and adopt it (rollout adopt mail --region R1 --reason "…"). '
        f"Once mended: rollout rollback {rollout_id}. See: rollout status {rollout_id}"
    )
    trouble = (await world.rollout(rollout_id)).region("R1").trouble
    assert "no known good release is left" in trouble
    assert [line for line in view.blocked_by if "R1" in line] == [trouble]
    assert view.next is not None
    assert view.next.what == f"Mend R1, then: rollout rollback {rollout_id}"
    await world.run(60)
    assert await world.running("R3") == OLD
    case = await world.case(rollout_id)
    assert case.rollout.phase is Phase.ROLLBACK_FAILED
    orders = [r.action for r in case.actions if r.action.kind is Kind.RESTORE]
    assert [action.region for action in orders].count("R1") == 1
    assert case.rollout.region("R1").tried == ("1.0.0",)
    await world.commands.rollback(rollout_id, DANA, "the image is back")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R1") == OLD
    assert view.outcome is Outcome.ROLLED_BACK
    assert (view.harm_since, view.decided_at) == (harm_since, decided_at)


async def test_a_region_mended_by_hand_ends_a_failed_rollback(make_world: MakeWorld) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R1").fail_next(Kind.RESTORE, GONE)
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    world.plugins.fake_deployer("R1").install("mail", "1.0.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)


async def test_when_every_known_good_failed_a_person_can_try_them_all_again(make_world: MakeWorld) -> None:
    world, rollout_id = await given_two_known_goods(make_world)
    deployer = world.plugins.fake_deployer("R3")
    deployer.fail_next(Kind.RESTORE, GONE)
    deployer.fail_next(Kind.RESTORE, GONE)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    assert (await world.rollout(rollout_id)).region("R3").tried == ("1.1.0", "1.0.0")
    await world.commands.rollback(rollout_id, ADMIN, "try all again")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"1.1.0": 4}


async def test_where_every_known_good_failed_it_is_shown_to_which_another_try_goes(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, GONE)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    view = await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    assert view.rollback_effect == "Roll back R3 to 1.0.0"
    await world.commands.rollback(rollout_id, DANA, "the image is back")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD


async def test_an_unreachable_region_delays_no_other_and_is_never_shown_as_done(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R1").unreachable = True
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORED)
    await world.until_region(rollout_id, "R1", RegionPhase.UNREACHABLE)
    assert await world.running("R3") == OLD
    await world.run(120)
    view = await world.view(rollout_id)
    assert view.phase is Phase.ROLLING_BACK
    assert view.outcome is None
    assert view.next is not None
    assert view.next.what == "Mend R1 (R1 cannot be reached); its restore is tried until it answers"
    (lost,) = [r.unreachable_since for r in (await world.case(rollout_id)).actions if r.unreachable_since]
    trouble = (
        f"R1 does not answer since {lost:%H:%M:%S} UTC: R1 cannot be reached. "
        "Its restore to 1.0.0 is tried until it does."
    )
    tries, said = view.blocked_by
    assert said == trouble
    assert re.fullmatch(r"R1: restore unanswered for 2 min( \d+ s)?, tried \d+ times and on", tries)
    assert next(r.message for r in view.regions if r.region == "R1") == trouble
    assert view.needs_person
    assert view.sentence == "mail 1.2.0 is being rolled back in R1."
    (page,) = [page for page in world.pages() if "R1 does not answer" in page]
    assert page == (
        f"mail 1.2.0: {trouble} R1 has 35 % of users; tried 1 time so far. If its deployer is gone for good, "
        "bring 1.0.0 there by hand: it is seen by itself as soon as R1 can be read. "
        f"See: rollout status {rollout_id}"
    )
    world.plugins.fake_deployer("R1").unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK, within=20)
    assert await world.running("R1") == OLD


async def test_a_region_lost_while_it_is_read_back_is_not_said_to_answer(make_world: MakeWorld) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    deployer = world.plugins.fake_deployer("R3")
    real = deployer._do
    deployer._do = lambda key, action: (  # type: ignore[method-assign]
        setattr(deployer, "unreachable", action.kind is Kind.RESTORE) or real(key, action)
    )
    await world.until_region(rollout_id, "R3", RegionPhase.UNREACHABLE)
    await world.run(150)
    events = [e.transition for e in await world.store.events(rollout_id=rollout_id)]
    assert [e.trigger for e in events if e.region == "R3"].count("reachable") == 0
    assert len([page for page in world.pages() if "R3 does not answer" in page]) == 1
    deployer.unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK, within=30)


async def test_a_region_that_answers_again_with_the_wrong_version_is_restored_again(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    deployer = world.plugins.fake_deployer("R3")
    real = deployer._do
    deployer._do = lambda key, action: (  # type: ignore[method-assign]
        setattr(deployer, "unreachable", action.kind is Kind.RESTORE) or real(key, action)
    )
    await world.until_region(rollout_id, "R3", RegionPhase.UNREACHABLE)
    deployer._do = real  # type: ignore[method-assign]
    deployer.install("mail", "1.2.0")
    deployer.unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == OLD


async def test_a_restore_that_is_not_read_back_is_ordered_again_with_a_higher_generation(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    deployer = world.plugins.fake_deployer("R3")
    real, lies = deployer._wanted, iter([["1.2.0"] * 4])
    deployer._wanted = lambda action: (  # type: ignore[method-assign]
        next(lies, None) or real(action) if action.kind is Kind.RESTORE else real(action)
    )
    await world.until(rollout_id, Phase.ROLLED_BACK)
    case = await world.case(rollout_id)
    orders = [r.action for r in case.actions if r.action.kind is Kind.RESTORE and r.action.region == "R3"]
    assert len(orders) == 2
    assert orders[1].generation > orders[0].generation
    assert await world.running("R3") == OLD


async def test_a_target_that_lies_for_ever_is_paged_at_the_deadline_and_not_ordered_in_circles(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    deployer = world.plugins.fake_deployer("R3")
    real = deployer._wanted
    deployer._wanted = lambda action: (  # type: ignore[method-assign]
        ["1.2.0"] * 4 if action.kind is Kind.RESTORE else real(action)
    )
    await world.until(rollout_id, Phase.ROLLBACK_FAILED, within=60)
    before = len(world.effects("R3", "restore"))
    await world.run(120)
    assert len(world.effects("R3", "restore")) == before
    assert len([page for page in world.pages() if "failed in R3" in page]) == 1
    deployer._wanted = real  # type: ignore[method-assign]
    await world.commands.rollback(rollout_id, DANA, "the target is mended")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in NAMES] == [OLD] * 3


async def test_a_region_that_fails_later_is_paged_too_and_the_reason_names_every_one(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, GONE)
    world.plugins.fake_deployer("R1").slow(Kind.RESTORE, 10_000)
    first = await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    assert "failed in R3 (20 % of users)" in first.reason.text
    await world.until_region(rollout_id, "R1", RegionPhase.RESTORE_FAILED)
    view = await world.view(rollout_id)
    assert "The rollback failed in R3, R1 (55 % of users). R3 cannot go back" in view.reason.text
    assert "R1 is not back on 1.0.0 after" in view.reason.text
    await world.run(60)
    pages = [page for page in world.pages() if "rollback failed" in page]
    assert [page.split("failed in ")[1].split(" (")[0] for page in pages] == ["R3", "R1"]
    assert re.search(
        r"\(limit [^)]*, ordered \d\d:\d\d:\d\d UTC, asked \d+ times?\): .*[^.]\. It is still", pages[1]
    )


async def test_trying_again_leaves_an_unreachable_region_alone(make_world: MakeWorld) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, GONE)
    world.plugins.fake_deployer("R1").unreachable = True
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    await world.until_region(rollout_id, "R1", RegionPhase.UNREACHABLE)
    await world.commands.rollback(rollout_id, DANA, "the image is back")
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORED)
    world.plugins.fake_deployer("R1").unreachable = False
    await world.until(rollout_id, Phase.ROLLED_BACK)


async def test_evidence_that_cannot_be_collected_delays_the_way_back_only_briefly(
    make_world: MakeWorld,
) -> None:
    world, rollout_id = await given_harm_everywhere_touched(make_world)
    world.plugins.fake_deployer("R3").slow(Kind.COLLECT, 10_000)
    await world.until(rollout_id, Phase.ROLLING_BACK)
    await world.until(rollout_id, Phase.ROLLED_BACK, within=12)
