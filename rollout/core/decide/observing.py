"""Mode observe: what would be ordered, who is waited for, and harm that is recorded and touches nothing.

What must not live here: judging, which is the same in both modes. Draft.order refuses every effect.
"""

from dataclasses import replace
from datetime import timedelta

from rollout.core import reason as say
from rollout.core.actions import ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import hold
from rollout.core.machine import PHASES, RegionTrigger, Trigger
from rollout.core.model import ActionState, Kind, Outcome, Phase, Reason, RegionRollout
from rollout.core.plan import SetWeight

SLOWEST_S = 60.0  # between two readings while somebody else is to deploy


def begin_weight(draft: Draft, region: RegionRollout, step: SetWeight) -> None:
    """Say what would be ordered; the region waits until the release is read back there."""
    would = f"{region.region}: would order {step.weight} % of {draft.rollout.release.version}; observing, "
    rest = "waits until somebody deploys it." if region.judge_from is None else "takes what runs there."
    draft.move_region(
        region.region,
        RegionTrigger.DEPLOY,
        say.plain("deploy.observed", would + rest, region=region.region),
        touched_at=region.touched_at or draft.now,
    )


def follow(draft: Draft, region: RegionRollout) -> None:
    """Read back until the release runs beside, or instead of, the known good; whatever its share."""
    newest = draft.newest(region.region, Kind.VERIFY)
    if newest is not None and newest.open:
        return
    if newest is None or newest.recorded_at < region.since:
        draft.verify(region)
    elif newest.state is ActionState.SUCCEEDED and newest.result.running.get(_version(draft), 0):
        _seen(draft, region, newest)
    elif not _waited_too_long(draft, region, newest):
        draft.verify(region, _again_in(draft, region))


def note_harm(draft: Draft, reason: Reason, remark: str) -> None:
    """Record, once, that it would be rolled back and why; it is nobody's known good any more."""
    if draft.rollout.would is not None:
        return
    names = ", ".join(region.region for region in draft.rollout.touched)
    would = replace(reason, text=f"Would roll back {names}: {reason.text}")
    draft.move(Trigger.WOULD_ROLL_BACK, would, would=would, harm_since=reason.since)
    if draft.phase is Phase.SUCCEEDED:
        draft.set(outcome=Outcome.WOULD_ROLL_BACK)
    for known in (each for kept in draft.facts.known_good.values() for each in kept):
        if known.release.version == _version(draft) and known.by == draft.rollout.id:
            draft.not_good.append(known)
    text = f"{draft.rollout.release.service} {_version(draft)}: {would.text}"
    draft.notify(say.joined(text, remark))


def _version(draft: Draft) -> str:
    return draft.rollout.release.version


def _seen(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    running = record.result.running
    share = max(1, round(100 * running[_version(draft)] / sum(running.values())))
    text = f"{region.region} was read back: {say.running(running)}, so {share} % is on {_version(draft)}."
    changes = {}
    if region.judge_from is None:  # seen there for the first time
        warm = draft.now + timedelta(seconds=draft.plan.judging.warmup)
        changes = {"touched_at": draft.now, "judge_from": warm}
    draft.move_region(
        region.region,
        RegionTrigger.DEPLOYED,
        say.plain("deployed", text, region=region.region),
        step=region.step + 1,
        weight=share,
        running=running,
        running_at=record.ended_at,
        bake_started_at=draft.now,
        **changes,
    )


def _waited_too_long(draft: Draft, region: RegionRollout, record: ActionRecord) -> bool:
    """Hold when nobody deployed it within the deadline; a resume waits as long again."""
    since = max(region.since, draft.rollout.resumed_at or region.since)
    waited, limit = (draft.now - since).total_seconds(), draft.plan.deadlines.queue
    if waited <= limit or Trigger.NO_DATA not in PHASES[draft.phase]:
        return False
    read = record.state is ActionState.SUCCEEDED
    found = f"it runs {say.running(record.result.running)}" if read else record.result.message.rstrip(".")
    text = (
        f"{region.region} was watched for {say.span(waited)} and nobody deployed {_version(draft)} there: "
        f"{found}. Deploy it and resume, or cancel."
    )
    hold(draft, Trigger.NO_DATA, say.plain("observe.not_deployed", text, region=region.region))
    return True


def _again_in(draft: Draft, region: RegionRollout) -> float:
    """Seconds before the next reading: doubling from half a second, a minute at most."""
    read = sum(
        each.action.kind is Kind.VERIFY
        and each.action.region == region.region
        and each.recorded_at >= region.since
        for each in draft.all_actions
    )
    return min(SLOWEST_S, 0.5 * 2.0 ** min(read, 8))
