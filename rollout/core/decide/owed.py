"""Obligations: watches after promotion and recovery after a rollback. They outlive the rollout."""

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.decide.readback import verify_again_in
from rollout.core.decide.target import revoked
from rollout.core.model import (
    ActionState,
    Kind,
    KnownGood,
    Obligation,
    ObligationKind,
    ObligationState,
    Phase,
    Reason,
    RegionRollout,
    Rollout,
)
from rollout.core.signals import VerdictKind
from rollout.core.succession import follower, word

SLOWEST_S = 300.0
CLEAN_ROUNDS = 2  # looks in a row without stalled work that prove a recovery


def owe_watches(draft: Draft, until: datetime) -> None:
    """Open one watch for every region that the release reached."""
    for region in draft.rollout.touched:
        draft.owe(_new(draft, ObligationKind.WATCH, region.region, until))


def owe_recovery(draft: Draft, region: RegionRollout) -> None:
    """Open the recovery of a region that was just restored, unless it is open since it was before."""
    if any(o.kind is ObligationKind.RECOVERY and o.region == region.region for o in draft.open_obligations()):
        return
    until = draft.now + timedelta(seconds=draft.plan.recovery.within)
    draft.owe(_new(draft, ObligationKind.RECOVERY, region.region, until))


def earn(draft: Draft, region: str) -> None:
    """The release becomes what this region can go back to; not one that would have been rolled back."""
    newest = next(iter(draft.facts.known_good.get(region, ())), None)
    adopted = newest is not None and newest.release.version == draft.rollout.release.version
    if draft.rollout.would is not None or adopted:
        return
    draft.known_good.append(
        KnownGood(
            service=draft.rollout.release.service,
            region=region,
            release=draft.rollout.release,
            since=draft.now,
            how="earned",
            by=draft.rollout.id,
        )
    )


def pursue(draft: Draft) -> None:
    """Take every open obligation one step further."""
    for obligation in draft.open_obligations():
        if obligation.kind is ObligationKind.WATCH:
            _watch(draft, obligation)
        else:
            _recover(draft, obligation)
    for region in draft.rollout.regions:
        if draft.phase is Phase.SUCCEEDED and region.holdback_released and region.weight == 100:
            _follow_holdback(draft, region)


def _new(draft: Draft, kind: ObligationKind, region: str, until: datetime) -> Obligation:
    return Obligation(
        id=f"{draft.rollout.id}/{kind}/{region}/{draft.rollout.transitions}",
        rollout_id=draft.rollout.id,
        service=draft.rollout.release.service,
        region=region,
        kind=kind,
        since=draft.now,
        until=until,
    )


# ------------------------------------------------------------------ watch


def _watch(draft: Draft, watch: Obligation) -> None:
    region = draft.rollout.region(watch.region)
    if _rests(draft, watch, region):
        since = {"rests_since": draft.now.isoformat()}
        draft.owe(replace(watch, progress={**since, **watch.progress}))
        draft.wake_in(draft.plan.judging.interval)
        return
    watch = _woken(draft, watch)
    newer = taken_over_by(draft, region)
    if newer:
        reason = say.plain("watch.taken_over", f"{newer} runs in {watch.region} now.", region=watch.region)
        _end(draft, watch, ObligationState.TAKEN_OVER, reason)
        return
    if revoked(draft, region) and _release_holdback(draft, watch.region):
        _say_released(draft, region)
    problem = _blind(draft, watch.region)
    if draft.now < watch.until or (region.drift is not None and not region.drift.told):
        _note_blindness(draft, watch, problem)
        draft.wake_in(draft.plan.judging.interval)
    elif problem is None:
        lasted = say.span((draft.now - watch.since).total_seconds() - watch.progress.get("rested_s", 0.0))
        text = f"{watch.region} was watched for {lasted}: {_found(draft, watch.region)}."
        met = say.plain("watch.met", text, region=watch.region)
        _end(draft, watch, ObligationState.MET, met)
        draft.set(reason=met)
        if region.skipped_by:
            earn(draft, watch.region)
        _release_holdback(draft, watch.region)
    elif (draft.now - watch.until).total_seconds() > draft.plan.deadlines.blind:
        _end_unproven(draft, watch, f"The watch of {watch.region} ended without data: {problem}")
    else:
        _late(draft, watch, f"The watch of {watch.region} cannot end without data: {problem}")
        draft.wake_in(draft.plan.judging.interval)


