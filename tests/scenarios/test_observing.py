"""Mode observe: everything is decided and recorded, and nothing is ever touched."""

from collections.abc import Callable
from typing import Any

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import Conflict
from rollout.core.model import IntentKind, Kind, Outcome, Phase, RegionPhase, Release
from tests.scenarios.test_emergency import back, ordered
from tests.scenarios.world import DANA, HEALTHY, NAMES, Health, World

MakeWorld = Callable[[dict[str, Any]], World]
WATCHING = {
    "mode": "observe",
    "steps": [{"set_weight": 25}, {"bake": "6s"}, {"set_weight": 75}, {"bake": "6s"}],
    "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}],
    "watch": "10s",
    "guards": {"success": {"below": 50, "for": "2s"}},
}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}


def somebody_deploys(world: World, region: str, version: str = "1.1.0", count: int = 2) -> None:
    """Another tool than this controller brings some of the four instances to a version."""
    deployer = world.plugins.fake_deployer(region)
    deployer._arrange("mail", [version] * count + ["1.0.0"] * (4 - count))


async def given_observing(world: World) -> str:
    """A rollout that waits for somebody to deploy it in R3; its id."""
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    return rollout_id


async def given_observed_baking(world: World) -> str:
    """One that bakes in R3 what somebody deployed there; its id."""
    rollout_id = await given_observing(world)
    somebody_deploys(world, "R3")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    return rollout_id


def then_nothing_was_ordered(world: World) -> None:
    """Only readings."""
    for name in NAMES:
        calls = world.plugins.fake_deployer(name).calls
        assert {action.kind for _, action in calls} <= {Kind.VERIFY}


def then_nothing_was_touched(world: World) -> None:
    """Only readings, and words to people that wake nobody."""
    then_nothing_was_ordered(world)
    assert world.pages() == []
    assert all(text.startswith("Observing: ") for text in world.notices())


async def good(world: World, region: str) -> list[str]:
    """The known good releases of a region, the newest first."""
    known = {each.region: each for each in await world.store.service_regions("mail")}
    return [each.release.version for each in known[region].known_good]


