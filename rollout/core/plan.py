"""A policy compiled for one rollout. Stored with it, so that editing YAML changes nothing under way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rollout.core.errors import InvalidInput, Problem, did_you_mean
from rollout.core.model import Region
from rollout.core.policy import (
    ApprovalStep,
    Bake,
    CheckSpec,
    Deadlines,
    GateStep,
    Guards,
    Judging,
    Policy,
    Recovery,
    Stage,
    Step,
)
from rollout.core.signals import BaselineKind, Direction, Signal, SignalKind, series_name, series_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeight:
    """Order this share of a region's instances, in percent."""

    weight: int


PlanStep = SetWeight | Bake | ApprovalStep | GateStep

GAPS = "gaps"  # the pseudo signal of missing data, judged in every plan
_GAPS = Signal(name=GAPS, kind=SignalKind.RATE, title="gaps in what it reports")


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
    mode: str = "enforce"

    @property
    def observes(self) -> bool:
        """Whether it decides and records without acting."""
        return self.mode == "observe"

    def stage_of(self, region: str) -> int:
        """The index of the stage that holds `region`."""
        return next(i for i, stage in enumerate(self.stages) if region in stage.regions)

    def peers(self, region: str) -> tuple[str, ...]:
        """The regions of later stages: those that still run the version before when `region` begins."""
        later = self.stages[self.stage_of(region) + 1 :]
        return tuple(name for stage in later for name in stage.regions)

    def baselines(self, region: str, check: CheckSpec) -> tuple[BaselineKind, ...]:
        """What `check` may be compared with in `region`, best first.

        Whether there is enough history for the second and the third is seen when judging begins.
        """
        possible = {
            BaselineKind.BESIDE: self.holdback > 0,
            BaselineKind.PEERS: bool(self.peers(region)),
            BaselineKind.HISTORY: True,
        }
        return tuple(kind for kind in BaselineKind if possible[kind] and kind in check.baselines)

    def block(self, check: CheckSpec) -> float:
        """Seconds of one bet of `check`: a signal that comes less often makes longer blocks."""
        return max(self.judging.block, check.interval or 0.0)

    def max_age(self, check: CheckSpec) -> float:
        """Seconds after which the newest sample of `check` is no data: two intervals and a half at least."""
        return max(self.judging.max_age, 2.5 * (check.interval or 0.0))

    def delay(self, *regions: str) -> float:
        """Seconds by which the newest samples of these regions are late: what is true now is told then."""
        return max((self.regions[name].delay_s for name in regions), default=0.0)


def compile_plan(
    policy: Policy,
    regions: Mapping[str, Region],
    signals: Mapping[str, Signal],
    *,
    revision: int = 1,
    only: Sequence[str] = (),
) -> Plan:
    """Resolve the regions of `policy`; `only` narrows to the regions in which a service lives.

    Raises InvalidInput for a region that regions.yaml does not name, for a signal that means nothing, when no
    region is left, and for a check that a region has nothing to compare with.
    """
    _refuse_unknown(policy, regions)
    meanings = _meanings(policy, signals)
    checks = tuple(
        _settled(each, meanings[each.signal]) for check in policy.checks for each in segments(check)
    )
    stages = tuple(
        _stage(policy, stage, names)
        for stage in policy.stages
        if (names := tuple(n for n in stage.regions if not only or n in only))
    )
    if not stages:
        raise InvalidInput(f"Policy '{policy.name}' reaches none of the regions {', '.join(only)}.")
    reached = [name for stage in stages for name in stage.regions]
    plan = Plan(
        policy=policy.name,
        revision=revision,
        stages=stages,
        checks=checks,
        guards=policy.guards,
        judging=policy.judging,
        recovery=policy.recovery,
        deadlines=policy.deadlines,
        concurrency=policy.concurrency,
        budget=policy.false_rollback_budget / 100,
        holdback=policy.holdback,
        watch_s=policy.watch,
        regions={name: regions[name] for name in reached},
        signals={GAPS: _GAPS, **meanings},
        mode=policy.mode,
    )
    _refuse_uncompared(policy, plan)
    return plan


