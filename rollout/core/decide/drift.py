"""Drift: a region that was read back runs something else now: a late order arrived, or somebody was there.

A reading shows it and a read-back confirms it. What belongs to this rollout is ordered again, a few times;
what somebody else brought or ordered is left alone, and people are woken. What must not live here: following
what was ordered again, which forward.py and back.py do as after any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.core import reason as say
from rollout.core.actions import ActionRecord
from rollout.core.decide import stuck
from rollout.core.decide.back import READ_ON_S, reads_back, restore
from rollout.core.decide.draft import Draft
from rollout.core.decide.owed import taken_over_by
from rollout.core.decide.readback import ordered_outside
from rollout.core.decide.target import revoked
from rollout.core.decide.waiting import hold
from rollout.core.decision import Seen
from rollout.core.machine import RegionTrigger, Remark, Trigger
from rollout.core.model import (
    ActionState,
    Drift,
    ObligationKind,
    Phase,
    Reason,
    RegionPhase,
    RegionRollout,
    Rollout,
)
from rollout.core.plan import SetWeight
from rollout.core.policy import ApprovalStep, GateStep

ANEW = "Its bake begins anew unless it has passed."
REPAIRS = 3  # orders within WITHIN before somebody else's hands are assumed
WITHIN = timedelta(hours=1)
DENIALS = 2  # read-backs in a row that do not confirm what readings count, before that is how they count
_UNDER_WAY = (Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.HELD)
_BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
_HERE = (RegionPhase.BAKING, RegionPhase.PASSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    """What a region was brought to and read back on."""

    version: str
    beside: str | None
    weight: int

    def __str__(self) -> str:
        if self.beside is None or self.weight >= 100:
            return f"{self.version} alone"
        return f"{self.weight} % of {self.version}, the rest of {self.beside},"


def look(draft: Draft) -> None:
    """Compare every region that is settled with its newest reading."""
    if draft.plan.observes:
        return
    for name in [region.region for region in draft.rollout.touched]:
        ordered = _ordered(draft, draft.rollout.region(name))
        if ordered is not None:
            _compare(draft, name, ordered)
            if draft.phase is Phase.ROLLED_BACK:  # nothing else may look at it any more
                draft.wake_in(draft.plan.judging.interval)
        elif draft.phase is Phase.HELD:
            _read_on(draft, draft.rollout.region(name))
        elif draft.phase is Phase.ROLLED_BACK:  # a newer release, or somebody's word, answers for it now
            draft.set_region(name, drift=None)


def _read_on(draft: Draft, region: RegionRollout) -> None:
    """What runs now where people know of something else, so that harm of what came there again is seen."""
    seen = draft.facts.running.get(region.region)
    if region.drift is not None and region.drift.told and seen is not None and seen.at > region.drift.at:
        draft.set_region(region.region, drift=replace(region.drift, at=seen.at, running=seen.running))


def drifting(draft: Draft) -> bool:
    """Whether a region may run something else than was ordered, so that nothing more may be touched."""
    return any(region.drift is not None for region in draft.rollout.touched)


def taken_out(rollout: Rollout, region: RegionRollout) -> datetime | None:
    """Since when the release does not run there, as somebody took it out: its silence is no harm."""
    drift = region.drift
    gone = drift is not None and drift.told and rollout.release.version not in drift.running
    return drift.since if drift is not None and gone else None


def came_again(rollout: Rollout) -> tuple[RegionRollout, ...]:
    """After the end of a rollback: regions that run something else again, as people were told."""
    if rollout.phase is not Phase.ROLLED_BACK:
        return ()
    restored = (r for r in rollout.touched if r.phase is RegionPhase.RESTORED)
    return tuple(r for r in restored if r.drift and r.drift.told and not _on(r, r.drift.running))


def take_back_again(draft: Draft, reason: Reason, actor: str) -> None:
    """A person asks to roll back once more: what came again after the end is restored as before."""
    regions = [r for r in came_again(draft.rollout) if not _taken_over(draft, r)]
    if not regions:
        text = f"{reason.text.rstrip('.')}. Nothing is ordered: no touched region is known to run it again."
        draft.remark(Remark.NOTE, replace(reason, text=text), actor)
        return
    draft.move(Trigger.ROLLBACK, reason, actor, outcome=None, finished_at=None)
    for region in regions:
        draft.set_region(region.region, mended=())
        restore(draft, draft.rollout.region(region.region), reason, RegionTrigger.DRIFTED)
    names = ", ".join(region.region for region in regions)
    draft.notify(f"{draft.rollout.release.service}: rolling back {names} again. {reason.text}")


def order_again(draft: Draft, actor: str) -> None:
    """A person lets the rollout go on: what drifted and was left alone until then is ordered again."""
    for region in draft.rollout.touched:
        ordered = _ordered(draft, region)
        if region.drift is None or not region.drift.told:
            continue
        if draft.plan.observes:  # an emergency was there; what runs is read, and never ordered
            draft.set_region(region.region, drift=None)
            continue
        if region.phase is RegionPhase.DEPLOYING:
            draft.deploy(region.region, region.weight)
        elif ordered is not None:
            text = f"{region.region}: {ordered} is ordered again, as {actor} let it go on. {ANEW}"
            draft.set_region(region.region, mended=())
            _mend(draft, draft.rollout.region(region.region), _reason("drift.resumed", region, text))


def leave_alone(draft: Draft, region: RegionRollout, read: ActionRecord, why: str) -> None:
    """Somebody else has ordered in a region that is being deployed: people are woken once, and decide."""
    told = region.drift is not None and region.drift.told
    if told and draft.phase is Phase.HELD:
        return
    at, running = read.ended_at or draft.now, read.result.running
    draft.set_region(region.region, drift=Drift(since=at, at=at, running=running, told=True))
    text = (
        f"{region.region} runs {say.running(running)}, {region.weight} % of {draft.rollout.release.version} "
        f"is ordered there, and {why} {_choice(draft, 'orders above that')}"
    )
    reason = _reason("drift.outside", region, text)
    if draft.phase is not Phase.HELD:
        hold(draft, Trigger.DRIFTED, reason)
        return
    draft.remark(Remark.DRIFTED, reason)
    draft.notify(f"{_release(draft)}: {text}", urgent=True)


# ------------------------------------------------------------------ what should run


def _ordered(draft: Draft, region: RegionRollout) -> _Ordered | None:
    """What a region should run, while this rollout answers for it and nothing of it is under way there."""
    if region.back_to is None:
        return None
    good = region.back_to.release.version
    if region.phase in _HERE and (draft.phase in _UNDER_WAY or _watched(draft, region)):
        ordered = _Ordered(version=draft.rollout.release.version, beside=good, weight=region.weight)
    elif region.phase is RegionPhase.RESTORED and (_going_back(draft, region) or _recovering(draft, region)):
        ordered = _Ordered(version=good, beside=None, weight=100)
    else:
        return None
    return ordered if _runs(region.running, ordered) else None


def _on(region: RegionRollout, running: Mapping[str, int]) -> bool:
    return region.back_to is not None and set(running) == {region.back_to.release.version}


def _watched(draft: Draft, region: RegionRollout) -> bool:
    owed = draft.phase is Phase.SUCCEEDED and _owed(draft, region, ObligationKind.WATCH)
    return owed and not _taken_over(draft, region)


def _going_back(draft: Draft, region: RegionRollout) -> bool:
    """Whether it is on the way back; what came again is taken back beside what was released since."""
    return draft.phase in _BACK and not _taken_over(draft, region)


def _recovering(draft: Draft, region: RegionRollout) -> bool:
    if draft.phase is not Phase.ROLLED_BACK or _taken_over(draft, region) or revoked(draft, region):
        return False
    told = region.drift is not None and region.drift.told  # until it is mended, or taken over
    return told or _owed(draft, region, ObligationKind.RECOVERY) or _may_still_arrive(draft, region)


def _may_still_arrive(draft: Draft, region: RegionRollout) -> bool:
    """Whether an order that its target once accepted is still reckoned with.

    That is as long as a watch lasts and no less than a deploy may take.
    """
    lasts = max(draft.plan.watch_s, draft.plan.deadlines.deploy)
    return region.restored_at is not None and (draft.now - region.restored_at).total_seconds() < lasts


def _owed(draft: Draft, region: RegionRollout, kind: ObligationKind) -> bool:
    return any(o.kind is kind and o.region == region.region for o in draft.open_obligations())


def _taken_over(draft: Draft, region: RegionRollout) -> bool:
    """Whether a newer release, or somebody's word, has taken a region over since."""
    adopted = next(iter(draft.facts.known_good.get(region.region, ())), None)
    later = region.restored_at and adopted and adopted.since > region.restored_at
    return bool(taken_over_by(draft, region) or later)


