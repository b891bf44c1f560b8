"""Going forward: stages, steps, approvals. Nothing here may promote without evidence."""

from collections.abc import Sequence
from datetime import timedelta

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide.back import reads_back, roll_back, verify_again_in
from rollout.core.decide.draft import Draft
from rollout.core.decide.owed import owe_watches
from rollout.core.decide.preflight import prove
from rollout.core.decide.waiting import hold
from rollout.core.judge import tolerance
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import (
    ActionState,
    Approval,
    Kind,
    KnownGood,
    Outcome,
    Phase,
    RegionPhase,
    RegionRollout,
)
from rollout.core.plan import SetWeight
from rollout.core.policy import ApprovalStep, Bake
from rollout.core.signals import Direction, SignalKind, Verdict, VerdictKind


def progress(draft: Draft) -> None:
    """Take every region of the present stage as far as the evidence allows."""
    if blind_too_long(draft):
        return
    for region in draft.stage_regions:
        _work(draft, region.region)
        if draft.phase is not Phase.PROGRESSING:
            return
    if _at_barrier(draft):
        return
    if all(region.phase is RegionPhase.PASSED for region in draft.stage_regions):
        _stage_passed(draft)
    draft.wake_in(draft.plan.judging.interval)


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


def _order_weight(draft: Draft, region: RegionRollout, step: SetWeight) -> None:
    if _blind_somewhere(draft):
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
        draft.claim.add(region.region)
    assert region.back_to is not None, "a region is touched only with a way back"
    generation = draft.raise_generation(region.region)
    release, good = draft.rollout.release, region.back_to.release.version
    text = f"{region.region}: {step.weight} % to {release.version}, the rest on {good}."
    draft.move_region(
        region.region,
        RegionTrigger.DEPLOY,
        say.plain("deploy", text, region=region.region),
        weight=step.weight,
        touched_at=region.touched_at or draft.now,
        judge_from=None,
    )
    draft.order(
        Action(
            kind=Kind.DEPLOY,
            region=region.region,
            service=release.service,
            version=release.version,
            artifact=release.artifact,
            weight=step.weight,
            from_version=good,
            generation=generation,
            within_s=max(1, round(draft.plan.deadlines.deploy)),
        )
    )


def _being_restored(draft: Draft, region: str) -> bool:
    """Whether an older rollout goes back there just now, late; this one waits for its end."""
    back = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
    return any(
        other.phase in back and region in {touched.region for touched in other.touched}
        for other in draft.facts.others
    )


def _follow_deploy(draft: Draft, region: RegionRollout) -> None:
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
    shown = ", ".join(f"{n} × {v}" for v, n in sorted(running.items())) or "nothing"
    if record.state is ActionState.SUCCEEDED and reads_back(running, version, good, region.weight):
        judge_from = draft.now + timedelta(seconds=draft.plan.judging.warmup)
        draft.move_region(
            region.region,
            RegionTrigger.DEPLOYED,
            say.plain("deployed", f"{region.region} was read back: {shown}.", region=region.region),
            step=region.step + 1,
            running=running,
            running_at=record.ended_at,
            judge_from=judge_from,
            bake_started_at=draft.now,
        )
    elif (draft.now - region.since).total_seconds() > draft.plan.deadlines.deploy:
        message = record.result.message if record.state is not ActionState.SUCCEEDED else f"it runs {shown}."
        _deploy_failed(draft, region, f"not read back in {say.span(draft.plan.deadlines.deploy)}: {message}")
    else:
        draft.verify(region, verify_again_in(draft, region))


def _deploy_failed(draft: Draft, region: RegionRollout, message: str) -> None:
    text = f"{region.region} could not be brought to {region.weight} % of {draft.rollout.release.version}: "
    reason = say.plain("deploy.failed", text + message, region=region.region, since=region.since)
    roll_back(draft, Trigger.DEPLOY_FAILED, reason, since=region.since)


