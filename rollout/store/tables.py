"""The tables: columns for what is searched, ordered, guarded or asked for by people; `body` for the rest.

A noun's field that has a column of its name is stored there, every other field in `body` (mapping.py), so a
new field of a noun needs no migration. A new column does: add a file to migrations/versions.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    literal_column,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from rollout.store.columns import ID, SEQUENCE, Json, Number, Utc

metadata = MetaData()


class Row(SQLModel, registry=registry(metadata=metadata)):
    """Root of the tables, apart from those of any other program in this process."""


def _of(kind: Any, *more: Any, null: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(kind, *more, nullable=null, **options))


def _key(kind: Any = ID, *more: Any) -> Any:
    return Field(sa_column=Column(kind, *more, primary_key=True))


def _rollout() -> ForeignKey:
    return ForeignKey("rollouts.id")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class RolloutRow(Row, table=True):
    """One rollout without its regions; `service` is release.service, to be searched."""

    __tablename__ = "rollouts"
    __table_args__ = (
        Index("ix_rollouts_next_due_at", "next_due_at"),
        Index("ix_rollouts_created", "created_at", "id"),
        Index("ix_rollouts_service_created", "service", "created_at", "id"),
        Index("ix_rollouts_phase_created", "phase", "created_at", "id"),
        Index("ix_rollouts_service_phase", "service", "phase"),
    )
    id: str = _key()
    service: str = _of(ID)
    phase: str = _of(String())
    since: datetime = _of(Utc())
    created_at: datetime = _of(Utc())
    created_by: str = _of(String())
    outcome: str | None = _of(String(), null=True)
    finished_at: datetime | None = _of(Utc(), null=True)
    transitions: int = _of(Integer())
    wakes: int = _of(Integer())
    version: int = _of(Integer())
    next_due_at: datetime | None = _of(Utc(), null=True)
    body: Mapping[str, Any] = _of(Json())


class PlanRow(Row, table=True):
    """The plan of one rollout; written once, so that it is not copied with every change."""

    __tablename__ = "rollout_plans"
    rollout_id: str = _key(ID, _rollout())
    body: Mapping[str, Any] = _of(Json())


class RegionRow(Row, table=True):
    """One region of one rollout. `claimed`: this rollout alone may touch the region of the service (S1)."""

    __tablename__ = "rollout_regions"
    __table_args__ = (
        Index("uq_rollout_regions_claimed", "service", "region", unique=True, **_where("claimed")),
    )
    rollout_id: str = _key(ID, _rollout())
    region: str = _key()
    position: int = _of(Integer())
    service: str = _of(ID)
    claimed: bool = _of(Boolean(), default=False)
    phase: str = _of(String())
    weight: int = _of(Integer())
    touched_at: datetime | None = _of(Utc(), null=True)
    body: Mapping[str, Any] = _of(Json())


class EvidenceRow(Row, table=True):
    """What the judge has accumulated for one region of one rollout."""

    __tablename__ = "evidence"
    rollout_id: str = _key(ID, _rollout())
    region: str = _key()
    body: Mapping[str, Any] = _of(Json())


class TransitionRow(Row, table=True):
    """History. `sequence` is the global order of events; a number is never used twice."""

    __tablename__ = "transitions"
    __table_args__ = (
        Index("uq_transitions_number", "rollout_id", "number", unique=True),
        {"sqlite_autoincrement": True},
    )
    sequence: int = _key(SEQUENCE)
    service: str = _of(ID)
    rollout_id: str = _of(ID, _rollout())
    number: int = _of(Integer())
    at: datetime = _of(Utc())
    region: str | None = _of(ID, null=True)
    from_phase: str = _of(String())
    to_phase: str = _of(String())
    trigger: str = _of(String())
    actor: str = _of(String())
    body: Mapping[str, Any] = _of(Json())


class ActionRow(Row, table=True):
    """A recorded action. `waits_until` is when it stops waiting for `after`; null: never."""

    __tablename__ = "actions"
    __table_args__ = (
        Index("ix_actions_rollout", "rollout_id", "sequence"),
        Index("ix_actions_pending", "due_at", **_where("state = 'pending'")),
        {"sqlite_autoincrement": True},
    )
    sequence: int = _key(SEQUENCE)
    key: str = _of(ID, unique=True)
    rollout_id: str = _of(ID, _rollout())
    kind: str = _of(String())
    recorded_at: datetime = _of(Utc())
    due_at: datetime = _of(Utc())
    after: str | None = _of(ID, ForeignKey("actions.key", deferrable=True, initially="DEFERRED"), null=True)
    waits_until: datetime | None = _of(Utc(), null=True)
    state: str = _of(String())
    attempts: int = _of(Integer())
    ended_at: datetime | None = _of(Utc(), null=True)
    body: Mapping[str, Any] = _of(Json())


class IntentRow(Row, table=True):
    """What somebody asked for. `done`: a decision has taken it in."""

    __tablename__ = "intents"
    __table_args__ = (
        Index("ix_intents_open", "rollout_id", **_where("NOT done")),
        {"sqlite_autoincrement": True},
    )
    sequence: int = _key(SEQUENCE)
    id: str = _of(ID, unique=True)
    rollout_id: str = _of(ID, _rollout())
    kind: str = _of(String())
    actor: str = _of(String())
    at: datetime = _of(Utc())
    done: bool = _of(Boolean(), default=False)
    body: Mapping[str, Any] = _of(Json())


class ObligationRow(Row, table=True):
    """Something owed in one region."""

    __tablename__ = "obligations"
    __table_args__ = (Index("ix_obligations_rollout", "rollout_id", "since"),)
    id: str = _key()
    rollout_id: str = _of(ID, _rollout())
    service: str = _of(ID)
    region: str = _of(ID)
    kind: str = _of(String())
    state: str = _of(String())
    since: datetime = _of(Utc())
    until: datetime = _of(Utc())
    body: Mapping[str, Any] = _of(Json())


class ObservedRow(Row, table=True):
    """How far the observation of one service in one region has come."""

    __tablename__ = "observed"
    service: str = _key()
    region: str = _key()
    collected_at: datetime | None = _of(Utc(), null=True)
    error: str = _of(String())
    body: Mapping[str, Any] = _of(Json())


class SampleRow(Row, table=True):
    """One sample; `sequence` says up to where each judge has come. All columns, since there are many."""

    __tablename__ = "samples"
    __table_args__ = (
        Index("ix_samples_service", "service", "sequence"),
        Index("ix_samples_place", "service", "region", "time"),
        {"sqlite_autoincrement": True},
    )
    sequence: int = _key(SEQUENCE)
    service: str = _of(ID)
    time: datetime = _of(Utc())
    region: str = _of(ID)
    version: str = _of(String())
    signal: str = _of(String())
    value: float = _of(Number(), null=True)
    exposure: float = _of(Number(), null=True)
    duration_s: float = _of(Number(), null=True)
    instance: str = _of(String())


class SeriesRow(Row, table=True):
    """What a block of history is of; a number stands for the names, since there are many blocks."""

    __tablename__ = "series"
    __table_args__ = (
        Index("uq_series_names", "service", "region", "version", "signal", unique=True),
        {"sqlite_autoincrement": True},
    )
    id: int = _key(SEQUENCE)
    service: str = _of(ID)
    region: str = _of(ID)
    version: str = _of(ID)
    signal: str = _of(ID)


class BlockRow(Row, table=True):
    """What the samples of a series were that ended in (start, start + length_s], in seconds of the epoch.

    `value` and `exposure` are sums; `middle` is the median of the values, which is what a level needs.
    """

    __tablename__ = "history"
    __table_args__ = ({"sqlite_with_rowid": False},)
    series: int = _key(SEQUENCE, ForeignKey("series.id"))
    length_s: int = _key(Integer())
    start: int = _key(BigInteger())
    value: float = _of(Float())
    exposure: float = _of(Float())
    middle: float = _of(Float())
    samples: int = _of(Integer())


class HistoryDayRow(Row, table=True):
    """How many blocks of one length a service has on a day (of the epoch), so that nobody has to count."""

    __tablename__ = "history_days"
    service: str = _key()
    day: int = _key(Integer())
    length_s: int = _key(Integer())
    blocks: int = _of(BigInteger())


class HistoryMarkRow(Row, table=True):
    """Samples that end by `until` are in the history of the pair; `samples` says how many rows it has."""

    __tablename__ = "history_marks"
    service: str = _key()
    region: str = _key()
    until: datetime = _of(Utc())
    samples: int = _of(BigInteger())


class ServiceRow(Row, table=True):
    """A declared service."""

    __tablename__ = "services"
    name: str = _key()
    policy: str = _of(String())
    stopped_by: str | None = _of(ID, null=True)
    stopped_at: datetime | None = _of(Utc(), null=True)
    version: int = _of(Integer())
    body: Mapping[str, Any] = _of(Json())


class ServiceRegionRow(Row, table=True):
    """What is known of one service in one region, beyond any single rollout."""

    __tablename__ = "service_regions"
    service: str = _key()
    region: str = _key()
    generation: int = _of(Integer())
    running_at: datetime | None = _of(Utc(), null=True)
    body: Mapping[str, Any] = _of(Json())


class RolledBackRow(Row, table=True):
    """A version that was rolled back, and by which rollout last; the rollout itself may be gone."""

    __tablename__ = "rolled_back_versions"
    service: str = _key()
    version: str = _key()
    rollout_id: str = _of(ID)


class TokenRow(Row, table=True):
    """A bearer token; only the hash of its secret is stored."""

    __tablename__ = "tokens"
    id: str = _key()
    secret_hash: str = _of(String(), unique=True)
    name: str = _of(String())
    role: str = _of(String())
    created_at: datetime = _of(Utc())
    expires_at: datetime | None = _of(Utc(), null=True)
    revoked_at: datetime | None = _of(Utc(), null=True)
    body: Mapping[str, Any] = _of(Json())


class RequestRow(Row, table=True):
    """A request with a key: who works on it, what it did, and what was answered (compressed)."""

    __tablename__ = "requests"
    __table_args__ = (Index("ix_requests_started", "started_at"),)
    scope: str = _key()
    key: str = _key()
    fingerprint: str = _of(String())
    owner: str = _of(String())
    started_at: datetime = _of(Utc())
    effect_at: datetime | None = _of(Utc(), null=True)
    resource: str | None = _of(String(), null=True)
    status: int | None = _of(Integer(), null=True)
    headers: Mapping[str, Any] | None = _of(Json(), null=True)
    answer: bytes | None = _of(LargeBinary(), null=True)


class ReplicaRow(Row, table=True):
    """One replica and its lease; `incarnation` is the process, `until` by the database's clock."""

    __tablename__ = "replicas"
    id: str = _key()
    incarnation: str = _of(String())
    about: str = _of(String())
    started_at: datetime = _of(Utc())
    until: datetime = _of(Utc())


