"""What people and pipelines asked for, in the order of asking.

A word that no longer fits changes nothing, and history says so: it was accepted when it was asked.
"""

from dataclasses import replace

from rollout.core import reason as say
from rollout.core.decide import approvals, gates
from rollout.core.decide.back import roll_back, still_ours, try_again
from rollout.core.decide.draft import Draft
from rollout.core.decide.drift import order_again, take_back_again, taken_out
from rollout.core.decide.promote import promote
from rollout.core.decide.readback import outranked, overrule
from rollout.core.decide.target import spoiled
from rollout.core.decide.waiting import beside_harm, held_meanwhile
from rollout.core.machine import PHASES, Remark, Trigger
from rollout.core.model import (
    Hold,
    Intent,
    IntentKind,
    Kind,
    ObligationState,
    Outcome,
    Phase,
    RegionPhase,
)

_ASKED = frozenset(IntentKind) - {IntentKind.SUPERSEDE}  # by somebody who may look for it in the history
_UNDER_WAY = (Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.HELD)


def take_in(draft: Draft) -> None:
    """Act on every intent, oldest first."""
    for intent in draft.facts.intents:
        draft.intents_done.append(intent.id)
        before, known = draft.rollout, len(draft.transitions)
        _ACTS[intent.kind](draft, intent)
        if draft.rollout == before and len(draft.transitions) == known and intent.kind in _ASKED:
            _too_late(draft, intent)


def expire_hold(draft: Draft) -> None:
    """A hold whose time is over: resume if its owner said so, else stay held and tell people."""
    hold = draft.rollout.hold
    if hold is None or hold.until is None or hold.expired:
        return
    if draft.now < hold.until:
        draft.wake_at(hold.until)
        return
    lasted = say.span((draft.now - hold.since).total_seconds())
    told = any(r.drift is not None and r.drift.told for r in draft.rollout.touched)  # a person must say it
    stands = told or spoiled(draft) or any(outranked(draft, region) for region in draft.rollout.regions)
    if hold.then == "resume" and not stands:
        _go_on(draft, hold.owner, f"The hold of {hold.owner} ended after {lasted}, as set: {hold.reason}")
        return
    text = (
        f"The hold of {hold.owner} ended after {lasted} and nobody took over ({hold.reason}). It stays held: "
        f"resume it, hold it anew, or {'roll back' if draft.rollout.touched else 'cancel'}."
    )
    draft.move(Trigger.HOLD_EXPIRED, say.plain("hold.expired", text), hold=replace(hold, expired=True))
    draft.notify(text, urgent=True)


def _too_late(draft: Draft, intent: Intent) -> None:
    """What was decided meanwhile went first."""
    text = say.sentences(
        _by(intent, f"asked to {intent.kind}"),
        f"It did not fit any more and changed nothing: the rollout was {draft.phase.replace('_', ' ')}",
    )
    draft.remark(Remark.NOTE, say.plain("asked.late", text), intent.actor)


def _allowed(draft: Draft, trigger: Trigger) -> bool:
    return trigger in PHASES[draft.phase]


def _takes_back(draft: Draft) -> bool:
    """Whether to end it means to restore something: one that only observes changed nothing."""
    return bool(draft.rollout.touched) and not draft.plan.observes


def _note(draft: Draft, intent: Intent) -> None:
    draft.remark(Remark.NOTE, say.plain("note", f"{intent.actor}: {intent.reason}"), intent.actor)


def _by(intent: Intent, verb: str) -> str:
    return f"{intent.actor} {verb}: {intent.reason}"


def _reject(draft: Draft, intent: Intent) -> None:
    reason = say.plain("rejected", _by(intent, "rejected it"))
    approvals.refuse(draft, intent)
    if _takes_back(draft):
        if draft.phase in _UNDER_WAY:
            roll_back(draft, Trigger.ROLLBACK, reason, ending=Outcome.REJECTED, actor=intent.actor)
    elif _allowed(draft, Trigger.REJECT):
        draft.move(Trigger.REJECT, reason, intent.actor, outcome=Outcome.REJECTED, hold=None)


def _hold(draft: Draft, intent: Intent) -> None:
    if not _allowed(draft, Trigger.HOLD):
        return
    until = f" until {say.clock(intent.until, draft.now)}, then {intent.then}" if intent.until else ""
    hold = Hold(
        owner=intent.actor,
        reason=intent.reason,
        since=draft.now,
        until=intent.until,
        then=intent.then,
        still=bool(intent.details.get("still")) or _stands_still(draft),
    )
    reason = say.plain("held", f"{intent.actor} holds it{until}: {intent.reason}")
    draft.move(Trigger.HOLD, reason, intent.actor, hold=hold)
    if intent.details.get("still"):
        draft.notify(_after_emergency(draft, intent), urgent=True)


def _stands_still(draft: Draft) -> bool:
    """Whether an emergency put something else there, which another owner of the hold does not change."""
    return draft.rollout.hold is not None and draft.rollout.hold.still


