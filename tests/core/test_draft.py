"""A decision in the making: keys of actions are never used twice, and the way back is never the candidate."""

from datetime import UTC, datetime

from rollout.core.actions import Action, ActionRecord
from rollout.core.decide import Facts
from rollout.core.decide.draft import Draft
from rollout.core.decide.target import way_back
from rollout.core.model import Kind, KnownGood, Phase, Reason, RegionRollout, Release, Rollout
from tests.core.test_plan import ALL, SIGNALS, compile_plan, policy

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
VERIFY = Action(kind=Kind.VERIFY, region="R3", service="mail")


def recorded(index: int) -> ActionRecord:
    return ActionRecord(key=f"ro_1/5/{index}", rollout_id="ro_1", action=VERIFY, recorded_at=NOW, due_at=NOW)


def draft(*known: ActionRecord) -> Draft:
    rollout = Rollout(
        id="ro_1",
        release=Release(service="mail", version="1.1.0"),
        policy="standard",
        policy_revision=1,
        phase=Phase.ROLLED_BACK,
        since=NOW,
        created_at=NOW,
        created_by="pipeline",
        regions=(RegionRollout(region="R3", stage=0, since=NOW),),
        reason=Reason(code="x", text="x"),
        transitions=5,
    )
    return Draft(rollout, compile_plan(policy(), ALL, SIGNALS), Facts(actions=known), NOW)


def test_a_key_follows_the_highest_one_and_not_the_number_of_those_known():
    known = [recorded(index) for index in range(300, 700)]  # the 400 newest
    assert draft(*known).order(VERIFY).key == "ro_1/5/700"


def test_orders_of_one_decision_are_numbered_from_zero():
    new = draft()
    assert [new.order(VERIFY).key for _ in range(3)] == ["ro_1/5/0", "ro_1/5/1", "ro_1/5/2"]


def test_an_order_taken_back_in_the_same_decision_is_neither_recorded_nor_dropped():
    new = draft(recorded(0))
    first = new.order(VERIFY)
    new.drop(first)
    second = new.order(VERIFY)
    decision = new.finish()
    assert decision.drop_actions == ()
    assert [record.key for record in decision.actions] == [second.key]


def test_the_version_under_judgement_is_never_a_way_back_also_when_it_is_called_good():
    new = draft()
    good = KnownGood(
        service="mail", region="R3", release=new.rollout.release, since=NOW, how="adopted", by="dana"
    )
    new.facts = Facts(known_good={"R3": (good,)})
    assert way_back(new, new.rollout.region("R3")) is None


def test_what_was_revoked_everywhere_is_no_way_back():
    new = draft()
    good = KnownGood(
        service="mail",
        region="R3",
        release=Release(service="mail", version="1.0.0"),
        since=NOW,
        how="earned",
        by="ro_0",
    )
    new.set_region("R3", back_to=good)
    assert way_back(new, new.rollout.region("R3")) == good
    new.facts = Facts(known_good={"R3": ()})
    assert way_back(new, new.rollout.region("R3")) is None
