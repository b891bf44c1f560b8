"""Rollouts and their history: reading, adding, asking and waking. Writing a decision is commit.py."""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)

from rollout.core.errors import Conflict, NotFound, StaleWrite
from rollout.core.judge.evidence import of_this_form
from rollout.core.model import FINISHED, ActionState, Intent, Kind, Phase, RegionRollout, Rollout, Transition
from rollout.core.plan import Plan
from rollout.ports import Case, Event
from rollout.store import claims, mapping, tables
from rollout.store.dialects import dialect_of
from rollout.store.writing import add as insert_rows
from rollout.store.writing import add_in_turn

_R = tables.rollouts
ACTIONS_SEEN = 400  # of a rollout that a decision is given: those still open, then the newest

_IS = _R.c.id == bindparam("rollout_id")
_ROLLOUT = select(_R).where(_IS)
_REGIONS = (
    select(tables.regions)
    .where(tables.regions.c.rollout_id == bindparam("rollout_id"))
    .order_by(tables.regions.c.position)
)
_ALL_REGIONS = (
    select(tables.regions)
    .where(tables.regions.c.rollout_id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.regions.c.rollout_id, tables.regions.c.position)
)
_PLAN = select(type_coerce(tables.plans.c.body, Text)).where(
    tables.plans.c.rollout_id == bindparam("rollout_id")
)
_INTENTS = (
    select(tables.intents)
    .where(tables.intents.c.rollout_id == bindparam("rollout_id"), tables.NOT_DONE)
    .order_by(tables.intents.c.at, tables.intents.c.sequence)
)
_OPEN_FIRST = case(  # of a notice nothing depends, however long people cannot be told
    (and_(tables.actions.c.state == ActionState.PENDING, tables.actions.c.kind != Kind.NOTIFY), 0), else_=1
)
_ACTIONS = (
    select(tables.actions)
    .where(tables.actions.c.rollout_id == bindparam("rollout_id"))
    .order_by(_OPEN_FIRST, tables.actions.c.sequence.desc())
    .limit(ACTIONS_SEEN)
)
_OBLIGATIONS = (
    select(tables.obligations)
    .where(tables.obligations.c.rollout_id == bindparam("rollout_id"))
    .order_by(tables.obligations.c.since, tables.obligations.c.id)
)
_EVIDENCE = select(tables.evidence).where(tables.evidence.c.rollout_id == bindparam("rollout_id"))
_UNFINISHED = [phase.value for phase in Phase if phase not in FINISHED]
_BUSY = union_all(  # each part by its own index, however many have ended
    select(_R.c.id).where(_R.c.phase.in_(_UNFINISHED)),
    select(_R.c.id).where(_R.c.next_due_at > datetime.min.replace(tzinfo=UTC)),
)
_DUE = (
    select(_R.c.id)
    .where(_R.c.next_due_at <= bindparam("now", type_=_R.c.next_due_at.type))
    .order_by(_R.c.next_due_at, _R.c.id)
    .limit(bindparam("limit"))
)
_DUE_OF = _DUE.where(_R.c.service.in_(claims.OWNED))
_ACTIVE = (
    select(_R)
    .where(_R.c.service == bindparam("service"), _R.c.phase.in_(_UNFINISHED))
    .order_by(_R.c.created_at, _R.c.id)
)
_NEWEST = select(func.max(tables.transitions.c.sequence))
_WAKE_AT = bindparam("wake_at", type_=_R.c.next_due_at.type)
_SOONER = case((_R.c.next_due_at <= _WAKE_AT, _R.c.next_due_at), else_=_WAKE_AT)  # null is never sooner
_WAKE = update(_R).where(_IS).values(wakes=_R.c.wakes + 1, next_due_at=_SOONER)


def due(conn: Connection, now: datetime, limit: int, owner: str | None = None) -> tuple[str, ...]:
    """Ids of rollouts that want to be looked at, longest overdue first; of `owner`'s services, if named."""
    key = {"now": now, "limit": limit}
    found = conn.scalars(_DUE, key) if owner is None else conn.scalars(_DUE_OF, {**key, "owner": owner})
    return tuple(found)


