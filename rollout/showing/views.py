"""What readers are shown of a rollout: the shapes behind the API, the CLI and the page.

What must not live here: how they are read (queries.py) and any wording (core/reason.py, queries.py).
Durations are integer seconds and end in `_s`; shares are 0..1; weights are percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollout.core.model import (
    Approval,
    ApprovalDecision,
    Hold,
    Obligation,
    Outcome,
    Phase,
    Reason,
    RegionPhase,
)
from rollout.core.signals import VerdictKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What happens next, in words, and when, where that is known."""

    what: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One check in one region, with its numbers and the same words everywhere."""

    region: str
    signal: str
    title: str
    verdict: VerdictKind
    text: str
    value: float | None
    baseline: float | None
    limit: float | None
    log_e: float
    seen: float
    needs: str
    guard: str
    baseline_kind: str
    since: datetime | None
    newest: datetime | None
    value_text: str = ""  # the same numbers as a person reads them: "0.42 %"
    baseline_text: str = ""
    limit_text: str = ""
    note: str = ""  # what the judge remarks on its numbers, for those who ask why
    acts_at: float | None = None  # the log_e at which this check alone rolls back; None: only its guard acts
    low: float | None = None  # of value over baseline: the 95 % interval that holds at every look
    high: float | None = None
    interval_text: str = ""  # "between ×2.1 and ×12"
    events: tuple[float, float] | None = None  # what the value was computed from: events, exposure
    beside: tuple[float, float] | None = None  # the same of the baseline
    baseline_words: str = ""  # what the baseline is, to follow its number: "on instances beside it in R3"
    rests_on: str = (
        "none"  # proof | calibration | uncalibrated | none: what the false-rollback promise rests on
    )
    rests_words: str = ""
    critical: bool = True  # else its harm holds and pages, and does not roll back
    suspected: bool = False  # its evidence of harm holds and pages, and does not act alone
    edge: float | None = None  # of a distribution: value and baseline are the shares beyond it


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectView:
    """One of several releases that may have caused a rise; `score` is 0..1 and no probability."""

    rollout: str
    service: str
    version: str
    score: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeView:
    """How far a bake has come. `detectable` says, per signal, the smallest rise that it can rule out."""

    planned_s: int
    elapsed_s: int
    until: str
    detectable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionView:
    """One region inside one rollout."""

    region: str
    title: str
    phase: RegionPhase
    since: datetime
    running_version: str | None  # read back; several are joined by " + "
    running: Mapping[str, int]
    running_at: datetime | None
    weight: int
    back_to: str | None
    step: int
    steps: tuple[str, ...]  # in words: "25 %", "bake 30 min", "approval"
    bake: BakeView | None
    touched_at: datetime | None
    passed_at: datetime | None
    restored_at: datetime | None
    message: str  # what its newest unfinished or failed action says, or empty
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One wave and its regions."""

    name: str
    regions: tuple[RegionView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Who was reached: regions, their part of all users (0..1), how long, and how many requests."""

    regions: tuple[str, ...]
    traffic_share: float
    duration_s: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """One gate of one stage: what the newest report says, and until when it is awaited."""

    name: str
    stage: str
    status: str  # waiting: awaited now; to_come: not yet; passed; failed
    text: str
    deadline: datetime | None = None
    by: str = ""
    at: datetime | None = None
    url: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalView:
    """An approval with what a person needs to decide: the release, its state, and what changes next.

    `missing` is how many more approvals are needed; `text` says it in words, also how and when it ended.
    """

    id: str
    rollout: str
    row_version: int
    service: str
    version: str
    stage: str
    regions: tuple[str, ...]
    state: str  # pending | approved | rejected | expired | withdrawn
    text: str
    minimum: int
    missing: int
    groups: tuple[str, ...]
    self_approval: bool
    asked_at: datetime
    deadline: datetime
    otherwise: str
    decisions: tuple[ApprovalDecision, ...]
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyName:
    """Which revision of which policy."""

    name: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout as everybody reads it. `sentence` is its state in one sentence.

    `against` is the strongest evidence against what is decided: of health where harm is blamed, of harm
    where none is. `suspects` are the releases that may have caused the harm, most likely first, where more
    than one was there; only a rollout that is read by itself has them.
    `row_version` rises with every transition: what a person saw when deciding.
    """

    id: str
    row_version: int
    service: str
    version: str
    artifact: str | None
    lock_digest: str | None
    change_url: str | None
    author: str | None
    note: str
    created_at: datetime
    created_by: str
    phase: Phase
    since: datetime
    health: VerdictKind
    outcome: Outcome | None
    sentence: str
    reason: Reason
    next: Next | None
    blocked_by: tuple[str, ...]
    needs_person: bool
    possible: tuple[str, ...]  # of approve, reject, hold, resume, promote, rollback, cancel, retry
    rollback_effect: str  # what the rollback button would do: "Roll back R3, R1 to 1.1.0"
    exposure: Exposure
    stages: tuple[StageView, ...]
    policy: PolicyName
    hold: Hold | None
    approval: Approval | None
    obligations: tuple[Obligation, ...]
    harm_since: datetime | None
    decided_at: datetime | None
    finished_at: datetime | None
    against: str = ""
    suspects: tuple[SuspectView, ...] = ()
    mode: str = "enforce"  # observe: it decides and records, and never acts
    would: Reason | None = None  # in mode observe: why it would have been rolled back
    gates: tuple[GateView, ...] = ()

    @property
    def regions(self) -> tuple[RegionView, ...]:
        """All regions in the order of the plan."""
        return tuple(region for stage in self.stages for region in stage.regions)

    @property
    def checks(self) -> tuple[CheckView, ...]:
        """All checks, region by region."""
        return tuple(check for region in self.regions for check in region.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectableView:
    """What a bake can see of one check in one region, in numbers and in words.

    `rise` is the smallest rise over the baseline that it can rule out at 5 % (2.0 = twice; of what harms
    when it falls, half), `seen` the exposure of the candidate that it judges, and `needed_s` how long it
    would have to be to rule `tolerance` out. None where there is none, or where it is not known.
    """

    region: str
    signal: str
    title: str
    baseline_kind: str  # beside | peers | history, or empty where there is nothing to compare with yet
    seen: float | None
    rise: float | None
    tolerance: float
    needed_s: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStepView:
    """One step of a plan with its clock time, if everything before it takes its planned time."""

    what: str
    at: datetime
    planned_s: int
    detectable: tuple[DetectableView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStageView:
    """One stage of a plan."""

    name: str
    regions: tuple[str, ...]
    steps: tuple[PlanStepView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """What checks of a region are compared with, and what the promise rests on: proof, calibration, none."""

    region: str
    signals: tuple[str, ...]
    kind: str  # beside | peers | history
    rests_on: str
    history_days: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProblemView:
    """A place of the policy for which `start` would refuse, and what mends it."""

    place: str  # checks.0.tolerance
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A dry run: nothing was started. With `problems`, `start` refuses."""

    service: str
    version: str
    policy: PolicyName
    back_to: Mapping[str, str | None]
    stages: tuple[PlanStageView, ...]
    checks: tuple[str, ...]
    watch_until: datetime
    warnings: tuple[str, ...]  # what would stop it, or cannot be judged
    comparisons: tuple[ComparisonView, ...] = ()
    problems: tuple[PlanProblemView, ...] = ()
    mode: str = "enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningView:
    """What really runs of one service in one region, and what it could go back to."""

    region: str
    title: str
    running: Mapping[str, int]
    running_at: datetime | None
    known_good: tuple[str, ...]
    generation: int
    rollout: str | None  # the unfinished rollout that holds the region
    error: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A declared service."""

    name: str
    policy: str
    owners: tuple[str, ...]
    regions: tuple[str, ...]
    signals: Mapping[str, Any]
    row_version: int
    stopped_by: str | None
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One line of history."""

    sequence: int
    at: datetime
    rollout_id: str
    service: str
    number: int
    region: str | None
    from_phase: str
    to_phase: str
    trigger: str
    actor: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionInfo:
    """A region as declared in regions.yaml, without the options of its plugins."""

    name: str
    title: str
    time_zone: str
    order: int
    traffic_share: float
    deployer: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInfo:
    """A policy as written."""

    name: str
    revision: int
    description: str
    digest: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The front page: who needs a person first, then what moves, then what ended lately."""

    needs_person: tuple[RolloutView, ...]
    moving: tuple[RolloutView, ...]
    recent: tuple[RolloutView, ...]
    services: tuple[ServiceView, ...]
    running: Mapping[str, tuple[RunningView, ...]]  # service → its regions, in order of promotion
