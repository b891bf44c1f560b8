"""Going back: every touched region at once, each to its known good, until it was read back there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide import stuck
from rollout.core.decide.draft import Draft
from rollout.core.decide.owed import owe_recovery, taken_over_by
from rollout.core.decide.readback import ordered_outside, outranked, verified, verify_again_in
from rollout.core.decide.target import accepted, revoked, way_back
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import (
    CONTROLLER,
    ActionState,
    Intent,
    IntentKind,
    Kind,
    KnownGood,
    ObligationKind,
    ObligationState,
    Outcome,
    Phase,
    Reason,
    RegionPhase,
    RegionRollout,
)

POLL_S = 1.0  # how often a rollback that waits is looked at; its actions wake it earlier
RESTORE_AGAIN_AFTER = 5  # read-backs that do not show the known good before it is ordered again
READ_ON_S = 15.0  # between readings of a region that people must mend
_BACK = (RegionPhase.RESTORING, RegionPhase.UNREACHABLE, RegionPhase.RESTORE_FAILED)


def roll_back(
    draft: Draft,
    trigger: Trigger,
    reason: Reason,
    *,
    ending: Outcome = Outcome.ROLLED_BACK,
    actor: str = CONTROLLER,
    since: datetime | None = None,
    remark: str = "",
) -> None:
    """Decide to go back in every touched region where this release still is what runs.

    `remark` is for those who are told, and no part of the reason.
    """
    assert not draft.plan.observes, f"{draft.rollout.id} only observes; nothing of it is taken back"
    late = draft.phase is Phase.SUCCEEDED
    regions = still_ours(draft)
    draft.move(
        trigger,
        reason,
        actor,
        ending=ending,
        decided_at=draft.now,
        cause=reason,
        harm_since=since,
        hold=None,
        outcome=None,
        finished_at=None,
    )
    if late:
        _hold_newer(draft, reason)
    _revoke(draft)
    draft.rolled_back = ending is not Outcome.SUPERSEDED
    _drop_promotions(draft)
    for region in regions:
        restore(draft, region, reason)
    names = ", ".join(region.region for region in regions)
    text = f"{draft.rollout.release.service}: rolling back {names}. {reason.text}"
    draft.notify(say.joined(text, remark))


def try_again(draft: Draft, reason: Reason, actor: str) -> None:
    """A person asks again after a failed rollback: what failed is ordered anew, the best known good first."""
    draft.move(Trigger.ROLLBACK, reason, actor)
    for region in draft.rollout.regions:
        if region.phase is RegionPhase.RESTORE_FAILED:
            anew = replace(region, tried=(), back_to=None)
            target = way_back(draft, anew) or region.back_to
            draft.set_region(region.region, tried=(), mended=(), back_to=target)
            restore(draft, draft.rollout.region(region.region), reason)


def restore(
    draft: Draft, region: RegionRollout, reason: Reason, trigger: RegionTrigger = RegionTrigger.RESTORE
) -> None:
    """Order the way back in one region: keep the evidence first, for a short bounded time."""
    for record in draft.all_actions:
        if record.open and record.action.region == region.region:
            draft.drop(record)
    target = way_back(draft, region)
    if target is None:
        _no_way_back(draft, region, reason, trigger)
        return
    draft.claim.add(region.region)
    goes = f"{region.region} goes back to {target.release.version}, as every touched region does at once."
    again = region.phase in (*_BACK, RegionPhase.RESTORED)
    why = reason if again else say.plain("restore", goes, region=region.region)
    draft.move_region(region.region, trigger, why, back_to=target, judge_from=None, drift=None, reads_as={})
    if target != region.back_to:  # another target has the whole deadline for itself
        draft.set_region(region.region, since=draft.now)
    if outranked(draft, region):  # somebody else has ordered there: what that brought is read, and not fought
        draft.verify(draft.rollout.region(region.region))
        return
    generation = draft.raise_generation(region.region)
    collect_s = draft.plan.deadlines.collect
    order = Action(
        kind=Kind.COLLECT,
        region=region.region,
        service=draft.rollout.release.service,
        version=draft.rollout.release.version,
        generation=generation,
        within_s=max(1, round(collect_s)),
    )
    kept = draft.order(order)
    draft.order(
        replace(
            order,
            kind=Kind.RESTORE,
            version=target.release.version,
            artifact=target.release.artifact,
            from_version=draft.rollout.release.version,
            weight=100,
            within_s=0,
            wait_s=max(1, round(collect_s)),
        ),
        after=kept,
    )


def keep_going_back(draft: Draft) -> None:
    """Follow every region on its way back; end when all were read back, or say that one cannot."""
    known = {} if draft.phase is Phase.ROLLING_BACK else {r.region: r.trouble for r in _stuck(draft)}
    for region in draft.rollout.touched:
        ours = region.phase is not RegionPhase.RESTORED or not taken_over_by(draft, region)
        if region.phase in (*_BACK, RegionPhase.RESTORED) and ours and revoked(draft, region):
            _leave_revoked(draft, region)
        if draft.rollout.region(region.region).phase in _BACK:
            _follow(draft, region.region)
    touched = [r for r in draft.rollout.touched if r.phase is not RegionPhase.PASSED]
    if all(region.phase is RegionPhase.RESTORED for region in touched):
        _all_restored(draft)
    elif found := _stuck(draft):
        _say_stuck(draft, found, known)
    if not draft.rollout.finished:
        draft.wake_in(POLL_S)


def reads_back(running: Mapping[str, int], version: str, from_version: str | None, weight: int) -> bool:
    """Whether what runs is the ordered share, to within one instance, and nothing else runs beside it."""
    total = sum(running.values())
    share = running.get(version, 0)
    if total == 0 or share == 0 or set(running) - {version, from_version}:
        return False
    if weight >= 100:
        return share == total
    return abs(share - weight / 100 * total) <= 1 and share < total


def still_ours(draft: Draft) -> tuple[RegionRollout, ...]:
    """Touched regions, without those that a newer release has taken over after this one succeeded."""
    if draft.phase is not Phase.SUCCEEDED:
        return draft.rollout.touched
    return tuple(region for region in draft.rollout.touched if not taken_over_by(draft, region))


def _hold_newer(draft: Draft, reason: Reason) -> None:
    """Late harm under a newer release: hold that one, and leave the choice to a person."""
    for other in draft.facts.others:
        if other.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED):
            continue
        text = (
            f"{draft.rollout.release.version}, which this release replaces, turned out harmful: "
            f"{reason.text} Rolling back goes to the last known good before both."
        )
        draft.intents_new.append(
            Intent(
                id=f"in_{draft.rollout.id}_{draft.rollout.transitions}_{other.id}",
                rollout_id=other.id,
                kind=IntentKind.HOLD,
                actor=CONTROLLER,
                reason=text,
                at=draft.now,
            )
        )
        draft.notify(f"{other.release.service} {other.release.version} is held: {text}", urgent=True)


def _revoke(draft: Draft) -> None:
    """A release that is rolled back is nobody's known good any more."""
    version = draft.rollout.release.version
    for known in (k for kept in draft.facts.known_good.values() for k in kept):
        if known.release.version == version:
            draft.not_good.append(known)
    draft.known_good.clear()
    for obligation in draft.open_obligations():
        if obligation.kind is ObligationKind.WATCH:
            breached = replace(obligation, state=ObligationState.BREACHED, ended_at=draft.now)
            draft.owe(breached)


