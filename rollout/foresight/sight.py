"""What each bake of a plan can see, in words, and which written tolerances it cannot."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollout.core import reason as say
from rollout.core.errors import Problem
from rollout.core.judge.calibrate import LEAST_PAST_S
from rollout.core.plan import Plan, PlanStep, SetWeight, segments
from rollout.core.policy import ApprovalStep, Bake, CheckSpec, GateStep, Policy
from rollout.core.signals import BaselineKind, Direction, Signal, SignalKind
from rollout.foresight.outlook import Outlook, Regions, bakes, enough_weight, outlook

DEPLOY_GUESS_S = 60  # what a plan assumes for changing a weight, until it has seen one
_EXACT = 1e-6  # of a step: what floating point may add
LONGEST_S = 90 * 86400  # that a policy may bake
NOTHING = 100.0  # times the baseline: who can rule out no less can rule out nothing
STRONGER = 100  # times the evidence that a comparison needs to act alone before it is calibrated
UNITS = {
    SignalKind.RATIO: "requests",
    SignalKind.DISTRIBUTION: "requests",
    SignalKind.RATE: "instance-hours",
    SignalKind.THROUGHPUT: "items",
}


def figure(value: float, digits: int) -> str:
    """A number to so many digits, never with an exponent: `184.2` to two digits is `180`."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"


def step_words(step: PlanStep) -> str:
    """A step as a person reads it: "25 %", "bake 30 min", "bake 1 h to 4 h until pass", "gate smoke"."""
    if isinstance(step, SetWeight):
        return f"{step.weight} %"
    if isinstance(step, ApprovalStep):
        return f"approval by {step.min}"
    if isinstance(step, GateStep):
        return f"gate {step.gate}"
    if step.until == "elapsed":
        return f"bake {say.span(step.max)}"
    least = f"{say.span(step.min)} to " if step.min and step.min < step.max else ""
    return f"bake {least}{say.span(step.max)} until pass"


def planned_s(step: PlanStep) -> int:
    """Seconds that a plan reckons with; people's time is not planned."""
    if isinstance(step, SetWeight):
        return DEPLOY_GUESS_S
    return round(step.max) if isinstance(step, Bake) else 0


# ---------------------------------------------------------------------- what a bake sees


def smallest_rises(
    plan: Plan, region: str, regions: Regions, weight: int, step: PlanStep
) -> Mapping[str, str]:
    """Per signal, the smallest rise over the baseline that this bake can rule out at 5 %, in words."""
    if not isinstance(step, Bake):
        return {}
    return {
        check.signal: words(plan, outlook(plan, region, check, regions, weight=weight, bake_s=step.max))
        for check in plan.checks
    }


def words(plan: Plan, look: Outlook) -> str:
    """What a bake can see of one check."""
    signal = plan.signals[look.check.signal]
    limit = f"; over {_limit(look.check, signal)} and rising acts at once" if look.check.limit else ""
    return f"{signal.title}: {_sees(plan, look, signal)}{limit}"


def _sees(plan: Plan, look: Outlook, signal: Signal) -> str:
    if look.seen is None or look.rate is None:
        return "nothing was read yet, so what it can see is not known"
    if look.rate <= 0:
        return _never(look, signal)
    if not look.known:
        least = say.span(LEAST_PAST_S)
        return f"nothing to compare with before there are {least} of history; only guards act, and it holds"
    if look.rise >= NOTHING:
        return (
            f"cannot be judged in {say.span(look.bake_s)} {_carried(look, signal)}{_beside(plan, look)} "
            f"({_needed(look, signal)}): guards and the watch cover it"
        )
    carried = f"{figure(look.seen, 3)} {_unit(look, signal)}{_beside(plan, look)}"
    found = ", ".join(_rise(each, look, signal, where) for where, each in look.rises.items())
    more = f"; {_needed(look, signal)}" if look.rise > look.tolerance else ""
    return f"{found} from {carried}{more}"


def _carried(look: Outlook, signal: Signal) -> str:
    if signal.kind is not SignalKind.RATE:
        return f"on {figure(look.seen or 0.0, 3)} {_unit(look, signal)}"
    all_of_them = look.per_s * 3600  # instance-hours an hour
    return f"with {figure(all_of_them * look.weight / 100, 2)} of {figure(all_of_them, 2)} instances"


