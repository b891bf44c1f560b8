"""Suspected harm stops a rollout and wakes somebody, once; only what is new does so again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.core.decide import Decision, Facts, decide
from rollout.core.model import (
    Approval,
    Hold,
    Intent,
    IntentKind,
    Kind,
    KnownGood,
    Obligation,
    ObligationKind,
    Outcome,
    Phase,
    Plugin,
    Reason,
    Region,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
)
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Judgement, Signal, SignalKind, Verdict, VerdictKind

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=20)
NAMES = ("R3", "R1")
GOOD = {
    name: KnownGood(
        service="mail",
        region=name,
        release=Release(service="mail", version="1"),
        since=BEFORE - timedelta(days=1),
        how="adopted",
        by="dana",
    )
    for name in NAMES
}


def plan() -> Plan:
    """R3, then R1; an hour's bake; errors alone are checked and are not critical."""
    regions = {
        name: Region(
            name=name,
            title=name,
            time_zone="UTC",
            order=order,
            traffic_share=0.5,
            deployer=Plugin(kind="fake"),
            source=Plugin(kind="fake"),
        )
        for order, name in enumerate(NAMES)
    }
    signals = {"errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests")}
    written = {
        "apiVersion": "rollout/v1",
        "name": "p",
        "holdback": 25,
        "steps": [{"set_weight": 75}, {"bake": "1h"}, {"approval": {"min": 1}}],
        "stages": [{"regions": [name]} for name in NAMES],
        "checks": [{"signal": "errors", "critical": False}],
    }
    return compile_plan(Policy.model_validate(written), regions, signals)


PLAN = plan()


def seen(region: str = "R3", *, log_e: float = 6.0, kind: VerdictKind = VerdictKind.UNDECIDED) -> Verdict:
    return Verdict(
        region=region,
        signal="errors",
        kind=kind,
        value=0.013,
        baseline=0.0025,
        baseline_kind="beside",
        log_e=log_e,
        seen=5000.0,
        since=BEFORE,
    )


def judged(
    *suspected: Verdict, healthy: Sequence[Verdict] = (), harmful: Sequence[Verdict] = ()
) -> Judgement:
    return Judgement(verdicts=(*suspected, *healthy, *harmful), suspected=suspected, culprits=tuple(harmful))


def region(name: str, phase: RegionPhase = RegionPhase.BAKING) -> RegionRollout:
    return RegionRollout(
        region=name,
        stage=NAMES.index(name),
        phase=phase,
        since=BEFORE,
        step=1,
        weight=75,
        touched_at=BEFORE,
        back_to=GOOD[name],
        rehearsed=True,
        bake_started_at=BEFORE,
        judge_from=BEFORE,
        passed_at=BEFORE if phase is RegionPhase.PASSED else None,
    )


def rollout(phase: Phase = Phase.PROGRESSING, **given: Any) -> Rollout:
    untouched = RegionRollout(region="R1", stage=1, since=BEFORE)
    made = Rollout(
        id="ro_1",
        release=Release(service="mail", version="2"),
        policy="p",
        policy_revision=1,
        phase=phase,
        since=BEFORE,
        created_at=BEFORE,
        created_by="ci",
        regions=(region("R3"), untouched),
        reason=Reason(code="x", text="x"),
        transitions=3,
    )
    return replace(made, **given)


def decided(before: Rollout, judgement: Judgement, **facts: Any) -> Decision:
    known_good = {name: (good,) for name, good in GOOD.items()}
    return decide(before, PLAN, Facts(judgement=judgement, known_good=known_good, **facts), NOW)


def told(decision: Decision, *, urgent: bool) -> list[str]:
    notices = [record.action.details for record in decision.actions if record.action.kind is Kind.NOTIFY]
    return [str(notice["text"]) for notice in notices if notice["urgent"] is urgent]


APPROVAL = Approval(
    stage=0,
    step=2,
    minimum=1,
    groups=(),
    self_approval=False,
    asked_at=BEFORE,
    deadline=NOW + timedelta(hours=1),
)


@pytest.mark.parametrize(
    "before",
    [rollout(), rollout(Phase.AWAITING_APPROVAL, approval=APPROVAL)],
    ids=["progressing", "awaiting"],
)
def test_suspected_harm_holds_and_pages_once(before: Rollout) -> None:
    decision = decided(before, judged(seen()))
    after = decision.rollout
    assert (after.phase, after.reason.code) == (Phase.HELD, "check.suspected")
    assert after.hold is not None
    assert after.hold.owner == "controller"
    assert after.approval is None
    (page,) = told(decision, urgent=True)
    assert page == f"mail is held: {after.reason.text}"
    assert "as the check is not critical. Go on: rollout resume ro_1; go back: rollout rollback ro_1" in page
    again = decided(after, judged(seen(log_e=9.0)))
    assert again.transitions == again.actions == ()


def test_what_a_person_resumed_does_not_hold_again_and_another_region_does() -> None:
    held = decided(rollout(), judged(seen())).rollout
    resume = Intent(id="in_1", rollout_id="ro_1", kind=IntentKind.RESUME, actor="dana", reason="seen", at=NOW)
    resumed = decided(held, judged(seen(log_e=9.0)), intents=(resume,))
    assert resumed.rollout.phase is Phase.PROGRESSING
    assert told(resumed, urgent=True) == []
    there = replace(resumed.rollout, stage=1, regions=(region("R3", RegionPhase.PASSED), region("R1")))
    again = decided(there, judged(seen(), seen("R1")))
    assert again.rollout.phase is Phase.HELD
    assert again.rollout.reason.region == "R1", "what is new comes first"
    assert again.rollout.reason.evidence == ("R1/errors", "R3/errors")