def _found(draft: Draft, region: str) -> str:
    """What a watch has to say of harm at its end."""
    if draft.rollout.would is not None:
        return "observed, and it would have been rolled back"
    cells = (name.partition("/") for name in draft.rollout.suspected)
    left = [draft.plan.signals[signal].title for place, _, signal in cells if place == region]
    return f"no harm to act on, and {', '.join(left)} still suspected" if left else "no harm"


def _note_blindness(draft: Draft, watch: Obligation, problem: str | None) -> None:
    """A watch that has seen nothing for longer than the deadline `blind` is paged, once for each time."""
    since = watch.progress.get("blind_since")
    if problem is None or since is None:
        if problem or since:
            noted = {"blind_since": draft.now.isoformat()} if problem else {}
            kept = {k: v for k, v in watch.progress.items() if k not in ("blind_since", "paged")}
            draft.owe(replace(watch, progress=kept | noted))
        return
    lasted = (draft.now - datetime.fromisoformat(since)).total_seconds()
    if lasted > draft.plan.deadlines.blind and "paged" not in watch.progress:
        draft.owe(replace(watch, progress={**watch.progress, "paged": True}))
        text = (
            f"The watch of {draft.rollout.release.service} {draft.rollout.release.version} in {watch.region} "
            f"has seen nothing for {say.span(lasted)}: {problem} Mend the source; until then late harm is "
            "not seen there."
        )
        draft.notify(text, urgent=True)


def taken_over_by(draft: Draft, region: RegionRollout) -> str | None:
    """The version that runs in a region, or is about to, instead of this release that passed there."""
    later = follower(draft.rollout, region, _later(draft))
    return later.release.version if later else word(draft.rollout, region, draft.facts.known_good)


def _rests(draft: Draft, watch: Obligation, region: RegionRollout) -> bool:
    """Whether the release may come back: from a newer one that is under way, or watched in our time."""
    later = follower(draft.rollout, region, _later(draft))
    if later is None or not later.finished:
        return later is not None
    return later.next_due_at is not None and draft.now < watch.until


def _woken(draft: Draft, watch: Obligation) -> Obligation:
    """Time at rest is none of the watch: what is left of it goes on now, and what is judged begins now."""
    since = watch.progress.get("rests_since")
    if since is None:
        return watch
    rested = draft.now - datetime.fromisoformat(since)
    progress = {key: value for key, value in watch.progress.items() if key != "rests_since"}
    progress["rested_s"] = progress.get("rested_s", 0.0) + rested.total_seconds()
    progress["rested_until"] = draft.now.isoformat()
    watch = replace(watch, until=watch.until + rested, progress=progress)
    draft.owe(watch)
    draft.set_region(watch.region, judge_from=draft.now + timedelta(seconds=draft.plan.judging.warmup))
    return watch


def _later(draft: Draft) -> tuple[Rollout, ...]:
    return (*draft.facts.others, *draft.facts.newer)


def _blind(draft: Draft, region: str) -> str | None:
    """Why nothing can be said of the release there; None where something can."""
    drift = draft.rollout.region(region).drift
    if drift is not None and drift.told:
        return f"it runs {say.running(drift.running)} since {say.clock(drift.since, draft.now)}."
    if region in draft.facts.judgement.errors:
        return draft.facts.judgement.errors[region][0]
    verdicts = draft.facts.judgement.of(region)
    for verdict in verdicts:
        if verdict.kind is VerdictKind.NO_DATA:
            return f"{verdict.note.rstrip('.')}." if verdict.note else f"no samples of {verdict.signal}."
    return None if verdicts else "nothing was judged there."


def _release_holdback(draft: Draft, name: str) -> bool:
    """The slice that was held back follows, unless it has, or somebody else deploys; whether it does now."""
    region = draft.rollout.region(name)
    if draft.phase is not Phase.SUCCEEDED or region.holdback_released or region.weight >= 100:
        return False
    if draft.plan.observes:  # who deploys it decides about the rest too
        return False
    draft.set_region(name, holdback_released=True, weight=100)
    draft.deploy(name, 100)
    return True


def _say_released(draft: Draft, region: RegionRollout) -> None:
    """What was held back as a baseline was rolled back itself, so it is none, and no place for users."""
    release, good = draft.rollout.release, region.back_to.release.version if region.back_to else ""
    draft.notify(
        f"{release.service} {release.version}: {region.region} kept {100 - region.weight} % on {good}, which "
        "was rolled back itself; they follow now, before the watch is over. From then on it is compared with "
        "the past; where too little is known of that, with guards only: look at it there.",
        urgent=True,
    )


