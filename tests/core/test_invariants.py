"""S1 to S16: a decision that would break a promise is not taken, and a right one is never refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.decide import Decision, Facts
from rollout.core.invariants import broken, kept
from rollout.core.machine import Trigger
from rollout.core.model import (
    ActionState,
    Approval,
    ApprovalDecision,
    GateReport,
    Intent,
    IntentKind,
    Kind,
    Phase,
    RegionPhase,
    Release,
    Rollout,
)
from rollout.core.plan import Plan
from tests.core.decisions import (
    BEGAN,
    NOW,
    STEPS,
    action,
    decided,
    facts,
    good,
    passed,
    pending,
    plan,
    read_back,
    record,
    region,
    rollout,
    verdict,
)

Spoil = Callable[[Decision], Decision]


def numbers(
    before: Rollout, decision: Decision, known: Facts | None = None, by: Plan | None = None
) -> set[str]:
    """Which promises a decision would break."""
    return {found.number for found in broken(before, by or plan(), decision, known or facts(), NOW)}


def with_region(decision: Decision, name: str, **changes: Any) -> Decision:
    """The decision with a region changed behind the back of its history."""
    regions = tuple(replace(r, **changes) if r.region == name else r for r in decision.rollout.regions)
    return replace(decision, rollout=replace(decision.rollout, regions=regions))


def with_orders(decision: Decision, **changes: Any) -> Decision:
    """The decision with its deploys and restores changed."""
    kinds = (Kind.DEPLOY, Kind.RESTORE)
    actions = tuple(
        replace(r, action=replace(r.action, **changes)) if r.action.kind in kinds else r
        for r in decision.actions
    )
    return replace(decision, actions=actions)


def next_region() -> tuple[Rollout, Decision]:
    """R3 has baked its whole bake: R1 is touched."""
    before = rollout()
    return before, decided(before)


def going_back(**changes: Any) -> tuple[Rollout, Facts, Decision]:
    """Harm was seen in R3."""
    before = rollout(**changes)
    bad = verdict()
    known = facts(bad)
    known = replace(known, judgement=replace(known.judgement, culprits=(bad,), log_e=20.0, threshold=3.0))
    return before, known, decided(before, known)


# ------------------------------------------------------------------ what is right


def test_a_whole_bake_that_passes_and_the_next_region_keep_every_promise() -> None:
    before, decision = next_region()
    assert [r.action.kind for r in decision.actions] == [Kind.DEPLOY]
    assert decision.rollout.region("R1").phase is RegionPhase.DEPLOYING
    assert numbers(before, decision) == set()
    assert kept(before, plan(), decision, facts(), NOW).decision is decision


def test_a_way_back_keeps_every_promise() -> None:
    before, known, decision = going_back()
    assert {r.action.kind for r in decision.actions} == {Kind.COLLECT, Kind.RESTORE, Kind.NOTIFY}
    assert numbers(before, decision, known) == set()


# ------------------------------------------------------------------ each promise


def test_s1_a_region_is_not_touched_without_being_claimed() -> None:
    before, decision = next_region()
    assert numbers(before, replace(decision, claim=())) == {"S1"}


@pytest.mark.parametrize("key", ["ro_1/3/0", "ro_2/9/0", "ro_1/99/0", "nonsense"])
def test_s2_an_effect_has_a_new_key_of_this_decision(key: str) -> None:
    before, decision = next_region()
    spoiled = replace(decision, actions=tuple(replace(r, key=key) for r in decision.actions))
    assert "S2" in numbers(before, spoiled)


def test_s2_a_key_is_never_used_twice() -> None:
    before, decision = next_region()
    known = facts(actions=(record(action(Kind.VERIFY), key=decision.actions[0].key),))
    assert numbers(before, decision, known) == {"S2"}


def test_s3_a_fence_only_rises() -> None:
    before, decision = next_region()
    assert numbers(before, replace(decision, generations={"R1": 1})) == {"S3"}
    assert numbers(before, with_orders(decision, generation=1)) == {"S3"}


def test_s4_a_region_waits_for_those_before_it() -> None:
    before = rollout(region("R3", bake_started_at=NOW), passed("R1"))
    before = replace(before, regions=(before.regions[0], pending("R1")))
    _, right = next_region()
    early = with_region(right, "R3", phase=RegionPhase.BAKING, passed_at=None, step=1)
    assert "S4" in numbers(before, early)


def test_s4_a_bake_is_not_cut_short() -> None:
    before = rollout(region("R3", bake_started_at=NOW - timedelta(seconds=59)), pending("R1"))
    _, whole = next_region()
    found = broken(before, plan(), whole, facts(), NOW)
    assert [each.number for each in found] == ["S4"]
    assert found[0].text == "the bake of R3 ends after 59 s of 60 s"


def test_s4_a_person_may_end_a_bake_and_nobody_else() -> None:
    before = rollout(region("R3", bake_started_at=NOW - timedelta(seconds=9)), pending("R1"))
    _, whole = next_region()
    first = whole.transitions[0]
    skipped = with_region(whole, "R3", skipped_by="dana: now")
    assert "S4" in numbers(before, replace(skipped, known_good=()))
    row = replace(first, number=8, region=None, from_phase="progressing", to_phase="progressing")
    named = replace(row, trigger=Trigger.PROMOTE, actor="dana")
    rows = (named, *(replace(t, number=t.number + 1) for t in skipped.transitions))
    after = replace(skipped.rollout, transitions=skipped.rollout.transitions + 1)
    by_dana = replace(skipped, transitions=rows, rollout=after, known_good=())
    promotion = Intent(
        id="in_1", rollout_id="ro_1", kind=IntentKind.PROMOTE, actor="dana", reason="now", at=NOW
    )
    asked = facts(intents=(promotion,))
    assert numbers(before, by_dana, asked) == set()
    again = replace(before, regions=(replace(before.region("R3"), skipped_by="dana: now"), pending("R1")))
    assert numbers(again, by_dana, asked) == set(), "a second bake, by the same words"
    assert numbers(again, by_dana, facts(intents=(replace(promotion, region="R1"),))) == {"S4"}
    by_nobody = replace(by_dana, transitions=(replace(named, actor="controller"), *rows[1:]))
    assert numbers(before, by_nobody, asked) == {"S4"}


@pytest.mark.parametrize(
    "changed",
    [
        {"release": Release(service="mail", version="1.1.0", artifact="pkg:oci/mail@sha256%3Aother")},
        {"policy": "hasty"},
        {"policy_revision": 2},
    ],
)
def test_s4_release_and_plan_stay_what_was_asked_for(changed: dict[str, Any]) -> None:
    before, decision = next_region()
    assert "S4" in numbers(before, replace(decision, rollout=replace(decision.rollout, **changed)))


def test_s4_what_is_deployed_is_the_release_to_the_digest() -> None:
    before, decision = next_region()
    assert numbers(before, with_orders(decision, artifact="pkg:oci/mail@sha256%3Aother")) == {"S4"}


def test_s4_an_approval_or_a_gate_is_not_walked_past() -> None:
    for step in ({"approval": {"min": 1}}, {"gate": "smoke"}):
        steps = [*STEPS, step]
        before = rollout(region("R3", step=2), pending("R1"))
        known = facts()
        right = decided(replace(before, approved=((0, 2),)), known, plan(steps))
        report = GateReport(name="smoke", stage=0, status="passed", by="ci", at=NOW)
        if "gate" in step:
            right = decided(replace(before, gates=(report,)), known, plan(steps))
        assert right.rollout.region("R1").phase is RegionPhase.DEPLOYING
        without = replace(right, rollout=replace(right.rollout, approved=(), gates=()))
        assert "S4" in numbers(before, without, known, plan(steps))


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ((verdict("R1"),), "0 of 1 checks were judged"),
        ((verdict(value=math.nan),), "errors is no finite number: [nan, 0.001, 5000.0]"),
        ((verdict(baseline=math.inf),), "errors is no finite number: [0.001, inf, 5000.0]"),
        ((verdict(seen=99.0),), "errors saw 99 of 100 requests"),
        ((verdict(newest=None),), "errors cites no sample of the time since it was deployed"),
        (
            (verdict(newest=BEGAN - timedelta(minutes=1)),),
            "errors cites no sample of the time since it was deployed",
        ),
    ],
)
def test_s5_a_pass_cites_samples(verdicts: tuple[Any, ...], text: str) -> None:
    before, decision = next_region()
    found = broken(before, plan(), decision, facts(*verdicts), NOW)
    assert [(each.number, each.text) for each in found] == [("S5", f"the bake of R3 ends and {text}")]


def test_s5_a_pass_cites_samples_that_are_not_old() -> None:
    hour = timedelta(hours=1)
    before = rollout(
        region("R3", bake_started_at=BEGAN - hour, judge_from=BEGAN - hour, touched_at=BEGAN - 2 * hour),
        pending("R1"),
    )
    old = facts(verdict(newest=NOW - timedelta(minutes=10)))
    assert numbers(before, decided(before), old) == {"S5"}


def test_s5_a_region_that_cannot_be_asked_does_not_pass() -> None:
    before, decision = next_region()
    known = facts()
    blind = replace(known, judgement=replace(known.judgement, errors={"R3": ("no answer", BEGAN)}))
    assert numbers(before, decision, blind) == {"S5"}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.1.0"},
        {"version": "0.9.0"},
        {"artifact": "pkg:oci/mail@sha256%3Aother"},
        {"artifact": None},
    ],
)
def test_s6_what_is_restored_was_known_good_to_the_digest(changes: dict[str, Any]) -> None:
    before, known, decision = going_back()
    assert numbers(before, with_orders(decision, **changes), known) == {"S6"}


def test_s6_what_this_rollout_called_good_is_no_way_back() -> None:
    before, known, decision = going_back()
    own = good("R3", Release(service="mail", version="1.0.5"), by="ro_1")
    spoiled = with_region(with_orders(decision, version="1.0.5", artifact=None), "R3", back_to=own)
    assert numbers(before, spoiled, replace(known, known_good={"R3": (own,)})) == {"S6"}
    adopted = good("R3", Release(service="mail", version="1.0.5"), by="dana: by hand", how="adopted")
    spoiled = with_region(spoiled, "R3", back_to=adopted)
    assert numbers(before, spoiled, replace(known, known_good={"R3": (adopted,)})) == set()


def test_s7_known_good_is_earned_by_the_whole_bake_there() -> None:
    before, decision = next_region()
    assert [each.region for each in decision.known_good] == ["R3"]
    elsewhere = tuple(replace(each, region="R1") for each in decision.known_good)
    assert numbers(before, replace(decision, known_good=elsewhere)) == {"S7"}
    other = tuple(replace(each, release=good("R3").release) for each in decision.known_good)
    assert numbers(before, replace(decision, known_good=other)) == {"S7"}
    skipped = rollout(region("R3", skipped_by="dana: now"), pending("R1"))
    assert numbers(skipped, with_region(decision, "R3", skipped_by="dana: now")) == {"S7"}


def test_s8_nothing_is_promoted_on_the_way_back() -> None:
    before, known, decision = going_back()
    deploy = action(Kind.DEPLOY, generation=3, version="1.1.0", artifact=before.release.artifact, weight=75)
    late = record(deploy, key=f"ro_1/{decision.rollout.transitions}/9")
    assert numbers(before, replace(decision, actions=(*decision.actions, late)), known) == {"S8"}


def test_s8_what_was_ordered_before_is_dropped_and_every_region_goes_back() -> None:
    deploy = record(action(Kind.DEPLOY, version="1.1.0", weight=75), key="ro_1/5/0")
    before, known, _ = going_back()
    known = replace(known, actions=(deploy,))
    decision = decided(before, known)
    assert decision.drop_actions == ("ro_1/5/0",)
    assert numbers(before, replace(decision, drop_actions=()), known) == {"S8"}
    stays = with_region(decision, "R3", phase=RegionPhase.BAKING)
    assert "S8" in numbers(before, stays, known)


def test_s9_done_means_read_back() -> None:
    before = rollout(region("R3", RegionPhase.DEPLOYING, step=0), pending("R1"))
    right = facts(actions=(read_back({"1.1.0": 3, "1.0.0": 1}),))
    decision = decided(before, right)
    assert decision.rollout.region("R3").phase is RegionPhase.BAKING
    assert numbers(before, decision, right) == set()
    for wrong in (read_back({"1.0.0": 4}), read_back({"1.1.0": 3, "1.0.0": 1}, generation=1)):
        assert numbers(before, decision, facts(actions=(wrong,))) == {"S9"}


def test_s9_rolled_back_means_read_back_everywhere() -> None:
    there = region("R3", RegionPhase.RESTORING)
    before = rollout(there, pending("R1"), phase=Phase.ROLLING_BACK, decided_at=BEGAN)
    right = facts(actions=(read_back({"1.0.0": 4}),))
    decision = decided(before, right)
    assert decision.rollout.phase is Phase.ROLLED_BACK
    assert numbers(before, decision, right) == set()
    assert numbers(before, decision, facts(actions=(read_back({"1.0.0": 3, "1.1.0": 1}),))) == {"S9"}
    assert "S9" in numbers(before, with_region(decision, "R3", phase=RegionPhase.RESTORING), right)


def test_s10_no_more_than_the_step_is_exposed() -> None:
    before, decision = next_region()
    for weight in (76, 100, 0):
        assert numbers(before, with_orders(decision, weight=weight)) == {"S10"}


def test_s10_what_only_observes_exposes_nobody() -> None:
    before, decision = next_region()
    assert "S10" in numbers(before, decision, by=plan(mode="observe"))


def test_s11_what_is_held_orders_no_deploy() -> None:
    before, decision = next_region()
    held = replace(before, phase=Phase.HELD)
    regions_only = tuple(row for row in decision.transitions if row.region)
    spoiled = replace(decision, transitions=regions_only, rollout=replace(decision.rollout, phase=Phase.HELD))
    assert numbers(held, spoiled) == {"S11", "S13"}


def _approved(*names: str, at: timedelta = timedelta()) -> tuple[Rollout, Decision, Plan]:
    """A decision that counts these people's yes, of which two are wanted."""
    asked = Approval(
        stage=0,
        step=2,
        minimum=2,
        groups=(),
        self_approval=False,
        asked_at=BEGAN,
        deadline=NOW + timedelta(hours=1),
    )
    given = tuple(ApprovalDecision(by=name, decision="approve", reason="yes", at=NOW + at) for name in names)
    by = plan([*STEPS, {"approval": {"min": 2}}])
    before = rollout(region("R3", step=2), pending("R1"), phase=Phase.AWAITING_APPROVAL)
    full = (ApprovalDecision(by="dana", decision="approve", reason="yes", at=NOW),) * 1
    full += (ApprovalDecision(by="erin", decision="approve", reason="yes", at=NOW),)
    before = replace(before, approval=replace(asked, decisions=full))
    decision = decided(before, facts(), by)
    answered = (replace(decision.rollout.answered[-1], decisions=given),)
    return before, replace(decision, rollout=replace(decision.rollout, answered=answered)), by