def test_what_is_gone_is_told_without_a_page_and_holds_when_it_comes_again() -> None:
    known = rollout(suspected=("R3/errors",))
    faded = decided(known, judged(healthy=[seen(log_e=2.0)]))
    assert faded.rollout.suspected == ("R3/errors",), "weaker is not gone"
    gone = decided(known, judged(healthy=[seen(log_e=-0.5)]))
    assert gone.rollout.suspected == ()
    assert told(gone, urgent=True) == []
    assert told(gone, urgent=False) == [
        "mail 2: R3 failed requests: no evidence of harm is left of what was suspected."
    ]
    assert decided(gone.rollout, judged(seen())).rollout.phase is Phase.HELD


def test_evidence_that_is_enough_acts_also_on_what_was_resumed() -> None:
    known = rollout(suspected=("R3/errors",))
    decision = decided(known, judged(harmful=[seen(kind=VerdictKind.FAIL, log_e=12.0)]))
    assert decision.rollout.phase is Phase.ROLLING_BACK
    assert decision.rollout.reason.code == "check.harm"


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.HELD])
def test_a_guard_acts_beside_a_suspicion(phase: Phase) -> None:
    hold = Hold(owner="controller", reason="x", since=BEFORE) if phase is Phase.HELD else None
    fired = replace(seen(kind=VerdictKind.FAIL), guard="success", log_e=0.0)
    decision = decided(rollout(phase, hold=hold), judged(seen(), harmful=[fired]))
    assert decision.rollout.phase is Phase.ROLLING_BACK
    assert decision.rollout.reason.code == "guard.success"


def held_by(owner: str, then: str = "hold") -> Rollout:
    until = NOW + timedelta(minutes=5) if then == "resume" else None
    hold = Hold(owner=owner, reason="lunch", since=BEFORE, until=until, then=then)
    return rollout(Phase.HELD, hold=hold)


def test_a_persons_hold_stays_theirs_and_they_are_told() -> None:
    decision = decided(held_by("dana"), judged(seen()))
    assert decision.rollout.hold == held_by("dana").hold
    assert decision.transitions == ()
    (page,) = told(decision, urgent=True)
    assert page.startswith("mail 2: R3 failed requests 1.30 % against 0.25 %")
    assert told(decided(decision.rollout, judged(seen())), urgent=True) == []


@pytest.mark.parametrize("before", [held_by("dana", "resume"), held_by("controller")])
def test_nothing_suspected_goes_on_by_itself(before: Rollout) -> None:
    after = decided(before, judged(seen())).rollout
    assert after.phase is Phase.HELD
    assert after.hold is not None
    assert (after.hold.owner, after.hold.until) == ("controller", None)
    assert after.reason.code == "check.suspected"


def watch(name: str) -> Obligation:
    return Obligation(
        id=f"w/{name}",
        rollout_id="ro_1",
        service="mail",
        region=name,
        kind=ObligationKind.WATCH,
        since=BEFORE,
        until=NOW + timedelta(hours=1),
    )


def watched() -> Rollout:
    both = (region("R3", RegionPhase.PASSED), region("R1", RegionPhase.PASSED))
    return rollout(Phase.SUCCEEDED, outcome=Outcome.PROMOTED, finished_at=BEFORE, stage=1, regions=both)


def test_a_watch_pages_once_and_goes_on() -> None:
    open_ = (watch("R3"), watch("R1"))
    decision = decided(watched(), judged(seen(), healthy=[seen("R1", log_e=-1)]), obligations=open_)
    assert decision.rollout.phase is Phase.SUCCEEDED
    assert decision.obligations == ()
    (page,) = told(decision, urgent=True)
    assert page.endswith("The watch goes on; go back: rollout rollback ro_1")
    assert told(decided(decision.rollout, judged(seen()), obligations=open_), urgent=True) == []


def test_a_watch_that_ends_with_a_suspicion_says_so() -> None:
    ends = replace(watch("R3"), until=NOW)
    known = replace(watched(), suspected=("R3/errors",))
    decision = decided(known, judged(seen()), obligations=(ends,))
    assert decision.rollout.reason.text == (
        "R3 was watched for 20 min: no harm to act on, and failed requests still suspected."
    )


def test_where_a_newer_release_took_over_nobody_is_woken() -> None:
    taken = replace(GOOD["R3"], release=Release(service="mail", version="3"), since=NOW)
    everywhere = {name: (replace(taken, region=name),) for name in NAMES}
    facts = Facts(judgement=judged(seen()), known_good=everywhere, obligations=(watch("R3"),))
    assert told(decide(watched(), PLAN, facts, NOW), urgent=True) == []


def test_the_page_ranks_the_releases_that_overlap() -> None:
    other = rollout(id="ro_2")
    other = replace(other, release=replace(other.release, service="billing"))
    (page,) = told(decided(rollout(), judged(seen()), overlapping=(other,)), urgent=True)
    assert "Suspects, most likely first: 1. mail 2 (ro_1) reached R3" in page
    assert "2. billing 2 (ro_2) reached R3" in page
    harmful = judged(harmful=[seen(kind=VerdictKind.FAIL)])
    (notice,) = told(decided(rollout(), harmful, overlapping=(other,)), urgent=False)
    assert "2. billing 2 (ro_2) reached R3" in notice
    assert "Suspects" not in decided(rollout(), harmful, overlapping=(other,)).rollout.reason.text