class ClaimRow(Row, table=True):
    """Which replica works on a service; `epoch` rises with every taking."""

    __tablename__ = "claims"
    __table_args__ = (Index("ix_claims_owner", "owner"),)
    service: str = _key()
    owner: str = _of(ID)
    epoch: int = _of(BigInteger())


class SessionRow(Row, table=True):
    """A signed-in browser; only the hash of its cookie is stored."""

    __tablename__ = "sessions"
    session_hash: str = _key(String())
    token_id: str = _of(ID, ForeignKey("tokens.id"))
    csrf: str = _of(String())
    expires_at: datetime = _of(Utc())


class RevisionRow(Row, table=True):
    """Which revision of a policy a text is: one number for each digest."""

    __tablename__ = "policy_revisions"
    __table_args__ = (Index("uq_policy_revisions", "policy", "revision", unique=True),)
    policy: str = _key()
    digest: str = _key()
    revision: int = _of(Integer())


class EmergencyRow(Row, table=True):
    """What a person ordered without this database, as it was taken in."""

    __tablename__ = "emergencies"
    key: str = _key()
    service: str = _of(ID)
    region: str = _of(ID)
    state: str = _of(String())
    at: datetime = _of(Utc())
    body: Mapping[str, Any] = _of(Json())


class FloorRow(Row, table=True):
    """One row: a program that does not know this schema may not write (docs/decisions/0016)."""

    __tablename__ = "schema_floor"
    floor: str = _key()


