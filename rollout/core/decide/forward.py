"""Going forward: stages, steps and their barriers. Nothing here may promote without evidence."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rollout.core import reason as say
from rollout.core.actions import ActionRecord
from rollout.core.decide import approvals, gates, observing
from rollout.core.decide.back import reads_back, roll_back
from rollout.core.decide.draft import Draft
from rollout.core.decide.drift import drifting, leave_alone
from rollout.core.decide.owed import earn, owe_watches
from rollout.core.decide.preflight import prove
from rollout.core.decide.promote import not_ruled_out
from rollout.core.decide.readback import ordered_outside, verify_again_in
from rollout.core.decide.waiting import hold
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import (
    ActionState,
    Kind,
    Outcome,
    Phase,
    RegionPhase,
    RegionRollout,
)
from rollout.core.plan import SetWeight
from rollout.core.policy import ApprovalStep, Bake, GateStep
from rollout.core.signals import SignalKind, Verdict, VerdictKind


def progress(draft: Draft) -> None:
    """Take every region of the present stage as far as the evidence allows."""
    if blind_too_long(draft):
        return
    for region in draft.rollout.regions:
        if region.stage == draft.rollout.stage or region.phase is RegionPhase.DEPLOYING:
            _work(draft, region.region)
        if draft.phase is not Phase.PROGRESSING:
            return
    barrier = _barrier(draft)
    if barrier is not None:
        _stand_at(draft, *barrier)
    elif not drifting(draft) and all(r.phase is RegionPhase.PASSED for r in _up_to_here(draft)):
        _stage_passed(draft)
    draft.wake_in(draft.plan.judging.interval)


def await_approval(draft: Draft) -> None:
    """Judging goes on while people are awaited; what was ordered before is read back."""
    if blind_too_long(draft):
        return
    approvals.await_answers(draft)
    if draft.phase is Phase.AWAITING_APPROVAL:
        settle_deploys(draft)


def settle_deploys(draft: Draft) -> None:
    """While people are awaited: read back what was ordered already, order nothing new."""
    for region in draft.rollout.regions:
        if region.phase is RegionPhase.DEPLOYING:
            _follow_deploy(draft, region)
        if draft.phase is Phase.ROLLING_BACK:
            return
    draft.wake_in(draft.plan.judging.interval)


def blind_too_long(draft: Draft) -> bool:
    """Hold when a touched region could not be judged for longer than the deadline `blind`."""
    limit = draft.plan.deadlines.blind
    for region, (message, since) in draft.facts.judgement.errors.items():
        lasted = (draft.now - since).total_seconds()
        if lasted > limit:
            hold(draft, Trigger.NO_DATA, say.source_error(region, message, lasted, since))
            return True
    for verdict in draft.facts.judgement.verdicts:
        if verdict.region in draft.facts.judgement.errors:
            continue  # its cause is said above, once it has lasted as long
        if verdict.kind is VerdictKind.NO_DATA and _judged(draft, verdict.region) and verdict.since:
            lasted = (draft.now - verdict.since).total_seconds()
            problem = draft.facts.problems.get(verdict.region, "")
            if lasted > limit:
                hold(draft, Trigger.NO_DATA, say.blind(draft.plan, verdict, lasted, problem))
                return True
    return False


def _blind_somewhere(draft: Draft) -> bool:
    """Whether a touched region cannot be judged just now, so that nothing more may be touched."""
    found = draft.facts.judgement
    silent = (v for v in found.verdicts if v.kind is VerdictKind.NO_DATA and _judged(draft, v.region))
    return bool(found.errors) or any(silent)


def _judged(draft: Draft, region: str) -> bool:
    """Whether the warm-up is over, so that samples are owed."""
    start = draft.rollout.region(region).judge_from
    return start is not None and draft.now >= start


def _work(draft: Draft, name: str) -> None:
    region = draft.rollout.region(name)
    if region.phase is RegionPhase.DEPLOYING:
        _follow_deploy(draft, region)
    elif region.phase in (RegionPhase.PENDING, RegionPhase.BAKING):
        steps = draft.plan.stages[region.stage].steps
        if region.step >= len(steps):
            _region_passed(draft, region)
            return
        step = steps[region.step]
        if isinstance(step, SetWeight):
            _order_weight(draft, region, step)
        elif isinstance(step, Bake):
            _bake(draft, region, step)


def _up_to_here(draft: Draft) -> tuple[RegionRollout, ...]:
    return tuple(region for region in draft.rollout.regions if region.stage <= draft.rollout.stage)


def _order_weight(draft: Draft, region: RegionRollout, step: SetWeight) -> None:
    earlier = (each for each in draft.rollout.regions if each.stage < region.stage)
    if _blind_somewhere(draft) or drifting(draft) or any(e.phase is not RegionPhase.PASSED for e in earlier):
        return
    if not region.touched:
        problem = prove(draft, region)
        if problem:
            hold(draft, Trigger.NO_DATA, problem)
            return
        region = draft.rollout.region(region.region)
        if not region.rehearsed or region.back_to is None:
            return
        if _being_restored(draft, region.region):
            return
        if not draft.plan.observes:  # who orders nothing keeps nobody from it
            draft.claim.add(region.region)
    if draft.plan.observes:
        observing.begin_weight(draft, region, step)
        return
    assert region.back_to is not None, "a region is touched only with a way back"
    good = region.back_to.release.version
    text = f"{region.region}: {step.weight} % to {draft.rollout.release.version}, the rest on {good}."
    draft.move_region(
        region.region,
        RegionTrigger.DEPLOY,
        say.plain("deploy", text, region=region.region),
        weight=step.weight,
        touched_at=region.touched_at or draft.now,
        judge_from=None,
    )
    draft.deploy(region.region, step.weight)


def _being_restored(draft: Draft, region: str) -> bool:
    """Whether an older rollout goes back there just now, late; this one waits for its end."""
    back = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
    return any(
        other.phase in back and region in {touched.region for touched in other.touched}
        for other in draft.facts.others
    )


def _follow_deploy(draft: Draft, region: RegionRollout) -> None:
    if draft.plan.observes:
        observing.follow(draft, region)
        return
    newest = draft.newest(region.region, Kind.DEPLOY, Kind.VERIFY)
    if newest is None:  # nothing is on its way: ask what runs
        draft.verify(region)
    elif newest.open:
        return
    elif newest.action.kind is Kind.DEPLOY and newest.state is ActionState.SUCCEEDED:
        draft.verify(region)
    elif newest.action.kind is Kind.DEPLOY:
        _deploy_failed(draft, region, newest.result.message)
    else:
        _deploy_read_back(draft, region, newest)


def _deploy_read_back(draft: Draft, region: RegionRollout, record: ActionRecord) -> None:
    running = record.result.running
    assert region.back_to is not None, "a region is touched only with a way back"
    good, version = region.back_to.release.version, draft.rollout.release.version
    shown = say.running(running)
    why = ordered_outside(draft, region.region, record)
    if why:
        leave_alone(draft, region, record, why)
    elif record.state is ActionState.SUCCEEDED and reads_back(running, version, good, region.weight):
        passed = region.passed_at is not None  # and had drifted: its bake is over
        draft.move_region(
            region.region,
            RegionTrigger.MENDED if passed else RegionTrigger.DEPLOYED,
            say.plain("deployed", f"{region.region} was read back: {shown}.", region=region.region),
            step=region.step if passed else region.step + 1,
            running=running,
            running_at=record.ended_at,
            judge_from=draft.now + timedelta(seconds=draft.plan.judging.warmup),
            bake_started_at=None if passed else draft.now,
        )
    elif draft.now > _deploy_until(draft, region):
        message = record.result.message if record.state is not ActionState.SUCCEEDED else f"it runs {shown}."
        _deploy_failed(draft, region, f"not read back in {say.span(draft.plan.deadlines.deploy)}: {message}")
    else:
        draft.verify(region, verify_again_in(draft, region))


def _deploy_until(draft: Draft, region: RegionRollout) -> datetime:
    """Until when it is to be read back: as long as its order may take, which counts from its begin."""
    order = draft.newest(region.region, Kind.DEPLOY)
    until = region.since + timedelta(seconds=draft.plan.deadlines.deploy)
    return until if order is None or order.deadline is None else max(until, order.deadline)


def _deploy_failed(draft: Draft, region: RegionRollout, message: str) -> None:
    text = f"{region.region} could not be brought to {region.weight} % of {draft.rollout.release.version}: "
    reason = say.plain("deploy.failed", text + message, region=region.region, since=region.since)
    roll_back(draft, Trigger.DEPLOY_FAILED, reason, since=region.since)


def _bake(draft: Draft, region: RegionRollout, bake: Bake) -> None:
    if region.bake_started_at is None:
        draft.set_region(region.region, bake_started_at=draft.now)
        return
    if region.drift is not None:
        return
    elapsed = (draft.now - region.bake_started_at).total_seconds() - draft.plan.delay(region.region)
    verdicts = draft.facts.judgement.of(region.region)
    if elapsed < (bake.min or bake.max if bake.until == "pass" else bake.max):
        return
    if lacks_data(draft, region, verdicts):
        if elapsed > bake.max + draft.plan.deadlines.blind:
            _too_little(draft, region, verdicts, elapsed)
        return
    harmful = draft.rollout.would is not None and elapsed >= bake.max  # observing goes on all the same
    if bake.until == "elapsed" or harmful or _harm_ruled_out(draft, verdicts):
        draft.set_region(region.region, step=region.step + 1, bake_started_at=None)
        _work(draft, region.region)
    elif elapsed >= bake.max:
        hold(draft, Trigger.BAKE_EXPIRED, say.undecided(draft.plan, verdicts, elapsed))


def _harm_ruled_out(draft: Draft, verdicts: Sequence[Verdict]) -> bool:
    """Whether every check that can pass has passed.

    A gauge without a test only guards, so it has nothing to rule out. Where the policy accepts that a
    tolerance is not seen, undecided is as far as a bake gets.
    """
    unseen = {check.signal for check in draft.plan.checks if check.accept_unseen}
    return all(
        v.kind is VerdictKind.PASS or (v.kind is VerdictKind.UNDECIDED and v.signal in unseen)
        for v in verdicts
        if draft.plan.signals[v.signal].kind is not SignalKind.GAUGE or v.rests_on != "none"
    )


def lacks_data(draft: Draft, region: RegionRollout, verdicts: Sequence[Verdict]) -> bool:
    """Whether this bake may not end yet: blind, still warming up, or too few requests were seen."""
    if region.region in draft.facts.judgement.errors or not _judged(draft, region.region):
        return True
    if len(verdicts) < len(draft.plan.checks) or any(v.kind is VerdictKind.NO_DATA for v in verdicts):
        return True
    if not all(_compared(draft, verdict) for verdict in verdicts):
        return True
    return _fewest_requests(draft, verdicts) < draft.plan.judging.min_requests


def _compared(draft: Draft, verdict: Verdict) -> bool:
    """Whether both sides were heard in judged time; silence shorter than `max_age` is no verdict yet."""
    ignored = {check.signal for check in draft.plan.checks if check.no_data == "ignore"}
    if verdict.signal in ignored or draft.plan.signals[verdict.signal].kind is SignalKind.GAUGE:
        return True
    return verdict.value is not None and verdict.baseline is not None


def _fewest_requests(draft: Draft, verdicts: Sequence[Verdict]) -> float:
    counted = [v.seen for v in verdicts if draft.plan.signals[v.signal].kind is SignalKind.RATIO]
    return min(counted, default=float(draft.plan.judging.min_requests))


def _too_little(draft: Draft, region: RegionRollout, verdicts: Sequence[Verdict], elapsed: float) -> None:
    baked = f"{region.region} baked {say.span(elapsed)}"
    if not verdicts:
        text = (
            f"{baked} and nothing was judged: the history to begin on is still being read. Look at the "
            "source there, then resume; or roll back."
        )
        hold(draft, Trigger.NO_DATA, say.plain("bake.unjudged", text, region=region.region))
        return
    untested = (v for v in verdicts if v.rests_on == "none" and not _compared(draft, v))
    alone = ", ".join(draft.plan.signals[v.signal].title for v in untested)
    if alone:
        text = (
            f"{baked} and had nothing to compare {alone} with. Keep a holdback beside it, wait for history, "
            "or let the check ignore missing data; then resume, or roll back."
        )
        hold(draft, Trigger.NO_DATA, say.plain("bake.uncompared", text, region=region.region))
        return
    text = (
        f"{baked} and saw {_fewest_requests(draft, verdicts):.0f} of the {draft.plan.judging.min_requests} "
        "requests that a bake must see. Bring traffic there or lower judging.min_requests, then resume; or "
        "roll back."
    )
    hold(draft, Trigger.NO_DATA, say.plain("bake.too_little", text, region=region.region))


def _region_passed(draft: Draft, region: RegionRollout) -> None:
    """Its last step is done; a bake that somebody ended early, or harm in mode observe, earns nothing."""
    seen = sum(v.exposed for v in draft.facts.judgement.of(region.region) if v.signal == "errors")
    on = f" on {seen:,.0f} requests" if seen else ""
    left = say.not_ruled_out(not_ruled_out(draft, region.region))
    text = f"{region.region} passed its whole bake{on}{left}."
    if region.skipped_by:
        text = (
            f"{region.region} passed{on} with a bake that was ended early ({region.skipped_by.rstrip('.')})"
            f"{left}. It becomes known good there once its watch is over."
        )
    reason = say.plain("region.passed", text, region=region.region)
    draft.move_region(region.region, RegionTrigger.BAKE_PASSED, reason, passed_at=draft.now)
    if not region.skipped_by:
        earn(draft, region.region)


def _stage_passed(draft: Draft) -> None:
    following = draft.rollout.stage + 1
    if following < len(draft.plan.stages):
        names = ", ".join(draft.plan.stages[following].regions)
        reason = say.plain(
            "stage.passed", f"{draft.plan.stages[following - 1].name} passed; {names} is next."
        )
        draft.move(Trigger.STAGE_PASSED, reason, stage=following)
        progress(draft)
        return
    release = draft.rollout.release
    until = draft.now + timedelta(seconds=draft.plan.watch_s)
    text = (
        f"{_how_it_ended(draft)} It is watched for {say.span(draft.plan.watch_s)} more, "
        f"until {say.clock(until, draft.now)}."
    )
    draft.move(Trigger.ALL_PASSED, say.plain("succeeded", text), outcome=_outcome(draft))
    owe_watches(draft, until)
    draft.notify(f"{release.service} {text}")


def _outcome(draft: Draft) -> Outcome:
    if draft.plan.observes:
        return Outcome.WOULD_ROLL_BACK if draft.rollout.would else Outcome.OBSERVED
    skipped = any(region.skipped_by for region in draft.rollout.regions)
    return Outcome.FAST_PROMOTED if skipped else Outcome.PROMOTED


def _how_it_ended(draft: Draft) -> str:
    version = draft.rollout.release.version
    if draft.plan.observes:
        what = "it" if draft.rollout.would else "nothing"
        return f"{version} was observed in every region; {what} would have been rolled back."
    skipped = [region.region for region in draft.rollout.regions if region.skipped_by]
    early = f"; a bake was ended early in {', '.join(skipped)}" if skipped else ""
    return f"{version} passed in every region{early}."


# ------------------------------------------------------------------ barriers


def _barrier(draft: Draft) -> tuple[ApprovalStep | GateStep, int] | None:
    """The approval or gate at which every region of the stage stands, and its place."""
    regions = draft.stage_regions
    steps = draft.plan.stages[draft.rollout.stage].steps
    places = {region.step for region in regions}
    if len(places) != 1 or any(region.phase is RegionPhase.DEPLOYING for region in regions):
        return None
    index = places.pop()
    step = steps[index] if index < len(steps) else None
    return (step, index) if isinstance(step, ApprovalStep | GateStep) else None


def _stand_at(draft: Draft, step: ApprovalStep | GateStep, index: int) -> None:
    """Wait, or take the whole stage past it."""
    if isinstance(step, ApprovalStep):
        passed = approvals.passed(draft, step, index)
    else:
        passed = gates.passed(draft, step, index)
    if passed:
        for region in draft.stage_regions:
            draft.set_region(region.region, step=index + 1, bake_started_at=None)
        progress(draft)