def _drop_promotions(draft: Draft) -> None:
    """After the decision to go back, nothing may promote any more."""
    for record in draft.all_actions:
        if record.open and record.action.kind in (Kind.DEPLOY, Kind.VERIFY, Kind.REHEARSE):
            draft.drop(record)


def _stuck(draft: Draft) -> tuple[RegionRollout, ...]:
    return tuple(r for r in draft.rollout.touched if r.phase is RegionPhase.RESTORE_FAILED)


def _say_stuck(draft: Draft, found: Sequence[RegionRollout], known: Mapping[str, str]) -> None:
    """The reason names all that are stuck; people are paged about those of which they do not know it."""
    reason = say.plain("rollback.failed", stuck.failed(draft, found), region=found[0].region)
    if draft.phase is Phase.ROLLING_BACK:
        draft.move(Trigger.RESTORE_FAILED, reason)
    elif draft.rollout.reason.text != reason.text:
        draft.set(reason=reason)
    news = [region for region in found if known.get(region.region) != region.trouble]
    if news:
        stuck.page(draft, stuck.failed(draft, news))


def _no_way_back(draft: Draft, region: RegionRollout, reason: Reason, trigger: RegionTrigger) -> None:
    text = stuck.no_way_back(draft, region, reason)
    failed = say.plain("rollback.no_way_back", text, region=region.region)
    if region.phase is not RegionPhase.RESTORING:
        draft.move_region(region.region, trigger, failed, judge_from=None, drift=None)
    draft.move_region(region.region, RegionTrigger.RESTORE_FAILED, failed, trouble=text)