def facts(conn: Connection, rollout_id: str) -> Case:
    """One rollout with everything that a decision needs. Raises NotFound."""
    key = {"rollout_id": rollout_id}
    rollout = one(conn, rollout_id)
    actions = sorted(conn.execute(_ACTIONS, key).all(), key=lambda row: row.sequence)
    return Case(
        rollout=rollout,
        plan=mapping.plan(conn.execute(_PLAN, key).scalar_one()),
        intents=tuple(mapping.INTENT.noun(row) for row in conn.execute(_INTENTS, key)),
        actions=tuple(mapping.ACTION.noun(row) for row in actions),
        obligations=tuple(mapping.OBLIGATION.noun(row) for row in conn.execute(_OBLIGATIONS, key)),
        evidence={
            found.region: found
            for row in conn.execute(_EVIDENCE, key)
            if of_this_form(found := mapping.EVIDENCE.noun(row))
        },
    )


def one(conn: Connection, rollout_id: str) -> Rollout:
    """One rollout. Raises NotFound."""
    key = {"rollout_id": rollout_id}
    row = conn.execute(_ROLLOUT, key).one_or_none()
    if row is None:
        raise NotFound("rollout", rollout_id)
    regions = conn.execute(_REGIONS, key)
    return mapping.ROLLOUT.noun(row, regions=tuple(mapping.REGION.noun(found) for found in regions))