def _runs(running: Mapping[str, int], ordered: _Ordered) -> bool:
    return reads_back(running, ordered.version, ordered.beside, ordered.weight)


def _differs(running: Mapping[str, int], region: RegionRollout, ordered: _Ordered) -> bool:
    """Whether something else runs. Instances that are only missing have crashed, or are starting."""
    if not running or _runs(running, ordered):
        return False
    known = (region.running, region.reads_as)
    return not any(all(n <= counts.get(v, 0) for v, n in running.items()) for counts in known)


# ------------------------------------------------------------------ is it so?


def _compare(draft: Draft, name: str, ordered: _Ordered) -> None:
    region, seen = draft.rollout.region(name), draft.facts.running.get(name)
    if seen is not None and _is_new(region, seen):
        _note(draft, region, seen, ordered)
        region = draft.rollout.region(name)
    if region.drift is not None and region.drift.asked and not region.drift.told:
        _confirm(draft, region, region.drift, ordered)


def _is_new(region: RegionRollout, seen: Seen) -> bool:
    """Whether a reading began after the region was read back, and was not looked at before."""
    known = region.drift.at if region.drift else region.running_at
    return known is None or seen.at > known


def _note(draft: Draft, region: RegionRollout, seen: Seen, ordered: _Ordered) -> None:
    again = region.weight < 100 and _brought_again(draft, region, seen.running)
    if not again and not _differs(seen.running, region, ordered):
        if region.drift is not None:
            draft.set_region(region.region, drift=None)
        return
    drift = region.drift or Drift(since=seen.at, at=seen.at, running=seen.running)
    drift = replace(drift, at=seen.at, running=seen.running)
    if again and drift.told:
        drift = replace(drift, asked="", told=False)
    if not drift.asked and not drift.told:
        drift = replace(drift, asked=draft.verify(region).key)
    draft.set_region(region.region, drift=drift)