@pytest.mark.parametrize("names", [("dana",), ("dana", "Dana "), ("dana", "pipeline"), ("dana", "ana"), ()])
def test_s12_an_approval_needs_as_many_other_people_as_the_plan_says(names: tuple[str, ...]) -> None:
    before, decision, by = _approved(*names)
    assert numbers(before, decision, by=by) == {"S12"}


def test_s12_enough_people_in_time_count_and_late_ones_do_not() -> None:
    before, decision, by = _approved("dana", "erin")
    assert decision.rollout.region("R1").phase is RegionPhase.DEPLOYING
    assert numbers(before, decision, by=by) == set()
    before, late, by = _approved("dana", "erin", at=timedelta(hours=2))
    assert numbers(before, late, by=by) == {"S12"}
    unasked = replace(decision, rollout=replace(decision.rollout, answered=()))
    assert numbers(before, unasked, by=by) == {"S12"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: replace(d, transitions=d.transitions[1:]),
        lambda d: replace(d, transitions=tuple(replace(t, number=t.number + 1) for t in d.transitions)),
        lambda d: replace(d, transitions=tuple(replace(t, trigger="deployed") for t in d.transitions)),
        lambda d: replace(d, transitions=tuple(replace(t, actor="") for t in d.transitions)),
        lambda d: replace(d, rollout=replace(d.rollout, phase=Phase.AWAITING_APPROVAL)),
        lambda d: with_region(d, "R1", phase=RegionPhase.BAKING),
    ],
)
def test_s13_every_change_has_its_row(spoil: Spoil) -> None:
    before, decision = next_region()
    assert "S13" in numbers(before, spoil(decision))