def _follow_holdback(draft: Draft, region: RegionRollout) -> None:
    """Read back the slice that followed, until it is there or its time is over; then people are told."""
    order = draft.newest(region.region, Kind.DEPLOY, Kind.VERIFY)
    if order is None or order.open or taken_over_by(draft, region):
        return
    done = order.state is ActionState.SUCCEEDED
    if order.action.kind is Kind.DEPLOY:
        if done:
            draft.verify(region)
        else:
            _stays_back(draft, region, order, order.result.message)
        return
    if done and region.running_at != order.ended_at:
        draft.set_region(region.region, running=order.result.running, running_at=order.ended_at)
    if done and set(order.result.running) == {draft.rollout.release.version}:
        return
    if _holdback_in_time(draft, region):
        draft.verify(region, verify_again_in(draft, region))
        return
    found = f"it runs {say.running(order.result.running)}." if done else order.result.message
    limit = say.span(draft.plan.deadlines.deploy)
    _stays_back(draft, region, order, f"it was not read back in {limit}: {found}")


def _holdback_in_time(draft: Draft, region: RegionRollout) -> bool:
    """Whether the order for the whole region has its time still, which counts from its begin."""
    order = draft.newest(region.region, Kind.DEPLOY)
    return order is not None and order.deadline is not None and draft.now <= order.deadline


def _stays_back(draft: Draft, region: RegionRollout, order: ActionRecord, message: str) -> None:
    draft.set_region(region.region, weight=round(100 - draft.plan.holdback))
    watched = any(
        o.kind is ObligationKind.WATCH and o.region == region.region for o in draft.open_obligations()
    )
    when = "" if watched else " after its watch"
    text = (
        f"{region.region} could not be brought from {100 - draft.plan.holdback:g} % to 100 % of "
        f"{draft.rollout.release.version}{when}: {message} The rest stays on "
        f"{order.action.from_version}; release again, or move it by hand."
    )
    draft.notify(text, urgent=True)


# ------------------------------------------------------------------ recovery


def _recover(draft: Draft, owed: Obligation) -> None:
    """Find stalled work, resume it, and look again until two looks in a row find none."""
    newest = draft.newest(owed.region, Kind.FIND_STALLED, Kind.RESUME_WORK, obligation=owed.id)
    every = draft.plan.recovery.check_every
    if newest is None:
        _find(draft, owed, 0.0)
    elif newest.open:
        draft.wake_in(every)
    elif newest.result.details.get("unsupported"):
        _cannot_be_proven(draft, owed, newest)
    elif newest.state is ActionState.FAILED:
        slower = _slower(draft, owed)
        _find(draft, _judged_late(draft, owed, newest), slower)
    elif newest.action.kind is Kind.RESUME_WORK:
        _note_resumed(draft, owed, newest)
        _find(draft, owed, every)
    else:
        _look_at_found(draft, owed, newest)


def _judged_late(draft: Draft, owed: Obligation, look: ActionRecord) -> Obligation:
    """Past its time, people are paged on a look of after it: what nobody saw meanwhile may have ended."""
    owed = next(o for o in draft.obligations if o.id == owed.id)
    answered = look.ended_at if look.state is ActionState.SUCCEEDED else look.due_at
    if look.action.kind is not Kind.FIND_STALLED or answered is None or answered < owed.until:
        return owed
    waited = say.span((draft.now - owed.since).total_seconds())
    _late(draft, owed, f"{owed.region} has not recovered after {waited}: {_left(owed, look)}.")
    return next(o for o in draft.obligations if o.id == owed.id)


def _left(owed: Obligation, look: ActionRecord) -> str:
    if look.state is not ActionState.SUCCEEDED:
        return f"what is stalled there cannot be seen, {look.result.message.rstrip('.')}"
    if stalled := owed.progress["stalled"]:
        return say.many(stalled, "item is still stalled", "items are still stalled")
    oldest = say.span(owed.progress["oldest_age_s"])
    return f"no item is stalled, and the oldest is in work for {oldest}"


def _find(draft: Draft, owed: Obligation, delay_s: float) -> None:
    left = (owed.until - draft.now).total_seconds()
    delay_s = min(delay_s, left) if left > 0 else delay_s  # one look is due at its end
    draft.order(
        _work_action(draft, owed, Kind.FIND_STALLED, stalled_after_s=draft.plan.recovery.stalled_after),
        delay_s=delay_s,
    )
    draft.wake_in(max(delay_s, 1.0))


