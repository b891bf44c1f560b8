"""A person ends a bake early: what is skipped is said, nothing else is, and known good is earned later."""

from collections.abc import Callable

import pytest

from rollout.core.decide import Facts, decide
from rollout.core.errors import Conflict, NotFound
from rollout.core.model import Intent, IntentKind, Outcome, Phase, RegionPhase
from rollout.core.signals import Judgement, Verdict, VerdictKind
from tests.scenarios.world import DANA, ERIN, ONE, World

MakeWorld = Callable[[dict[str, object]], World]
LONG = {"steps": [{"set_weight": 25}, {"bake": "60s"}, {"set_weight": 75}, {"bake": "60s"}]}
TWO = {**LONG, "stages": [{"regions": ["R3", "R1"]}]}
SHORT = {**ONE, "steps": [{"set_weight": 75}, {"bake": "60s"}], "watch": "10s"}


async def given_baked(world: World, seconds: int = 10) -> str:
    """A rollout that has baked in R3 for some seconds; its id."""
    rollout_id = await world.given_baking("1.1.0")
    await world.run(seconds)
    return rollout_id


async def triggers(world: World, rollout_id: str) -> list[str]:
    """The triggers of the rows about the rollout itself, in order."""
    events = await world.store.events(rollout_id=rollout_id, limit=1000)
    return [event.transition.trigger for event in events if event.transition.region is None]


async def good(world: World, region: str = "R3") -> list[str]:
    """The known good releases of a region, the newest first."""
    known = {each.region: each for each in await world.store.service_regions("mail")}
    return [each.release.version for each in known[region].known_good]


async def test_a_promoted_bake_ends_now_and_history_says_who_why_and_what_was_skipped(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "the fix is urgent")
    await world.run(2)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.PROGRESSING
    assert rollout.region("R3").weight == 75
    assert rollout.region("R3").skipped_by == "dana: the fix is urgent"
    events = await world.store.events(rollout_id=rollout_id, limit=1000)
    row = next(event.transition for event in events if event.transition.trigger == "promote")
    assert row.actor == "dana"
    said = "dana promoted it: the fix is urgent. R3 baked 11 s of 1 min; not ruled out: ×2 failed requests"
    assert row.reason.text.startswith(said)


async def test_a_second_bake_is_ended_by_the_same_person_for_the_same_reason(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    for weight in (75, 25):
        await world.commands.promote(rollout_id, DANA, "in a hurry")
        await world.run(10)
        rollout = await world.rollout(rollout_id)
        assert (rollout.phase, rollout.hold) == (Phase.PROGRESSING, None)
        assert rollout.region("R3" if weight == 75 else "R1").weight == weight
    assert not world.pages()


async def test_a_region_alone_is_promoted_and_its_neighbour_bakes_on(make_world: MakeWorld) -> None:
    world = make_world(TWO)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "APAC sleeps", region="R3")
    await world.run(4)
    rollout = await world.rollout(rollout_id)
    assert (rollout.region("R3").weight, rollout.region("R1").weight) == (75, 25)
    assert rollout.region("R1").skipped_by == ""