def test_s14_a_decision_is_about_what_was_read() -> None:
    before, decision = next_region()
    assert numbers(replace(before, version=10), decision) == {"S14"}


def test_s15_what_moves_by_itself_is_looked_at_again() -> None:
    before, decision = next_region()
    forgotten = replace(decision, rollout=replace(decision.rollout, next_due_at=None))
    assert numbers(before, forgotten) == {"S15"}


# ------------------------------------------------------------------ what follows


def test_a_refused_decision_becomes_a_hold_that_names_the_promise_and_wakes_people() -> None:
    before, decision = next_region()
    found = kept(before, plan(), with_orders(decision, weight=100), facts(), NOW)
    assert found.decision.rollout.phase is Phase.HELD
    assert [(t.trigger, t.number) for t in found.decision.transitions] == [("invariant_broken", 8)]
    assert found.decision.rollout.region("R3") == before.region("R3")
    assert found.decision.known_good == ()
    (notice,) = found.decision.actions
    assert notice.action.details["urgent"]
    assert found.decision.rollout.reason.text == (
        "S10 would be broken: R1 would get 100 % of 1.1.0, and 75 % is due. Nothing of it was done. Resume "
        "to try again, or roll back; and report it: the controller is at fault."
    )
    assert numbers(before, found.decision) == set()


