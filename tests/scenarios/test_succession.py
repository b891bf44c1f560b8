"""Releases that follow one another: who answers for a region, who watches it, and who may go back there."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rollout.core.errors import Conflict
from rollout.core.model import Intent, IntentKind, Kind, ObligationKind, ObligationState, Phase, RegionPhase
from rollout.core.signals import BaselineKind, Sample
from rollout.reconciling.history import JUST_AFTER
from tests.scenarios.test_history import keep_history
from tests.scenarios.test_owed import owed
from tests.scenarios.world import DANA, NAMES, ONE, QUICK, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]
LONG = {**QUICK, "watch": "10m"}
WATCH = ObligationKind.WATCH


async def given_promoted(world: World, version: str, policy: str) -> str:
    """A release whose bakes a person ended early in every region: it has earned nothing yet; its id."""
    rollout_id = await world.start(version, policy=policy)
    for name in NAMES:
        await world.until_region(rollout_id, name, RegionPhase.BAKING)
        await world.commands.promote(rollout_id, DANA, "in a hurry")
    await world.until(rollout_id, Phase.SUCCEEDED)
    return rollout_id


def given_past(world: World, region: str, hours: int) -> None:
    """The source of a region knows how 1.0.0 did there before: one error in two thousand requests."""
    blocks = range(hours * 1800)
    numbers = {"region": region, "version": "1.0.0", "signal": "errors", "exposure": 100.0, "duration_s": 2.0}
    past = [
        Sample(time=world.clock.now() - timedelta(seconds=2 * n), value=float(n % 20 == 0), **numbers)
        for n in reversed(blocks)
    ]
    keep_history(world, region, *past).given.set()


def given_by_hand(world: World, counts: dict[str, int]) -> None:
    """Somebody has gone around the controller in R3."""
    versions = [version for version, count in counts.items() for _ in range(count)]
    world.plugins.fake_deployer("R3")._arrange("mail", versions)


def deployed(world: World, version: str) -> int:
    """How often a version was ordered anywhere."""
    orders = (effect.action for name in NAMES for effect in world.plugins.fake_deployer(name).effects)
    return sum(order.kind is Kind.DEPLOY and order.version == version for order in orders)


# ------------------------------------------------------------------ by hand


@pytest.mark.parametrize("counts", [{"1.0.0": 4}, {"1.0.0": 3, "1.1.0": 1}])
async def test_what_a_hand_took_out_is_not_brought_back_at_the_end_of_the_watch(
    make_world: MakeWorld, counts: dict[str, int]
) -> None:
    world = make_world({**ONE, "watch": "60s"})
    first = await world.given_succeeded()
    before = deployed(world, "1.1.0")
    given_by_hand(world, counts)
    await world.run(140)
    assert await world.running("R3") == counts
    assert deployed(world, "1.1.0") == before
    assert await owed(world, first, WATCH) == {"R3": ObligationState.UNPROVEN}


async def test_what_runs_nowhere_becomes_no_known_good_by_its_watch(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "watch": "60s"})
    await world.given_known_good()
    first = await world.start("1.1.0")
    await world.until_region(first, "R3", RegionPhase.BAKING)
    await world.commands.promote(first, DANA, "in a hurry")
    await world.until(first, Phase.SUCCEEDED)
    given_by_hand(world, {"1.0.0": 4})
    await world.run(140)
    (known,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert [good.release.version for good in known.known_good] == ["1.0.0"]


# ------------------------------------------------------------------ a newer release


async def test_a_newer_release_that_was_promoted_is_not_replaced_when_the_older_watch_ends(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "watch": "40s"})
    with_policies(world, {**QUICK, "watch": "40s"}, {**LONG, "name": "slow"})
    first = await world.given_succeeded()
    before = deployed(world, "1.1.0")
    second = await given_promoted(world, "1.2.0", "slow")
    await world.run(80)
    assert deployed(world, "1.1.0") == before
    assert [await world.running(name) for name in NAMES] == [{"1.2.0": 3, "1.1.0": 1}] * 3
    assert set((await owed(world, first, WATCH)).values()) == {ObligationState.TAKEN_OVER}
    assert set((await owed(world, second, WATCH)).values()) == {ObligationState.OPEN}
    assert (await world.view(first)).sentence == "mail 1.1.0 has passed; newer releases are in R3, R1, R2."
    assert "rollback" not in (await world.view(first)).possible


async def test_late_harm_of_what_was_replaced_takes_nothing_of_the_newer_one_back(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    first = await world.given_succeeded()
    await given_promoted(world, "1.2.0", "standard")
    for name in NAMES:
        world.given_harm(name, "1.1.0")
    await world.run(60)
    assert (await world.rollout(first)).phase is Phase.SUCCEEDED
    for name in NAMES:
        assert "1.2.0" in await world.running(name)
    assert [page for page in world.pages() if "somebody brought" in page] == []


async def test_what_came_back_when_the_newer_release_went_is_watched_on_and_can_be_taken_back(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until(second, Phase.SUCCEEDED)
    await world.run(5)
    assert set((await owed(world, first, WATCH)).values()) == {ObligationState.OPEN}
    with pytest.raises(Conflict, match=r"runs nowhere any more: newer releases are in R1, R2, R3"):
        await world.commands.rollback(first, DANA, "oops, the wrong id")
    await world.commands.rollback(second, DANA, "users complain")
    await world.until(second, Phase.ROLLED_BACK)
    assert "rollback" in (await world.view(first)).possible
    await world.commands.rollback(first, DANA, "this one is bad too")
    await world.until(first, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_what_went_back_rests_once_its_way_back_was_taken_back_in_turn(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until_region(second, "R3", RegionPhase.BAKING)
    await world.commands.rollback(second, DANA, "users complain")
    await world.until(second, Phase.ROLLED_BACK)
    await world.commands.rollback(first, DANA, "this one is bad too")
    await world.until(first, Phase.ROLLED_BACK)
    await world.run(60)
    gone = await world.rollout(second)
    assert (gone.next_due_at, gone.region("R3").drift) == (None, None)
    assert not world.pages()


async def test_what_came_back_alone_is_compared_with_the_past_and_its_harm_is_told(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    given_past(world, "R1", hours=3)
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until(second, Phase.SUCCEEDED)
    await world.commands.rollback(second, DANA, "users complain")
    await world.until(second, Phase.ROLLED_BACK)
    await world.run(60)
    evidence = (await world.store.case(first)).evidence["R1"]
    region = (await world.rollout(first)).region("R1")
    assert (region.weight, evidence.started_at - JUST_AFTER) == (100, region.running_at)
    assert evidence.checks["errors"]["base"] == BaselineKind.HISTORY
    assert not world.pages()
    world.given_harm("R1", "1.1.0")
    await world.run(120)
    (page,) = world.pages()
    assert page.startswith("mail 1.1.0: R1 failed requests 30.00 % (300 of 1,000) against 0.05 %")
    assert page.endswith(f"The watch goes on; go back: rollout rollback {first}")


async def test_a_watch_whose_time_is_over_ends_though_the_newer_release_is_watched_still(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "watch": "40s"})
    with_policies(world, {**QUICK, "watch": "40s"}, {**LONG, "name": "slow"})
    first = await world.given_succeeded()
    second = await world.start("1.2.0", policy="slow")
    await world.until(second, Phase.SUCCEEDED)
    await world.run(60)
    assert set((await owed(world, first, WATCH)).values()) == {ObligationState.TAKEN_OVER}
    assert (await world.rollout(first)).next_due_at is None


async def test_a_rollback_that_was_asked_as_newer_releases_came_says_that_nothing_is_ordered(
    make_world: MakeWorld,
) -> None:
    world = make_world({**LONG, "stages": ONE["stages"]})
    first = await world.given_succeeded()
    second = await world.start("1.2.0")
    await world.until_region(second, "R3", RegionPhase.BAKING)
    asked = {"id": "in_race", "kind": IntentKind.ROLLBACK, "actor": "dana", "reason": "the wrong id"}
    await world.store.ask(Intent(rollout_id=first, at=world.clock.now(), **asked))
    await world.run(3)
    assert (await world.rollout(first)).phase is Phase.SUCCEEDED
    said = [event.transition.reason.text for event in await world.store.events(rollout_id=first)]
    assert "Nothing is ordered: newer releases run in every region." in said[-1]
