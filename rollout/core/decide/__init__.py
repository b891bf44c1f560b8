"""`decide(rollout, plan, evidence, now)`: what is WISE, as a value. What is allowed is machine.py's table.

The order of concerns: what people asked for, harm, what is suspected, what runs otherwise than ordered, the
business of the present phase, what is owed.
A phase is worked until it moves no further, so one look takes a rollout as far as the evidence allows.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from rollout.core import reason as say
from rollout.core.decide import back, drift, forward, intents, observing, owed, preflight, waiting
from rollout.core.decide.blame import ranking
from rollout.core.decide.draft import Draft
from rollout.core.decide.suspicion import act_on_suspicion, watching
from rollout.core.decide.waiting import in_the_way
from rollout.core.decision import Decision, Facts
from rollout.core.machine import PHASES, Trigger
from rollout.core.model import Phase, Rollout
from rollout.core.plan import Plan

__all__ = ["Decision", "Facts", "decide", "in_the_way"]

MOVES_AT_ONCE = 12  # more phases than any look can pass; a guard against going in circles


def decide(rollout: Rollout, plan: Plan, evidence: Facts, now: datetime) -> Decision:
    """The next transition, actions and obligations of one rollout. Pure: the same input, the same value."""
    draft = Draft(rollout, plan, evidence, now)
    intents.take_in(draft)
    _act_on_harm(draft, rollout)
    act_on_suspicion(draft)
    drift.look(draft)
    for _ in range(MOVES_AT_ONCE):
        before = draft.rollout.transitions
        _BUSINESS.get(draft.phase, _nothing)(draft)
        if draft.rollout.transitions == before:
            break
    owed.pursue(draft)
    return draft.finish()


def _act_on_harm(draft: Draft, before: Rollout) -> None:
    """Harm sends every touched region back, from every phase that is not going back already."""
    found = draft.facts.judgement
    culprits = tuple(c for c in found.culprits if not drift.taken_out(before, before.region(c.region)))
    if not culprits or Trigger.HARM not in PHASES[draft.phase] or not draft.rollout.touched:
        return
    if draft.phase is Phase.SUCCEEDED and not watching(draft):
        return
    reason = say.harm(draft.plan, culprits, found.log_e, found.threshold)
    remark = ranking(draft.rollout, culprits, draft.facts.overlapping)
    if draft.plan.observes:
        observing.note_harm(draft, reason, remark)
        return
    back.roll_back(draft, Trigger.HARM, reason, since=reason.since, remark=remark)


def _held(draft: Draft) -> None:
    intents.expire_hold(draft)
    if draft.phase is not Phase.HELD or not draft.rollout.touched:
        return
    if draft.rollout.hold is not None and draft.rollout.hold.still:
        draft.wake_in(draft.plan.judging.interval)  # the other regions are judged all the same
    else:
        forward.settle_deploys(draft)


def _nothing(_: Draft) -> None:
    """Succeeded and ended rollouts have no business of their own; what is owed goes on."""


_BUSINESS: Mapping[Phase, Callable[[Draft], None]] = {
    Phase.QUEUED: waiting.wait_in_queue,
    Phase.PREFLIGHT: preflight.prove_way_back,
    Phase.PROGRESSING: forward.progress,
    Phase.AWAITING_APPROVAL: forward.await_approval,
    Phase.HELD: _held,
    Phase.ROLLING_BACK: back.keep_going_back,
    Phase.ROLLBACK_FAILED: back.keep_going_back,
}
