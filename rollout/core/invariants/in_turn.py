"""S1 to S5: one rollout at a time, in the order of its plan, and no pass without samples.

What follows is in refusal.py.
"""

import math
from collections.abc import Callable, Iterator
from datetime import datetime

from rollout.core.decide.gates import newest
from rollout.core.invariants.looked import Broken, Looked, is_done, number_of
from rollout.core.model import (
    Kind,
    RegionPhase,
    RegionRollout,
)
from rollout.core.plan import PlanStep
from rollout.core.policy import ApprovalStep, Bake, GateStep
from rollout.core.signals import SignalKind, Verdict, VerdictKind

SLACK = 2.0  # times the age that the judge allows before a sample is too old to be cited


# ------------------------------------------------------------------ S1 to S3: who, and in which order


def _one_at_a_time(looked: Looked) -> Iterator[Broken]:
    if looked.plan.observes:
        return
    for before, after in looked.regions():
        if after.touched and not before.touched and after.region not in looked.decision.claim:
            yield Broken(
                number="S1",
                text=f"{after.region} is touched without being claimed for this rollout alone",
                keys=looked.keys(after.region, Kind.DEPLOY),
            )


def _effects_have_intents(looked: Looked) -> Iterator[Broken]:
    taken = {record.key for record in looked.facts.actions} if looked.decision.actions else set()
    for record in looked.decision.actions:
        fits = looked.before.transitions <= number_of(record) <= looked.after.transitions
        ours = record.key.startswith(f"{looked.after.id}/") and record.rollout_id == looked.after.id
        if not (fits and ours and record.open) or record.key in taken:
            text = f"the key {record.key} of a {record.action.kind} is not new, or not of this decision"
            yield Broken(number="S2", text=text, keys=(record.key,))
        taken.add(record.key)


def _fences_rise(looked: Looked) -> Iterator[Broken]:
    for name, generation in looked.decision.generations.items():
        known = looked.facts.generations.get(name, 0)
        if generation <= known:
            yield Broken(number="S3", text=f"{name} is at generation {known} and would get {generation}")
    for record in looked.orders(Kind.DEPLOY, Kind.RESTORE):
        region, order = looked.region(record), record.action
        if region is None or order.generation != region.generation:
            due = region.generation if region else "none"
            text = f"a {order.kind} in {order.region} carries generation {order.generation} and not {due}"
            yield Broken(number="S3", text=text, keys=(record.key,))


# ------------------------------------------------------------------ S4 and S5: nothing without its turn


def _regions_in_turn(looked: Looked) -> Iterator[Broken]:
    for before, after in looked.regions():
        if after.touched and not before.touched:
            early = [r.region for r in looked.after.regions if r.stage < after.stage and not is_done(r)]
            if early or after.stage > looked.after.stage:
                text = f"{after.region} is touched before {', '.join(early) or 'its stage'} has passed"
                yield Broken(number="S4", text=text, keys=looked.keys(after.region, Kind.DEPLOY))
    left = [r.region for r in looked.after.regions if r.stage < looked.after.stage and r.passed_at is None]
    if left and looked.after.stage > looked.before.stage:
        text = f"stage {looked.after.stage + 1} begins before {', '.join(left)} passed"
        yield Broken(number="S4", text=text)


def _same_release(looked: Looked) -> Iterator[Broken]:
    before, after, release = looked.before, looked.after, looked.after.release
    kept = (before.release, before.policy, before.policy_revision, before.created_by)
    if kept != (release, after.policy, after.policy_revision, after.created_by):
        yield Broken(number="S4", text="the release, the plan or who asked is not what was asked for")
    for record in looked.orders(Kind.DEPLOY):
        order = record.action
        if (order.version, order.artifact) != (before.release.version, before.release.artifact):
            text = f"{order.region} would get {order.version} ({order.artifact}), not {release.version}"
            yield Broken(number="S4", text=text, keys=(record.key,))


