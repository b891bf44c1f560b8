"""A rollout that was held before it touched anything goes on after a newer one: who has which region."""

from collections.abc import Callable

from rollout.core.model import ObligationKind, ObligationState, Phase, RegionPhase
from tests.scenarios.test_owed import owed
from tests.scenarios.test_watches_that_rest import BROKEN, LONG, SLOW
from tests.scenarios.world import DANA, ERIN, NAMES, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]
ONLY_R3 = {**LONG, "name": "one", "stages": [{"regions": ["R3"]}]}
OLD = {"1.0.0": 4}
OLDER_THERE = {"1.0.5": 3, "1.1.0": 1}


async def given_overtaken(
    make_world: MakeWorld, watch: str = "10m", policy: str = "slow"
) -> tuple[World, str, str]:
    """1.0.5 was asked for first and bakes in R3 last, over 1.1.0, which is watched everywhere; their ids."""
    world = make_world({**LONG, "watch": watch})
    with_policies(world, {**LONG, "watch": watch}, SLOW, ONLY_R3)
    await world.given_known_good()
    older = await world.start("1.0.5", policy=policy)
    await world.commands.hold(older, DANA, "not before the meeting")
    await world.until(older, Phase.HELD)
    newer = await world.start("1.1.0")
    await world.until(newer, Phase.SUCCEEDED)
    await world.commands.resume(older, ERIN, "the meeting is over")
    await world.until_region(older, "R3", RegionPhase.BAKING)
    return world, older, newer


async def then_newer_went_back_beside_older(world: World, older: str, newer: str) -> None:
    """1.1.0 left the regions that it had still; R3 is left to 1.0.5, which goes no further."""
    await world.until(newer, Phase.ROLLED_BACK)
    view = await world.until(older, Phase.HELD)
    assert "1.1.0, which this release replaces, turned out harmful" in view.reason.text
    assert [await world.running(name) for name in NAMES] == [OLDER_THERE, OLD, OLD]
    assert not [page for page in world.pages() if page.startswith("mail 1.1.0")]


async def test_what_goes_on_after_a_newer_one_is_no_drift_of_it(make_world: MakeWorld) -> None:
    world, _, newer = await given_overtaken(make_world)
    await world.run(20)
    view = await world.view(newer)
    assert view.sentence == "mail 1.1.0 runs in R1, R2; newer releases are in R3."
    assert view.blocked_by == ()
    assert not world.pages()


async def test_late_harm_of_the_newer_one_takes_it_back_where_it_still_runs(make_world: MakeWorld) -> None:
    world, older, newer = await given_overtaken(make_world)
    world.given_harm("R1", "1.1.0", BROKEN)
    await then_newer_went_back_beside_older(world, older, newer)


async def test_a_person_takes_the_newer_one_back_where_it_still_runs(make_world: MakeWorld) -> None:
    world, older, newer = await given_overtaken(make_world)
    await world.run(3)
    await world.commands.rollback(newer, DANA, "users complain")
    await then_newer_went_back_beside_older(world, older, newer)


async def test_harm_of_the_older_one_is_not_blamed_on_the_newer(make_world: MakeWorld) -> None:
    world, older, newer = await given_overtaken(make_world)
    await world.run(3)
    world.given_harm("R3", "1.0.5", BROKEN)
    await world.until(older, Phase.ROLLED_BACK)
    await world.run(40)
    view = await world.view(newer)
    assert (view.phase, view.blocked_by) == (Phase.SUCCEEDED, ())
    assert await world.running("R3") == {"1.1.0": 4}


async def test_the_watch_of_the_newer_one_ends_and_orders_nothing_over_the_older(
    make_world: MakeWorld,
) -> None:
    world, _, newer = await given_overtaken(make_world, watch="40s")
    await world.run(60)
    watches = await owed(world, newer, ObligationKind.WATCH)
    assert (watches["R1"], watches["R2"]) == (ObligationState.MET, ObligationState.MET)
    released = {"1.1.0": 4}
    assert [await world.running(name) for name in NAMES] == [OLDER_THERE, released, released]


async def test_harm_of_the_newer_one_leaves_the_older_where_that_has_passed(make_world: MakeWorld) -> None:
    world, older, newer = await given_overtaken(make_world, policy="one")
    await world.until(older, Phase.SUCCEEDED)
    await world.run(20)
    assert not world.pages()
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(newer, Phase.ROLLED_BACK)
    await world.run(30)
    assert [await world.running(name) for name in NAMES] == [{"1.0.5": 4}, OLD, OLD]