def _never(look: Outlook, signal: Signal) -> str:
    """A rate that was never seen is not known, and so is what a bake can tell of it."""
    if look.exposure is None:
        return "it stands at nought, so a rise has no ratio; guards and watch"
    lately = f"{figure(look.exposure, 3)} {_unit(look, signal)}"
    undone = signal.kind is SignalKind.THROUGHPUT or signal.direction is Direction.DOWN
    none = "none missing" if undone else "none"
    return f"{none} in {lately} lately, so its usual rate is not known; guards and watch"


def _needed(look: Outlook, signal: Signal) -> str:
    tolerance = _times(look.tolerance, look, signal)
    if look.needed_s > LONGEST_S:
        return f"no bake is long enough for {tolerance}"
    return f"{say.span(_rounded_up(look.needed_s))} would be needed for {tolerance}"


def _rise(rise: float, look: Outlook, signal: Signal, where: str) -> str:
    beyond = f" {say.beyond_edge(signal, float(where))}" if where else ""
    return f"{_times(rise, look, signal)}{beyond}"


def _times(rise: float, look: Outlook, signal: Signal) -> str:
    """`2.41` → `×2.5`, never better than it is; of a level that harms when it falls, `a fall to 41 %`.

    Where less is harm and what is missing is counted, it is a rise of that.
    """
    if not math.isfinite(rise):
        return "no rise"
    if signal.direction is Direction.DOWN and look.exposure is None:
        return f"a fall to {math.floor(100 / rise + _EXACT)} %"
    what = " undone" if signal.kind is SignalKind.THROUGHPUT else ""
    missing = " missing" if signal.direction is Direction.DOWN else ""
    return f"×{_tolerance(rise):,g}{what or missing}"


def _unit(look: Outlook, signal: Signal) -> str:
    return "blocks" if look.exposure is None else UNITS[signal.kind]


def _limit(check: CheckSpec, signal: Signal) -> str:
    return f"{check.limit:,.10g}{' ' + signal.unit if signal.unit else ''}"


def _beside(plan: Plan, look: Outlook) -> str:
    if look.baseline is BaselineKind.PEERS:
        return f" against {', '.join(plan.peers(look.region))}"
    return " against its own past" if look.baseline is BaselineKind.HISTORY else ""


# ---------------------------------------------------------------------- what no bake sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A written tolerance that no bake of a region can see; `accepted` is the policy's reason, or empty."""

    problem: Problem
    accepted: str


def unseen(plan: Plan, policy: Policy, regions: Regions) -> tuple[Unseen, ...]:
    """Every tolerance that the author wrote and that no bake of a region sees at the present traffic.

    Places are those of the policy: `checks.0.tolerance`. What nothing is known of is not among them.
    """
    return tuple(
        Unseen(problem=Problem(f"checks.{index}.tolerance", message), accepted=check.accept_unseen)
        for index, check in _written(plan, policy)
        for region in plan.regions
        if (message := _unseen(plan, region, check, regions))
    )


def writes_tolerance(plan: Plan) -> bool:
    """Whether any check could be refused for its tolerance."""
    return any(check.tolerance is not None and not check.accept_unseen for check in plan.checks)


def _written(plan: Plan, policy: Policy) -> Iterator[tuple[int, CheckSpec]]:
    """The compiled checks whose tolerance the author wrote, with the place of each in the policy."""
    compiled = {check.signal: check for check in plan.checks}
    for index, written in enumerate(policy.checks):
        for check in segments(written):
            if check.tolerance is not None:
                yield index, compiled[check.signal]


def _unseen(plan: Plan, region: str, check: CheckSpec, regions: Regions) -> str:
    looks = [
        outlook(plan, region, check, regions, weight=weight, bake_s=bake.max)
        for weight, bake in bakes(plan, region)
    ]
    if not looks or not all(look.known and look.unseen for look in looks):
        return ""
    best = min(looks, key=lambda look: (look.rise, look.needed_s))
    signal = plan.signals[check.signal]
    longest = f"{say.span(best.bake_s)} at {best.weight} %"
    sees = (
        f"{longest} can rule out {_times(best.rise, best, signal)} at best"
        if best.rise < NOTHING
        else f"{longest} can rule out nothing"
    )
    return (
        f"{region}: no bake can see {_times(best.tolerance, best, signal)} of {signal.title} at the present "
        f"traffic ({_traffic(best, signal)}): {sees}. {_knobs(plan, best, regions)}"
    )