def test_what_is_held_for_it_already_is_said_once() -> None:
    def stale(before: Rollout) -> Decision:
        decision = decided(before)
        return replace(decision, rollout=replace(decision.rollout, version=before.version - 1))

    before = rollout()
    first = kept(before, plan(), stale(before), facts(), NOW).decision
    held = replace(first.rollout, version=10)
    again = kept(held, plan(), stale(held), facts(), NOW)
    assert [each.number for each in again.broken] == ["S14"]
    assert again.decision.transitions == ()
    assert again.decision.actions == ()
    assert again.decision.rollout.next_due_at == NOW + timedelta(seconds=60)


def test_a_way_back_is_committed_without_the_part_that_would_break_a_promise() -> None:
    before, known, decision = going_back()
    found = kept(before, plan(), with_orders(decision, version="1.1.0"), known, NOW)
    assert found.decision.rollout.phase is Phase.ROLLING_BACK
    assert Kind.RESTORE not in {r.action.kind for r in found.decision.actions}
    page = found.decision.actions[-1].action.details
    assert page["urgent"]
    assert "S6 would be broken: R3 would be restored to 1.1.0, the release under judgement" in page["text"]
    keys = [r.key for r in found.decision.actions]
    assert len(set(keys)) == len(keys)


def test_a_way_back_is_not_held_by_what_is_only_wrong_in_its_book_keeping() -> None:
    before, known, decision = going_back()
    spoiled = replace(decision, rollout=replace(decision.rollout, next_due_at=None))
    found = kept(before, plan(), spoiled, known, NOW)
    assert [each.number for each in found.broken] == ["S15"]
    assert Kind.RESTORE in {r.action.kind for r in found.decision.actions}


