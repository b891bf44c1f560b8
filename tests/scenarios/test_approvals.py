"""A plan may ask people: enough of them, of the right group, not those who wrote or requested it, in time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.errors import Conflict, NotAllowed, NotFound
from rollout.core.model import Intent, IntentKind, Outcome, Phase
from rollout.possible import Actor
from tests.scenarios.world import DANA, DEPLOYER, ERIN, NAMES, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
YES, NO = IntentKind.APPROVE, IntentKind.REJECT
ASK: dict[str, Any] = {"approval": {"min": 2, "from": ["oncall"], "within": "30s"}}
FIRST: dict[str, Any] = {"stages": [{"regions": ["R3"], "steps": [ASK, {"set_weight": 75}, {"bake": "6s"}]}]}
LATER: dict[str, Any] = {
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
    for name in ("dana", "Dana"):
        with pytest.raises(Conflict, match="another person is needed"):
            await world.commands.decide_approval(rollout_id, replace(DANA, name=name), YES, "yes")
    assert (await world.rollout(rollout_id)).phase is Phase.AWAITING_APPROVAL


async def test_one_person_counts_once_also_when_spelt_otherwise_in_the_same_moment(
    make_world: MakeWorld,
) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    for name in ("dana", "Dana"):
        await world.commands.decide_approval(rollout_id, replace(DANA, name=name), YES, "yes")
    await world.run(3)
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


# ------------------------------------------------------------------ how each one ends


async def ended(world: World, rollout_id: str) -> list[tuple[str, str]]:
    """State and words of every approval of a rollout, newest first."""
    found, _ = await world.queries.approvals(None)
    return [(each.state, each.text) for each in found if each.rollout == rollout_id]


async def test_an_approval_can_be_looked_up_while_it_waits_and_when_it_is_over(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    (pending,), cursor = await world.queries.approvals("pending")
    assert cursor is None
    assert pending.id.startswith(f"ap_{rollout_id.removeprefix('ro_')}-")
    assert (pending.missing, pending.regions) == (2, ("R3",))
    assert pending.text.startswith("needs 2 more approvals from oncall; held at ")
    await world.commands.decide_approval(rollout_id, DANA, YES, "looks fine")
    await world.tick()
    assert (await world.queries.approval(pending.id)).missing == 1
    await world.commands.decide_approval(rollout_id, ERIN, YES, "to me too")
    await world.until(rollout_id, Phase.PROGRESSING)
    over = await world.queries.approval(pending.id)
    assert (over.state, over.missing) == ("approved", 0)
    assert over.text.startswith("approved by dana and erin at ")
    assert over.ended_at is not None
    assert await world.queries.approvals("pending") == ((), None)
    with pytest.raises(NotFound):
        await world.queries.approval(f"{pending.id}9")


async def test_a_no_ends_it_rejected_and_a_hold_withdraws_it(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    await world.commands.hold(rollout_id, DANA, "lunch")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "back")
    await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    await world.commands.decide_approval(rollout_id, DANA, NO, "not this week")
    await world.until(rollout_id, Phase.REJECTED)
    (rejected, words), (withdrawn, _) = await ended(world, rollout_id)
    assert (rejected, withdrawn) == ("rejected", "withdrawn")
    assert words.startswith("rejected by dana at ")
    assert words.endswith(": not this week")


async def test_harm_withdraws_it_and_no_answer_counts_after_that(make_world: MakeWorld) -> None:
    world = make_world(LATER)
    rollout_id = await given_asked(world)
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert (await ended(world, rollout_id))[0][0] == "withdrawn"
    with pytest.raises(Conflict):
        await world.commands.decide_approval(rollout_id, DANA, YES, "yes")


@pytest.mark.parametrize(("policy", "way_out"), [(FIRST, "or cancel."), (LATER, "or roll back.")])
async def test_a_hold_that_nobody_approved_in_time_names_what_can_be_asked_of_it(
    make_world: MakeWorld, policy: dict[str, Any], way_out: str
) -> None:
    world = make_world(policy)
    rollout_id = await given_asked(world)
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.text.endswith(way_out)
    assert ("rollback" in view.possible) is (way_out == "or roll back.")


@pytest.mark.parametrize("policy", [FIRST, LATER])
async def test_the_policy_may_reject_what_nobody_approved_in_time(
    make_world: MakeWorld, policy: dict[str, Any]
) -> None:
    strict = {"approval": {**ASK["approval"], "otherwise": "reject"}}
    stages = [
        {**stage, "steps": [strict if step == ASK else step for step in stage.get("steps", QUICK["steps"])]}
        for stage in policy["stages"]
    ]
    world = make_world({**policy, "stages": stages})
    rollout_id = await given_asked(world)
    view = await world.until(rollout_id, Phase.REJECTED, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.REJECTED
    assert "0 of 2 approvals came in 30 s, and the policy rejects it then" in view.reason.text
    assert (await ended(world, rollout_id))[0][0] == "expired"
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_an_answer_after_the_deadline_is_refused(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    world.clock.advance(60)  # nobody has looked since
    with pytest.raises(Conflict, match="what comes later does not count"):
        await world.commands.decide_approval(rollout_id, DANA, YES, "yes")


async def test_an_answer_that_was_recorded_after_the_deadline_does_not_count(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    await world.commands.decide_approval(rollout_id, DANA, YES, "yes")
    await world.tick()
    case = await world.case(rollout_id)
    assert case.rollout.approval is not None
    late = Intent(
        id="in_late",
        rollout_id=rollout_id,
        kind=YES,
        actor="erin",
        reason="yes",
        at=case.rollout.approval.deadline,
        details={"approval": case.rollout.approval.id},
    )
    world.clock.advance(60)
    await world.store.ask(late)
    view = await world.until(rollout_id, Phase.HELD, within=3)
    assert "1 of 2 approvals came" in view.reason.text
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    assert any("erin approved after the deadline" in row.reason.text for row in rows)


async def test_an_answer_to_an_earlier_approval_does_not_count_for_this_one(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    first = (await world.rollout(rollout_id)).approval
    assert first is not None
    await world.commands.hold(rollout_id, DANA, "lunch")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "back")
    await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    stray = Intent(
        id="in_stray",
        rollout_id=rollout_id,
        kind=YES,
        actor="erin",
        reason="yes",
        at=world.clock.now(),
        details={"approval": first.id},
    )
    await world.store.ask(stray)
    await world.run(2)
    approval = (await world.rollout(rollout_id)).approval
    assert approval is not None
    assert approval.decisions == ()


async def test_a_name_in_other_letters_is_the_same_person(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    rollout_id = await given_asked(world)
    with pytest.raises(NotAllowed, match="Ana authored this release"):
        await world.commands.decide_approval(
            rollout_id, Actor(name="Ana", role="approver", groups=("oncall",)), YES, "yes"
        )


async def test_approvals_come_in_pages_and_none_is_missing_or_doubled(make_world: MakeWorld) -> None:
    world = make_world(FIRST)
    ids = []
    rollout_id = await given_asked(world)
    for turn in range(3):
        approval = (await world.rollout(rollout_id)).approval
        assert approval is not None
        ids.append(approval.id)
        await world.commands.hold(rollout_id, DANA, f"turn {turn}")
        await world.until(rollout_id, Phase.HELD)
        if turn < 2:
            await world.commands.resume(rollout_id, DANA, "back")
            await world.until(rollout_id, Phase.AWAITING_APPROVAL)
    await world.commands.cancel(rollout_id, DANA, "enough")
    await world.until(rollout_id, Phase.CANCELED)
    second = await world.start("1.2.0")
    await world.until(second, Phase.AWAITING_APPROVAL)
    ids.append((await world.rollout(second)).approval.id)  # type: ignore[union-attr]
    found: list[str] = []
    cursor = None
    for _ in range(10):
        page, cursor = await world.queries.approvals(None, None, 1, cursor)
        found += [each.id for each in page]
        if cursor is None:
            break
    assert found == list(reversed(ids))
    withdrawn, _ = await world.queries.approvals("withdrawn", "mail", 2, None)
    assert [each.id for each in withdrawn] == [ids[2], ids[1]]