async def test_what_is_not_baking_cannot_be_promoted(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    with pytest.raises(Conflict, match="No bake is under way in R1"):
        await world.commands.promote(rollout_id, DANA, "now", region="R1")
    with pytest.raises(NotFound, match="R9"):
        await world.commands.promote(rollout_id, DANA, "now", region="R9")


async def test_a_held_rollout_goes_on_when_it_is_promoted(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    await world.commands.hold(rollout_id, ERIN, "lunch")
    await world.until(rollout_id, Phase.HELD)
    assert "promote" in (await world.view(rollout_id)).possible
    await world.commands.promote(rollout_id, DANA, "no time for lunch")
    await world.run(3)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.PROGRESSING
    assert rollout.hold is None
    assert rollout.resumed_by == "dana"
    assert rollout.region("R3").weight == 75


async def test_a_blind_rollout_touches_nothing_more_however_often_it_is_promoted(
    make_world: MakeWorld,
) -> None:
    first = {"regions": ["R3"], "steps": SHORT["steps"]}
    world = make_world({**LONG, "stages": [first, {"regions": ["R1"]}]})
    rollout_id = await given_baked(world)
    world.silent.update({("R3", "1.1.0"), ("R3", "1.0.0")})
    await world.until(rollout_id, Phase.HELD)
    await world.commands.promote(rollout_id, DANA, "go")
    await world.run(30)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.HELD
    assert not rollout.region("R1").touched
    assert world.effects("R1", "deploy") == []


async def test_harm_goes_first_and_the_promote_is_remembered(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    case = await world.case(await given_baked(world))
    harm = Verdict(region="R3", signal="errors", kind=VerdictKind.FAIL, value=0.3, baseline=0.01, log_e=20.0)
    asked = Intent(
        id="in_1",
        rollout_id=case.rollout.id,
        kind=IntentKind.PROMOTE,
        actor="dana",
        reason="faster",
        at=world.clock.now(),
    )
    facts = Facts(judgement=Judgement(verdicts=(harm,), culprits=(harm,)), intents=(asked,))
    decision = decide(case.rollout, case.plan, facts, world.clock.now())
    assert [row.trigger for row in decision.transitions if row.region is None] == ["note", "harm"]
    assert decision.rollout.phase is Phase.ROLLING_BACK
    assert decision.rollout.region("R3").skipped_by == ""
    assert "harm was seen first" in decision.transitions[0].reason.text


async def test_a_skipped_bake_earns_known_good_only_when_its_watch_is_over(make_world: MakeWorld) -> None:
    world = make_world(SHORT)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "the fix is urgent")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.FAST_PROMOTED
    assert "a bake was ended early in R3" in view.reason.text
    assert await good(world) == ["1.0.0"]
    await world.run(14)
    assert await good(world) == ["1.1.0", "1.0.0"]


async def test_harm_in_the_watch_of_a_skipped_bake_leaves_the_known_good_as_it_was(
    make_world: MakeWorld,
) -> None:
    world = make_world({**SHORT, "watch": "120s"})
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "the fix is urgent")
    await world.until(rollout_id, Phase.SUCCEEDED)
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await good(world) == ["1.0.0"]
    assert await world.running("R3") == {"1.0.0": 4}


async def test_an_adopted_release_is_not_earned_a_second_time(make_world: MakeWorld) -> None:
    world = make_world(SHORT)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "the fix is urgent")
    await world.until(rollout_id, Phase.SUCCEEDED)
    world.plugins.fake_deployer("R3").install("mail", "1.1.0")
    await world.run(2)
    await world.commands.adopt("mail", DANA, "it serves well", ["R3"])
    await world.run(14)
    assert await good(world) == ["1.1.0", "1.0.0"]


async def test_a_promote_that_comes_when_its_bake_is_over_changes_nothing(make_world: MakeWorld) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "once")
    await world.commands.promote(rollout_id, DANA, "and again")
    await world.run(2)
    assert (await triggers(world, rollout_id)).count("promote") == 1
    assert (await world.rollout(rollout_id)).region("R3").phase in (
        RegionPhase.DEPLOYING,
        RegionPhase.BAKING,
    )


async def test_a_retry_of_a_fast_promoted_release_is_refused(make_world: MakeWorld) -> None:
    world = make_world(SHORT)
    rollout_id = await given_baked(world)
    await world.commands.promote(rollout_id, DANA, "the fix is urgent")
    await world.until(rollout_id, Phase.SUCCEEDED)
    with pytest.raises(Conflict, match="succeeded, where 'retry' is not possible"):
        await world.commands.retry(rollout_id, DANA, "again")
    assert IntentKind.PROMOTE not in (await world.view(rollout_id)).possible


@pytest.mark.parametrize("verb", ["promote", "resume"])
async def test_who_did_not_know_of_a_hold_does_not_end_it(make_world: MakeWorld, verb: str) -> None:
    world = make_world(LONG)
    rollout_id = await given_baked(world)
    if verb == "resume":
        await world.commands.hold(rollout_id, DANA, "lunch")
        await world.run(2)
    await world.commands.hold(rollout_id, ERIN, "a customer calls")
    world.clock.advance(0.1)
    await getattr(world.commands, verb)(rollout_id, DANA, "all looks fine")
    world.clock.advance(0.1)
    await world.run(2)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.HELD
    assert rollout.region("R3").weight == 25
    events = await world.store.events(rollout_id=rollout_id, limit=1000)
    note = events[-1].transition.reason.text
    assert note == f"dana asked to {verb} it (all looks fine) before erin held it, so it stays held."
    await getattr(world.commands, verb)(rollout_id, DANA, "I know")
    await world.run(2)
    assert (await world.rollout(rollout_id)).phase is Phase.PROGRESSING


async def test_a_promote_that_came_after_a_rollback_is_in_the_history_and_changes_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world({**ONE, **LONG})
    rollout_id = await given_baked(world)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.commands.promote(rollout_id, ERIN, "it looks good")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    rows = [event.transition for event in await world.store.events(rollout_id=rollout_id, limit=1000)]
    (late,) = [row for row in rows if row.reason.code == "asked.late"]
    assert late.actor == ERIN.name
    assert late.reason.text == (
        "erin asked to promote: it looks good. It did not fit any more and changed nothing: the rollout was "
        "rolling back."
    )
    assert view.reason.text == "dana asked to roll back: users complain"