def test_a_deploy_that_goes_on_is_dropped_on_the_way_back() -> None:
    deploy = record(action(Kind.DEPLOY, version="1.1.0", weight=75), key="ro_1/5/0")
    before, known, _ = going_back()
    known = replace(known, actions=(deploy,))
    spoiled = replace(decided(before, known), drop_actions=())
    assert kept(before, plan(), spoiled, known, NOW).decision.drop_actions == ("ro_1/5/0",)


def test_after_the_end_only_the_offending_part_is_left_out() -> None:
    before = rollout(passed("R3"), passed("R1"), phase=Phase.SUCCEEDED, stage=1, next_due_at=None)
    decision = decided(before)
    wrong = replace(decision, known_good=(good("R3", before.release, by="ro_1"),))
    found = kept(before, plan(), wrong, facts(), NOW)
    assert [each.number for each in found.broken] == ["S7"]
    assert found.decision.known_good == ()
    assert found.decision.rollout.phase is Phase.SUCCEEDED


def test_only_what_ended_counts_as_read_back() -> None:
    before = rollout(region("R3", RegionPhase.DEPLOYING, step=0), pending("R1"))
    right = facts(actions=(read_back({"1.1.0": 3, "1.0.0": 1}),))
    decision = decided(before, right)
    open_ = replace(right.actions[0], state=ActionState.PENDING)
    assert numbers(before, decision, facts(actions=(open_,))) == {"S9"}
