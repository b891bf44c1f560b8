"""What a policy may say: typed, frozen, unknown keys refused. Reading YAML is config.py's work.

Durations are written `90s`, `15m`, `6h`, `2d` or a whole number of seconds; shares `25%`, `0.5%` or 0..100.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from rollout.core.signals import BaselineKind, Direction, SignalKind, series_name

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 90 * 86400
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd])")


def seconds(value: Any) -> Any:
    """`15m` → 900. Numbers pass through; anything else is refused with an example."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be a duration such as 90s, 15m or 6h")
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"'{value}' is not a duration; write for example 90s, 15m, 6h or 2d")
    found = round(float(match[1]) * _UNITS[match[2]], 3)
    if found > _LONGEST_S:
        raise ValueError(f"'{value}' is longer than 90d, the longest duration")
    return found


def percent(value: Any) -> Any:
    """`25%` → 25.0. Numbers pass through; anything else is refused with an example."""
    if isinstance(value, bool):
        raise ValueError("must be a share such as 25%")
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", value.strip())
    if match is None:
        raise ValueError(f"'{value}' is not a share; write for example 25%")
    return float(match[1])


def _schema(example: str, pattern: str, **number: Any) -> WithJsonSchema:
    """Tell an editor: a number within its limits, or text such as `example`."""
    text = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [number, text], "examples": [example]})


_SHARE_TEXT = r"^\d{1,3}(\.\d{1,6})?\s*%$"
Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=_LONGEST_S, allow_inf_nan=False),
    _schema("15m", r"^\d{1,9}(\.\d{1,3})?\s*[smhd]$", type="number", exclusiveMinimum=0, maximum=_LONGEST_S),
]
Share = Annotated[
    float,
    BeforeValidator(percent),
    Field(ge=0, le=100, allow_inf_nan=False),
    _schema("25%", _SHARE_TEXT, type="number", minimum=0, maximum=100),
]
Budget = Annotated[
    float,
    BeforeValidator(percent),
    Field(gt=0, le=50, allow_inf_nan=False),
    _schema("1%", _SHARE_TEXT, type="number", exclusiveMinimum=0, maximum=50),
]
Weight = Annotated[
    int,
    BeforeValidator(percent),
    Field(ge=1, le=100),
    _schema("25%", _SHARE_TEXT, type="integer", minimum=1, maximum=100),
]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
SegmentName = Annotated[str, Field(pattern=r"^[^{},=\"\s]{1,64}$")]
SignalName = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]{0,127}(\{segment=[^{},=\"\s]{1,64}\})?$")
]


class Strict(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`min: true` would be read as 1."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and field.annotation not in (bool, str):
            raise ValueError(f"needs a value of its own, and is {str(value).lower()}")
        return value


class Bake(Strict):
    """Judge for a while. `until: elapsed` takes `max`; `until: pass` ends between `min` and `max`."""

    until: Literal["elapsed", "pass"] = "elapsed"
    min: Duration | None = None
    max: Duration

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"max": value} if isinstance(value, (str, int, float)) else value

    @model_validator(mode="after")
    def _ends(self) -> "Bake":
        if self.min is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g}s is longer than max {self.max:g}s: never ends")
        return self


class ApprovalStep(Strict):
    """Wait for people. Nobody approves what they requested or authored unless `self_approval`."""

    min: Annotated[int, Field(ge=1, le=10)] = 1
    groups: tuple[str, ...] = Field(default=(), alias="from")
    self_approval: bool = False
    within: Duration = 86400.0  # then `otherwise`, and people are told
    otherwise: Literal["hold", "reject"] = "hold"


class GateStep(Strict):
    """Wait for a result that a pipeline reports: `gate: smoke` is short for its name.

    Each stage that has it waits for a report of its own. Failed, the rollout goes back or is held.
    """

    gate: Name = Field(alias="name")
    within: Duration = 3600.0  # then `otherwise`, and people are told
    otherwise: Literal["hold", "rollback"] = "hold"
    failed: Literal["hold", "rollback"] = "rollback"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Step(Strict):
    """One unit inside a stage: exactly one of the four."""

    set_weight: Weight | None = None
    bake: Bake | None = None
    approval: ApprovalStep | None = None
    gate: GateStep | None = None

    @model_validator(mode="after")
    def _one(self) -> "Step":
        if sum(x is not None for x in (self.set_weight, self.bake, self.approval, self.gate)) != 1:
            raise ValueError("a step is exactly one of set_weight, bake, approval, gate")
        return self


