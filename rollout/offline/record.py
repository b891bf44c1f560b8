"""A policy compiled along a recorded release: its checks and limits, in the order in which it really went.

A recording knows when each region was deployed and no weights and no approvals. So regions go in the order of
their deploys, each with one deploy and one bake as long as all bakes of its stage together. Regions without a
deploy come last: until then they are peers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core.errors import InvalidInput, Problem
from rollout.core.model import Plugin, Region
from rollout.core.plan import Plan, compile_plan, segments
from rollout.core.policy import Bake, CheckSpec, Policy, Stage, Step
from rollout.core.signals import BaselineKind, Signal, series_name
from rollout.offline.arms import Arms
from rollout.offline.survey import Survey, check_of

NOWHERE = Plugin(kind="none")  # deploys and reads nothing


def bake_s(policy: Policy) -> float:
    """Seconds that the longest bake of a region takes at most."""
    return max(_bake(steps).max for steps in _ways(policy))


def along(
    policy: Policy,
    found: Survey,
    arms: Arms,
    *,
    regions: Mapping[str, Region],
    signals: Mapping[str, Signal],
) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and what a person should know about it. Raises InvalidInput when nothing can be judged."""
    checks, missing = _checks(policy, found)
    shares = {name: regions.get(name) or _region(name, len(found.versions)) for name in found.versions}
    written = {
        "checks": tuple(checks),
        "stages": tuple(_stages(policy, found, arms)),
    }
    plan = compiled(policy.model_copy(update=written), shares, signals)
    if not arms.beside:  # nothing was held back, whatever the policy says
        plan = replace(plan, holdback=0.0)
    notes = [f"{name} is not in {found.name} and was not judged." for name in missing]
    notes += _who(arms)
    return plan, tuple(notes)


def compiled(policy: Policy, regions: Mapping[str, Region], signals: Mapping[str, Signal]) -> Plan:
    """The plan of a policy of which some regions have nothing to compare with: a record is as it is."""
    anything = tuple(check.model_copy(update={"baselines": tuple(BaselineKind)}) for check in policy.checks)
    plan = compile_plan(policy.model_copy(update={"checks": anything}), regions, signals)
    allowed = {part.signal: check.baselines for check in policy.checks for part in segments(check)}
    checks = tuple(
        check.model_copy(update={"baselines": allowed[check.signal]}) if check.signal in allowed else check
        for check in plan.checks
    )
    return replace(plan, checks=checks)


def _who(arms: Arms) -> Iterator[str]:
    for name, region in arms.regions.items():
        if region.split:
            yield f"{name} was switched whole: rows after its deploy are judged by those before."
        elif not region.beside:
            if region.baseline is None:
                yield f"{name} has no rows to judge '{region.candidate}' by: nothing known ran there before."
                continue
            old = f"'{region.baseline}'"
            yield f"{name} was switched whole from {old} to '{region.candidate}': nothing ran beside it."


def _checks(policy: Policy, found: Survey) -> tuple[list[CheckSpec], list[str]]:
    """The checks whose signals were recorded, and the names of those whose were not."""
    kept, missing = [], []
    for check in policy.checks:
        names = {segment: series_name(check.signal, segment=segment) for segment in check.segments}
        parts = tuple(segment for segment, name in names.items() if name in found.checks)
        missing += [name for segment, name in names.items() if segment not in parts]
        if parts or (not check.segments and check.signal in found.checks):
            spacing = _spacing(found, [names[segment] for segment in parts] or [check.signal])
            interval = check.interval or (spacing if spacing > policy.judging.interval else None)
            kept.append(check.model_copy(update={"segments": parts, "interval": interval}))
        elif not check.segments:
            missing.append(check.signal)
    if not kept:
        text = f"The policy '{policy.name}' checks none of the signals of {found.name}."
        names_found = ", ".join(sorted(found.checks))
        raise InvalidInput(text, (Problem("checks", f"the samples have {names_found}"),))
    return kept, missing


def _spacing(found: Survey, names: Sequence[str]) -> float:
    """The usual seconds between samples of a check, over its segments and buckets."""
    return max((gap for signal, gap in found.spacing.items() if check_of(signal) in names), default=0.0)


def _stages(policy: Policy, found: Survey, arms: Arms) -> Iterator[Stage]:
    """One for each time of a deploy; those within a warm-up of each other went side by side."""
    together: list[str] = []
    began: datetime | None = None
    for name, region in sorted(arms.regions.items(), key=lambda each: (each[1].deployed_at, each[0])):
        if began is not None and region.deployed_at - began > timedelta(seconds=policy.judging.warmup):
            yield _stage(policy, together)
            together = []
        began = region.deployed_at if not together else began
        together.append(name)
    yield _stage(policy, together)
    rest = sorted(set(found.versions) - set(arms.regions))
    if rest:
        yield _stage(policy, rest)


def _stage(policy: Policy, names: list[str]) -> Stage:
    ways = [stage for stage in policy.stages if set(stage.regions) & set(names)] or policy.stages[:1]
    steps = ways[0].steps or policy.steps
    return Stage(regions=tuple(names), steps=(Step(bake=_bake(steps)),))


def _bake(steps: Sequence[Step]) -> Bake:
    """All bakes of a stage as one."""
    bakes = [step.bake for step in steps if step.bake is not None]
    whole = sum(bake.max for bake in bakes)
    if all(bake.until == "elapsed" for bake in bakes):
        return Bake(max=whole)
    least = sum((bake.min or 0.0) if bake.until == "pass" else bake.max for bake in bakes)
    return Bake(until="pass", min=least or None, max=whole)


def _ways(policy: Policy) -> list[Sequence[Step]]:
    return [stage.steps or policy.steps for stage in policy.stages]


def _region(name: str, many: int) -> Region:
    """A region that regions.yaml does not name: UTC, an equal share of users."""
    return Region(
        name=name,
        title=name,
        time_zone="UTC",
        order=1,
        traffic_share=1 / many,
        deployer=NOWHERE,
        source=NOWHERE,
    )
