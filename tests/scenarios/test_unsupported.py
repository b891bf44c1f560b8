"""What a deployer cannot do is said in the plan, and holds nothing up that does not need it."""

from collections.abc import Callable
from typing import Any

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import InvalidInput
from rollout.core.model import Kind, ObligationState, Outcome, Phase, Region, Release
from tests.scenarios.world import ONE, World

MakeWorld = Callable[[dict[str, Any]], World]
WHOLE = frozenset(Kind) - {Kind.NOTIFY}


async def given_without(world: World, *missing: Kind) -> None:
    """A known good, over deployers that lack some kinds of action in R3."""
    await world.given_known_good()
    world.plugins.fake_deployer("R3").supports = WHOLE - set(missing)  # type: ignore[misc]


async def warnings(world: World) -> tuple[str, ...]:
    """What the plan warns of."""
    request = StartRequest(release=Release(service="mail", version="1.1.0"))
    return (await world.queries.plan(request)).warnings


async def test_without_a_rehearsal_the_way_back_is_proven_by_reading_back_and_that_is_said(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    await given_without(world, Kind.REHEARSE)
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.PROMOTED
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    proven = next(row.reason.text for row in rows if row.trigger == "preflight_passed")
    assert proven == (
        "The way back is proven: R3 to 1.0.0. R3: no rehearsal possible there, so it was only read back."
    )


async def test_a_rehearsal_that_fails_still_holds(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").fail_next(Kind.REHEARSE, "It does not start.")
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.HELD)
    assert "could not rehearse 1.0.0" in view.reason.text


@pytest.mark.parametrize("missing", [Kind.COLLECT, Kind.FIND_STALLED, Kind.RESUME_WORK])
async def test_a_rollback_does_without_what_the_deployer_lacks(make_world: MakeWorld, missing: Kind) -> None:
    world = make_world(ONE)
    await given_without(world, missing)
    world.plugins.fake_deployer("R3").stall("mail", {"send-1": 40.0})
    rollout_id = await world.start("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(20)
    recovery = next(o for o in (await world.case(rollout_id)).obligations if o.kind == "recovery")
    proven = missing is Kind.COLLECT
    assert recovery.state is (ObligationState.MET if proven else ObligationState.UNPROVEN)
    if missing is Kind.RESUME_WORK:
        assert recovery.reason is not None
        assert "1 items are stalled there that cannot be resumed from here" in recovery.reason.text


async def test_the_plan_says_what_is_missing_in_words_of_the_effect(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await given_without(world, Kind.REHEARSE, Kind.FIND_STALLED, Kind.RESUME_WORK)
    assert await warnings(world) == (
        "R3: no rehearsal possible here (deployer fake): the way back is proven by reading back only.",
        "R3: stalled work cannot be found here (deployer fake): after a rollback, look for it yourself.",
    )


async def test_what_only_observes_misses_nothing_but_reading_back(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "mode": "observe"})
    await given_without(world, Kind.REHEARSE, Kind.RESTORE)
    assert await warnings(world) == ("observe: nothing is deployed, restored or rehearsed.",)


async def test_a_deployer_that_cannot_be_made_is_a_warning_of_the_plan(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()

    def broken(region: Region) -> frozenset[str]:
        raise InvalidInput(f"{region.name} names no socket.")

    world.queries._supports = broken
    assert await warnings(world) == ("R3: its deployer fake cannot be used: R3 names no socket.",)