class Stage(Strict):
    """One wave: one region, or several in parallel. Empty steps: the policy's `steps`."""

    name: Name | None = None
    regions: Annotated[tuple[str, ...], Field(min_length=1)]
    steps: tuple[Step, ...] = ()


class CheckSpec(Strict):
    """A signal with its judge settings. The signal's meaning is in policies/signals.yaml.

    A bare name is a check with nothing but defaults. `kind` and `direction` stand in for what signals.yaml
    says; with a `kind`, a signal needs no entry there. `weight` is its part of the false-rollback budget,
    relative to the other checks. A check that is not `critical` holds and pages where others roll back.
    `limit` guards a gauge: beyond it and getting worse for `limit_for` acts at once. Where `limit`,
    `limit_for` or `no_data` is not written, what signals.yaml says of the signal counts. `interval` is how
    often the signal has a sample, where that is less often than `judging.interval`. `baselines` says what it
    may be compared with. Each of `segments` becomes a check of its own and they share `weight`.
    `accept_unseen` is the reason for which a `tolerance` that the bakes cannot see is accepted.
    """

    signal: SignalName
    kind: SignalKind | None = None
    direction: Direction | None = None
    tolerance: Annotated[float, Field(gt=1, le=1000)] | None = None  # ratio to the baseline: 2 = twice
    accept_unseen: Annotated[str, Field(max_length=300)] = ""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    critical: bool = True
    limit: Annotated[float, Field(gt=0)] | None = None
    limit_for: Duration = 120.0
    interval: Duration | None = None
    no_data: Literal["hold", "ignore"] = "hold"
    baselines: Annotated[tuple[BaselineKind, ...], Field(min_length=1)] = tuple(BaselineKind)
    segments: tuple[SegmentName, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"signal": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_segment(self) -> "CheckSpec":
        if self.segments and "{" in self.signal:
            raise ValueError(f"signal: '{self.signal}' is a segment already; take 'segments' away")
        return self


class CrashLoop(Strict):
    """One instance that restarts this often within this time is harm by itself."""

    restarts: Annotated[int, Field(ge=2, le=32)] = 3
    within: Duration = 600.0


class SuccessGuard(Strict):
    """Success below this share for this long is harm by itself."""

    below: Share = 50.0
    for_: Duration = Field(default=120.0, alias="for")


class Guards(Strict):
    """Hard limits that act at once, outside the sequential tests."""

    crash_loop: CrashLoop = CrashLoop()
    success: SuccessGuard = SuccessGuard()
    silence: Duration = 180.0  # the candidate reports nothing while the baseline does


class Judging(Strict):
    """How samples become evidence. One block is one bet of the sequential tests."""

    interval: Duration = 10.0  # between two readings of the source
    block: Duration = 60.0  # at least the autocorrelation time of the traffic
    warmup: Duration = 60.0  # after a weight was read back, not judged
    max_age: Duration = 60.0  # samples older than this are no data
    min_requests: Annotated[int, Field(ge=1)] = 100  # of the candidate, before a bake may end


class Recovery(Strict):
    """What is owed after a rollback."""

    stalled_after: Duration = 300.0  # unfinished work older than this is stalled
    check_every: Duration = 30.0
    within: Duration = 7200.0  # then people are paged, and it goes on


class Deadlines(Strict):
    """How long each wait may take; the outcome is a hold, a rollback for `deploy`, a page for `restore`."""

    preflight: Duration = 300.0
    deploy: Duration = 600.0
    collect: Duration = 10.0
    restore: Duration = 600.0
    blind: Duration = 300.0  # no data, or a source that cannot be asked
    queue: Duration = 86400.0


LEAST_HOLDBACK = 1  # percent, where there is one: weights are whole percents


class Policy(Strict):
    """How a release may move, what is checked, and what is owed afterwards."""

    api_version: Literal["rollout/v1"] = Field(alias="apiVersion")
    name: Name
    description: str = ""
    mode: Literal["enforce", "observe"] = "enforce"  # observe: decide and record, never act
    concurrency: Literal["queue", "supersede", "reject"] = "queue"
    false_rollback_budget: Budget = 1.0  # percent
    holdback: Share = 10.0  # baseline slice kept through bake and watch
    steps: tuple[Step, ...] = ()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    checks: Annotated[tuple[CheckSpec, ...], Field(min_length=1)]
    guards: Guards = Guards()
    judging: Judging = Judging()
    watch: Duration = 21600.0
    recovery: Recovery = Recovery()
    deadlines: Deadlines = Deadlines()
    require_digest: bool = False  # refuse a release whose artifact is not pinned by digest

    @model_validator(mode="after")
    def _consistent(self) -> "Policy":
        regions = [
            (f"stages.{i}.regions.{j}", name)
            for i, stage in enumerate(self.stages)
            for j, name in enumerate(stage.regions)
        ]
        signals = [named for i, check in enumerate(self.checks) for named in _series(i, check)]
        names = [(f"stages.{i}.name", stage.name) for i, stage in enumerate(self.stages) if stage.name]
        wrong = [*_doubled(regions), *_doubled(names), *_doubled(signals)]
        if 0 < self.holdback < LEAST_HOLDBACK:
            wrong.append(
                f"holdback: {self.holdback:g} % is next to nothing; keep {LEAST_HOLDBACK} % or more, or 0 "
                "for none, and regions are compared with those that come later and with their own past"
            )
        for index, stage in enumerate(self.stages):
            steps = stage.steps or self.steps
            wrong += _whole_way(index, steps, self.holdback, self.judging.warmup)
            gates = [(f"stages.{index}", f"gate {step.gate.gate}") for step in steps if step.gate]
            wrong += (f"{line}, and one report would pass it everywhere" for line in _doubled(gates))
        if wrong:
            raise ValueError("\n".join(wrong))  # one line for each place, which config.py takes apart
        return self


def _series(index: int, check: CheckSpec) -> Iterator[tuple[str, str]]:
    """The place and name of each signal that a check judges: its segments, or itself."""
    if not check.segments:
        yield f"checks.{index}.signal", check.signal
    for place, name in enumerate(check.segments):
        yield f"checks.{index}.segments.{place}", series_name(check.signal, segment=name)


def _doubled(named: list[tuple[str, str]]) -> Iterator[str]:
    """Say it of each (place, name) whose name was there before."""
    seen: set[str] = set()
    for place, name in named:
        if name in seen:
            yield f"{place}: '{name}' is named more than once"
        seen.add(name)


def _whole_way(index: int, steps: tuple[Step, ...], holdback: float, warmup: float) -> Iterator[str]:
    """Why a stage would never be judged, never rise, or never reach its region as a whole."""
    weights = [step.set_weight for step in steps if step.set_weight is not None]
    full = 100 - holdback
    if not any(step.bake for step in steps):
        yield f"stages.{index}: has no bake, so nothing would be judged; add one"
    if weights != sorted(weights):
        yield f"stages.{index}: weights must rise, and are {weights}"
    elif weights and abs(weights[-1] - full) > 0.5:
        yield (
            f"stages.{index}: the last set_weight is {weights[-1]} % and must be {full:g} %, "
            f"all but the holdback of {holdback:g} %"
        )
    kinds = ["weight" if step.set_weight is not None else "bake" if step.bake else "" for step in steps]
    if weights and "bake" not in kinds[len(kinds) - kinds[::-1].index("weight") :]:
        yield f"stages.{index}: ends without a bake at its full weight; add one after the last set_weight"
    if any(step.bake and step.bake.max <= warmup for step in steps):
        yield f"stages.{index}: has a bake that ends before the warm-up of {warmup:g} s, so nothing is judged"
    if steps and steps[0].bake is not None and weights:
        yield f"stages.{index}: begins with a bake before anything runs there"