def _after_emergency(draft: Draft, intent: Intent) -> str:
    """What somebody put where, where the release runs still, and the way back before the way on."""
    rollout, version = draft.rollout, draft.rollout.release.version
    where = intent.region or "the region"
    elsewhere = [r.region for r in rollout.touched if r.region != where and not taken_out(rollout, r)]
    on = f"puts {version} BACK into {where}"
    if where not in {region.region for region in rollout.touched}:
        on = f"lets {version} go on, also into {where}"
    back = f"`rollout rollback {rollout.id}` takes it back everywhere"
    runs = f"{', '.join(elsewhere)} still runs {version}." if elsewhere else f"{version} runs nowhere else."
    if not rollout.touched:
        back, runs = f"`rollout cancel {rollout.id}` ends it", f"{version} has touched no region yet."
    return (
        f"{rollout.release.service} {version} is held: {intent.reason.rstrip('.')}. {runs} {back}; `rollout "
        f"resume {rollout.id}` {on}."
    )


def _resume(draft: Draft, intent: Intent) -> None:
    if not held_meanwhile(draft, intent):
        _go_on(draft, intent.actor, _by(intent, "resumed it"))


def _go_on(draft: Draft, actor: str, text: str) -> None:
    trigger = Trigger.RESUME if draft.rollout.touched else Trigger.REQUEUE
    if not _allowed(draft, trigger):
        return
    if beside_harm(draft, text, actor):
        return
    draft.move(trigger, say.plain("resumed", text), actor, hold=None, resumed_at=draft.now, resumed_by=actor)
    for region in draft.rollout.regions:
        if not region.touched:  # the way back is proven anew
            draft.set_region(region.region, back_to=None, rehearsed=False)
        elif region.bake_started_at is not None:  # a bake that was held begins anew
            draft.set_region(region.region, bake_started_at=draft.now)
        elif region.phase is RegionPhase.DEPLOYING:  # what did not begin while it was held has its time still
            draft.set_region(region.region, since=draft.now)
    overrule(draft)
    order_again(draft, actor)


def _rollback(draft: Draft, intent: Intent) -> None:
    if not draft.rollout.touched:
        _cancel(draft, intent)
        return
    if draft.plan.observes or not _allowed(draft, Trigger.ROLLBACK):
        return
    overrule(draft)
    reason = say.plain("rollback.asked", _by(intent, "asked to roll back"))
    if draft.phase is Phase.ROLLBACK_FAILED:
        try_again(draft, reason, intent.actor)
    elif draft.phase is Phase.ROLLED_BACK:
        take_back_again(draft, reason, intent.actor)
    elif still_ours(draft):
        roll_back(draft, Trigger.ROLLBACK, reason, ending=Outcome.ABORTED, actor=intent.actor)
    else:
        text = f"{reason.text.rstrip('.')}. Nothing is ordered: newer releases run in every region."
        draft.remark(Remark.NOTE, replace(reason, text=text), intent.actor)


def _cancel(draft: Draft, intent: Intent) -> None:
    if intent.details.get("disown"):
        _disown(draft, intent)
        return
    if _takes_back(draft) or not _allowed(draft, Trigger.CANCEL):
        return
    reason = say.plain("canceled", _by(intent, "canceled it"))
    draft.move(Trigger.CANCEL, reason, intent.actor, outcome=Outcome.CANCELED, hold=None)


def _disown(draft: Draft, intent: Intent) -> None:
    """End it without acting: somebody went around this database, or adopted what cannot go back."""
    stays = intent.details.get("stays")
    if not _allowed(draft, Trigger.DISOWN) or (stays and draft.phase is not Phase.ROLLBACK_FAILED):
        return
    doubt = f"It was in doubt: {intent.details.get('doubt') or 'the database was put back'}"
    text = say.sentences(_by(intent, "ended it without acting"), stays or doubt)
    reason = say.plain("disowned", text)
    for record in draft.all_actions:
        if record.open and record.action.kind is not Kind.NOTIFY:  # what people have not been told is told
            draft.drop(record)
    for owed in draft.open_obligations():
        draft.owe(replace(owed, state=ObligationState.UNPROVEN, ended_at=draft.now, reason=reason))
    draft.move(Trigger.DISOWN, reason, intent.actor, outcome=Outcome.CANCELED, hold=None)


def _supersede(draft: Draft, intent: Intent) -> None:
    reason = say.plain("superseded", intent.reason)
    if _takes_back(draft):
        if draft.phase in _UNDER_WAY:
            roll_back(draft, Trigger.ROLLBACK, reason, ending=Outcome.SUPERSEDED, actor=intent.actor)
    elif _allowed(draft, Trigger.SUPERSEDE):
        draft.move(Trigger.SUPERSEDE, reason, intent.actor, outcome=Outcome.SUPERSEDED, hold=None)


_ACTS = {
    IntentKind.APPROVE: approvals.answer,
    IntentKind.REJECT: _reject,
    IntentKind.HOLD: _hold,
    IntentKind.RESUME: _resume,
    IntentKind.ROLLBACK: _rollback,
    IntentKind.CANCEL: _cancel,
    IntentKind.PROMOTE: promote,
    IntentKind.GATE: gates.take_in,
    IntentKind.NOTE: _note,
    IntentKind.SUPERSEDE: _supersede,
}