def _steps_are_earned(looked: Looked) -> Iterator[Broken]:
    for before, after in looked.regions():
        for place, step in looked.passed_steps(before, after):
            if before.phase is RegionPhase.DEPLOYING and place == before.step and not isinstance(step, Bake):
                continue  # what was ordered was read back; a barrier there was passed before it drifted
            if isinstance(step, Bake):
                if not looked.overridden(after):
                    yield from _bake_is_earned(looked, before, place, step)
            elif problem := _barrier(looked, before.stage, place, step):
                text = f"{before.region} goes past {problem}"
                yield Broken(number="S4", text=text, keys=looked.promotions())


def _bake_is_earned(looked: Looked, region: RegionRollout, place: int, bake: Bake) -> Iterator[Broken]:
    begun = region.bake_started_at if place == region.step else None
    least = (bake.min or bake.max) if bake.until == "pass" else bake.max
    baked = (looked.now - begun).total_seconds() - looked.plan.delay(region.region) if begun else 0.0
    if baked < least:
        text = f"the bake of {region.region} ends after {baked:.0f} s of {least:.0f} s"
        yield Broken(number="S4", text=text, keys=looked.promotions())
    lacking = _uncited(looked, region)
    if lacking:
        text = f"the bake of {region.region} ends and {lacking}"
        yield Broken(number="S5", text=text, keys=looked.promotions())


def _barrier(looked: Looked, stage: int, place: int, step: PlanStep) -> str:
    """What is lacking at an approval or a gate; in mode observe nothing is waited for."""
    if looked.plan.observes:
        return ""
    if isinstance(step, ApprovalStep) and (stage, place) not in looked.after.approved:
        return f"an approval that was not given (step {place + 1})"
    if isinstance(step, GateStep):
        report = newest(looked.after, step.gate, stage)
        if report is None or report.status != "passed":
            return f"gate {step.gate}, which {report.status if report else 'nobody reported'}"
    return ""


def _uncited(looked: Looked, region: RegionRollout) -> str:
    """What a pass does not rest on; empty when it does on enough, in time and in finite numbers."""
    found = looked.facts.judgement
    verdicts = found.of(region.region)
    if region.region in found.errors:
        return f"its source could not be asked: {found.errors[region.region][0]}"
    if region.judge_from is None or looked.now < region.judge_from:
        return "its warm-up was not over"
    if len(verdicts) < len(looked.plan.checks):
        return f"{len(verdicts)} of {len(looked.plan.checks)} checks were judged"
    problems = (_unfit(looked, region, region.judge_from, verdict) for verdict in verdicts)
    return next((problem for problem in problems if problem), "")


def _unfit(looked: Looked, region: RegionRollout, judge_from: datetime, verdict: Verdict) -> str:
    if verdict.kind is VerdictKind.NO_DATA:
        return f"{verdict.signal} has no data"
    numbers = [n for n in (verdict.value, verdict.baseline, verdict.seen) if n is not None]
    if not all(math.isfinite(number) for number in numbers):
        return f"{verdict.signal} is no finite number: {numbers}"
    if looked.plan.signals[verdict.signal].kind is SignalKind.RATIO:
        return _stale(looked, region, judge_from, verdict)
    return ""


def _stale(looked: Looked, region: RegionRollout, judge_from: datetime, verdict: Verdict) -> str:
    if verdict.seen < looked.plan.judging.min_requests:
        return f"{verdict.signal} saw {verdict.seen:.0f} of {looked.plan.judging.min_requests} requests"
    if verdict.newest is None or (region.touched_at is not None and verdict.newest <= region.touched_at):
        return f"{verdict.signal} cites no sample of the time since it was deployed"
    check = next((each for each in looked.plan.checks if each.signal == verdict.signal), None)
    if check is None or check.no_data == "ignore":
        return ""
    oldest = SLACK * looked.plan.max_age(check) + looked.plan.delay(region.region)
    age = (looked.now - max(verdict.newest, judge_from)).total_seconds()
    return f"{verdict.signal} cites samples {age:.0f} s old (limit {oldest:.0f} s)" if age > oldest else ""


CHECKS: tuple[Callable[[Looked], Iterator[Broken]], ...] = (
    _one_at_a_time,
    _effects_have_intents,
    _fences_rise,
    _regions_in_turn,
    _same_release,
    _steps_are_earned,
)
