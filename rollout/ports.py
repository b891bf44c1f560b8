"""Protocols between the core and the world. Implementations live in plugins, the store and clock.py.

A plugin raises TransientError when trying again under the same key may help, PermanentError when not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rollout.core.actions import Action, ActionRecord, ActionResult, Lane
from rollout.core.decision import Decision
from rollout.core.model import (
    Doubt,
    Instance,
    Intent,
    KnownGood,
    Obligation,
    Phase,
    Rollout,
    Service,
    ServiceRegion,
    Transition,
)
from rollout.core.plan import Plan
from rollout.core.signals import Sample, Signal
from rollout.once import Answer, Claim, Kept

if TYPE_CHECKING:  # the judge brings numpy, which a verb of the command line does not need
    from rollout.core.judge.evidence import RegionEvidence


class Clock(Protocol):
    """The one source of time; always aware, always UTC."""

    def now(self) -> datetime: ...


# --------------------------------------------------------------------------- deployers


class Progress(StrEnum):
    """What a deployer answers to an order."""

    SUCCEEDED = "succeeded"
    RUNNING = "running"  # accepted; ask again with the same key
    FAILED = "failed"  # permanently


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A deployer's answer."""

    progress: Progress
    result: ActionResult = ActionResult()


class Deployer(Protocol):
    """Moves instances of services in ONE region.

    `apply` is called again with the same key until it answers SUCCEEDED or FAILED, also after a crash of the
    controller: the same key and generation must never take effect twice. A deployer that declares `fences`
    refuses, with PermanentError or FAILED, a generation lower than the highest it has seen for the service.
    Where the class says `told_region = True`, each order names its region: regions may share its options.
    """

    supports: frozenset[str]  # of rollout.core.model.Kind
    fences: bool  # what it sees of generations is in the result of VERIFY, as details["generation"]

    async def apply(self, key: str, action: Action) -> Reply: ...

    async def instances(self, service: str) -> tuple[Instance, ...]: ...


# --------------------------------------------------------------------------- metric sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What to read. `cursor` is what the previous Reading of this service and region returned, or empty."""

    service: str
    region: str
    signals: tuple[Signal, ...]
    instances: tuple[Instance, ...]
    cursor: Mapping[str, Any]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Samples of the time since the last reading, JSON-able state for the next one, and what went wrong.

    `problems` are sentences about single instances or series that gave nothing usable.
    """

    samples: tuple[Sample, ...]
    cursor: Mapping[str, Any]
    problems: tuple[str, ...] = ()


class MetricSource(Protocol):
    """Reads signals of one region. Raises OutsideError when it could not be asked at all."""

    async def collect(self, ask: Ask) -> Reading: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is of one signal in one region now: how many series, of which versions, and how old.

    `versions` maps each to the number of its instances or series. `newest` is the time of the newest point,
    where the source tells it. `said`: what is missing or odd, and what is near; empty when all is well.
    """

    signal: str
    series: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    newest: datetime | None = None
    said: str = ""