def _leave_revoked(draft: Draft, region: RegionRollout) -> None:
    """Go on to the known good before a target that was revoked; where none is left, people are told."""
    target = way_back(draft, region)
    if region.phase is RegionPhase.RESTORED:
        trigger = RegionTrigger.DRIFTED
        if target and region.restored_at and target.since > region.restored_at:
            return  # somebody has adopted another since
    else:
        trigger = RegionTrigger.RESTORE
        order = draft.newest(region.region, Kind.RESTORE)
        if region.phase is RegionPhase.RESTORE_FAILED and not (order and order.open):
            return  # people mend it, and it is read on
    text = f"{region.region} was to run {stuck.target(region)}, which is not known good there any more"
    text += f": it goes on to {target.release.version}." if target else "."
    restore(draft, region, say.plain("rollback.revoked", text, region=region.region), trigger)
    if target:
        draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {text}")


def _follow(draft: Draft, name: str) -> None:
    newest = draft.newest(name, Kind.RESTORE, Kind.VERIFY)
    if newest is not None:
        _note_reachable(draft, draft.rollout.region(name), newest)
    region = draft.rollout.region(name)
    if newest is None:  # nothing is on its way: ask what runs
        draft.verify(region)
    elif newest.open:
        _check_deadline(draft, region, newest)
    elif newest.action.kind is Kind.RESTORE:
        draft.verify(region)
    else:
        _read_back(draft, region, newest)


