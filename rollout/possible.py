"""What can be asked of a rollout NOW, by whom, and what is said otherwise. Nothing here is recorded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.core import reason as say
from rollout.core.decide.drift import came_again
from rollout.core.decide.promote import bakes_under_way
from rollout.core.decide.target import spoiled_by
from rollout.core.decide.waiting import no_further
from rollout.core.errors import Conflict, IllegalTransition, NotAllowed, NotFound
from rollout.core.machine import PHASES, Trigger
from rollout.core.model import KnownGood, ObligationState, Phase, RegionPhase, Release, Rollout, person
from rollout.core.policy import GateStep
from rollout.ports import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: the name that history shows, and what the token gives."""

    name: str
    role: str
    groups: tuple[str, ...] = ()


def may_approve(case: Case, actor: Actor, at: datetime) -> None:
    """Raise NotAllowed for one's own release or a missing group, Conflict for a second or a late answer."""
    approval = case.rollout.approval
    if case.rollout.phase is not Phase.AWAITING_APPROVAL or approval is None:
        raise impossible(case, "approve")
    involved = {case.rollout.created_by: "requested", case.rollout.release.author or "": "authored"}
    own = next((word for name, word in involved.items() if person(name) == person(actor.name)), "")
    if own and not approval.self_approval:
        raise NotAllowed(f"{actor.name} {own} this release; the policy wants somebody else to approve.")
    if approval.groups and not set(approval.groups) & set(actor.groups):
        raise NotAllowed(
            f"Approval is asked from {', '.join(approval.groups)}; {actor.name} is in "
            f"{', '.join(actor.groups) or 'no group'}."
        )
    if any(person(given.by) == person(actor.name) for given in approval.decisions):
        raise Conflict(f"{actor.name} has answered already; another person is needed.", "answered")
    if at >= approval.deadline:
        raise Conflict(
            f"The approval was awaited until {say.clock(approval.deadline, at)}; what comes later does not "
            "count. Wait until it is asked again.",
            "expired",
        )


def refuse_unbaked(case: Case, region: str | None) -> None:
    """Raise Conflict when there is no bake to end."""
    baking = bakes_under_way(case.rollout, case.plan)
    if region is not None and region not in case.plan.regions:
        raise NotFound("region", region, f"Known to this rollout: {', '.join(case.plan.regions)}.")
    if not baking or (region is not None and region not in baking):
        where = region or "any region"
        known = f"Under way in {', '.join(baking)}." if baking else "Wait until one is."
        raise Conflict(f"No bake is under way in {where}, so there is none to end. {known}", "no-bake")


def stage_of_gate(case: Case, gate: str, region: str | None) -> int:
    """The stage that a report is for.

    Raises NotFound, and Conflict where the gate is in several stages and no region says which: a report that
    is sent again after its stage has passed must not pass the next one.
    """
    if region is not None and region not in case.plan.regions:
        raise NotFound("region", region, f"Known to this rollout: {', '.join(case.plan.regions)}.")
    having = [
        index
        for index, stage in enumerate(case.plan.stages)
        if any(isinstance(step, GateStep) and step.gate == gate for step in stage.steps)
    ]
    if region is None and len(having) > 1:
        names = " or ".join(case.plan.stages[index].regions[0] for index in having)
        raise Conflict(
            f"The gate {gate} is in {len(having)} stages: say which by region, {names}.", "which-stage"
        )
    wanted = case.plan.stage_of(region) if region is not None else next(iter(having), -1)
    if wanted not in having:
        known = sorted(
            {step.gate for stage in case.plan.stages for step in stage.steps if isinstance(step, GateStep)}
        )
        where = f" in the stage of {region}" if region else ""
        raise NotFound(
            "gate", gate, f"The plan has none of that name{where}; known: {', '.join(known) or 'none'}."
        )
    return wanted


def may_reject(rollout: Rollout) -> bool:
    """Whether a no still changes something."""
    wanted = Trigger.ROLLBACK if rollout.touched else Trigger.REJECT
    going_on = not rollout.finished and rollout.phase is not Phase.ROLLBACK_FAILED
    return going_on and wanted in PHASES[rollout.phase]


def impossible(case: Case, what: str) -> IllegalTransition:
    """Make the error that says what is possible instead."""
    possible = possible_intents(case)
    return IllegalTransition(case.rollout.id, case.rollout.phase, what, possible)


def refuse_beside_harm(case: Case, known_good: Mapping[str, Sequence[KnownGood]]) -> None:
    """Raise Conflict where beside it runs what was rolled back itself: it goes no further."""
    if places := spoiled_by(case.rollout, known_good):
        raise Conflict(say.sentences(*no_further(places)), "beside-harm")


def stays_by_word(rollout: Rollout, known_good: Mapping[str, Sequence[KnownGood]]) -> str:
    """That people adopted this release wherever its way back failed, so that it may end; else empty."""
    back = (RegionPhase.RESTORED, RegionPhase.PASSED)
    left = [region.region for region in rollout.touched if region.phase not in back]
    good = {name: kept[0] for name in left if (kept := known_good.get(name))}
    stays = [name for name in left if name in good and good[name].release.version == rollout.release.version]
    if rollout.phase is not Phase.ROLLBACK_FAILED or not left or stays != left:
        return ""
    return f"It stays in {', '.join(left)}, where it was adopted ({good[left[0]].by})."


def possible_intents(
    case: Case,
    replaced: Collection[str] | None = None,
    known_good: Mapping[str, Sequence[KnownGood]] | None = None,
) -> tuple[str, ...]:
    """The verbs that fit the present phase, and what is left to act on: what a person can do now.

    `replaced`: the regions in which a newer release runs; else those whose watch was taken over.
    `known_good`: of each region, the newest first, where it was read.
    """
    rollout, row = case.rollout, PHASES[case.rollout.phase]
    if replaced is None:
        replaced = [o.region for o in case.obligations if o.state is ObligationState.TAKEN_OVER]
    goes_on = not spoiled_by(rollout, known_good or {})
    stays = stays_by_word(rollout, known_good or {})
    takes_back = bool(rollout.touched) and not case.plan.observes
    fits = {
        "approve": rollout.phase is Phase.AWAITING_APPROVAL,
        "hold": Trigger.HOLD in row,
        "resume": Trigger.RESUME in row and goes_on,
        "promote": Trigger.PROMOTE in row and goes_on and bool(bakes_under_way(rollout, case.plan)),
        "rollback": takes_back
        and Trigger.ROLLBACK in row
        and (rollout.phase is not Phase.ROLLED_BACK or bool(came_again(rollout)))
        and not {region.region for region in rollout.touched} <= set(replaced),
        "cancel": bool(stays) or (not takes_back and Trigger.CANCEL in row),
        "reject": may_reject(rollout),
        "retry": rollout.phase is Phase.ROLLBACK_FAILED
        or (rollout.finished and rollout.phase is not Phase.SUCCEEDED),
    }
    return tuple(verb for verb, fitting in fits.items() if fitting)


def as_recorded(service: str, version: str, released: Sequence[Rollout]) -> Release:
    """The release of a version that runs; with its artifact, where all who released it named the same one."""
    artifacts = {each.release.artifact for each in released if each.release.version == version}
    artifact = artifacts.pop() if len(artifacts) == 1 else None
    return Release(service=service, version=version, artifact=artifact)
