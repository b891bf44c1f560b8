"""What follows a broken promise: the decision is not taken, the rollout is held, and people are woken.

A way back is never stopped by a false alarm: there, and after the end, only the part that would break it is
left out, and the rest is committed. An assertion that fails itself proves nothing: what goes forward is
refused as if it were broken, and what goes back is done.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import hold
from rollout.core.decision import Decision, Facts
from rollout.core.invariants import in_turn, orders, record
from rollout.core.invariants.looked import Broken, Looked
from rollout.core.machine import PHASES, Remark, Trigger
from rollout.core.model import IntentKind, Kind, Phase, Reason, Rollout
from rollout.core.plan import Plan

AGAIN_S = 60.0  # before a rollout that is held for a broken promise is looked at again
NAMED = 2  # broken promises that are spelled out
_CHECKS: tuple[Callable[[Looked], Iterator[Broken]], ...] = (*in_turn.CHECKS, *orders.CHECKS, *record.CHECKS)
_RECORDS = (IntentKind.NOTE, IntentKind.GATE)  # asked for by people and not acted on: kept for the next look


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What may be committed, and what the decision would have broken."""

    decision: Decision
    broken: tuple[Broken, ...] = ()


def broken(
    rollout: Rollout, plan: Plan, decision: Decision, facts: Facts, now: datetime
) -> tuple[Broken, ...]:
    """What `decision`, made of these facts about `rollout`, would break; empty when all is kept."""
    return _all_broken(Looked(before=rollout, plan=plan, decision=decision, facts=facts, now=now))


def _all_broken(looked: Looked) -> tuple[Broken, ...]:
    return tuple(found for check in _CHECKS for found in _asked(check, looked))


def _asked(check: Callable[[Looked], Iterator[Broken]], looked: Looked) -> Iterator[Broken]:
    try:
        yield from check(looked)
    except Exception as error:
        yield Broken(
            number="unproven",
            text=f"the assertion {check.__name__} failed itself ({type(error).__name__}: {error})",
            keys=looked.promotions(),
            goods=tuple(good.region for good in looked.decision.known_good),
            error=error,
        )


def kept(rollout: Rollout, plan: Plan, decision: Decision, facts: Facts, now: datetime) -> Kept:
    """The decision, if it keeps every promise; else what is committed in its place."""
    looked = Looked(before=rollout, plan=plan, decision=decision, facts=facts, now=now)
    found = _all_broken(looked)
    if not found:
        return Kept(decision=decision)
    may_stop = rollout.phase is Phase.HELD or Trigger.INVARIANT_BROKEN in PHASES[rollout.phase]
    whole = looked.goes_back or not may_stop
    refused = _without(looked, found) if whole else _held(looked, found)
    return Kept(decision=refused, broken=found)


def _held(looked: Looked, found: tuple[Broken, ...]) -> Decision:
    """Nothing of the decision but a hold; one that is held already stays so, and is said once."""
    draft = Draft(looked.before, looked.plan, looked.facts, looked.now)
    draft.intents_done += [i.id for i in looked.facts.intents if i.kind not in _RECORDS]
    end = "roll back" if draft.rollout.touched else "cancel"
    do = f"Nothing of it was done. Resume to try again, or {end}; and report it: the controller is at fault."
    reason = _reason(found, do)
    if draft.phase is not Phase.HELD:
        hold(draft, Trigger.INVARIANT_BROKEN, reason)
    elif draft.intents_done or draft.rollout.reason.code != reason.code:
        draft.remark(Remark.INVARIANT_BROKEN, reason)
        draft.set(reason=reason)
        draft.notify(f"{looked.before.release.service} stays held: {reason.text}", urgent=True)
    draft.wake_in(AGAIN_S)
    return draft.finish()


def _without(looked: Looked, found: tuple[Broken, ...]) -> Decision:
    """The decision without its offending orders and known goods, and a page that says so, once."""
    keys = {key for each in found for key in each.keys}
    goods = {region for each in found for region in each.goods}
    recorded = {record.key for record in looked.facts.actions if record.open}
    do = "That part was left out, and the rest goes on. Look at its regions, and report it."
    page = _page(looked, _reason(found, do))
    return replace(
        looked.decision,
        actions=(*(r for r in looked.decision.actions if r.key not in keys), *page),
        drop_actions=tuple(sorted({*looked.decision.drop_actions, *(keys & recorded)})),
        known_good=tuple(good for good in looked.decision.known_good if good.region not in goods),
    )


def _page(looked: Looked, reason: Reason) -> tuple[ActionRecord, ...]:
    text = f"{looked.before.release.service} {looked.before.release.version}: {reason.text}"
    known = (*looked.facts.actions, *looked.decision.actions)
    if any(record.action.details.get("text") == text for record in known):
        return ()
    prefix = f"{looked.after.id}/{looked.after.transitions}/"
    taken = [int(r.key.removeprefix(prefix)) for r in known if r.key.startswith(prefix)]
    notice = Action(
        kind=Kind.NOTIFY,
        region=None,
        service=looked.before.release.service,
        details={"text": text, "urgent": not looked.plan.observes},
    )
    return (
        ActionRecord(
            key=f"{prefix}{max(taken, default=-1) + 1}",
            rollout_id=looked.after.id,
            action=notice,
            recorded_at=looked.now,
            due_at=looked.now,
        ),
    )


def _reason(found: tuple[Broken, ...], do: str) -> Reason:
    """`S4 would be broken: R1 is touched before R3 has passed. …`."""
    shown = "; ".join(each.sentence for each in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    numbers = "-".join(dict.fromkeys(each.number.lower() for each in found))
    return say.plain(f"invariant.{numbers}", f"{shown}{more}. {do}")