def _traffic(look: Outlook, signal: Signal) -> str:
    assert look.rate is not None, "only what is known is refused"
    if look.exposure is None:
        return f"usually {say.number(signal.kind, signal.unit, look.rate)}"
    if signal.kind is SignalKind.RATE:
        usual = say.number(signal.kind, signal.unit, look.rate)
        return f"usually {usual}, {figure(look.per_s * 3600, 2)} instances"
    return f"usually {100 * look.rate:.2f} %, {figure(look.per_s * 60, 2)} {_unit(look, signal)} a minute"


def _knobs(plan: Plan, look: Outlook, regions: Regions) -> str:
    """What mends it: a longer bake, another weight, a wider tolerance, or a reason to accept it."""
    knobs = []
    if look.needed_s <= LONGEST_S:
        knobs.append(f"bake {say.span(_rounded_up(look.needed_s))} at {look.weight} %")
    weight = enough_weight(plan, look.region, look.check, regions, look.bake_s)
    if weight is not None:
        knobs.append(f"bake as long at {weight} %")
    if look.rise < NOTHING:
        knobs.append(f"write a tolerance of {_tolerance(look.rise):g}")
    if not look.check.accept_unseen:
        knobs.append("say with 'accept_unseen' why it may stay unseen")
    return ", or ".join(knobs).capitalize() + "."


def _rounded_up(seconds: float) -> float:
    """To whole minutes from five on, and to tenths of an hour from two hours on."""
    unit = 360.0 if seconds >= 7200 else 60.0 if seconds >= 300 else 1.0
    return math.ceil(seconds / unit) * unit


def _tolerance(rise: float) -> float:
    """Rounded up to what a person writes, so that it can be seen."""
    steps = 1 if rise >= 10 else 10 if rise >= 1.2 else 100
    return math.ceil(rise * steps - _EXACT) / steps


# ---------------------------------------------------------------------- what is compared with what


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What checks of a region are compared with, and what that rests on: `proof`, `calibration` or `none`."""

    region: str
    signals: tuple[str, ...]
    kind: BaselineKind
    rests_on: str
    text: str


def comparisons(plan: Plan, days: Mapping[str, int]) -> tuple[Comparison, ...]:
    """Per region, which checks are compared with what; `days` of history there are in each region."""
    found: dict[tuple[str, BaselineKind], list[str]] = {}
    for region in plan.regions:
        for check in plan.checks:
            found.setdefault((region, plan.baselines(region, check)[0]), []).append(check.signal)
    return tuple(
        _comparison(plan, region, kind, tuple(signals), days.get(region, 0))
        for (region, kind), signals in found.items()
    )


def _comparison(
    plan: Plan, region: str, kind: BaselineKind, signals: tuple[str, ...], days: int
) -> Comparison:
    clean = math.ceil(3 / plan.budget - 1e-9)  # release-days without harm that vouch for the budget
    if kind is BaselineKind.BESIDE:
        rests_on, why = "proof", f"instances beside it, {plan.holdback:g} % or more: proved"
    else:
        rests_on = "calibration" if days >= clean else "uncalibrated"
        peers = f"{', '.join(plan.peers(region))} (upgraded later)"
        with_whom = peers if kind is BaselineKind.PEERS else "its own past"
        why = f"{with_whom}, by time of day: {_calibrated(plan.budget, days, clean)}"
    titles = ", ".join(plan.signals[name].title for name in signals)
    which = "all checks" if len(signals) == len(plan.checks) else titles
    text = f"{region}: {which} against {why}."
    return Comparison(region=region, signals=signals, kind=kind, rests_on=rests_on, text=text)


def _calibrated(budget: float, days: int, clean: int) -> str:
    kept = f"{days} day{'' if days == 1 else 's'} of history"
    if days >= clean:
        return f"calibrated on {kept}"
    return (
        f"{kept}, and {clean} clean release-days vouch for {100 * budget:g} % (3/n). Not calibrated: "
        f"alone it acts only on evidence {STRONGER} times stronger, else it holds and pages"
    )