@runtime_checkable
class LookingSource(Protocol):
    """A source that can say what there is, for people who write signals; it keeps nothing of that.

    Raises OutsideError when it could not be asked at all. The cursor of the ask is not used.
    """

    async def found(self, ask: Ask) -> tuple[Found, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What to read of long ago: a sample for each interval that ends in (since, until].

    Intervals are `interval_s` long and end at multiples of it since the epoch, as the judge's blocks do. One
    that is not over yet, or not settled, is left out.
    """

    service: str
    region: str
    signals: tuple[Signal, ...]
    since: datetime
    until: datetime
    interval_s: float


class HistorySource(Protocol):
    """A source that keeps what it saw. Every version that ran is told, in order of time.

    Raises OutsideError when it could not be asked or answered only in part; an interval without a sample has
    no data.
    """

    async def history(self, past: Past) -> tuple[Sample, ...]: ...


# --------------------------------------------------------------------------- notifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that people should know. `urgent` wakes somebody."""

    key: str
    rollout_id: str
    service: str
    text: str
    urgent: bool
    link: str = ""  # where to look and to decide; opening it changes nothing
    at: datetime | None = None  # when it was decided to tell it


class Notifier(Protocol):
    """Delivers notices; the same key may come twice."""

    async def send(self, notice: Notice) -> None: ...


# --------------------------------------------------------------------------- store


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """How far the observation of one (service, region) has come."""

    service: str
    region: str
    cursor: Mapping[str, Any] = field(default_factory=dict)
    collected_at: datetime | None = None
    error: str = ""
    error_since: datetime | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much is kept of what was observed, by age and by size; docs/settings.md has the settings."""

    raw_s: float = 86400.0  # for which samples are kept as they came
    fine_days: int = 15  # for which their history is kept in blocks of 60 s; older ones are of 10 minutes
    days: int = 35  # for which there is history at all
    raw_bytes: int = 250_000_000  # of the samples of one service
    day_bytes: int = 8_000_000  # of the history of one service and day
    database_bytes: int = 10_000_000_000  # of everything
    requests_s: float = 86400.0  # for which a request with a key, and its answer, is kept
    rollout_days: int = 400  # after its end for which a rollout is kept, with its whole history
    token_days: int = 400  # for which a token that has ended is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is recorded and not done in one lane: how many actions, and when the oldest was recorded."""

    pending: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One controller among those that share a database.

    `id` outlives restarts (it belongs to the data directory), `incarnation` is one process, `about` is for
    people. A replica that does not renew within `lease_s` loses what it holds.
    """

    id: str
    incarnation: str
    about: str = ""
    lease_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The claim that a write rests on: it changes nothing once another replica has taken the service."""

    service: str
    owner: str  # the id of a replica
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a replica holds: epochs by service; how many replicas live; the time that all of them go by.

    `instead_of`: the incarnation whose place this process took; empty when there was none.
    """

    claims: Mapping[str, int]
    replicas: int
    now: datetime
    instead_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenReplica:
    """A replica as the database knows it. `until` is when its lease ends; `services` are those it holds."""

    id: str
    about: str
    started_at: datetime
    until: datetime
    alive: bool
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One rollout with everything that a decision needs, read in one transaction."""

    rollout: Rollout
    plan: Plan
    intents: tuple[Intent, ...] = ()  # not acted on yet, oldest first
    actions: tuple[ActionRecord, ...] = ()  # all of this rollout, oldest first
    obligations: tuple[Obligation, ...] = ()
    evidence: Mapping[str, "RegionEvidence"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Decision):
    """A decision with the evidence that it rests on: what one transaction writes."""

    evidence: Mapping[str, "RegionEvidence"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition with its place in the global sequence."""

    sequence: int
    service: str
    transition: Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token without its secret. `services` narrows it; empty means all."""

    id: str
    name: str
    role: str  # viewer | deployer | approver | admin
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """What a person ordered in a region without a database, and how it went.

    `state` is begun, done (read back) or failed. `running` is what was read back last.
    """

    key: str
    service: str
    region: str
    known_good: KnownGood
    generation: int
    by: str
    reason: str
    at: datetime
    state: str = "begun"
    ended_at: datetime | None = None
    running: Mapping[str, int] = field(default_factory=dict)
    message: str = ""


class Store(Protocol):
    """Everything that outlives a process. Every method is one transaction and one await.

    Raises StoreError when the database cannot be used, NotFound, Conflict and StaleWrite as said.
    """

    # claims: whose leases end by the database's own clock. A write with a fence that is not the newest raises
    # Fenced and changes nothing; `owner` narrows to what a replica holds.
    async def hold(self, replica: Replica, *, instead_of: str | None, busy: Collection[str] = ()) -> Held: ...
    # ^ renews; `instead_of` is what the first answer said, None asks for that. `busy` services are kept.
    # Raises Fenced when another process has the same identity
    async def leave(self, replica: Replica) -> None: ...
    async def free(self) -> bool: ...  # whether some service has no living owner
    async def replicas(self) -> tuple[SeenReplica, ...]: ...  # by id; of a day ago too

    # rollouts
    async def due(self, now: datetime, limit: int, owner: str | None = None) -> tuple[str, ...]: ...
    async def case(self, rollout_id: str) -> Case: ...
    async def rollout(self, rollout_id: str) -> Rollout: ...  # itself alone; NotFound
    async def find(self, prefix: str) -> str: ...  # id by unique prefix; NotFound, Conflict
    async def rollouts(
        self,
        *,
        service: str | None = None,
        phases: Sequence[Phase] = (),
        busy: bool = False,
        oldest: bool = False,
        limit: int = 50,
        before: str | None = None,
    ) -> tuple[Rollout, ...]: ...
    # ^ newest first unless `oldest`; `before` is the id where a page ended; `busy`: unfinished, or due again
    async def active(self, service: str) -> tuple[Rollout, ...]: ...  # unfinished, oldest first
    async def phase_counts(self) -> Mapping[Phase, int]: ...  # stored rollouts by phase; absent is none
    async def add(  # StaleWrite where another than `beside` is under way in its regions
        self,
        rollout: Rollout,
        plan: Plan,
        transition: Transition,
        intents: Sequence[Intent] = (),
        beside: Collection[str] | None = None,
    ) -> None: ...
    async def commit(self, change: Change, fence: Fence | None = None) -> Rollout: ...
    # ^ raises StaleWrite, Conflict, Fenced
    async def ask(self, intent: Intent) -> None: ...  # records it and makes the rollout due at intent.at
    # ^ raises StaleWrite when the rollout has other transitions than intent.seen
    async def events(
        self,
        *,
        rollout_id: str | None = None,
        after: int = 0,
        before: int | None = None,
        newest: bool = False,
        limit: int = 200,
    ) -> tuple[Event, ...]: ...  # in order; `newest`: the last of them, not the first
    async def stamps(self, rollout_ids: Collection[str]) -> Mapping[str, int]: ...
    # ^ by id, a number that rises with every write to a rollout, its evidence included
    async def newest_sequence(self) -> int: ...  # of all events; 0 while there is none

    # actions
    async def due_actions(
        self,
        now: datetime,
        limit: int,
        owner: str | None = None,
        *,
        lane: Lane | None = None,
        full: Collection[str] = (),
        besides: Collection[str] = (),
        beyond: ActionRecord | None = None,
    ) -> tuple[ActionRecord, ...]: ...
    # ^ pending, due, and not waiting for the action that comes first; going back before everything else.
    # `lane` narrows; `full` are places (ActionRecord.place), and `besides` keys, that are left out;
    # `beyond` goes on behind the last that was found, so that any number is read in parts
    async def backlog(self) -> Mapping[Lane, Backlog]: ...  # what is pending by lane; absent is none
    async def save_action(self, record: ActionRecord, fence: Fence | None = None) -> bool: ...

    # ^ only while the row is pending (False otherwise); an ended action makes its rollout due at once

    # observation
    async def begin_evidence(
        self, rollout_id: str, evidence: "RegionEvidence", fence: Fence | None = None
    ) -> None: ...  # unless there is some
    async def observed(self) -> tuple[Observed, ...]: ...
    async def save_reading(
        self,
        observed: Observed,
        samples: Sequence[Sample],
        running: Mapping[str, int] | None,
        fence: Fence | None = None,
    ) -> None: ...
    async def samples(
        self,
        service: str,
        regions: Sequence[str],
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = 5000,
    ) -> tuple[tuple[int, Sample], ...]: ...  # of all regions, by sequence number
    async def history(
        self,
        service: str,
        regions: Sequence[str],
        *,
        signals: Collection[Signal],
        versions: Collection[str],
        since: datetime,
        until: datetime,
        block_s: float,
    ) -> tuple[Sample, ...]: ...
    # ^ a sample per block that ends in (since, until], in order of time; several transactions, each short
    async def forget(self, now: datetime, keep: Keep) -> bool: ...  # one bounded step; True: more is to do
    async def size(self) -> int: ...  # bytes on the disk

    # services
    async def services(self) -> tuple[Service, ...]: ...
    async def service(self, name: str) -> Service: ...
    async def put_service(self, service: Service) -> Service: ...
    async def service_regions(self, service: str) -> tuple[ServiceRegion, ...]: ...
    async def adopt(  # raises the generations too
        self, known_good: Sequence[KnownGood], looked_at: Sequence[ServiceRegion] = ()
    ) -> None: ...
    async def was_rolled_back(self, service: str, version: str) -> str | None: ...  # by which rollout
    async def doubted(self) -> tuple[ServiceRegion, ...]: ...  # since the database was put back
    async def settle_doubt(
        self,
        service: str,
        region: str,
        found: Doubt | None,
        fence: Fence | None = None,
        *,
        of: Doubt | None = None,
    ) -> None: ...  # None ends it; with `of`, only while that is the doubt
    async def every_region(self) -> tuple[ServiceRegion, ...]: ...  # of all services
    async def known_good_stamp(self) -> tuple[int, int, int]: ...  # differs when a known good or a fence does
    async def know_again(self, pair: ServiceRegion) -> bool: ...  # unless it is known; whether it was not
    async def taken_in(self) -> frozenset[tuple[str, str]]: ...  # key and state of those known here
    async def take_in(self, emergency: Emergency, now: datetime) -> bool: ...  # ordered without this database

    # requests with a key (rollout/once.py); each write of a claim's own task marks it in its transaction
    async def reserve(self, claim: Claim) -> Kept: ...
    async def keep_answer(self, claim: Claim, answer: Answer) -> Answer: ...  # the one that is kept
    async def release(self, claim: Claim) -> None: ...  # ended without an answer

    # access
    async def add_token(self, token: Token, secret_hash: str) -> None: ...  # Conflict: its name too
    async def token(self, secret_hash: str) -> Token | None: ...
    async def tokens(self) -> tuple[Token, ...]: ...
    async def revoke_token(self, token_id: str, at: datetime) -> None: ...
    async def add_session(
        self, session_hash: str, token_id: str, csrf: str, expires_at: datetime
    ) -> None: ...
    async def session(self, session_hash: str, now: datetime) -> tuple[Token, str] | None: ...
    async def end_session(self, session_hash: str) -> None: ...