def _note_reachable(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    """Say when a region stops answering, and when it has answered again."""
    silent = record.open and record.unreachable_since is not None
    answered = record.state is ActionState.SUCCEEDED or record.action.kind is Kind.RESTORE or record.open
    if silent and region.phase is RegionPhase.RESTORING:
        _unreachable(draft, region, record)
    elif not silent and record.attempts and answered and region.phase is RegionPhase.UNREACHABLE:
        draft.move_region(
            region.region,
            RegionTrigger.REACHABLE,
            say.plain("rollback.reachable", f"{region.region} answers again.", region=region.region),
            trouble="",
        )


def _unreachable(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    text = stuck.silent(region, record)
    reason = say.plain("rollback.unreachable", text, region=region.region, since=record.unreachable_since)
    draft.move_region(region.region, RegionTrigger.UNREACHABLE, reason, trouble=text)
    stuck.page(draft, stuck.lost(draft, region, record))


def _check_deadline(draft: Draft, region: RegionRollout, record: ActionRecord) -> bool:
    """A region that answers and is not back in time has failed; whatever is under way goes on."""
    waited = (draft.now - region.since).total_seconds()
    if region.phase is not RegionPhase.RESTORING or waited <= draft.plan.deadlines.restore:
        return False
    text = stuck.overdue(draft, region, record, waited)
    reason = say.plain("rollback.overdue", text, region=region.region, since=region.since)
    draft.move_region(region.region, RegionTrigger.RESTORE_FAILED, reason, trouble=reason.text)
    return True


def _next_known_good(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    """A restore that failed, and not at the fence, is not repeated: the known good before it is tried."""
    if record.action.version not in region.tried:
        draft.set_region(region.region, tried=(*region.tried, record.action.version))
        region = draft.rollout.region(region.region)
    if region.phase is RegionPhase.RESTORE_FAILED and way_back(draft, region) is None:
        draft.verify(region, READ_ON_S)  # people mend it by hand now; see when they have
        return
    reason = say.plain(
        "rollback.fallback",
        f"{region.region} could not be restored to {record.action.version}: {record.result.message}",
        region=region.region,
    )
    restore(draft, region, reason)


def _read_back(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    running = record.result.running
    if record.state is ActionState.SUCCEEDED:
        draft.set_region(region.region, running=running, running_at=record.ended_at)
        found = next((good for good in accepted(draft, region) if _runs_only(running, good)), None)
        if found is not None and not _may_still_change(draft, region, record):
            _restored(draft, region, running, found)
            return
        if found is not None:
            draft.verify(region, verify_again_in(draft, region))
            return
        why = ordered_outside(draft, region.region, record)
        if why:
            _left_alone(draft, region, running, why)
            return
    order = draft.newest(region.region, Kind.RESTORE)
    failed = order is not None and order.state is ActionState.FAILED
    if order and failed and order.action.generation < draft.generation(region.region):
        text = f"{region.region} is restored again, above what was ordered there outside."
        restore(draft, region, say.plain("rollback.fenced", text, region=region.region))
        return
    if order and failed and region.phase is not RegionPhase.UNREACHABLE:
        _next_known_good(draft, region, order)
        return
    if _check_deadline(draft, region, record):
        region = draft.rollout.region(region.region)
    shown = say.running(running)
    wanted = stuck.target(region)
    text = f"{region.region} was restored and still shows {shown} instead of {wanted}: restoring again."
    again = say.plain("rollback.not_read_back", text, region=region.region)
    target = way_back(draft, region)
    if region.phase is RegionPhase.RESTORE_FAILED and target not in (None, region.back_to):
        restore(draft, region, again)  # somebody has adopted another release meanwhile
    elif verified(draft, region) >= RESTORE_AGAIN_AFTER and region.phase is RegionPhase.RESTORING:
        restore(draft, region, again)
    else:
        draft.verify(region, verify_again_in(draft, region))


def _left_alone(draft: Draft, region: RegionRollout, running: Mapping[str, int], why: str) -> None:
    """Somebody else ordered there: it is read on and not fought, and people are told once."""
    name = region.region
    text = (
        f"{name} runs {say.running(running)}, and {why} It is left alone, and read on. Ask to roll back "
        "again, which orders above that; or adopt what runs: "
        f'rollout adopt {draft.rollout.release.service} --region {name} --reason "…".'
    )
    reason = say.plain("rollback.outside", text, region=name)
    if region.phase is RegionPhase.RESTORING:
        draft.move_region(name, RegionTrigger.RESTORE_FAILED, reason, trouble=text)
    elif region.outside != draft.rollout.region(name).outside:
        draft.set_region(name, trouble=text)
    draft.verify(draft.rollout.region(name), READ_ON_S)


def _may_still_change(draft: Draft, region: RegionRollout, read: ActionRecord) -> bool:
    """Whether a deploy that was under way may still arrive: its time is not over and nothing fences it.

    Half of the time for the restore is waited at most, reading on; what comes later is drift. A target that
    has seen the restore and refused it may go on with what it was doing.
    """
    told = read.result.details.get("generation", 0)
    order = draft.newest(region.region, Kind.RESTORE)
    refused = order is not None and order.state is ActionState.FAILED
    if isinstance(told, int) and told >= region.generation and not refused:
        return False
    waited = (draft.now - region.since).total_seconds()
    return waited < draft.plan.deadlines.restore / 2 and any(
        record.state is ActionState.DROPPED
        and record.action.kind is Kind.DEPLOY
        and record.action.region == region.region
        and record.attempts > 0
        and record.deadline is not None
        and draft.now < record.deadline
        for record in draft.facts.actions
    )


def _runs_only(running: Mapping[str, int], good: KnownGood) -> bool:
    return reads_back(running, good.release.version, None, 100)


def _restored(draft: Draft, region: RegionRollout, running: Mapping[str, int], good: KnownGood) -> None:
    took = (draft.now - (draft.rollout.decided_at or draft.now)).total_seconds()
    reason = say.plain(
        "rollback.restored",
        f"{region.region} was read back on {good.release.version}, {sum(running.values())} instances, "
        f"{say.span(took)} after the decision.",
        region=region.region,
    )
    draft.move_region(
        region.region,
        RegionTrigger.RESTORED,
        reason,
        restored_at=draft.now,
        weight=0,
        back_to=good,
        trouble="",
    )
    owe_recovery(draft, region)


def _all_restored(draft: Draft) -> None:
    ending = draft.rollout.ending or Outcome.ROLLED_BACK
    decided = draft.rollout.decided_at or draft.now
    names = ", ".join(r.region for r in draft.rollout.touched if r.phase is RegionPhase.RESTORED)
    versions = sorted(
        {r.back_to.release.version for r in draft.rollout.touched if r.back_to and r.restored_at}
    )
    took = say.span((draft.now - decided).total_seconds())
    done = say.plain(
        "rollback.done",
        f"{names} read back on {', '.join(versions)}, {took} after the decision. Recovery goes on.",
    )
    draft.move(Trigger.ALL_RESTORED, done, outcome=ending)
    draft.set(reason=draft.rollout.cause or done)  # why it went back stays what people read
    draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {done.text}")
