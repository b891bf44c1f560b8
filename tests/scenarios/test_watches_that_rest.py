"""A newer release comes and goes while an older one is watched: whose harm it is, what is left to watch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.errors import Conflict, PermanentError
from rollout.core.model import Intent, IntentKind, Kind, ObligationKind, ObligationState, Phase, RegionPhase
from rollout.core.signals import Sample
from rollout.ports import Ask, Reading
from tests.scenarios.test_owed import owed
from tests.scenarios.test_succession import given_by_hand
from tests.scenarios.world import ADMIN, DANA, HEALTHY, NAMES, POLICY, QUICK, Health, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]
GUARDS = {**POLICY["guards"], "success": {"below": 50, "for": "10s"}}  # type: ignore[dict-item]
LONG: dict[str, Any] = {**QUICK, "watch": "10m", "guards": GUARDS}
SLOW = {**LONG, "name": "slow", "steps": [{"set_weight": 75}, {"bake": "100s"}]}
IN_R3 = {**LONG, "name": "one", "stages": [{"regions": ["R3"]}]}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}
WATCH = ObligationKind.WATCH


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    found = make_world(LONG)
    with_policies(found, LONG, SLOW)
    return found


async def given_newer(world: World, version: str = "1.2.0", policy: str = "slow", seconds: int = 3) -> str:
    """A newer release that has baked in R3 for some seconds; its id."""
    newer = await world.start(version, policy=policy)
    await world.until_region(newer, "R3", RegionPhase.BAKING)
    await world.run(seconds)
    return newer


async def given_slice(world: World) -> tuple[str, str]:
    """1.1.0 has R1, R2, and the slice of R3 that 1.2.0, which succeeded there, holds back; their ids."""
    with_policies(world, LONG, IN_R3)
    first = await world.given_succeeded()
    newer = await world.start("1.2.0", policy="one")
    await world.until(newer, Phase.SUCCEEDED)
    await world.run(5)
    return first, newer


async def taken_back(world: World, rollout_id: str) -> None:
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)


def given_crashes(world: World, region: str) -> Callable[[bool], None]:
    """What says from when, and until when, every instance of a region restarts at every reading."""
    source, crashing = world.plugins.sources[region], [False]
    collect = source.collect

    async def crashes(ask: Ask) -> Reading:
        reading, at = await collect(ask), {"time": ask.now, "region": region, "duration_s": 1.0}
        numbers: dict[str, Any] = {"signal": "restarts", "value": 1.0, "exposure": 1.0, **at}
        each = [Sample(version=one.version, instance=one.id, **numbers) for one in ask.instances]
        return replace(reading, samples=(*reading.samples, *(each if crashing[0] else ())))

    source.collect = crashes  # type: ignore[method-assign]
    return lambda now: crashing.__setitem__(0, now)


async def test_what_a_newer_release_broke_while_it_ran_is_not_blamed_on_the_older(world: World) -> None:
    first = await world.given_succeeded()
    crash = given_crashes(world, "R3")
    for version in ("1.2.0", "1.3.0"):
        newer = await given_newer(world, version)
        crash(True)
        await world.until(newer, Phase.ROLLING_BACK)
        crash(False)
        await world.until(newer, Phase.ROLLED_BACK)
        await world.run(60)
        assert (await world.rollout(first)).phase is Phase.SUCCEEDED
    assert (await world.rollout(first)).suspected == ()


@pytest.mark.parametrize("seconds", [22, 30, 60])
async def test_time_at_rest_is_none_of_a_watch(make_world: MakeWorld, seconds: int) -> None:
    world = make_world({**LONG, "watch": "30s"})
    with_policies(world, {**LONG, "watch": "30s"}, SLOW)
    first = await world.given_succeeded()
    newer = await given_newer(world, seconds=seconds)
    await taken_back(world, newer)
    await world.run(10)
    assert (await owed(world, first, WATCH))["R3"] is ObligationState.OPEN
    await world.run(40)
    (met,) = [o for o in (await world.store.case(first)).obligations if o.region == "R3"]
    assert met.reason is not None
    assert met.reason.text.startswith("R3 was watched for 3")  # of 30 s, and a look later
    assert not world.pages()


async def test_a_newer_release_that_nobody_has_deployed_yet_keeps_nobody_from_going_back(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    with_policies(world, LONG, {**LONG, "name": "seen", "mode": "observe"})
    first = await world.given_succeeded()
    await world.start("1.2.0", policy="seen")
    await world.run(15)
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLED_BACK)
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_a_slice_that_is_held_back_on_what_was_rolled_back_itself_follows(world: World) -> None:
    first, newer = await given_slice(world)
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLED_BACK)
    await world.run(30)
    assert await world.running("R3") == {"1.2.0": 4}
    (page,) = [page for page in world.pages() if page.startswith("mail 1.2.0")]
    assert page.startswith("mail 1.2.0: R3 kept 25 % on 1.1.0, which was rolled back itself; they follow now")
    assert (await owed(world, newer, WATCH))["R3"] is ObligationState.OPEN


async def test_a_slice_that_cannot_follow_before_its_watch_ends_is_not_said_to_be_late(world: World) -> None:
    first, _ = await given_slice(world)
    world.plugins.fake_deployer("R3").fail_next(Kind.DEPLOY, PermanentError("No capacity."))
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLED_BACK)
    await world.run(30)
    (page,) = [page for page in world.pages() if "could not be brought" in page]
    assert "R3 could not be brought from 75 % to 100 % of 1.2.0: No capacity. The rest stays" in page


async def test_a_late_way_back_that_fails_at_once_has_what_a_newer_one_has_not_touched(
    make_world: MakeWorld,
) -> None:
    """R1 has no known good left, R2 has 0.9.0; a newer release has claimed both, and bakes in R3."""
    world = make_world(LONG)
    with_policies(world, LONG, SLOW, IN_R3)
    await world.given_known_good("0.9.0", regions=["R3", "R2"])
    for name in NAMES:
        world.plugins.fake_deployer(name).install("mail", "1.0.0")
    await world.run(20)
    await world.commands.adopt("mail", ADMIN, "it serves well")
    first = await world.start("1.1.0")
    await world.until(first, Phase.SUCCEEDED)
    again = await world.start("1.0.0", policy="one")
    await world.until_region(again, "R3", RegionPhase.BAKING)
    await taken_back(world, again)
    newer = await given_newer(world)
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLBACK_FAILED)
    await world.run(10)
    (page,) = [page for page in world.pages() if "rollback failed" in page]
    assert page.startswith("mail 1.1.0: The rollback failed in R1 (35 % of users)")
    assert await world.running("R2") == {"0.9.0": 4}
    assert (await world.rollout(newer)).phase is Phase.HELD


async def test_a_hold_beside_what_was_rolled_back_itself_is_not_shown_to_end_by_itself(world: World) -> None:
    first = await world.given_succeeded()
    newer = await given_newer(world)
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLED_BACK)
    await world.until(newer, Phase.HELD)
    await world.commands.hold(newer, DANA, "I think", for_s=60, then="resume")
    await world.run(2)
    view = await world.view(newer)
    assert view.next is not None
    assert view.next.what == "Stays held until somebody acts"
    await world.run(70)
    assert (await world.rollout(newer)).reason.code == "hold.expired"


async def test_what_is_beside_a_release_that_was_rolled_back_itself_goes_no_further(world: World) -> None:
    first = await world.given_succeeded()
    newer = await given_newer(world)
    world.given_harm("R1", "1.1.0", BROKEN)
    await world.until(first, Phase.ROLLED_BACK)
    await world.until(newer, Phase.HELD)
    assert (await world.view(newer)).possible == ("hold", "rollback", "reject")
    for act in (world.commands.resume, world.commands.promote):
        with pytest.raises(Conflict, match=r"It goes no further: beside it runs R3 1\.1\.0") as refused:
            await act(newer, DANA, "it is the fix")
        assert refused.value.code == "beside-harm"
    for kind in (IntentKind.RESUME, IntentKind.PROMOTE):  # by whom it was asked before the harm was known
        await world.store.ask(
            Intent(
                id=f"in_{kind}",
                rollout_id=newer,
                kind=kind,
                actor="dana",
                reason="it is the fix",
                at=world.clock.now(),
            )
        )
        await world.run(3)
        assert (await world.rollout(newer)).phase is Phase.HELD
    pages = [page for page in world.pages() if "It goes no further: beside it runs R3 1.1.0" in page]
    assert len(pages) == 2
    await taken_back(world, newer)
    assert await world.running("R3") == {"1.0.0": 4}


async def test_a_way_back_that_was_taken_back_in_turn_is_no_drift_while_work_is_recovered(
    make_world: MakeWorld,
) -> None:
    world = make_world({**LONG, "recovery": {"stalled_after": "10s", "check_every": "5s", "within": "10m"}})
    with_policies(world, LONG, SLOW)
    first = await world.given_succeeded()
    newer = await given_newer(world)
    world.plugins.fake_deployer("R3").stall("mail", {"m-1": 100.0})
    await taken_back(world, newer)
    await taken_back(world, first)
    await world.run(60)
    assert not [page for page in world.pages() if "1.2.0" in page]


@pytest.mark.parametrize("before", [{}, {"1.1.0": 4}])
async def test_what_came_back_alone_is_known_to_be_so_whatever_else_was_done_there(
    world: World, before: dict[str, int]
) -> None:
    first = await world.given_succeeded()
    if before:
        given_by_hand(world, before)
        await world.run(10)
    newer = await given_newer(world)
    await taken_back(world, newer)
    given_by_hand(world, {"1.1.0": 3})  # as an autoscaler does
    pages = len(world.pages())
    await world.run(60)
    region = (await world.rollout(first)).region("R3")
    assert (region.weight, region.drift) == (100, None)
    assert (await world.view(first)).blocked_by == ()
    assert len(world.pages()) == pages