def _confirm(draft: Draft, region: RegionRollout, drift: Drift, ordered: _Ordered) -> None:
    """Act on a read-back that shows it too; one that does not makes the next reading be asked about."""
    asked = next((record for record in draft.all_actions if record.key == drift.asked), None)
    if asked is not None and asked.open:
        return
    if asked is None or asked.state is not ActionState.SUCCEEDED:
        draft.set_region(region.region, drift=replace(drift, asked=""))
    elif _differs(asked.result.running, region, ordered):
        _act(draft, region, ordered, asked)
    elif drift.denied + 1 < DENIALS:
        draft.set_region(region.region, drift=replace(drift, asked="", denied=drift.denied + 1))
    else:
        draft.set_region(region.region, drift=None, reads_as=drift.running)


# ------------------------------------------------------------------ what follows


def _act(draft: Draft, region: RegionRollout, ordered: _Ordered, asked: ActionRecord) -> None:
    since, running = draft.now - WITHIN, asked.result.running
    draft.set_region(region.region, mended=tuple(at for at in region.mended if at > since))
    region = draft.rollout.region(region.region)
    found = f"{region.region} runs {say.running(running)}, and {ordered} was read back there"
    why = ordered_outside(draft, region.region, asked) or _hands_off(draft, region, running)
    if _brought_again(draft, region, running):
        _take_over(draft, region, asked)
    elif draft.phase in _BACK:
        _bring_back(draft, region, found, why)
    elif draft.phase is Phase.HELD or draft.rollout.finished:
        _tell(draft, region, found, why)
    elif why:
        _leave(draft, region)
        text = f"{found}: {why} {_choice(draft, 'orders it again')}"
        hold(draft, Trigger.DRIFTED, _reason("drift.left", region, text))
    else:
        text = f"{found}: ordered again, {_count(region)}. {ANEW}"
        _mend(draft, region, _reason("drift.mended", region, text))
        draft.notify(f"{_release(draft)}: {text}")


def _hands_off(draft: Draft, region: RegionRollout, running: Mapping[str, int]) -> str:
    """Why it is not ordered again by itself; empty when it is."""
    good = region.back_to.release.version if region.back_to else ""
    strange = sorted(set(running) - {draft.rollout.release.version, good, *region.tried})
    if strange:
        names = ", ".join(strange)
        return f"somebody brought {names}, which is no part of this rollout. Find out who, and end it."
    if len(region.mended) >= REPAIRS:
        return (
            f"it was ordered again {REPAIRS} times within {say.span(WITHIN.total_seconds())}, and something "
            "else orders there too. Find it, and end it."
        )
    return ""


def _brought_again(draft: Draft, region: RegionRollout, running: Mapping[str, int]) -> bool:
    """Whether a newer order, as of a way back, has put a region on this one, which had succeeded, alone."""
    newer = draft.generation(region.region) > region.generation
    return draft.phase is Phase.SUCCEEDED and newer and set(running) == {draft.rollout.release.version}


