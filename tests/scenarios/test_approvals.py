"""A plan may ask people: enough of them, of the right group, not those who wrote or requested it, in time."""

from collections.abc import Callable

import pytest

from rollout.commands import Actor
from rollout.core.errors import Conflict, NotAllowed
from rollout.core.model import IntentKind, Outcome, Phase
from tests.scenarios.world import DANA, DEPLOYER, ERIN, NAMES, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
YES, NO = IntentKind.APPROVE, IntentKind.REJECT
ASK = {"approval": {"min": 2, "from": ["oncall"], "within": "30s"}}
FIRST = {"stages": [{"regions": ["R3"], "steps": [ASK, {"set_weight": 75}, {"bake": "6s"}]}]}
LATER = {
    **QUICK,
    "stages": [
        {"regions": ["R3"], "steps": [{"set_weight": 75}, {"bake": "6s"}, ASK]},
        {"regions": ["R1"]},
    ],
}


async def given_asked(world: World) -> str:
    """A rollout that waits for two people of the group oncall; its id."""
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    return rollout_id


async def test_two_people_of_the_group_let_it_go_on(make_world: MakeWorld) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, YES, "the graphs look good")
    await world.run(5)
    view = await world.view(rollout_id)
    assert view.phase is Phase.AWAITING_APPROVAL
    assert view.blocked_by == ("needs 1 more approval from oncall",)
    assert world.effects("R1", "deploy") == []
    await world.commands.decide_approval(rollout_id, ERIN, YES, "me too")
    await world.until(rollout_id, Phase.SUCCEEDED)
    events = await world.store.events(rollout_id=rollout_id)
    approved = next(e.transition for e in events if e.transition.trigger == "approved")
    assert approved.reason.text == "Approved by dana, erin: me too"


async def test_one_person_counts_once(make_world: MakeWorld) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
    await world.commands.decide_approval(rollout_id, DANA, YES, "yes, twice in one tick")
    await world.run(3)
    with pytest.raises(Conflict, match="another person is needed"):
        await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
    assert (await world.rollout(rollout_id)).phase is Phase.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        (Actor(name="pipeline", role="approver", groups=("oncall",)), "requested this release"),
        (Actor(name="ana", role="approver", groups=("oncall",)), "authored this release"),
        (Actor(name="zoe", role="approver", groups=("sales",)), "asked from oncall; zoe is in sales"),
    ],
)
async def test_the_wrong_person_is_told_why(make_world: MakeWorld, actor: Actor, said: str) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    with pytest.raises(NotAllowed, match=said):
        await world.commands.decide_approval(rollout_id, actor, YES, "yes")


async def test_an_approval_that_nobody_gives_ends_held_with_a_page(make_world: MakeWorld) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "approval.expired"
    assert view.reason.text.startswith("1 of 2 approvals came in 30 s.")
    assert any("1 of 2 approvals" in page for page in world.pages())
    await world.run(30)
    assert world.effects("R1", "deploy") == []


async def test_resuming_asks_again_and_old_answers_do_not_count(make_world: MakeWorld) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DEPLOYER, "ask again")
    await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    await world.commands.decide_approval(rollout_id, ERIN, YES, "yes")
    await world.run(5)
    assert (await world.rollout(rollout_id)).phase is Phase.AWAITING_APPROVAL


async def test_a_no_before_anything_was_touched_ends_rejected(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, NO, "not this week")
    view = await world.until(rollout_id, Phase.REJECTED)
    assert view.outcome is Outcome.REJECTED
    assert view.reason.text == "dana rejected it: not this week"
    await world.run(10)
    assert world.effects("R3", "deploy") == []


async def test_a_no_after_something_was_touched_rolls_back_and_ends_as_rejected(
    make_world: MakeWorld,
) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, NO, "the graphs look odd")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.REJECTED
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_what_waits_for_nobody_cannot_be_approved(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    with pytest.raises(Conflict, match="progressing, where 'approve' is not possible"):
        await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
