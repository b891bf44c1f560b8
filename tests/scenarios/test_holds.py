"""A person may stop a rollout; judging and reading back go on, and nothing is promoted meanwhile."""

from collections.abc import Callable

import pytest

from rollout.core.errors import Conflict
from rollout.core.model import Outcome, Phase, RegionPhase
from tests.scenarios.test_drift import by_hand
from tests.scenarios.world import DANA, DEPLOYER, ERIN, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]


async def test_a_hold_names_its_owner_and_nothing_is_promoted_until_it_is_resumed(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "the mail team is at lunch")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.hold is not None
    assert view.hold.owner == "dana"
    assert view.blocked_by == ("held by dana: the mail team is at lunch",)
    await world.run(60)
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
    assert world.effects("R1", "deploy") == []
    await world.commands.resume(rollout_id, ERIN, "lunch is over")
    assert (await world.until(rollout_id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED


async def test_a_hold_that_ends_stays_held_and_pages_once(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "looking at a trace", for_s=10)
    await world.run(30)
    view = await world.view(rollout_id)
    assert view.phase is Phase.HELD
    assert view.needs_person
    assert view.reason.code == "hold.expired"
    assert [page for page in world.pages() if "looking at a trace" in page] == [view.reason.text]


async def test_a_hold_then_resume_goes_on_by_itself(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "until the peak is over", for_s=10, then="resume")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.next is not None
    assert view.next.what == "Goes on by itself"
    assert (await world.until(rollout_id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED


async def test_a_hold_then_resume_fights_no_hand_that_people_know_of(make_world: MakeWorld) -> None:
    world = make_world({"steps": [{"set_weight": 75}, {"bake": "60s"}]})
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "lunch", for_s=30, then="resume")
    await world.run(3)
    by_hand(world, "R3", *["1.0.9-hotfix"] * 4)
    await world.run(50)
    view = await world.view(rollout_id)
    assert (view.phase, view.reason.code) == (Phase.HELD, "hold.expired")
    assert await world.running("R3") == {"1.0.9-hotfix": 4}


async def test_a_new_owner_replaces_the_hold(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "mine", for_s=10, then="resume")
    await world.run(2)
    await world.commands.hold(rollout_id, ERIN, "no, mine")
    await world.run(30)
    view = await world.view(rollout_id)
    assert view.phase is Phase.HELD
    assert view.hold is not None
    assert view.hold.owner == "erin"


async def test_a_bake_that_was_held_begins_anew(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.run(18)
    await world.commands.hold(rollout_id, DANA, "wait")
    await world.run(2)
    await world.commands.resume(rollout_id, DANA, "go on")
    await world.run(15)
    assert (await world.rollout(rollout_id)).region("R3").weight == 25


async def test_what_was_ordered_before_a_hold_is_still_read_back(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow("deploy", 4)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.commands.hold(rollout_id, DANA, "wait")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is Phase.HELD
    assert rollout.region("R3").running == {"1.0.0": 3, "1.1.0": 1}


async def test_a_deploy_that_fails_while_held_rolls_back(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow("deploy", 10_000)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.commands.hold(rollout_id, DANA, "wait")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert "could not be brought to 25 % of 1.1.0" in view.reason.text


async def test_a_rollout_held_before_anything_was_touched_queues_again_when_resumed(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R2").slow("rehearse", 3)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.PREFLIGHT)
    await world.commands.hold(rollout_id, DANA, "wait")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "go on")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    triggers = [event.transition.trigger for event in await world.store.events(rollout_id=rollout_id)]
    assert triggers[:6] == ["start", "begin", "hold", "requeue", "begin", "preflight_passed"]


async def test_what_is_over_can_be_neither_held_nor_resumed(make_world: MakeWorld) -> None:
    world = make_world({"stages": [{"regions": ["R3"]}], **QUICK})
    rollout_id = await world.given_succeeded()
    with pytest.raises(Conflict, match="succeeded, where 'hold' is not possible"):
        await world.commands.hold(rollout_id, DANA, "wait")
    with pytest.raises(Conflict, match="Possible here: rollback"):
        await world.commands.resume(rollout_id, DEPLOYER, "go on")


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (
            "R3 has 1.1.0 as its known good already, so nothing leads back. Give it its own version, please.",
            "R3 has 1.1.0 as its known good already, so nothing leads back.",
        ),
        (
            "the mail team, " * 9,
            "the mail team, " * 5 + "the …",
        ),
    ],
)
async def test_a_long_reason_is_cut_between_words_inside_the_sentence(
    make_world: MakeWorld, reason: str, shown: str
) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, reason)
    view = await world.until(rollout_id, Phase.HELD)
    assert view.sentence == f"mail 1.1.0 is held by dana: {shown}"