def find(conn: Connection, prefix: str) -> str:
    """The id that begins with `prefix`. Raises NotFound for none, Conflict for several."""
    if not prefix:
        raise NotFound("rollout", prefix)
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    within = and_(_R.c.id >= prefix, _R.c.id < after)
    ids: tuple[str, ...] = tuple(conn.scalars(select(_R.c.id).where(within).order_by(_R.c.id).limit(4)))
    if not ids:
        raise NotFound("rollout", prefix)
    if len(ids) > 1 and prefix not in ids:
        shown = ", ".join(ids[:3]) + (" and more" if len(ids) > 3 else "")
        raise Conflict(f"'{prefix}' begins more than one rollout: {shown}. Write more of it.", "ambiguous")
    return ids[0]  # sorted: an id that is itself the prefix of others comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rollouts. `busy`: unfinished, or to be looked at again because something is owed."""

    service: str | None
    phases: Sequence[Phase]
    busy: bool
    oldest: bool  # first; else the newest

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a row must fulfil."""
        where: list[ColumnElement[bool]] = []
        if self.service is not None:
            where.append(_R.c.service == self.service)
        if self.phases:
            where.append(_R.c.phase.in_([phase.value for phase in self.phases]))
        if self.busy:
            where.append(_R.c.id.in_(_BUSY))
        return where


def listed(conn: Connection, wanted: Wanted, *, limit: int, before: str | None) -> tuple[Rollout, ...]:
    """Rollouts in the order of their making, beyond `before`. Raises NotFound when there is no such id."""
    where = wanted.conditions()
    if before is not None:
        last = conn.execute(select(_R.c.created_at, _R.c.id).where(_R.c.id == before)).one_or_none()
        if last is None:
            raise NotFound("rollout", before)
        beyond = operator.gt if wanted.oldest else operator.lt
        tied = and_(_R.c.created_at == last[0], beyond(_R.c.id, last[1]))
        where.append(or_(beyond(_R.c.created_at, last[0]), tied))
    columns = (_R.c.created_at, _R.c.id)
    order = columns if wanted.oldest else tuple(column.desc() for column in columns)
    return _whole(conn, conn.execute(select(_R).where(*where).order_by(*order).limit(limit)).all())


def active(conn: Connection, service: str) -> tuple[Rollout, ...]:
    """Unfinished rollouts of a service, oldest first."""
    return _whole(conn, conn.execute(_ACTIVE, {"service": service}).all())


def phase_counts(conn: Connection) -> dict[Phase, int]:
    """How many rollouts stand in each phase; a phase without one is left out."""
    counted = conn.execute(select(_R.c.phase, func.count()).group_by(_R.c.phase))
    return {Phase(phase): number for phase, number in counted}


def _whole(conn: Connection, rows: Sequence[Row[Any]]) -> tuple[Rollout, ...]:
    if not rows:
        return ()
    regions: dict[str, list[RegionRollout]] = {row.id: [] for row in rows}
    for row in conn.execute(_ALL_REGIONS, {"ids": list(regions)}):
        regions[row.rollout_id].append(mapping.REGION.noun(row))
    return tuple(mapping.ROLLOUT.noun(row, regions=tuple(regions[row.id])) for row in rows)


def add(
    conn: Connection,
    rollout: Rollout,
    plan: Plan,
    transition: Transition,
    intents: Sequence[Intent],
    beside: Collection[str] | None = None,
) -> None:
    """A new rollout with the first row of its history. Raises Conflict when its id is taken.

    `beside`: those that it may find under way in its regions; StaleWrite where another has come since.
    """
    assert transition.number == 1, f"history begins with 1, not {transition.number}"
    if conn.execute(select(_R.c.id).where(_R.c.id == rollout.id)).one_or_none() is not None:
        raise Conflict(f"There is already a rollout '{rollout.id}'.", "exists")
    if beside is not None:
        _refuse_others(conn, rollout, beside)
    insert_rows(conn, _R, [mapping.rollout_row(rollout) | {"transitions": 1}])
    insert_rows(conn, tables.plans, [mapping.PLAN.row(plan, rollout_id=rollout.id)])
    insert_rows(conn, tables.regions, mapping.region_rows(rollout))
    for intent in intents:
        ask(conn, intent)
    add_in_turn(conn, tables.transitions, [mapping.transition_row(rollout.release.service, transition)])
    dialect_of(conn).tell(conn, True)


def _refuse_others(conn: Connection, rollout: Rollout, known: Collection[str]) -> None:
    mine = {region.region for region in rollout.regions}
    for other in active(conn, rollout.release.service):
        if other.id not in known and mine & {region.region for region in other.regions}:
            raise StaleWrite(f"{other.id} was started at the same moment. Read again and decide again.")


def ask(conn: Connection, intent: Intent) -> None:
    """Record what somebody wants and make its rollout due.

    Raises NotFound, Conflict for a known id, and StaleWrite when the rollout moved on since it was looked at.
    """
    wake(conn, intent.rollout_id, intent.at)  # locks the row, so that what is read next stays true
    _refuse_stale(conn, intent)
    known = select(tables.intents.c.id).where(tables.intents.c.id == intent.id)
    if conn.execute(known).one_or_none() is not None:
        raise Conflict(f"The intent '{intent.id}' is already recorded.", "exists")
    insert_rows(conn, tables.intents, [mapping.INTENT.row(intent)])
    dialect_of(conn).tell(conn, True)


def _refuse_stale(conn: Connection, intent: Intent) -> None:
    if intent.seen is None:
        return
    now = conn.execute(select(_R.c.transitions).where(_IS), {"rollout_id": intent.rollout_id}).scalar_one()
    if intent.seen != now:
        raise StaleWrite(
            f'You looked at version "{intent.seen}", and it is at "{now}" now. '
            "Read it again and decide again."
        )


def wake(conn: Connection, rollout_id: str, at: datetime) -> None:
    """Due no later than `at`, also when a decision is being made right now. Raises NotFound."""
    if conn.execute(_WAKE, {"rollout_id": rollout_id, "wake_at": at}).rowcount != 1:
        raise NotFound("rollout", rollout_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of the global sequence, without its ends; of more than `limit` the first, or the `newest`."""

    after: int
    before: int | None
    newest: bool
    limit: int


def events(conn: Connection, rollout_id: str | None, span: Span) -> tuple[Event, ...]:
    """Transitions of all rollouts, or of one, in the order in which they were recorded."""
    rows = tables.transitions
    found = select(rows).where(rows.c.sequence > span.after)
    if span.before is not None:
        found = found.where(rows.c.sequence < span.before)
    if rollout_id is not None:
        found = found.where(rows.c.rollout_id == rollout_id)
    order = rows.c.sequence.desc() if span.newest else rows.c.sequence
    chosen = conn.execute(found.order_by(order).limit(span.limit)).all()
    return tuple(
        Event(sequence=row.sequence, service=row.service, transition=mapping.TRANSITION.noun(row))
        for row in (reversed(chosen) if span.newest else chosen)
    )


def stamps(conn: Connection, rollout_ids: Collection[str]) -> Mapping[str, int]:
    """How often each of these was written; unknown ids have none."""
    rows = conn.execute(select(_R.c.id, _R.c.version).where(_R.c.id.in_(rollout_ids)))
    return {row.id: row.version for row in rows}


def newest_sequence(conn: Connection) -> int:
    """The place of the newest event; 0 while there is none."""
    return conn.scalar(_NEWEST) or 0