def _work_action(draft: Draft, owed: Obligation, kind: Kind, **details: object) -> Action:
    region = draft.rollout.region(owed.region)
    return Action(
        kind=kind,
        region=owed.region,
        service=owed.service,
        version=region.back_to.release.version if region.back_to else "",
        generation=region.generation,
        details=details,
        within_s=60,
        obligation=owed.id,
    )


def _look_at_found(draft: Draft, owed: Obligation, found: ActionRecord) -> None:
    details = found.result.details
    items = list(details.get("items", ()))
    oldest = float(details.get("oldest_age_s") or 0.0)
    normal = not items and oldest <= draft.plan.recovery.stalled_after
    clean = int(owed.progress.get("clean", 0)) + 1 if normal else 0
    progress = {
        **owed.progress,
        "stalled": len(items),
        "found": max(int(owed.progress.get("found", 0)), len(items)),
        "backlog": details.get("backlog", 0),
        "oldest_age_s": oldest,
        "clean": clean,
    }
    owed = replace(owed, progress=progress)
    draft.owe(owed)
    if clean >= CLEAN_ROUNDS:
        text = (
            f"{owed.region} has recovered: {progress.get('resumed', 0)} stalled items were resumed, "
            f"{progress['backlog']} are in work, the oldest for {say.span(oldest)}."
        )
        _end(draft, owed, ObligationState.MET, say.plain("recovery.met", text, region=owed.region))
        draft.notify(f"{owed.service}: {text}")
        return
    owed = owed if normal else _judged_late(draft, owed, found)
    if items:
        draft.order(_work_action(draft, owed, Kind.RESUME_WORK, items=items))
        draft.wake_in(draft.plan.recovery.check_every)
    else:
        _find(draft, owed, draft.plan.recovery.check_every)


def _cannot_be_proven(draft: Draft, owed: Obligation, record: ActionRecord) -> None:
    """The target cannot say what is stalled there, or cannot resume what it says is."""
    message = record.result.message
    if record.action.kind is Kind.RESUME_WORK:
        count = len(record.action.details.get("items", ()))
        text = (
            f"{owed.region} is back, and {count} items are stalled there that cannot be resumed from here: "
            f"{message} Resume them yourself."
        )
    else:
        text = (
            f"{owed.region} is back, and whether its work is done cannot be seen from here: {message} Look "
            "for stalled work yourself."
        )
    _end_unproven(draft, owed, text)


def _slower(draft: Draft, owed: Obligation) -> float:
    """Seconds before a look that failed is tried again: doubling with each failure, 5 minutes at most."""
    failed = int(owed.progress.get("failed", 0)) + 1
    draft.owe(replace(owed, progress={**owed.progress, "failed": failed}))
    return float(min(SLOWEST_S, draft.plan.recovery.check_every * 2.0 ** min(failed, 10)))


def _note_resumed(draft: Draft, owed: Obligation, record: ActionRecord) -> None:
    resumed = int(owed.progress.get("resumed", 0)) + int(record.result.details.get("resumed", 0))
    draft.owe(replace(owed, progress={**owed.progress, "resumed": resumed}))


# ------------------------------------------------------------------ endings


def _end(draft: Draft, owed: Obligation, state: ObligationState, reason: Reason) -> None:
    draft.owe(replace(owed, state=state, ended_at=draft.now, reason=reason))


def _end_unproven(draft: Draft, owed: Obligation, text: str) -> None:
    """Nothing can prove it here: it ends, and people are told."""
    _end(draft, owed, ObligationState.UNPROVEN, say.plain("obligation.unproven", text, region=owed.region))
    _page(draft, text)


def _late(draft: Draft, owed: Obligation, text: str) -> None:
    """Past its time: people are paged once, and it goes on."""
    if owed.state is ObligationState.OVERDUE:
        return
    reason = say.plain("obligation.overdue", text, region=owed.region)
    draft.owe(replace(owed, state=ObligationState.OVERDUE, reason=reason))
    _page(draft, text)


def _page(draft: Draft, text: str) -> None:
    release = draft.rollout.release
    draft.notify(
        f"{release.service} {release.version}: {text} See: rollout status {draft.rollout.id}", urgent=True
    )
