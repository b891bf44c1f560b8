"""Waiting: the hold that ends every wait without an answer, and the queue."""

from collections.abc import Sequence

from rollout.core import reason as say
from rollout.core.decide.draft import Draft
from rollout.core.decide.target import spoiled
from rollout.core.machine import Remark, Trigger
from rollout.core.model import CONTROLLER, Hold, Intent, Phase, Reason, RegionRollout, Rollout

QUEUE_POLL_S = 5.0


def hold(draft: Draft, trigger: Trigger, reason: Reason, *, remark: str = "") -> None:
    """The stated outcome of every wait that ends without an answer: stop, keep judging, tell people.

    `remark` is for those who are woken, and no part of the reason.
    """
    held = Hold(owner=CONTROLLER, reason=reason.text, since=draft.now)
    draft.move(trigger, reason, hold=held)
    text = f"{draft.rollout.release.service} is held: {reason.text}"
    draft.notify(say.joined(text, remark), urgent=True)


def held_meanwhile(draft: Draft, intent: Intent) -> bool:
    """Whether somebody else held it after this was asked; who asked cannot have known, so the hold stays."""
    held = draft.rollout.hold
    if held is None or held.since <= intent.at or held.owner == intent.actor:
        return False
    text = (
        f"{intent.actor} asked to {intent.kind} it ({intent.reason.rstrip('.')}) before {held.owner} held "
        "it, so it stays held."
    )
    draft.remark(Remark.NOTE, say.plain("hold.stays", text), intent.actor)
    return True


def beside_harm(draft: Draft, asked: str, actor: str) -> bool:
    """Whether it goes no further, as beside it runs what was rolled back itself; it is said."""
    places = spoiled(draft)
    if not places:
        return False
    text = say.sentences(asked, *no_further(places))
    draft.remark(Remark.NOTE, say.plain("beside_harm", text), actor)
    draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {text}", urgent=True)
    return True


def no_further(places: Sequence[RegionRollout]) -> tuple[str, str]:
    """Why a release goes no further that has these spoiled regions, and what a person does."""
    beside = ", ".join(f"{r.region} {r.back_to.release.version}" for r in places if r.back_to)
    return (
        f"It goes no further: beside it runs {beside}, which was rolled back itself and is no baseline",
        "Roll it back, to the last known good before both, and start it again",
    )


def wait_in_queue(draft: Draft) -> None:
    """Begin when no older rollout of the service holds one of our regions."""
    stopped = draft.facts.stopped_at
    ahead = in_the_way(draft.rollout, draft.facts.others)
    waited = (draft.now - draft.rollout.since).total_seconds()
    asked = draft.rollout.resumed_at or draft.rollout.created_at
    before = draft.facts.rolled_back_by
    if before and not draft.rollout.override:
        text = (
            f"{draft.rollout.release.version} was rolled back by {before} while this rollout waited. "
            "Cancel it; release a new version, or let an admin start this one with an override."
        )
        hold(draft, Trigger.STOPPED, say.plain("queue.rolled_back_version", text))
    elif stopped and asked < stopped:
        text = (
            f"{draft.facts.stopped_by} was rolled back while this rollout waited, so nothing of "
            f"{draft.rollout.release.service} is promoted by itself. Resume it, or start a new release."
        )
        hold(draft, Trigger.STOPPED, say.plain("queue.stopped", text))
    elif not ahead:
        text = "Proving that every region can go back before anything is touched."
        if not draft.plan.observes:
            draft.claim.update(region.region for region in draft.rollout.regions)
        draft.move(Trigger.BEGIN, say.plain("preflight", text))
    elif waited > draft.plan.deadlines.queue:
        text = (
            f"Waited {say.span(waited)} for {ahead[0].id} (limit {say.span(draft.plan.deadlines.queue)}). "
            "End that rollout and resume this one, or cancel it."
        )
        hold(draft, Trigger.QUEUE_EXPIRED, say.plain("queue.expired", text))
    else:
        draft.wake_in(QUEUE_POLL_S)


def in_the_way(rollout: Rollout, others: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Those whose end, or turn, a queued rollout waits for: the older in the queue, and all that have begun.

    One that is held before it touched a region holds none, and lets others pass.
    """
    mine = {region.region for region in rollout.regions}
    return tuple(
        other
        for other in others
        if mine & {region.region for region in other.regions} and _comes_first(other, rollout)
    )


def _comes_first(other: Rollout, rollout: Rollout) -> bool:
    if other.phase is Phase.QUEUED:
        return (other.created_at, other.id) < (rollout.created_at, rollout.id)
    return not other.finished and (other.phase is not Phase.HELD or bool(other.touched))