def _table(row: type[Row]) -> Table:
    return metadata.tables[str(row.__tablename__)]


# As the partial indexes have them: SQLite does not see that `claimed = 1` is the same as `claimed`.
IS_CLAIMED: ColumnElement[bool] = literal_column("rollout_regions.claimed")
NOT_DONE: ColumnElement[bool] = literal_column("NOT intents.done")
IS_PENDING: ColumnElement[bool] = literal_column("actions.state = 'pending'")

rollouts = _table(RolloutRow)
plans = _table(PlanRow)
regions = _table(RegionRow)
evidence = _table(EvidenceRow)
transitions = _table(TransitionRow)
actions = _table(ActionRow)
intents = _table(IntentRow)
obligations = _table(ObligationRow)
observed = _table(ObservedRow)
samples = _table(SampleRow)
series = _table(SeriesRow)
history = _table(BlockRow)
history_days = _table(HistoryDayRow)
history_marks = _table(HistoryMarkRow)
services = _table(ServiceRow)
service_regions = _table(ServiceRegionRow)
rolled_back_versions = _table(RolledBackRow)
tokens = _table(TokenRow)
sessions = _table(SessionRow)
requests = _table(RequestRow)
replicas = _table(ReplicaRow)
claims = _table(ClaimRow)
policy_revisions = _table(RevisionRow)
emergencies = _table(EmergencyRow)
schema_floor = _table(FloorRow)
