"""Promote: a person ends the bakes under way, as an override that history keeps with what was skipped."""

from collections.abc import Sequence

from rollout.core import reason as say
from rollout.core.decide.draft import Draft
from rollout.core.decide.drift import order_again
from rollout.core.decide.readback import overrule
from rollout.core.decide.waiting import beside_harm, held_meanwhile
from rollout.core.judge import tolerance
from rollout.core.machine import PHASES, Remark, Trigger
from rollout.core.model import Intent, Phase, RegionPhase, RegionRollout, Rollout
from rollout.core.plan import Plan
from rollout.core.policy import Bake
from rollout.core.signals import Direction, VerdictKind


def bakes_under_way(rollout: Rollout, plan: Plan) -> tuple[str, ...]:
    """The regions that stand at a bake of the present stage."""
    return tuple(
        region.region
        for region in rollout.regions
        if region.stage == rollout.stage
        and region.phase is RegionPhase.BAKING
        and region.step < len(plan.stages[region.stage].steps)
        and isinstance(plan.stages[region.stage].steps[region.step], Bake)
    )


def promote(draft: Draft, intent: Intent) -> None:
    """Take each baking region past its bake; a rollout that was held goes on. Harm comes first."""
    under_way = bakes_under_way(draft.rollout, draft.plan)
    names = [name for name in under_way if intent.region in (None, name)]
    if Trigger.PROMOTE not in PHASES[draft.phase] or not names:
        return
    asked = f"{intent.actor} asked to promote it: {intent.reason}"
    if held_meanwhile(draft, intent) or beside_harm(draft, asked, intent.actor):
        return
    if draft.facts.judgement.culprits and not draft.plan.observes:
        text = f"{intent.actor} asked to promote it ({intent.reason}); harm was seen first, so it goes back."
        draft.remark(Remark.NOTE, say.plain("promote.harm_first", text), intent.actor)
        return
    skipped = ". ".join(_skipped(draft, draft.rollout.region(name)) for name in names)
    reason = say.plain("promoted", f"{intent.actor} promoted it: {intent.reason.rstrip('.')}. {skipped}.")
    resumed = {"resumed_at": draft.now, "resumed_by": intent.actor} if draft.phase is Phase.HELD else {}
    draft.move(Trigger.PROMOTE, reason, intent.actor, hold=None, **resumed)
    for name in names:
        _go_past(draft, name, intent)
    if resumed:
        _begin_anew(draft, names)
        overrule(draft)
        order_again(draft, intent.actor)


def _go_past(draft: Draft, name: str, intent: Intent) -> None:
    step = draft.rollout.region(name).step + 1
    by = f"{intent.actor}: {intent.reason}"
    draft.set_region(name, step=step, bake_started_at=None, skipped_by=by)


def _begin_anew(draft: Draft, promoted: Sequence[str]) -> None:
    """The bakes that nobody ended were held, and begin anew, as after a resume."""
    for region in draft.rollout.regions:
        if region.region not in promoted and region.bake_started_at is not None:
            draft.set_region(region.region, bake_started_at=draft.now)


def _skipped(draft: Draft, region: RegionRollout) -> str:
    """What is not waited for: `R3 baked 7 min of 30 min; not ruled out: ×2 failed requests`."""
    step = draft.plan.stages[region.stage].steps[region.step]
    assert isinstance(step, Bake), "only a bake under way is ended"
    begun = region.bake_started_at or draft.now
    baked = say.span(max(0.0, (draft.now - begun).total_seconds()))
    if draft.facts.judgement.of(region.region):
        rest = say.not_ruled_out(not_ruled_out(draft, region.region))
    else:
        rest = "; nothing was judged yet"
    return f"{region.region} baked {baked} of {say.span(step.max)}{rest}"


def not_ruled_out(draft: Draft, region: str) -> list[str]:
    """What the bake did not rule out, as people say it: `×2 failed requests`."""
    checks = {check.signal: check for check in draft.plan.checks}
    names = []
    for one in draft.facts.judgement.of(region):
        if one.kind is not VerdictKind.PASS and one.signal in checks:
            signal = draft.plan.signals[one.signal]
            counted = one.rests_on != "none" and signal.direction is Direction.UP
            least = f"×{tolerance(checks[one.signal], signal.kind):g} " if counted else ""
            names.append(f"{least}{signal.title}")
    return names
