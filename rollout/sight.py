"""What a bake can see: the traffic there is now, and the smallest rise that it can rule out, in words."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rollout.core import reason as say
from rollout.core.judge import TOLERANCE, detectable, exposure_to_rule_out
from rollout.core.model import Sample, SignalKind
from rollout.core.plan import Plan, PlanStep, SetWeight
from rollout.core.policy import Bake

DEPLOY_GUESS_S = 60  # what a plan assumes for changing a weight, until it has seen one


def figure(value: float, digits: int) -> str:
    """A number to so many digits, never with an exponent: `184.2` to two digits is `180`."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"


def step_words(step: PlanStep) -> str:
    """A step as a person reads it: "25 %", "bake 30 min", "approval by 1"."""
    if isinstance(step, SetWeight):
        return f"{step.weight} %"
    if isinstance(step, Bake):
        until = " until pass" if step.until == "pass" else ""
        return f"bake {say.span(step.max)}{until}"
    return f"approval by {step.min}"


def planned_s(step: PlanStep) -> int:
    """Seconds that a plan reckons with; people's time is not planned."""
    if isinstance(step, SetWeight):
        return DEPLOY_GUESS_S
    return round(step.max) if isinstance(step, Bake) else 0


@dataclass(frozen=True, slots=True)
class Flow:
    """What one signal of a region carried lately: events, exposure, and exposure a second."""

    events: float
    exposure: float
    per_s: float

    @property
    def rate(self) -> float:
        """Events per exposure."""
        return self.events / self.exposure


def flows(samples: Iterable[Sample]) -> dict[str, Flow]:
    """Every counted signal's flow in one region's samples."""
    value: dict[str, float] = {}
    exposure: dict[str, float] = {}
    spans: dict[str, dict[datetime, float]] = {}
    for sample in samples:
        if sample.exposure > 0 and sample.duration_s > 0:
            name = sample.signal
            value[name] = value.get(name, 0.0) + sample.value
            exposure[name] = exposure.get(name, 0.0) + sample.exposure
            spans.setdefault(name, {})[sample.time] = sample.duration_s
    return {
        name: Flow(value[name], exposure[name], exposure[name] / sum(spans[name].values()))
        for name in exposure
    }


def smallest_rises(plan: Plan, flow: Mapping[str, Flow], weight: int, step: PlanStep) -> Mapping[str, str]:
    """Per signal, the smallest rise over the baseline that this bake can rule out at 5 %, in words."""
    if not isinstance(step, Bake):
        return {}
    share = weight / 100
    found = {}
    for check in plan.checks:
        signal = plan.signals[check.signal]
        if signal.kind is SignalKind.GAUGE:
            found[signal.name] = (
                f"{signal.title}: a limit only" if check.limit else f"{signal.title}: shown only"
            )
            continue
        if signal.name not in flow:
            found[signal.name] = f"{signal.title}: nothing was read yet"
            continue
        if weight >= 100:
            found[signal.name] = f"{signal.title}: nothing is left beside it to compare with; guards only"
            continue
        now = flow[signal.name]
        seen = now.per_s * share * step.max
        wanted = check.tolerance or TOLERANCE[signal.kind]
        found[signal.name] = _rise_words(plan, signal.name, now, seen, share, wanted)
    return found


def _rise_words(plan: Plan, name: str, flow: Flow, seen: float, share: float, wanted: float) -> str:
    signal = plan.signals[name]
    unit = "requests" if signal.kind is SignalKind.RATIO else "instance-hours"
    if flow.events <= 0:  # a rate that was never seen is not known, and so is what a bake can tell of it
        lately = f"{figure(flow.exposure, 3)} {unit}"
        return f"{signal.title}: none in {lately} lately, so its usual rate is not known; guards and watch"
    rise = detectable(flow.rate, seen, share)
    if math.isfinite(rise):
        return f"{signal.title}: ×{figure(rise, 2)} from {figure(seen, 3)} {unit}"
    needed = exposure_to_rule_out(flow.rate, wanted, share)
    time = say.span(needed / max(flow.per_s * share, 1e-12))
    carried = f"{figure(seen, 3)} {unit}"
    return f"{signal.title}: none from {carried}; ×{wanted:g} takes {time}; guards and watch cover it"
