"""What decide orders, and what it says is done: by which digest, under which fence, and not too early."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollout.core.actions import Action, ActionResult
from rollout.core.decide import Decision
from rollout.core.model import (
    ActionState,
    Hold,
    Kind,
    Obligation,
    ObligationKind,
    ObligationState,
    Phase,
    RegionPhase,
)
from rollout.core.signals import Judgement, VerdictKind
from tests.core.decisions import (
    BEGAN,
    NEW,
    NOW,
    OLD,
    STEPS,
    action,
    decided,
    facts,
    passed,
    pending,
    plan,
    record,
    region,
    rollout,
    verdict,
)

TWO_BAKES: list[dict[str, Any]] = [{"set_weight": 25}, {"bake": "60s"}, {"set_weight": 75}, {"bake": "60s"}]


def ordered(decision: Decision, kind: Kind) -> list[Action]:
    return [record.action for record in decision.actions if record.action.kind is kind]


def test_a_deploy_names_the_digest_under_a_fence_of_its_own() -> None:
    known = facts(verdict("R3"), verdict("R1"), generations={"R3": 2, "R1": 6})
    (deploy,) = ordered(decided(rollout(passed("R3"), pending("R1"), stage=1), known), Kind.DEPLOY)
    assert (deploy.region, deploy.version, deploy.artifact) == ("R1", NEW.version, NEW.artifact)
    assert deploy.generation == 7


def test_a_way_back_names_the_digest_of_the_known_good_under_a_fence_of_its_own() -> None:
    harm = verdict(kind=VerdictKind.FAIL, value=0.2)
    known = facts(judgement=Judgement(verdicts=(harm,), culprits=(harm,)))
    (restore,) = ordered(decided(rollout(), known), Kind.RESTORE)
    assert (restore.version, restore.artifact, restore.from_version) == (
        OLD.version,
        OLD.artifact,
        NEW.version,
    )
    assert restore.generation == 3


def test_a_release_is_called_good_after_the_last_of_its_bakes_and_not_before() -> None:
    steps = plan(TWO_BAKES)
    first = decided(rollout(region("R3", weight=25), pending("R1")), by=steps)
    assert [deploy.weight for deploy in ordered(first, Kind.DEPLOY)] == [75]
    assert first.known_good == ()
    last = decided(rollout(region("R3", step=3), pending("R1")), by=steps)
    assert [good.release for good in last.known_good] == [NEW]
    early = decided(rollout(replace(region("R3", step=3), skipped_by="dana"), pending("R1")), by=steps)
    assert early.known_good == ()


def test_a_bake_does_not_end_where_there_was_nothing_to_compare_with() -> None:
    assert decided(rollout()).rollout.region("R3").phase is RegionPhase.PASSED
    uncompared = decided(rollout(), facts(verdict(baseline=None)))
    assert uncompared.rollout.region("R3").phase is RegionPhase.BAKING


def test_what_is_held_orders_nothing_however_long_it_baked() -> None:
    held = Hold(owner="dana", reason="it smells", since=BEGAN)
    waiting = rollout(region("R3", weight=25), pending("R1"), phase=Phase.HELD, hold=held)
    decision = decided(waiting, by=plan(TWO_BAKES))
    assert decision.actions == ()
    assert decision.rollout.region("R3") == waiting.region("R3")


def test_the_stage_after_the_one_that_passed_begins_and_no_other() -> None:
    decision = decided(rollout(passed("R3"), pending("R1")), facts(verdict("R3"), verdict("R1")))
    assert (decision.rollout.phase, decision.rollout.stage) == (Phase.PROGRESSING, 1)
    assert {deploy.region for deploy in ordered(decision, Kind.DEPLOY)} == {"R1"}


def test_a_bake_lasts_as_long_as_the_plan_says() -> None:
    began = NOW - timedelta(seconds=59)
    decision = decided(rollout(region("R3", bake_started_at=began), pending("R1")))
    assert decision.rollout.region("R3").phase is RegionPhase.BAKING


def test_an_approval_is_asked_for_anew_in_each_stage() -> None:
    asking = plan([{"approval": {"min": 1, "within": "1h"}}, *STEPS])
    before = rollout(replace(passed("R3"), step=3), pending("R1"), approved=((0, 0),))
    decision = decided(before, facts(verdict("R3"), verdict("R1")), by=asking)
    assert decision.rollout.phase is Phase.AWAITING_APPROVAL
    assert decision.rollout.approval is not None
    assert decision.rollout.approval.stage == 1
    assert ordered(decision, Kind.DEPLOY) == []


def test_a_deploy_that_is_pending_is_dropped_with_the_decision_to_go_back() -> None:
    pending_deploy = record(action(Kind.DEPLOY, version=NEW.version, artifact=NEW.artifact, weight=75))
    harm = verdict(kind=VerdictKind.FAIL, value=0.2)
    known = facts(judgement=Judgement(verdicts=(harm,), culprits=(harm,)), actions=(pending_deploy,))
    decision = decided(rollout(region("R3", RegionPhase.DEPLOYING, step=0), pending("R1")), known)
    assert decision.rollout.phase is Phase.ROLLING_BACK
    assert pending_deploy.key in decision.drop_actions


def test_a_recovery_is_met_when_two_looks_in_a_row_find_no_stalled_work() -> None:
    owed = Obligation(
        id="ro_1/recovery/R3/7",
        rollout_id="ro_1",
        service="mail",
        region="R3",
        kind=ObligationKind.RECOVERY,
        since=BEGAN,
        until=NOW + timedelta(hours=1),
    )
    nothing = record(
        replace(action(Kind.FIND_STALLED), obligation=owed.id),
        state=ActionState.SUCCEEDED,
        ended_at=NOW,
        result=ActionResult(details={"items": [], "oldest_age_s": 0.0, "backlog": 0}),
    )
    restored = rollout(region("R3", RegionPhase.RESTORED), phase=Phase.ROLLED_BACK)
    states = []
    for clean in (0, 1):
        known = facts(obligations=(replace(owed, progress={"clean": clean}),), actions=(nothing,))
        states += [changed.state for changed in decided(restored, known).obligations]
    assert states == [ObligationState.OPEN, ObligationState.MET]