def _bake(draft: Draft, region: RegionRollout, bake: Bake) -> None:
    if region.bake_started_at is None:
        draft.set_region(region.region, bake_started_at=draft.now)
        return
    elapsed = (draft.now - region.bake_started_at).total_seconds()
    verdicts = draft.facts.judgement.of(region.region)
    if elapsed < (bake.min or bake.max if bake.until == "pass" else bake.max):
        return
    if lacks_data(draft, region, verdicts):
        if elapsed > bake.max + draft.plan.deadlines.blind:
            _too_little(draft, region, verdicts, elapsed)
        return
    if bake.until == "elapsed" or _harm_ruled_out(draft, verdicts):
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
    seen = sum(v.exposed for v in draft.facts.judgement.of(region.region) if v.signal == "errors")
    on = f" on {seen:,.0f} requests" if seen else ""
    text = f"{region.region} passed its whole bake{on}{say.not_ruled_out(_open(draft, region))}."
    reason = say.plain("region.passed", text, region=region.region)
    draft.move_region(region.region, RegionTrigger.BAKE_PASSED, reason, passed_at=draft.now)
    draft.known_good.append(
        KnownGood(
            service=draft.rollout.release.service,
            region=region.region,
            release=draft.rollout.release,
            since=draft.now,
            how="earned",
            by=draft.rollout.id,
        )
    )


def _open(draft: Draft, region: RegionRollout) -> list[str]:
    """What the bake did not rule out, as people say it: `×2 failed requests`."""
    checks = {check.signal: check for check in draft.plan.checks}
    names = []
    for one in draft.facts.judgement.of(region.region):
        if one.kind is not VerdictKind.PASS and one.signal in checks:
            signal = draft.plan.signals[one.signal]
            counted = one.rests_on != "none" and signal.direction is Direction.UP
            least = f"×{tolerance(checks[one.signal], signal.kind):g} " if counted else ""
            names.append(f"{least}{signal.title}")
    return names


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
        f"{release.version} passed in every region. It is watched for {say.span(draft.plan.watch_s)} more, "
        f"until {say.clock(until, draft.now)}."
    )
    draft.move(Trigger.ALL_PASSED, say.plain("succeeded", text), outcome=Outcome.PROMOTED)
    owe_watches(draft, until)
    draft.notify(f"{release.service} {text}")


# ------------------------------------------------------------------ approvals


def _at_barrier(draft: Draft) -> bool:
    """Ask for approval once every region of the stage stands at the same approval step."""
    regions = draft.stage_regions
    stage = draft.plan.stages[draft.rollout.stage]
    places = {region.step for region in regions}
    if len(places) != 1 or any(r.phase is RegionPhase.DEPLOYING for r in regions):
        return False
    step_index = places.pop()
    if step_index >= len(stage.steps):
        return False
    step = stage.steps[step_index]
    if not isinstance(step, ApprovalStep):
        return False
    if (draft.rollout.stage, step_index) in draft.rollout.approved:
        for region in regions:
            draft.set_region(region.region, step=step_index + 1, bake_started_at=None)
        progress(draft)
    else:
        _ask(draft, step, step_index)
    return True


def _ask(draft: Draft, step: ApprovalStep, step_index: int) -> None:
    deadline = draft.now + timedelta(seconds=step.within)
    approval = Approval(
        stage=draft.rollout.stage,
        step=step_index,
        minimum=step.min,
        groups=step.groups,
        self_approval=step.self_approval,
        asked_at=draft.now,
        deadline=deadline,
    )
    names = ", ".join(region.region for region in draft.stage_regions)
    who = f" from {', '.join(step.groups)}" if step.groups else ""
    text = (
        f"{names} waits for {step.min} approval{'s' if step.min > 1 else ''}{who} "
        f"until {say.clock(deadline, draft.now)}, then it is held."
    )
    draft.move(Trigger.APPROVAL_NEEDED, say.plain("approval.needed", text), approval=approval)
    draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {text}")
    draft.wake_at(deadline)


def await_approval(draft: Draft) -> None:
    """Count the answers; at the deadline the outcome is a hold."""
    if blind_too_long(draft):
        return
    approval = draft.rollout.approval
    assert approval is not None, "awaiting_approval always knows what it waits for"
    yes = {d.by for d in approval.decisions if d.decision == "approve"}
    if len(yes) >= approval.minimum:
        text = f"Approved by {', '.join(sorted(yes))}: {approval.decisions[-1].reason}"
        place = (approval.stage, approval.step)
        draft.move(
            Trigger.APPROVED,
            say.plain("approved", text),
            actor=approval.decisions[-1].by,
            approval=None,
            approved=(*draft.rollout.approved, place),
        )
    elif draft.now >= approval.deadline:
        waited = say.span((draft.now - approval.asked_at).total_seconds())
        text = (
            f"{len(yes)} of {approval.minimum} approvals came in {waited}. Resume to ask again, or roll back."
        )
        hold(draft, Trigger.APPROVAL_EXPIRED, say.plain("approval.expired", text))
    else:
        settle_deploys(draft)
        draft.wake_at(approval.deadline)
