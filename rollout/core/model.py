"""The nouns, frozen. One word per thing, as in docs/vocabulary.md.

What must not live here: what is allowed (machine.py), what is wise (decide.py), how anything is stored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

CONTROLLER = "controller"  # the actor of everything that no person asked for
_DIGEST = re.compile(r"(?<![0-9A-Za-z])sha256(?::|%3[Aa])[0-9a-f]{64}(?![0-9A-Za-z])")


class Phase(StrEnum):
    """Where a rollout stands."""

    QUEUED = "queued"  # waits for another rollout of the same service and region
    PREFLIGHT = "preflight"  # proves the way back before anything is touched
    PROGRESSING = "progressing"  # regions are being deployed and judged
    AWAITING_APPROVAL = "awaiting_approval"  # waits for people; judging goes on
    HELD = "held"  # waits for a named person; judging goes on
    ROLLING_BACK = "rolling_back"  # every touched region is being restored
    SUCCEEDED = "succeeded"  # every region passed; watches may still be open
    ROLLED_BACK = "rolled_back"  # every touched region was read back on its known good
    ROLLBACK_FAILED = "rollback_failed"  # a region could not be restored; people are paged
    REJECTED = "rejected"  # a person said no before a region was touched
    CANCELED = "canceled"  # ended by a person before a region was touched
    SUPERSEDED = "superseded"  # a newer release took its place before a region was touched


FINISHED = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REJECTED, Phase.CANCELED, Phase.SUPERSEDED})


class RegionPhase(StrEnum):
    """Where one region stands inside a rollout."""

    PENDING = "pending"  # not touched yet
    DEPLOYING = "deploying"  # a weight was ordered and is not read back yet
    BAKING = "baking"  # the ordered weight runs; the judge collects evidence
    PASSED = "passed"  # its last step is done; the release is known good here
    RESTORING = "restoring"  # going back to its known good
    RESTORED = "restored"  # read back on its known good
    UNREACHABLE = "unreachable"  # going back, and the region does not answer; retried for ever
    RESTORE_FAILED = "restore_failed"  # the region answers and cannot go back; people are paged


class Kind(StrEnum):
    """What an action does at its target."""

    DEPLOY = "deploy"  # make `weight` percent of the region run `version`, the rest `from_version`
    RESTORE = "restore"  # make the whole region run `version`, the known good
    VERIFY = "verify"  # read back what really runs
    REHEARSE = "rehearse"  # start `version` once, apart from users, and stop it again
    COLLECT = "collect"  # keep logs and exit reasons before they are gone
    FIND_STALLED = "find_stalled"  # list work items that nobody is finishing
    RESUME_WORK = "resume_work"  # resume the listed items, each by its own key
    NOTIFY = "notify"  # tell people


class ActionState(StrEnum):
    """How far a recorded action has come."""

    PENDING = "pending"  # recorded, and not known to be done
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # permanently, or its deadline passed
    DROPPED = "dropped"  # no longer wanted, for example a deploy after a rollback decision


class IntentKind(StrEnum):
    """What a person or a pipeline can ask of a rollout."""

    APPROVE = "approve"
    REJECT = "reject"
    HOLD = "hold"
    RESUME = "resume"
    ROLLBACK = "rollback"
    CANCEL = "cancel"
    PROMOTE = "promote"  # end the bakes under way now; an override, with its reason
    GATE = "gate"  # a pipeline reports a result; details: gate, stage, status, url
    NOTE = "note"  # a remark for the timeline; changes nothing
    SUPERSEDE = "supersede"  # asked by the controller for a newer release


class ObligationKind(StrEnum):
    """Something owed that outlives the rollout and blocks nothing."""

    WATCH = "watch"  # keep judging this release in this region until a time
    RECOVERY = "recovery"  # find stalled work, resume it, prove the backlog is back to normal


class ObligationState(StrEnum):
    """How an obligation stands."""

    OPEN = "open"
    MET = "met"
    BREACHED = "breached"  # the watch saw harm
    OVERDUE = "overdue"  # its deadline passed; people are paged and it goes on
    TAKEN_OVER = "taken_over"  # a newer release runs there now
    UNPROVEN = "unproven"  # ended, and nothing there can prove it; people were told


class Outcome(StrEnum):
    """How a rollout ended; the words of Argo Rollouts' `status` label where they exist."""

    PROMOTED = "promoted"
    FAST_PROMOTED = "fast_promoted"  # a person ended a bake early
    OBSERVED = "observed"  # in mode observe: nothing would have been rolled back
    WOULD_ROLL_BACK = "would_roll_back"  # in mode observe: it would have been
    ROLLED_BACK = "rolled_back"  # by checks
    ABORTED = "aborted"  # rolled back by a person
    REJECTED = "rejected"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """Which plugin serves a region, and its options as written."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place with its own users. `traffic_share` is 0..1 of all users of the service.

    `delay_s`: by how many seconds the newest samples of its source are late, as that says of itself.
    """

    name: str
    title: str
    time_zone: str
    order: int
    traffic_share: float
    deployer: Plugin
    source: Plugin
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An immutable version of a service."""

    service: str
    version: str
    artifact: str | None = None  # pinned by digest, for example pkg:oci/mail@sha256%3A…
    lock_digest: str | None = None
    change_url: str | None = None
    author: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether the artifact is named by its digest, so that it is the same bytes for ever."""
        return self.artifact is not None and _DIGEST.search(self.artifact) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is deployed; declared once.

    `stopped_by` is the rollout whose rollback stopped automatic promotion: rollouts created before
    `stopped_at` wait for a person.
    """

    name: str
    policy: str
    owners: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()  # empty: every region of regions.yaml
    signals: Mapping[str, Any] = field(default_factory=dict)  # overrides of policies/signals.yaml
    stopped_by: str | None = None
    stopped_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGood:
    """A release that a region can go back to."""

    service: str
    region: str
    release: Release
    since: datetime
    how: str  # earned | adopted
    by: str  # rollout id, or the person who adopted it


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """The database may be older than what happened in a region: nothing is ordered there until it is settled.

    `believed` is what ran there, and `generation` the fence, as the database had them. `found` says why a
    reading did not settle it; `seen` is the highest generation that the target told.
    """

    since: datetime
    text: str
    believed: Mapping[str, int]
    generation: int
    found: str = ""
    seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRegion:
    """What is known of one service in one region, beyond any single rollout.

    `known_good` holds the newest first, two at most. `generation` is the fence: it rises with every
    decision about this pair. `running` maps version to the number of instances read back at `running_at`.
    """

    service: str
    region: str
    generation: int = 0
    known_good: tuple[KnownGood, ...] = ()
    running: Mapping[str, int] = field(default_factory=dict)
    running_at: datetime | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something happened, in one sentence and in numbers. Made only in core/reason.py."""

    code: str
    text: str
    region: str | None = None
    signal: str | None = None
    value: float | None = None
    baseline: float | None = None
    limit: float | None = None
    since: datetime | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who holds a rollout, why, and what happens at `until` (`then`: hold | resume)."""

    owner: str
    reason: str
    since: datetime
    until: datetime | None = None
    then: str = "hold"
    expired: bool = False
    still: bool = False  # also deploys under way are not followed: an emergency put something else there


def person(name: str) -> str:
    """A name as people are told apart by it: `Dana` and `dana` are no two."""
    return name.strip().casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecision:
    """One person's answer."""

    by: str
    decision: str  # approve | reject
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval, bound to one place of one plan; a rollout's release and plan never change.

    `state` is pending, approved, rejected, expired (its deadline passed) or withdrawn (the rollout was held
    or went back meanwhile). `otherwise` is the stated outcome of the deadline: hold, or reject.
    """

    id: str = ""
    stage: int
    step: int
    minimum: int
    groups: tuple[str, ...]
    self_approval: bool
    asked_at: datetime
    deadline: datetime
    otherwise: str = "hold"
    decisions: tuple[ApprovalDecision, ...] = ()
    state: str = "pending"
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate being awaited at one place of the plan. `otherwise`, of its deadline: hold, or rollback."""

    name: str
    stage: int
    step: int
    asked_at: datetime
    deadline: datetime
    otherwise: str = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What a pipeline reported of one gate in one stage; the newest counts.

    `acted_on`: the rollout was held for it already, so that a resume waits for a newer one.
    """

    name: str
    stage: int
    status: str  # passed | failed
    by: str
    at: datetime
    url: str = ""
    message: str = ""
    acted_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Something else was read in a region than was ordered and read back there before.

    `since` is the first reading that showed it and `at` the newest, of which `running` is. `asked` is the key
    of the read-back that is to confirm it, and `denied` counts those that did not. `told`: people know, and
    it is not ordered again until one of them lets the rollout go on.
    """

    since: datetime
    at: datetime
    running: Mapping[str, int]
    asked: str = ""
    denied: int = 0
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRollout:
    """One region inside one rollout.

    `step` indexes the steps of its stage. `weight` is the last ordered share in percent.
    `back_to` is the known good before this rollout began: the only target of a restore.
    `generation` is the one its newest actions carry; `outside` is a higher one that its target has seen and
    nobody here ordered, until a person overrules it. `running` is what was read back last.
    """

    region: str
    stage: int
    phase: RegionPhase = RegionPhase.PENDING
    since: datetime
    step: int = 0
    weight: int = 0
    touched_at: datetime | None = None
    back_to: KnownGood | None = None
    tried: tuple[str, ...] = ()  # versions that a restore was tried with and failed
    trouble: str = ""  # why it does not come back, in a sentence; empty while nothing is wrong
    generation: int = 0
    outside: int = 0
    running: Mapping[str, int] = field(default_factory=dict)
    running_at: datetime | None = None
    bake_started_at: datetime | None = None
    skipped_by: str = ""  # who ended a bake here early; then a met watch earns the known good, not the bake
    judge_from: datetime | None = None  # end of the warm-up; None while a weight is being changed
    passed_at: datetime | None = None
    restored_at: datetime | None = None
    rehearsed: bool = False
    holdback_released: bool = False
    drift: Drift | None = None
    mended: tuple[datetime, ...] = ()  # when it was ordered again since it drifted, within the last hour
    reads_as: Mapping[str, int] = field(default_factory=dict)  # what a reading counts of what was ordered

    @property
    def touched(self) -> bool:
        """Whether an instance here may run the release."""
        return self.touched_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What somebody asked for, recorded before it is acted on."""

    id: str
    rollout_id: str
    kind: IntentKind
    actor: str
    reason: str
    at: datetime
    region: str | None = None
    until: datetime | None = None  # of a hold
    then: str = "hold"  # of a hold
    seen: int | None = None  # transitions that the asker saw; recorded only while there are no more
    details: Mapping[str, Any] = field(default_factory=dict)  # of a gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """Something owed in one region after the rollout itself went on or ended."""

    id: str
    rollout_id: str
    service: str
    region: str
    kind: ObligationKind
    state: ObligationState = ObligationState.OPEN
    since: datetime
    until: datetime  # watch: the horizon; recovery: the deadline
    ended_at: datetime | None = None
    reason: Reason | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of history: what moved a rollout, or one region of it, and why."""

    rollout_id: str
    number: int  # 1, 2, 3 … inside the rollout, without gaps
    at: datetime
    region: str | None
    from_phase: str
    to_phase: str
    trigger: str
    actor: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running process of a service, as its deployer reports it.

    `id` names the place (a slot that outlives restarts); `restarts` counts restarts in that place that no
    deployment caused. `url` is where its metrics are read, empty when it cannot be reached.
    """

    id: str
    version: str
    url: str
    started_at: datetime
    healthy: bool
    restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One attempt to move one release through its plan, as stored.

    `version` is the row's own number for compare-and-swap; the release's is `release.version`.
    `transitions` is how many rows of history there are. `next_due_at` is when it wants to be looked at again.
    `wakes` counts the times that something asked for a look (an intent, an ended action): a commit whose
    number is older than the stored one leaves the rollout due, so that no wake-up is lost.
    """

    id: str
    release: Release
    policy: str
    policy_revision: int
    phase: Phase
    since: datetime
    created_at: datetime
    created_by: str
    note: str = ""
    override: str = ""  # the reason given to start a version that was rolled back before
    stage: int = 0
    regions: tuple[RegionRollout, ...] = ()
    hold: Hold | None = None
    approval: Approval | None = None
    approved: tuple[tuple[int, int], ...] = ()  # (stage, step) of approvals that were given
    answered: tuple[Approval, ...] = ()  # those that ended, oldest first
    gate: Gate | None = None
    gates: tuple[GateReport, ...] = ()
    would: Reason | None = None  # in mode observe: why it would have been rolled back, the first time
    outcome: Outcome | None = None
    ending: Outcome | None = None  # what a rollback under way will end as
    reason: Reason
    harm_since: datetime | None = None
    decided_at: datetime | None = None  # when a rollback was decided
    cause: Reason | None = None  # why it was decided; stays while the way back has reasons of its own
    finished_at: datetime | None = None
    resumed_at: datetime | None = None  # when a person last let it go on
    resumed_by: str = ""  # who did
    suspected: tuple[str, ...] = ()  # region/signal of suspected harm that people know of
    transitions: int = 0
    wakes: int = 0
    version: int = 0
    next_due_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether it has ended; obligations may still be open."""
        return self.phase in FINISHED

    @property
    def touched(self) -> tuple[RegionRollout, ...]:
        """The regions in which an instance may run the release, or did."""
        return tuple(region for region in self.regions if region.touched)

    def region(self, name: str) -> RegionRollout:
        """One region by name. Raises KeyError."""
        for region in self.regions:
            if region.region == name:
                return region
        raise KeyError(name)
