"""Approvals: who is asked, whose answer counts, and what follows when nobody answers in time."""

from dataclasses import replace
from datetime import timedelta

from rollout.core import reason as say
from rollout.core.decide.back import roll_back
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import hold
from rollout.core.machine import Remark, Trigger
from rollout.core.model import Approval, ApprovalDecision, Intent, Outcome, person
from rollout.core.policy import ApprovalStep


def passed(draft: Draft, step: ApprovalStep, index: int) -> bool:
    """Whether a stage that stands at this approval may go on; people are asked otherwise."""
    if (draft.rollout.stage, index) in draft.rollout.approved:
        return True
    if draft.plan.observes:
        text = f"Would ask {_asked(draft, step)} here; observing, so it goes on."
        draft.remark(Remark.WOULD_ASK, say.plain("approval.observed", text))
        return True
    _ask(draft, step, index)
    return False


def await_answers(draft: Draft) -> None:
    """Count the answers; at the deadline comes the stated outcome, never a yes."""
    approval = draft.rollout.approval
    assert approval is not None, "awaiting_approval always knows what it waits for"
    yes = {person(given.by): given for given in approval.decisions if given.decision == "approve"}
    if len(yes) >= approval.minimum:
        _approved(draft, approval, list(yes.values()))
    elif draft.now >= approval.deadline:
        _expired(draft, approval, len(yes))
    else:
        draft.wake_at(approval.deadline)


def answer(draft: Draft, intent: Intent) -> None:
    """Take in a yes: to the approval that was asked when it was said, in time, once from each person."""
    approval = draft.rollout.approval
    if approval is None or not _meant(approval, intent):
        return
    if any(person(given.by) == person(intent.actor) for given in approval.decisions):
        return
    if intent.at >= approval.deadline:
        text = f"{intent.actor} approved after the deadline of {say.clock(approval.deadline, draft.now)}: "
        draft.remark(Remark.NOTE, say.plain("approval.late", f"{text}it does not count."), intent.actor)
        return
    _decided(draft, approval, intent, "approve")


def refuse(draft: Draft, intent: Intent) -> None:
    """Note in the approval, where one is awaited, that this person said no."""
    approval = draft.rollout.approval
    if approval is not None:
        _decided(draft, replace(approval, state="rejected"), intent, "reject")


def _meant(approval: Approval, intent: Intent) -> bool:
    """Whether an answer is to this approval, and not to one that was asked before it."""
    asked = intent.details.get("approval")
    return asked == approval.id if asked else intent.at >= approval.asked_at


def _decided(draft: Draft, approval: Approval, intent: Intent, decision: str) -> None:
    given = ApprovalDecision(by=intent.actor, decision=decision, reason=intent.reason, at=intent.at)
    draft.set(approval=replace(approval, decisions=(*approval.decisions, given)))


def _ask(draft: Draft, step: ApprovalStep, index: int) -> None:
    deadline = draft.now + timedelta(seconds=step.within)
    approval = Approval(
        id=f"ap_{draft.rollout.id.removeprefix('ro_')}-{draft.rollout.transitions + 1}",
        stage=draft.rollout.stage,
        step=index,
        minimum=step.min,
        groups=step.groups,
        self_approval=step.self_approval,
        asked_at=draft.now,
        deadline=deadline,
        otherwise=step.otherwise,
    )
    then = "it is held" if step.otherwise == "hold" else "it is rejected"
    text = f"{_places(draft)} waits for {_wanted(step)} until {say.clock(deadline, draft.now)}, then {then}."
    draft.move(Trigger.APPROVAL_NEEDED, say.plain("approval.needed", text), approval=approval)
    draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {text}")
    draft.wake_at(deadline)


def _places(draft: Draft) -> str:
    return ", ".join(region.region for region in draft.stage_regions)


def _wanted(step: ApprovalStep) -> str:
    who = f" from {', '.join(step.groups)}" if step.groups else ""
    return f"{step.min} approval{'s' if step.min > 1 else ''}{who}"


def _asked(draft: Draft, step: ApprovalStep) -> str:
    return f"for {_wanted(step)} for {_places(draft)}, within {say.span(step.within)},"


def _approved(draft: Draft, approval: Approval, yes: list[ApprovalDecision]) -> None:
    last = yes[-1]
    involved = {person(draft.rollout.created_by), person(draft.rollout.release.author or "")}
    names = [f"{given.by}{' (own release)' if person(given.by) in involved else ''}" for given in yes]
    draft.set(approval=replace(approval, state="approved"))
    draft.move(
        Trigger.APPROVED,
        say.plain("approved", f"Approved by {', '.join(sorted(names))}: {last.reason}"),
        actor=last.by,
        approved=(*draft.rollout.approved, (approval.stage, approval.step)),
    )


def _expired(draft: Draft, approval: Approval, given: int) -> None:
    """Nobody, or too few, answered in time."""
    waited = say.span((draft.now - approval.asked_at).total_seconds())
    came = f"{given} of {approval.minimum} approvals came in {waited}"
    draft.set(approval=replace(approval, state="expired"))
    if approval.otherwise == "hold":
        text = f"{came}. Resume to ask again, or {'roll back' if draft.rollout.touched else 'cancel'}."
        hold(draft, Trigger.APPROVAL_EXPIRED, say.plain("approval.expired", text))
        return
    reason = say.plain("approval.expired", f"{came}, and the policy rejects it then.")
    if draft.rollout.touched:
        roll_back(draft, Trigger.ROLLBACK, reason, ending=Outcome.REJECTED)
        return
    draft.move(Trigger.REJECT, reason, outcome=Outcome.REJECTED)
    release = draft.rollout.release
    draft.notify(f"{release.service} {release.version} is rejected: {reason.text}")
