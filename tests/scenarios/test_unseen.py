"""A tolerance that the author wrote and that no bake can see: shown by the plan, refused by start."""

from collections.abc import Callable
from typing import Any

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import InvalidInput
from rollout.core.model import Phase, RegionPhase, Release
from rollout.showing.views import PlanView
from tests.scenarios.world import NAMES, ONE, World

MakeWorld = Callable[..., World]
SOME = {"errors": (2.0, 50.0), "restarts": (0.0, 4 / 3600)}  # four in a hundred fail, as ever
FULL = {"holdback": 0, "steps": [{"set_weight": 100}, {"bake": "20s"}]}


def checks(**more: Any) -> dict[str, Any]:
    return {"checks": [{"signal": "errors", "tolerance": 1.1, **more}, "restarts"]}


async def serving(world: World) -> World:
    """Every region has run 1.0.0 for a minute, with some failures."""
    for name in NAMES:
        world.health[name, "1.0.0"] = SOME
    await world.given_known_good(history_s=60)
    return world


async def planned(world: World) -> PlanView:
    return await world.queries.plan(StartRequest(release=Release(service="mail", version="1.1.0")))


async def test_start_refuses_with_the_place_and_the_knobs_and_records_nothing(make_world: MakeWorld) -> None:
    world = await serving(make_world({**ONE, **checks()}))
    with pytest.raises(InvalidInput) as refused:
        await world.start("1.1.0")
    (problem,) = refused.value.problems
    assert problem.place == "checks.0.tolerance"
    assert problem.message.startswith(
        "R3: no bake can see ×1.1 of failed requests at the present traffic (usually 4.00 %, "
    )
    assert "write a tolerance of " in problem.message
    assert "at 75 %" in problem.message
    assert await world.store.rollouts() == ()


async def test_the_plan_shows_what_start_would_refuse(make_world: MakeWorld) -> None:
    world = await serving(make_world({**ONE, **checks()}))
    (problem,) = (await planned(world)).problems
    assert problem.place == "checks.0.tolerance"
    with pytest.raises(InvalidInput, match="nothing was started"):
        await world.start("1.1.0")


async def test_an_accepted_one_is_shown_with_its_reason_and_starts(make_world: MakeWorld) -> None:
    world = await serving(make_world({**ONE, **checks(accept_unseen="guards are enough")}))
    view = await planned(world)
    assert view.problems == ()
    assert any(warning.endswith("Accepted: guards are enough.") for warning in view.warnings)
    assert await world.start("1.1.0")


async def test_before_anything_was_read_nothing_is_refused(make_world: MakeWorld) -> None:
    world = make_world({**ONE, **checks()})
    await world.given_known_good(history_s=1)
    view = await planned(world)
    assert view.problems == ()
    assert await world.start("1.1.0")


async def test_the_plan_says_in_numbers_what_each_bake_sees_of_each_region(make_world: MakeWorld) -> None:
    world = await serving(make_world({"stages": [{"regions": ["R3"]}, {"regions": ["R1", "R2"]}]}))
    both = (await planned(world)).stages[1]
    first, second = (step.detectable for step in both.steps if step.detectable)
    assert [(each.region, each.signal) for each in first] == [
        (name, signal) for name in ("R1", "R2") for signal in ("errors", "restarts")
    ]
    assert first[0].seen == pytest.approx(50 * 0.25 * 18, rel=0.1)
    assert second[0].seen == pytest.approx(3 * first[0].seen)
    assert first[0].rise is not None
    assert first[0].rise > first[0].tolerance == 2
    assert first[0].needed_s is not None
    assert first[0].needed_s > 20
    assert (first[1].rise, first[1].needed_s, first[1].tolerance) == (None, None, 5)


async def test_without_a_holdback_the_plan_names_peers_and_past_and_their_days(make_world: MakeWorld) -> None:
    world = await serving(make_world(FULL))
    found = {each.region: each for each in (await planned(world)).comparisons}
    assert {name: (each.kind, each.rests_on, each.history_days) for name, each in found.items()} == {
        "R3": ("peers", "uncalibrated", 0),
        "R1": ("peers", "uncalibrated", 0),
        "R2": ("history", "uncalibrated", 0),
    }
    assert "100 times stronger" in found["R2"].text
    assert "0 days of history" in found["R2"].text


async def test_days_of_history_are_counted_at_this_time_of_day(make_world: MakeWorld) -> None:
    world = await serving(make_world(FULL))
    world.clock.advance(2 * 86400)
    await world.run(30)
    world.clock.advance(86400)
    view = await planned(world)
    assert {each.history_days for each in view.comparisons} == {2}
    assert view.stages[0].steps[1].detectable[0].baseline_kind == "peers"


async def test_a_bake_until_pass_does_not_wait_for_what_is_accepted_as_unseen(make_world: MakeWorld) -> None:
    bake = {"bake": {"until": "pass", "min": "4s", "max": "60s"}}
    accepted = {"signal": "restarts", "tolerance": 20, "accept_unseen": "four instances are too few"}
    checks = {"checks": [{"signal": "errors", "tolerance": 5}, accepted]}
    world = await serving(make_world({**ONE, "steps": [{"set_weight": 75}, bake], **checks}))
    world.health["R3", "1.1.0"] = SOME
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    await world.until(rollout_id, Phase.SUCCEEDED, within=60)