def _refuse_unknown(policy: Policy, regions: Mapping[str, Region]) -> None:
    unknown = [
        Problem(f"stages.{i}.regions", f"unknown region '{name}'{did_you_mean(name, regions)}")
        for i, stage in enumerate(policy.stages)
        for name in stage.regions
        if name not in regions
    ]
    if unknown:
        raise InvalidInput(f"Policy '{policy.name}' names regions that do not exist.", tuple(unknown))


def _refuse_uncompared(policy: Policy, plan: Plan) -> None:
    """Refuse a check that forbids every kind of baseline that a region can have."""
    problems = tuple(
        Problem(f"checks.{index}.baselines", _uncompared(region, check))
        for index, check in enumerate(policy.checks)
        for region in plan.regions
        if not plan.baselines(region, check)
    )
    if problems:
        raise InvalidInput(f"Policy '{policy.name}' leaves checks without a baseline.", problems)


def _uncompared(region: str, check: CheckSpec) -> str:
    why, knobs = [], ["allow 'history' too"]
    if BaselineKind.BESIDE in check.baselines:
        why.append("a holdback of 0 % leaves no instance beside it")
        knobs.append("keep a holdback of 1 % or more")
    if BaselineKind.PEERS in check.baselines:
        why.append("no region is upgraded after it")
        knobs.append("put another region into a later stage")
    lacking = " and ".join(why)
    return f"{region} has nothing to compare '{check.signal}' with: {lacking}; {', or '.join(knobs)}"


def segments(check: CheckSpec) -> Iterator[CheckSpec]:
    """One check for each segment, which share its weight; the check itself where it has none."""
    if not check.segments:
        yield check
    for name in check.segments:
        signal = series_name(check.signal, segment=name)
        part = check.weight / len(check.segments)
        yield check.model_copy(update={"signal": signal, "weight": part, "segments": ()})


def _settled(check: CheckSpec, signal: Signal) -> CheckSpec:
    """The check with its signal's own settings where the policy writes none."""
    settings = {name: getattr(signal, name) for name in ("limit", "limit_for", "no_data")}
    unwritten = {
        name: value
        for name, value in settings.items()
        if value is not None and name not in check.model_fields_set
    }
    return check.model_copy(update=unwritten)


def _meanings(policy: Policy, signals: Mapping[str, Signal]) -> dict[str, Signal]:
    """What each check's signal means. Raises InvalidInput naming those that mean nothing."""
    found: dict[str, Signal] = {}
    problems = []
    for index, written in enumerate(policy.checks):
        for check in segments(written):
            try:
                found[check.signal] = _meaning(check, signals)
            except InvalidInput as error:
                problems += [Problem(f"checks.{index}.{p.place}", p.message) for p in error.problems]
    if problems:
        raise InvalidInput(f"Policy '{policy.name}' checks signals that mean nothing.", tuple(problems))
    return found


def _meaning(check: CheckSpec, signals: Mapping[str, Signal]) -> Signal:
    base, labels = series_parts(check.signal)
    known = signals.get(check.signal) or signals.get(base)
    if known is None and check.kind is None:
        message = f"unknown signal '{base}'{did_you_mean(base, signals)}"
        raise InvalidInput("", (Problem("signal", message),))
    signal = known or Signal(name=base, kind=check.kind or SignalKind.RATIO, title=base.replace("_", " "))
    kind = check.kind or signal.kind
    direction = check.direction or (Direction.DOWN if kind is SignalKind.THROUGHPUT else signal.direction)
    name = labels.get("segment", "")
    if known is not None and known.sources and name and known.name != check.signal:
        if name not in known.segments:
            near = did_you_mean(name, known.segments) or "; add it to it in policies/signals.yaml"
            raise InvalidInput("", (Problem("segments", f"'{base}' has no segment '{name}'{near}"),))
        signal = replace(signal, segment=known.segments[name])
    title = f"{signal.title} ({name})" if name else signal.title
    return replace(signal, name=check.signal, kind=kind, direction=direction, title=title)


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
    chosen = step.bake or step.approval or step.gate
    assert chosen is not None, "Step holds exactly one of four"
    return chosen
