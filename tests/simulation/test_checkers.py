"""Each checker fails on a history that breaks its promise, and on nothing of the same history kept right."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.actions import ActionRecord, ActionResult
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import (
    ActionState,
    Approval,
    ApprovalDecision,
    IntentKind,
    Kind,
    Phase,
    RegionPhase,
    Rollout,
)
from rollout.ports import Case, Change, Fence, Held, Notice, Progress, Replica, Reply
from tests.simulation.checkers import ALL, back, claims, ends, forward, orders, record
from tests.simulation.checkers.violation import Checker
from tests.simulation.given import SECRET
from tests.simulation.history import (
    Added,
    Adopted,
    Arrived,
    Asked,
    Calm,
    Changed,
    Committed,
    End,
    Granted,
    History,
    Logged,
    Saved,
    Sent,
    Setting,
    Stored,
    Told,
    Wait,
)
from tests.store.builders import (
    SERVICE,
    T0,
    action,
    intent,
    known_good,
    plan,
    region,
    rollout,
    sample,
    transition,
)

OLD, NEW = "2.4.1", "2.5.0"
GIVEN = Setting(
    services=(SERVICE,),
    known_good={(SERVICE, name): OLD for name in ("R3", "R1", "R2")},
    fencing=frozenset({"R3"}),
    deduping=frozenset({"R3"}),
)
LEASE = Replica(id="m0", incarnation="1", lease_s=5.0)
FENCE = Fence(service=SERVICE, owner="m0", epoch=1)


def history(*events: Any, every_s: float = 1.0, end: End | None = None, setting: Setting = GIVEN) -> History:
    """Events, a second apart."""
    found = History(setting, end=end)
    for n, what in enumerate(events):
        found.note(n * every_s, what)
    return found


def committed(
    of: Rollout | None = None, by: str = "m0.1", fence: Fence | None = FENCE, **more: Any
) -> Committed:
    return Committed(by=by, change=Change(rollout=of or rollout(), **more), fence=fence)


def granted(by: str = "m0.1", epoch: int = 1) -> Granted:
    return Granted(by=by, replica=LEASE, held=Held(claims={SERVICE: epoch}, replicas=1, now=T0))


def order(key: str = "ro_01/2/0", kind: Kind = Kind.DEPLOY, generation: int = 1, **more: Any) -> ActionRecord:
    made = action(key, kind=kind)
    return replace(made, action=replace(made.action, generation=generation, **more))


def sent(what: ActionRecord, by: str = "m0.1") -> Sent:
    return Sent(by=by, key=what.key, action=what.action)


def arrived(what: ActionRecord, ran: Mapping[str, int], *, good: bool = True) -> Arrived:
    reply = Reply(progress=Progress.SUCCEEDED, result=ActionResult(running=ran)) if good else None
    return Arrived(region="R3", key=what.key, action=what.action, highest=0, reply=reply, ran=ran)


def changed(what: ActionRecord, after: Mapping[str, int], items: tuple[str, ...] = ()) -> Changed:
    before = {OLD: 4}
    return Changed(
        region="R3",
        service=SERVICE,
        key=what.key,
        action=what.action,
        before=before,
        after=after,
        items=items,
    )


def saved(what: ActionRecord) -> Saved:
    return Saved(by="m0.1", record=replace(what, state=ActionState.SUCCEEDED), fence=FENCE, kept=True)


def touched(rollout_id: str = "ro_01", phase: Phase = Phase.PROGRESSING, **more: Any) -> Rollout:
    """One whose region R3 is touched."""
    given = {"phase": RegionPhase.BAKING, "weight": 75, **more}
    here = region("R3", touched_at=T0, back_to=known_good(), **given)
    return replace(rollout(rollout_id, phase=phase), regions=(here, region("R1", 1), region("R2", 2)))


def row(trigger: str, name: str | None = "R3", number: int = 2, **more: Any) -> Any:
    return transition(number, trigger=trigger, region=name, **more)


def ended(of: Rollout, running: Mapping[str, int], *records: ActionRecord, helped: bool = True) -> End:
    """An end at which R3 runs something, and the other regions what they ran before."""
    wait = Wait(sentence="It waits.", blocked_by=(), next="", phase=of.phase)
    known = {(SERVICE, name): {OLD: 4} for name in ("R1", "R2")}
    return End(
        cases=(Case(rollout=of, plan=plan(), actions=records),),
        running={**known, (SERVICE, "R3"): running},
        waits={of.id: wait},
        helped=helped,
    )


def _bake(seconds: int, *numbers: Any) -> History:
    """R3 is read back, some numbers come, and it passes after so many seconds."""
    begun = committed(touched(), transitions=(row(RegionTrigger.DEPLOYED),))
    over = committed(
        touched(phase=Phase.PROGRESSING), transitions=(row(RegionTrigger.BAKE_PASSED, number=3),)
    )
    stored = [
        Stored(by="m0.1", service=SERVICE, region="R3", samples=samples, fence=FENCE) for samples in numbers
    ]
    found = history(begun, *stored, every_s=0.5)
    found.note(float(seconds), over)
    return found


BOTH = (sample(value=0.0, exposure=100.0), sample(version=OLD, value=0.0, exposure=100.0))
NOTHING = (
    sample(value=float("nan"), exposure=float("nan")),
    sample(version=OLD, value=0.0, exposure=100.0),
)
DEPLOY, RESTORE = order(), order("ro_01/3/1", Kind.RESTORE, 2, version=OLD)
PARTLY = order(from_version=OLD)
DROPPED = replace(PARTLY, state=ActionState.DROPPED)
VERIFY = order("ro_01/4/0", Kind.VERIFY, 2)
APPROVAL = Approval(
    id="ap_1", stage=0, step=2, minimum=1, groups=(), self_approval=False, asked_at=T0, deadline=T0
)


def _approved(by: str, *, asked: bool = True) -> History:
    given = ApprovalDecision(by=by, decision="approve", reason="yes", at=T0)
    one = replace(touched(), answered=(replace(APPROVAL, decisions=(given,)),))
    said = Asked(by="m0.1", intent=intent(kind=IntentKind.APPROVE, actor=by, details={"approval": "ap_1"}))
    moved = committed(one, transitions=(row(Trigger.APPROVED, None),))
    return history(said, moved) if asked else history(moved)


def _deploying_with(approved: tuple[tuple[int, int], ...]) -> History:
    """R1 is ordered; the plan asks for an approval in the stage of R3."""
    added = Added(by="m0.1", rollout=rollout(), plan=plan(), transition=transition(1))
    order_there = order(region="R1")
    return history(added, committed(replace(touched(), approved=approved), actions=(order_there,)))


def _ordered_there(*before: Any) -> History:
    return history(*before, committed(touched(), actions=(order(region="R1"),)))


BACK = committed(
    touched(phase=Phase.ROLLING_BACK), transitions=(row(Trigger.HARM, None, to_phase="rolling_back"),)
)
RESTORED = touched(phase=Phase.ROLLED_BACK, weight=0)
GONE_BACK = replace(RESTORED, regions=(region("R3", touched_at=T0, phase=RegionPhase.RESTORED),))
SAID = committed(RESTORED, transitions=(row(RegionTrigger.RESTORED),))
HELD_ROW = row(Trigger.NO_DATA, None, actor="controller")
PAGE = order("ro_01/5/0", Kind.NOTIFY, details={"urgent": True, "text": "It is held."})
TOLD = Told(notice=Notice(key=PAGE.key, rollout_id="ro_01", service=SERVICE, text="It is held.", urgent=True))
FIRST = Added(
    by="m0.1", rollout=rollout(), plan=plan(), transition=transition(1, to_phase="preflight"), key="k"
)
NEXT = committed(
    rollout(phase=Phase.PROGRESSING),
    transitions=(transition(2, from_phase="preflight", to_phase="progressing"),),
)
ELSEWHERE = changed(DEPLOY, {NEW: 4})
DRIFTED = Told(
    notice=Notice(key="d", rollout_id="ro_01", service=SERVICE, text="R3 runs 4 × 2.5.0.", urgent=True)
)
UNFENCED = replace(GIVEN, fencing=frozenset())
OVER = committed(replace(GONE_BACK, next_due_at=None))
DONE = (transition(1, to_phase="preflight"), transition(2))

Pair = tuple[Checker, History, History]
CASES: Mapping[str, Pair] = {  # name → checker, a history that breaks the promise, one that keeps it
    "S1 two rollouts change a region": (
        orders.s1_one_rollout_changes_a_region,
        history(committed(touched("ro_01")), committed(touched("ro_02"))),
        history(committed(touched("ro_01", Phase.SUCCEEDED)), committed(touched("ro_02"))),
    ),
    "S2 sent before it was decided": (
        orders.s2_no_effect_without_a_decision,
        history(sent(DEPLOY), committed(actions=(DEPLOY,))),
        history(committed(actions=(DEPLOY,)), sent(DEPLOY)),
    ),
    "S2 another order than was decided": (
        orders.s2_no_effect_without_a_decision,
        history(committed(actions=(DEPLOY,)), sent(order(weight=99))),
        history(committed(actions=(DEPLOY,)), sent(DEPLOY)),
    ),
    "S2 a key takes effect twice": (
        orders.s2_one_effect_for_each_key,
        history(changed(DEPLOY, {NEW: 4}), changed(RESTORE, {OLD: 4}), changed(DEPLOY, {NEW: 4})),
        history(changed(DEPLOY, {NEW: 4}), changed(RESTORE, {OLD: 4})),
    ),
    "S2 an item is resumed twice": (
        orders.s2_one_effect_for_each_key,
        history(changed(DEPLOY, {}, ("send-1",)), changed(RESTORE, {}, ("send-1",))),
        history(changed(DEPLOY, {}, ("send-1",)), changed(RESTORE, {}, ("send-2",))),
    ),
    "S2 a request starts two rollouts": (
        orders.s2_one_rollout_for_each_request,
        history(FIRST, replace(FIRST, rollout=rollout("ro_02"))),
        history(FIRST, replace(FIRST, rollout=rollout("ro_02"), key="other")),
    ),
    "S3 a generation comes again": (
        orders.s3_generations_of_decisions_rise,
        history(committed(generations={"R3": 3}), committed(generations={"R3": 3})),
        history(committed(generations={"R3": 3}), committed(generations={"R3": 4})),
    ),
    "S3 an order carries an old generation": (
        orders.s3_generations_of_decisions_rise,
        history(committed(generations={"R3": 2}, actions=(DEPLOY,))),
        history(committed(generations={"R3": 1}, actions=(DEPLOY,))),
    ),
    "S3 a fencing target goes back": (
        orders.s3_a_fencing_target_never_goes_back,
        history(changed(RESTORE, {OLD: 4}), changed(DEPLOY, {NEW: 4})),
        history(changed(DEPLOY, {NEW: 4}), changed(RESTORE, {OLD: 4})),
    ),
    "S3 fenced off and recorded as done": (
        orders.s3_no_success_without_an_answer,
        history(arrived(DEPLOY, {}, good=False), saved(DEPLOY)),
        history(arrived(DEPLOY, {}), saved(DEPLOY)),
    ),
    "S4 a stage is begun before the one before it": (
        forward.s4_stages_go_in_order,
        _ordered_there(),
        _ordered_there(committed(touched(), transitions=(row(RegionTrigger.BAKE_PASSED),))),
    ),
    "S5 NaN passes": (
        forward.s5_a_pass_cites_fresh_numbers,
        _bake(5, NOTHING),
        _bake(5, BOTH),
    ),
    "S5 too few requests pass": (
        forward.s5_a_pass_cites_fresh_numbers,
        _bake(5, (sample(value=0.0, exposure=10.0), BOTH[1])),
        _bake(5, BOTH),
    ),
    "S5 old numbers pass": (forward.s5_a_pass_cites_fresh_numbers, _bake(40, BOTH), _bake(5, BOTH)),
    "S6 restored to what fails": (
        back.s6_back_to_what_was_good_before,
        history(committed(touched(), actions=(order(kind=Kind.RESTORE, version=NEW),))),
        history(committed(touched(), actions=(RESTORE,))),
    ),
    "S6 restored to what became good meanwhile": (
        back.s6_back_to_what_was_good_before,
        history(
            committed(touched(), known_good=(known_good("2.4.9"),)),
            committed(touched(), actions=(order(kind=Kind.RESTORE, version="2.4.9"),)),
        ),
        history(
            committed(touched()),
            Adopted(by="m0.1", known_good=(known_good("2.4.9"),)),
            committed(touched(), actions=(order(kind=Kind.RESTORE, version="2.4.9"),)),
        ),
    ),
    "S7 known good without a pass": (
        forward.s7_known_good_is_earned,
        history(committed(touched(), known_good=(known_good(NEW),))),
        history(
            committed(touched(), transitions=(row(RegionTrigger.BAKE_PASSED),), known_good=(known_good(NEW),))
        ),
    ),
    "S7 known good after an early end": (
        forward.s7_known_good_is_earned,
        history(
            committed(
                touched(skipped_by="dana"),
                transitions=(row(RegionTrigger.BAKE_PASSED),),
                known_good=(known_good(NEW),),
            )
        ),
        history(
            committed(touched(), transitions=(row(RegionTrigger.BAKE_PASSED),), known_good=(known_good(NEW),))
        ),
    ),
    "S8 a deploy begins after going back": (
        orders.s8_nothing_goes_forward_after_going_back,
        history(BACK, sent(DEPLOY)),
        history(sent(DEPLOY), BACK, sent(RESTORE)),
    ),
    "S9 restored on a reading that shows something else": (
        back.s9_phases_are_backed_by_what_ran,
        history(arrived(VERIFY, {NEW: 1, OLD: 3}), saved(VERIFY), SAID),
        history(arrived(VERIFY, {OLD: 4}), saved(VERIFY), SAID),
    ),
    "S9 restored on a reading from before": (
        back.s9_phases_are_backed_by_what_ran,
        history(arrived(VERIFY, {OLD: 4}), saved(VERIFY), changed(DEPLOY, {NEW: 4}), SAID),
        history(changed(DEPLOY, {NEW: 4}), arrived(VERIFY, {OLD: 4}), saved(VERIFY), SAID),
    ),
    "S10 more places than were ordered": (
        forward.s10_exposure_is_what_was_ordered,
        history(committed(actions=(DEPLOY,)), changed(DEPLOY, {NEW: 2, OLD: 2})),
        history(committed(actions=(DEPLOY,)), changed(DEPLOY, {NEW: 1, OLD: 3})),
    ),
    "S11 a deploy begins while held": (
        orders.s11_nothing_begins_while_held,
        history(committed(touched(phase=Phase.HELD)), sent(DEPLOY)),
        history(sent(DEPLOY), committed(touched(phase=Phase.HELD)), sent(DEPLOY)),
    ),
    "S12 approved by the one who asked": (
        orders.s12_approvals_are_of_others_and_enough,
        _approved("ci"),
        _approved("dana"),
    ),
    "S12 approved by nobody": (
        orders.s12_approvals_are_of_others_and_enough,
        _approved("dana", asked=False),
        _approved("dana"),
    ),
    "S12 an approval is passed over": (
        forward.s12_nothing_passes_an_approval_unasked,
        _deploying_with(()),
        _deploying_with(((0, 2),)),
    ),
    "S13 a row is missing": (
        record.s13_history_has_no_gaps,
        history(FIRST, replace(NEXT, change=replace(NEXT.change, transitions=(transition(3),)))),
        history(FIRST, NEXT),
    ),
    "S13 a phase changes without a row": (
        record.s13_history_has_no_gaps,
        history(FIRST, NEXT, committed(rollout(phase=Phase.HELD))),
        history(FIRST, NEXT, committed(rollout(phase=Phase.PROGRESSING))),
    ),
    "S13 a committed row is lost": (
        record.s13_what_was_committed_is_there,
        history(FIRST, NEXT, end=End(rows=DONE[:1])),
        history(FIRST, NEXT, end=End(rows=(DONE[0], NEXT.change.transitions[0]))),
    ),
    "S14 a bake ends early": (forward.s14_no_bake_ends_early, _bake(2, BOTH), _bake(5, BOTH)),
    "S16 a secret is told": (
        record.s16_no_secret_is_told,
        history(Logged(by="m0.1", level="warning", text=f"token={SECRET}")),
        history(Logged(by="m0.1", level="warning", text="token=…")),
    ),
    "U0 an assertion of the product": (
        record.u0_nothing_unforeseen_happens,
        history(Logged(by="m0.1", level="unforeseen", text="AssertionError")),
        history(Logged(by="m0.1", level="warning", text="fenced")),
    ),
    "C1 an epoch is given to two": (
        claims.c1_each_epoch_has_one_owner,
        history(granted(), granted("m1.1")),
        history(granted(), granted("m1.1", 2)),
    ),
    "C2 a write of the past": (
        claims.c2_every_write_is_the_owners,
        history(granted(), granted("m1.1", 2), committed()),
        history(granted(), committed(), granted("m1.1", 2)),
    ),
    "C2 a write without a fence": (
        claims.c2_every_write_is_the_owners,
        history(granted(), committed(fence=None)),
        history(granted(), committed()),
    ),
    "C3 an order after the lease": (
        claims.c3_effects_begin_under_a_lease,
        history(granted(), *(Calm() for _ in range(6)), sent(DEPLOY)),
        history(granted(), sent(DEPLOY)),
    ),
    "C3 an order of another": (
        claims.c3_effects_begin_under_a_lease,
        history(granted(), granted("m1.1", 2), sent(DEPLOY)),
        history(granted(), granted("m1.1", 2), sent(DEPLOY, "m1.1")),
    ),
    "L1 it waits for nothing that it names": (
        ends.l1_everything_ends_or_waits_by_name,
        history(Calm(), end=ended(touched(phase=Phase.HELD), {OLD: 4}, helped=False)),
        history(Calm(), end=ended(touched(phase=Phase.SUCCEEDED), {OLD: 4}, helped=False)),
    ),
    "L2 what went back still runs": (
        ends.l2_what_went_back_runs_nowhere,
        history(end=ended(GONE_BACK, {NEW: 4})),
        history(end=ended(GONE_BACK, {OLD: 4})),
    ),
    "L2 what went back comes again, and nobody is woken": (
        ends.l2_what_went_back_runs_nowhere,
        history(ELSEWHERE, end=ended(GONE_BACK, {NEW: 4}), setting=UNFENCED),
        history(ELSEWHERE, DRIFTED, end=ended(GONE_BACK, {NEW: 4}), setting=UNFENCED),
    ),
    "L2 where a target fences, being told is not enough": (
        ends.l2_what_went_back_runs_nowhere,
        history(ELSEWHERE, DRIFTED, end=ended(GONE_BACK, {NEW: 4})),
        history(ELSEWHERE, DRIFTED, end=ended(GONE_BACK, {OLD: 4})),
    ),
    "L3 nobody is woken": (
        ends.l3_what_is_blocked_is_told,
        history(Calm(), committed(transitions=(HELD_ROW,), actions=(PAGE,)), Calm(), every_s=60.0),
        history(Calm(), committed(transitions=(HELD_ROW,), actions=(PAGE,)), TOLD, Calm(), every_s=40.0),
    ),
    "L4 a target runs what was not ordered last": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(end=ended(RESTORED, {NEW: 4}, saved(DEPLOY).record, saved(RESTORE).record)),
        history(end=ended(RESTORED, {OLD: 4}, saved(DEPLOY).record, saved(RESTORE).record)),
    ),
    "L4 an order without an answer was never sent": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(end=ended(touched(phase=Phase.HELD), {NEW: 1, OLD: 3}, PARTLY)),
        history(sent(PARTLY), end=ended(touched(phase=Phase.HELD), {NEW: 1, OLD: 3}, PARTLY)),
    ),
    "L4 an order that was dropped was never sent": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(end=ended(touched(phase=Phase.HELD), {NEW: 1, OLD: 3}, DROPPED)),
        history(sent(PARTLY), end=ended(touched(phase=Phase.HELD), {NEW: 1, OLD: 3}, DROPPED)),
    ),
    "L4 it comes late while somebody compares": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(ELSEWHERE, OVER, Calm(), end=ended(GONE_BACK, {NEW: 4}), setting=UNFENCED, every_s=9.0),
        history(OVER, ELSEWHERE, Calm(), end=ended(GONE_BACK, {NEW: 4}), setting=UNFENCED, every_s=9.0),
    ),
    "L4 where a target fences, nothing comes late": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(OVER, ELSEWHERE, Calm(), end=ended(GONE_BACK, {NEW: 4}), every_s=9.0),
        history(OVER, ELSEWHERE, Calm(), end=ended(GONE_BACK, {NEW: 4}), setting=UNFENCED, every_s=9.0),
    ),
    "L4 a target still moves": (
        ends.l4_targets_are_as_wanted_and_stay,
        history(Calm(), changed(RESTORE, {OLD: 4}), end=ended(RESTORED, {OLD: 4}, saved(RESTORE).record)),
        history(Calm(), end=ended(RESTORED, {OLD: 4}, saved(RESTORE).record)),
    ),
}


@pytest.mark.parametrize(("looked_at_s", "sees"), [(0.0, 1), (60.0, 0)])
def test_what_moved_long_before_the_end_was_looked_at_has_come_to_rest(looked_at_s: float, sees: int) -> None:
    end = replace(ended(RESTORED, {OLD: 4}, saved(RESTORE).record), at=looked_at_s)
    quiet_since = history(Calm(), changed(RESTORE, {OLD: 4}), end=end)
    assert len(list(ends.l4_targets_are_as_wanted_and_stay(quiet_since))) == sees


@pytest.mark.parametrize("name", CASES)
def test_a_checker_sees_a_broken_promise(name: str) -> None:
    checker, wrong, _ = CASES[name]
    found = list(checker(wrong))
    assert found, f"{checker.__name__} sees nothing wrong"
    assert {violation.check for violation in found} == {name.split(maxsplit=1)[0]}


@pytest.mark.parametrize("name", CASES)
def test_a_checker_is_silent_about_a_promise_that_was_kept(name: str) -> None:
    checker, _, right = CASES[name]
    assert not [str(violation) for violation in checker(right)]


def test_every_checker_has_a_history_that_it_refuses() -> None:
    assert {checker.__name__ for checker in ALL} == {pair[0].__name__ for pair in CASES.values()}
