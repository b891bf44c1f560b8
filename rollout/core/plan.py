"""A policy compiled for one rollout. Stored with it, so that editing YAML changes nothing under way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.core.errors import InvalidInput, Problem
from rollout.core.model import Region, Signal, SignalKind
from rollout.core.policy import (
    ApprovalStep,
    Bake,
    CheckSpec,
    Deadlines,
    Guards,
    Judging,
    Policy,
    Recovery,
    Stage,
    Step,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeight:
    """Order this share of a region's instances, in percent."""

    weight: int


PlanStep = SetWeight | Bake | ApprovalStep


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStage:
    """One wave with its regions and steps."""

    name: str
    regions: tuple[str, ...]
    steps: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decide and judge need to know; times in seconds, shares in percent."""

    policy: str
    revision: int
    stages: tuple[PlanStage, ...]
    checks: tuple[CheckSpec, ...]
    guards: Guards
    judging: Judging
    recovery: Recovery
    deadlines: Deadlines
    concurrency: str
    budget: float  # alpha, 0..1
    holdback: float
    watch_s: float
    regions: Mapping[str, Region]
    signals: Mapping[str, Signal]

    def stage_of(self, region: str) -> int:
        """The index of the stage that holds `region`."""
        return next(i for i, stage in enumerate(self.stages) if region in stage.regions)


def compile_plan(
    policy: Policy,
    regions: Mapping[str, Region],
    signals: Mapping[str, Signal],
    *,
    revision: int = 1,
    only: Sequence[str] = (),
) -> Plan:
    """Resolve the regions of `policy`; `only` narrows to the regions in which a service lives.

    Raises InvalidInput for a region that regions.yaml does not name, and when nothing is left.
    """
    unknown = [
        Problem(f"stages.{i}.regions", f"unknown region '{name}'; known: {', '.join(sorted(regions))}")
        for i, stage in enumerate(policy.stages)
        for name in stage.regions
        if name not in regions
    ]
    if unknown:
        raise InvalidInput(f"Policy '{policy.name}' names regions that do not exist.", tuple(unknown))
    missing = tuple(
        Problem(
            f"checks.{i}.signal",
            f"unknown signal '{check.signal}'; known: {', '.join(sorted(signals))}",
        )
        for i, check in enumerate(policy.checks)
        if check.signal not in signals
    )
    if missing:
        raise InvalidInput(f"Policy '{policy.name}' checks signals that mean nothing.", missing)
    _refuse_unjudged(policy, signals)
    stages = tuple(
        _stage(policy, stage, names)
        for stage in policy.stages
        if (names := tuple(n for n in stage.regions if not only or n in only))
    )
    if not stages:
        raise InvalidInput(f"Policy '{policy.name}' reaches none of the regions {', '.join(only)}.")
    reached = [name for stage in stages for name in stage.regions]
    return Plan(
        policy=policy.name,
        revision=revision,
        stages=stages,
        checks=policy.checks,
        guards=policy.guards,
        judging=policy.judging,
        recovery=policy.recovery,
        deadlines=policy.deadlines,
        concurrency=policy.concurrency,
        budget=policy.false_rollback_budget / 100,
        holdback=policy.holdback,
        watch_s=policy.watch,
        regions={name: regions[name] for name in reached},
        signals={check.signal: signals[check.signal] for check in policy.checks},
    )


def _refuse_unjudged(policy: Policy, signals: Mapping[str, Signal]) -> None:
    """A policy whose checks can neither fail nor pass anything would promote everything."""
    if all(signals[check.signal].kind is SignalKind.GAUGE for check in policy.checks):
        raise InvalidInput(
            f"Policy '{policy.name}' judges nothing.",
            (Problem("checks", "a gauge only guards a limit; add a counted check, such as errors"),),
        )


def _stage(policy: Policy, stage: Stage, names: tuple[str, ...]) -> PlanStage:
    steps = stage.steps or policy.steps
    compiled = tuple(_step(step) for step in steps)
    if not any(isinstance(step, SetWeight) for step in compiled):
        first_bake = next(i for i, step in enumerate(compiled) if isinstance(step, Bake))
        full = SetWeight(weight=round(100 - policy.holdback))
        compiled = (*compiled[:first_bake], full, *compiled[first_bake:])
    return PlanStage(name=stage.name or "-".join(names), regions=names, steps=compiled)


def _step(step: Step) -> PlanStep:
    if step.set_weight is not None:
        return SetWeight(weight=step.set_weight)
    chosen = step.bake or step.approval
    assert chosen is not None, "Step holds exactly one of three"
    return chosen