def _take_over(draft: Draft, region: RegionRollout, read: ActionRecord) -> None:
    """That is no drift: all of the region is this release now, and no slice is left to follow."""
    running, held = read.result.running, 100 - region.weight
    warm = draft.now + timedelta(seconds=draft.plan.judging.warmup)
    draft.set_region(
        region.region, weight=100, running=running, running_at=read.ended_at, judge_from=warm, drift=None
    )
    text = (
        f"{region.region} runs {say.running(running)}: an order above its own put it there (the "
        "way back of a newer release, or an emergency), also in place of the "
        f"{held} % of {stuck.target(region)} that were held back. With nothing beside it, its watch "
        "compares it with the past from here; where too little is known of that, it has guards only: look at "
        "it there."
    )
    draft.remark(Remark.NOTE, _reason("drift.brought_again", region, text))
    draft.notify(f"{_release(draft)}: {text}")


def _mend(draft: Draft, region: RegionRollout, reason: Reason) -> None:
    """Order the share again; a bake begins anew, and a region that had passed only is read back.

    It goes back to the newest weight, but not behind a barrier that its stage has passed since: once read
    back it goes on from there.
    """
    steps = draft.plan.stages[region.stage].steps
    passed = region.phase is RegionPhase.PASSED
    fixed = SetWeight | ApprovalStep | GateStep
    newest = max(i for i, step in enumerate(steps[: region.step]) if isinstance(step, fixed))
    draft.move_region(
        region.region,
        RegionTrigger.DRIFTED,
        reason,
        step=region.step if passed else newest,
        judge_from=None,
        bake_started_at=None,
        mended=(*region.mended, draft.now),
    )
    draft.deploy(region.region, region.weight)


def _bring_back(draft: Draft, region: RegionRollout, found: str, why: str) -> None:
    """On the way back: restore again; or say that it cannot be done, and read on until it was."""
    name = region.region
    if not why:
        text = f"{found}: restored again, {_count(region)}."
        draft.set_region(name, mended=(*region.mended, draft.now))
        reason = _reason("drift.mended", region, text)
        restore(draft, draft.rollout.region(name), reason, RegionTrigger.DRIFTED)
        draft.notify(f"{_release(draft)}: {text}", urgent=True)
        return
    text = (
        f"{found}: {why} It is read on. Then: `rollout rollback {draft.rollout.id}`, which restores it "
        "again; or bring it back by hand, or adopt what runs."
    )
    reason = _reason("drift.left", region, text)
    draft.move_region(name, RegionTrigger.DRIFTED, reason, drift=None)
    draft.move_region(name, RegionTrigger.RESTORE_FAILED, reason, trouble=text)
    draft.verify(draft.rollout.region(name), READ_ON_S)
    draft.notify(f"{_release(draft)}: {text}", urgent=True)


def _tell(draft: Draft, region: RegionRollout, found: str, why: str) -> None:
    """It is held, or has ended: nothing is ordered, and people are woken once."""
    do = _choice(draft, "orders it again")
    if draft.rollout.finished:
        command = f"`rollout rollback {draft.rollout.id}`"
        do = f"Safe: {command} takes it back everywhere; or release again."
        if draft.phase is Phase.ROLLED_BACK:
            do = f"{command} restores what was good there."
        do = f"Nothing is ordered after the end by itself. {do}"
    text = ". ".join(filter(None, [found, why.rstrip("."), do]))
    _leave(draft, region)
    draft.remark(Remark.DRIFTED, _reason("drift.left", region, text))
    draft.notify(f"{_release(draft)}: {text}", urgent=True)


def _choice(draft: Draft, resumed: str) -> str:
    """What a person does about a rollout that is held, the safe way first."""
    known = draft.rollout.id
    return (
        f"Safe: `rollout rollback {known}` takes it back everywhere. Else, once that is mended: `rollout "
        f"resume {known}` {resumed}."
    )


def _leave(draft: Draft, region: RegionRollout) -> None:
    assert region.drift is not None, "only what was seen is left alone"
    draft.set_region(region.region, drift=replace(region.drift, told=True))


def _count(region: RegionRollout) -> str:
    return f"{len(region.mended) + 1} of {REPAIRS} within {say.span(WITHIN.total_seconds())}"


def _release(draft: Draft) -> str:
    return f"{draft.rollout.release.service} {draft.rollout.release.version}"


def _reason(code: str, region: RegionRollout, text: str) -> Reason:
    since = region.drift.since if region.drift else None
    return say.plain(code, text, region=region.region, since=since)