async def test_it_says_what_it_would_order_and_waits_until_somebody_does(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observing(world)
    await world.run(30)
    view = await world.view(rollout_id)
    assert view.reason.text == ("R3: would order 25 % of 1.1.0; observing, waits until somebody deploys it.")
    assert view.mode == "observe"
    assert view.sentence == "mail 1.1.0 is observed in R3."
    assert view.next is not None
    assert view.next.what == "R3 bakes once 1.1.0 is seen there"
    assert view.blocked_by[0].startswith("R3: nobody has deployed 1.1.0 there yet; held at ")
    assert await world.running("R3") == {"1.0.0": 4}
    then_nothing_was_touched(world)


async def test_what_somebody_deploys_is_judged_and_becomes_known_good(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observed_baking(world)
    assert (await world.rollout(rollout_id)).region("R3").weight == 50
    await world.until_region(rollout_id, "R1", RegionPhase.DEPLOYING)
    assert await good(world, "R3") == ["1.1.0", "1.0.0"]
    somebody_deploys(world, "R1", count=3)
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.OBSERVED
    assert view.sentence == "mail 1.1.0 was observed in R3, R1."
    await world.run(20)
    assert {owed.state for owed in (await world.view(rollout_id)).obligations} == {"met"}
    assert await world.running("R3") == {"1.1.0": 2, "1.0.0": 2}
    then_nothing_was_touched(world)


async def test_harm_is_recorded_once_in_the_words_of_a_rollback_and_observing_goes_on(
    make_world: MakeWorld,
) -> None:
    world = make_world(WATCHING)
    world.health["R3", "1.1.0"] = BROKEN
    rollout_id = await given_observed_baking(world)
    await world.until_region(rollout_id, "R1", RegionPhase.DEPLOYING)
    rollout = await world.rollout(rollout_id)
    assert rollout.would is not None
    assert rollout.would.text.startswith("Would roll back R3: R3 failed requests")
    somebody_deploys(world, "R1")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.WOULD_ROLL_BACK
    assert view.would is not None
    assert "It would have been rolled back." in view.sentence
    rows = [e.transition.trigger for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    assert rows.count("would_roll_back") == 1
    assert await good(world, "R3") == ["1.0.0"]
    assert await good(world, "R1") == ["1.0.0"]
    assert await world.store.was_rolled_back("mail", "1.1.0") is None
    assert (await world.store.service("mail")).stopped_by is None
    then_nothing_was_touched(world)


async def test_harm_in_the_watch_changes_the_outcome_and_nothing_else(make_world: MakeWorld) -> None:
    world = make_world({**WATCHING, "stages": [{"regions": ["R3"]}], "watch": "60s"})
    rollout_id = await given_observed_baking(world)
    await world.until(rollout_id, Phase.SUCCEEDED)
    ended = (await world.rollout(rollout_id)).finished_at
    world.health["R3", "1.1.0"] = BROKEN
    await world.run(90)
    rollout = await world.rollout(rollout_id)
    assert (rollout.phase, rollout.outcome) == (Phase.SUCCEEDED, Outcome.WOULD_ROLL_BACK)
    assert rollout.finished_at == ended
    assert await good(world, "R3") == ["1.0.0"]
    assert await world.running("R3") == {"1.0.0": 2, "1.1.0": 2}
    then_nothing_was_touched(world)


async def test_when_nobody_deploys_it_is_held_and_a_resume_waits_as_long_again(
    make_world: MakeWorld,
) -> None:
    deadlines = {"queue": "30s", "blind": "20s"}
    world = make_world({**WATCHING, "deadlines": deadlines})
    rollout_id = await given_observing(world)
    view = await world.until(rollout_id, Phase.HELD, within=100)
    assert "nobody deployed 1.1.0 there: it runs 4 × 1.0.0" in view.reason.text
    assert view.sentence == "mail 1.1.0 is held by controller: nobody deployed it in R3."
    await world.commands.resume(rollout_id, DANA, "any minute now")
    await world.run(20)
    assert (await world.rollout(rollout_id)).phase is Phase.PROGRESSING
    somebody_deploys(world, "R3")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    then_nothing_was_touched(world)


async def test_what_runs_before_it_is_asked_for_is_observed_too(make_world: MakeWorld) -> None:
    world = make_world({**WATCHING, "stages": [{"regions": ["R3"]}]})
    await world.given_known_good()
    somebody_deploys(world, "R3")
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.OBSERVED


async def test_approvals_and_gates_are_passed_at_once_and_history_says_what_would_be_asked(
    make_world: MakeWorld,
) -> None:
    steps = [{"approval": {"min": 2, "from": ["oncall"]}}, {"set_weight": 75}, {"bake": "6s"}]
    world = make_world({**WATCHING, "stages": [{"regions": ["R3"], "steps": [*steps, {"gate": "smoke"}]}]})
    rollout_id = await given_observed_baking(world)
    await world.until(rollout_id, Phase.SUCCEEDED)
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    asked = [row.reason.text for row in rows if row.trigger == "would_ask"]
    assert asked == [
        "Would ask for 2 approvals from oncall for R3, within 1 d, here; observing, so it goes on.",
        "Would wait for gate smoke of R3 here; observing, so it goes on.",
    ]
    then_nothing_was_touched(world)


async def test_it_can_be_canceled_at_any_time_and_never_rolled_back(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observed_baking(world)
    view = await world.view(rollout_id)
    assert "rollback" not in view.possible
    assert "cancel" in view.possible
    with pytest.raises(Conflict, match="only observes"):
        await world.commands.rollback(rollout_id, DANA, "back")
    await world.commands.cancel(rollout_id, DANA, "seen enough")
    view = await world.until(rollout_id, Phase.CANCELED)
    assert view.outcome is Outcome.CANCELED
    assert view.sentence == "mail 1.1.0 was observed in R3 until it was canceled."
    await world.run(5)
    assert await world.running("R3") == {"1.0.0": 2, "1.1.0": 2}
    then_nothing_was_touched(world)


async def test_resumed_after_an_emergency_it_orders_nothing_and_can_be_ended(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observed_baking(world)
    await back(world, await ordered(world, "1.0.0"))
    await world.until(rollout_id, Phase.HELD)
    await world.run(10)
    await world.commands.resume(rollout_id, DANA, "look on")
    await world.run(10)
    await world.commands.cancel(rollout_id, DANA, "then not")
    await world.until(rollout_id, Phase.CANCELED)
    assert await world.running("R3") == {"1.0.0": 4}
    then_nothing_was_ordered(world)


async def test_a_newer_release_ends_it_without_taking_anything_back(make_world: MakeWorld) -> None:
    world = make_world({**WATCHING, "concurrency": "supersede"})
    rollout_id = await given_observed_baking(world)
    await world.start("1.2.0")
    view = await world.until(rollout_id, Phase.SUPERSEDED)
    assert view.outcome is Outcome.SUPERSEDED
    await world.run(5)
    then_nothing_was_touched(world)


async def test_a_no_ends_it_without_taking_anything_back(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observed_baking(world)
    await world.commands.decide_approval(rollout_id, DANA, IntentKind.REJECT, "not this one")
    view = await world.until(rollout_id, Phase.REJECTED)
    assert view.outcome is Outcome.REJECTED
    then_nothing_was_touched(world)


async def test_blindness_holds_it_as_it_holds_any_other(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    rollout_id = await given_observed_baking(world)
    world.silent.update({("R3", "1.1.0"), ("R3", "1.0.0")})
    view = await world.until(rollout_id, Phase.HELD)
    assert "no data" in view.reason.text
    then_nothing_was_touched(world)


async def test_the_plan_says_that_nothing_will_be_touched(make_world: MakeWorld) -> None:
    world = make_world(WATCHING)
    await world.given_known_good()
    plan = await world.queries.plan(StartRequest(release=Release(service="mail", version="1.1.0")))
    assert plan.mode == "observe"
    assert "observe: nothing is deployed, restored or rehearsed." in plan.warnings


async def test_a_share_that_somebody_raises_meanwhile_is_read_back(make_world: MakeWorld) -> None:
    world = make_world({**WATCHING, "stages": [{"regions": ["R3"]}]})
    rollout_id = await given_observed_baking(world)
    somebody_deploys(world, "R3", count=3)
    await world.until(rollout_id, Phase.SUCCEEDED)
    region = (await world.rollout(rollout_id)).region("R3")
    assert (region.weight, dict(region.running)) == (75, {"1.0.0": 1, "1.1.0": 3})
