"""What people read of a rollout: what comes next and when, who was reached, and what start would refuse."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import RolloutError
from rollout.core.model import Outcome, Phase, RegionPhase, Release
from rollout.core.signals import VerdictKind
from tests.scenarios.world import DANA, DEPLOYER, ONE, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
JUDGING = {"interval": "1s", "block": "2s", "warmup": "2s", "max_age": "5s"}


async def test_next_names_the_step_that_follows_the_bake_and_when(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.run(2)
    begun = (await world.rollout(rollout_id)).region("R3").bake_started_at
    first = (await world.view(rollout_id)).next
    assert begun
    assert first
    assert (first.what, first.at) == ("R3 rises to 75 %", begun + timedelta(seconds=20))
    await world.run(20)
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    await world.run(2)
    last = (await world.view(rollout_id)).next
    assert last
    assert last.what == "R3 passes"


async def test_a_bake_over_its_time_says_what_it_waits_for_and_never_a_time_in_the_past(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "judging": {**JUDGING, "min_requests": 5000}})
    rollout_id = await world.given_baking("1.1.0")
    begun = (await world.rollout(rollout_id)).region("R3").bake_started_at or world.clock.now()
    await world.run(12)
    view = await world.view(rollout_id)
    assert view.next
    assert view.next.what.startswith("R3 waits for 4,")
    assert view.next.what.endswith(" more requests; held otherwise")
    assert view.next.at == begun + timedelta(seconds=6 + 20)
    held = await world.until(rollout_id, Phase.HELD)
    assert held.sentence == "mail 1.1.0 is held by controller: too few requests in R3."


async def test_after_a_rollback_the_verdicts_and_the_exposure_are_those_of_its_decision(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    then = await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(90)
    view = await world.view(rollout_id)
    assert VerdictKind.NO_DATA not in {check.verdict for check in view.checks}
    assert [check.text for check in view.checks] == [check.text for check in then.checks]
    assert view.exposure == then.exposure
    assert view.exposure.traffic_share == 0.15, "75 % of the 20 % of all users that R3 has"
    r3 = view.regions[0]
    assert r3.restored_at
    assert r3.touched_at
    assert view.exposure.duration_s == round((r3.restored_at - r3.touched_at).total_seconds())
    assert view.exposure.requests >= 50


async def test_a_superseded_rollout_that_went_back_says_superseded(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "concurrency": "supersede"})
    first = await world.given_baking("1.1.0")
    await world.start("1.2.0")
    view = await world.until(first, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.SUPERSEDED
    assert view.sentence == "mail 1.1.0 was superseded; users are on 1.0.0."


async def test_reject_is_offered_exactly_where_it_is_accepted(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    assert "reject" in (await world.view(rollout_id)).possible
    await world.commands.hold(rollout_id, DANA, "users complain, and I want to know why")
    held = await world.until(rollout_id, Phase.HELD)
    assert held.sentence == "mail 1.1.0 is held by dana: users complain, and I want to know why."
    assert "reject" in held.possible
    await world.commands.rollback(rollout_id, DANA, "users complain")
    back = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert "reject" not in back.possible


async def warnings(world: World, version: str) -> tuple[str, ...]:
    """What a plan of `version` warns of."""
    request = StartRequest(release=Release(service="mail", version=version))
    return (await world.queries.plan(request)).warnings


async def test_a_plan_says_when_start_would_be_refused(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "concurrency": "reject"})
    await world.given_known_good()
    assert await warnings(world, "1.1.0") == ()
    assert await warnings(world, "1.0.0") == (
        "Start would be refused: 1.0.0 already runs, as known good, in R3.",
    )
    rollout_id = await world.start("1.1.0")
    assert await warnings(world, "1.2.0") == (
        f"{rollout_id} (1.1.0) waits for its turn: start would be refused, the policy allows one at a time.",
    )
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    (warning,) = await warnings(world, "1.1.0")
    assert warning.startswith(f"Start would be refused: 1.1.0 was rolled back by {rollout_id}.")
    for version in ("1.0.0", "1.1.0"):
        with pytest.raises(RolloutError):
            await world.commands.start(
                StartRequest(release=Release(service="mail", version=version)), DEPLOYER
            )


async def test_a_plan_names_only_what_blocks(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    held = await world.start("1.1.0")
    await world.commands.hold(held, DANA, "not today")
    await world.until(held, Phase.HELD)
    assert await warnings(world, "1.2.0") == ()
    moving = await world.start("1.2.0")
    await world.until_region(moving, "R3", RegionPhase.BAKING)
    assert await warnings(world, "1.3.0") == (f"{moving} (1.2.0) is moving: this one would wait for it.",)
