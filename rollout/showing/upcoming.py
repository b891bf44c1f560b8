"""What a rollout under way does next, and when: the step after each bake. Nothing here reads the store."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core import reason as say
from rollout.core.decide.drift import came_again
from rollout.core.decide.target import best_known
from rollout.core.model import KnownGood, Phase, RegionPhase, RegionRollout, Rollout
from rollout.core.plan import Plan, PlanStep, SetWeight
from rollout.core.policy import Bake
from rollout.core.signals import Judgement, SignalKind, VerdictKind
from rollout.foresight.sight import step_words
from rollout.ports import Case
from rollout.showing.barriers import title
from rollout.showing.views import Next


def next_in_stage(case: Case, judgement: Judgement, now: datetime) -> Next:
    """The next thing in the present stage: a reading that is awaited, else the bake that ends first."""
    stage, gate = case.plan.stages[case.rollout.stage], case.rollout.gate
    if gate is not None:
        then = "held" if gate.otherwise == "hold" else "rolled back"
        return Next(what=f"Waits for {title(case.plan, gate)}, then it is {then}", at=gate.deadline)
    here = [region for region in case.rollout.regions if region.stage == case.rollout.stage]
    for region in here:
        if region.phase is RegionPhase.DEPLOYING and case.plan.observes:
            return Next(what=f"{region.region} bakes once {case.rollout.release.version} is seen there")
        if region.phase is RegionPhase.DEPLOYING:
            return Next(what=f"{region.region} is read back at {region.weight} %, then baked")
    baking = [
        _after_bake(case.plan, region, stage.steps, judgement, now)
        for region in here
        if region.phase is RegionPhase.BAKING
    ]
    if not baking:
        return Next(what=f"Then {', '.join(r.region for r in here if r.phase is RegionPhase.PENDING)}")
    return min(baking, key=lambda found: (found.at is None, found.at or now))


def undeployed(case: Case, now: datetime) -> list[str]:
    """The regions in which one that only observes waits for somebody to deploy the release."""
    rollout = case.rollout
    if not case.plan.observes or rollout.phase is not Phase.PROGRESSING:
        return []
    wait = timedelta(seconds=case.plan.deadlines.queue)
    return [
        f"{region.region}: nobody has deployed {rollout.release.version} there yet; held at "
        f"{say.clock(max(region.since, rollout.resumed_at or region.since) + wait, now)}"
        for region in rollout.regions
        if region.phase is RegionPhase.DEPLOYING
    ]


def rollback_effect(
    rollout: Rollout, replaced: Collection[str], known_good: Mapping[str, Sequence[KnownGood]]
) -> str:
    """What a rollback would do now: "Roll back R3, R1 to 1.0.0"; a newer release has `replaced` regions."""
    touched = came_again(rollout) or rollout.touched
    left = [region for region in touched if region.region not in replaced]
    if rollout.phase is Phase.ROLLBACK_FAILED:  # what failed is tried anew, the best one first
        stuck = (region for region in left if region.phase is RegionPhase.RESTORE_FAILED)
        left = [replace(region, tried=(), back_to=None) for region in stuck]
    names = ", ".join(r.region for r in left if r.phase is not RegionPhase.RESTORED or r.drift)
    return f"Roll back {names}{_goes_back_to(rollout, left, known_good)}"


def _goes_back_to(
    rollout: Rollout, regions: Sequence[RegionRollout], known_good: Mapping[str, Sequence[KnownGood]]
) -> str:
    targets = (best_known(rollout, region, known_good) for region in regions)
    versions = " and ".join(sorted({good.release.version for good in targets if good}))
    return f" to {versions}" if versions else ", where no known good release is left"


def _after_bake(
    plan: Plan, region: RegionRollout, steps: tuple[PlanStep, ...], judgement: Judgement, now: datetime
) -> Next:
    bake = steps[region.step] if region.step < len(steps) else None
    if not isinstance(bake, Bake):
        return Next(what=_step(region, bake))
    follows = _step(region, steps[region.step + 1] if region.step + 1 < len(steps) else None)
    if region.bake_started_at is None:
        return Next(what=f"{region.region} bakes, then {follows}")
    ends = region.bake_started_at + timedelta(seconds=bake.max + plan.delay(region.region))
    if ends > now:
        proven = " once harm is ruled out, held otherwise" if bake.until == "pass" else ""
        return Next(what=f"{follows}{proven}", at=ends)
    missing = _missing(plan, region.region, judgement)
    if not missing:
        return Next(what=follows)
    return Next(
        what=f"{region.region} waits for {missing}; held otherwise",
        at=ends + timedelta(seconds=plan.deadlines.blind),
    )


def _step(region: RegionRollout, step: PlanStep | None) -> str:
    """What a step does to a region: "R3 rises to 75 %", "R3 passes"."""
    if step is None:
        return f"{region.region} passes"
    if isinstance(step, SetWeight):
        return f"{region.region} {'rises' if step.weight > region.weight else 'goes'} to {step.weight} %"
    return f"{region.region}: {step_words(step)}"


def _missing(plan: Plan, region: str, judgement: Judgement) -> str:
    """What keeps a bake from ending after its time: requests, or data; empty while neither lacks."""
    verdicts = judgement.of(region)
    if not verdicts or any(v.kind is VerdictKind.NO_DATA for v in verdicts):
        return "data"
    ratios = (v.seen for v in verdicts if plan.signals[v.signal].kind is SignalKind.RATIO)
    more = math.ceil(plan.judging.min_requests - min(ratios, default=plan.judging.min_requests))
    return f"{more:,} more request{'' if more == 1 else 's'}" if more > 0 else ""
