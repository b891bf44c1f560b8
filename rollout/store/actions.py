"""Recorded actions: what is due, and how far it has come."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from rollout.core.actions import GOING_BACK, ActionRecord, Lane
from rollout.core.model import ActionState, Kind, Phase
from rollout.ports import Backlog, Fence
from rollout.store import claims, mapping, rollouts, tables
from rollout.store.writing import add

_A = tables.actions
_BEFORE = _A.alias("before")
_WAITS = (
    select(_BEFORE.c.key)
    .where(_BEFORE.c.key == _A.c.after, _BEFORE.c.state == ActionState.PENDING.value)
    .exists()
)
_NOW = bindparam("now", type_=_A.c.due_at.type)
_RANK = case((or_(*(_A.c.kind == kind.value for kind in sorted(GOING_BACK))), 0), else_=1)
_BEYOND = (
    select(_BEFORE.c.sequence).where(_BEFORE.c.key == bindparam("beyond_key", type_=Text)).scalar_subquery()
)
_DUE = (
    select(_A)
    .where(
        tables.IS_PENDING, _A.c.due_at <= _NOW, or_(_A.c.after.is_(None), ~_WAITS, _A.c.waits_until <= _NOW)
    )
    .order_by(_RANK, _A.c.due_at, _A.c.sequence)
    .limit(bindparam("limit"))
)
_SERVICE_OF = (
    select(tables.rollouts.c.service).where(tables.rollouts.c.id == _A.c.rollout_id).scalar_subquery()
)
_GOES_BACK = (
    select(tables.rollouts.c.id)
    .where(
        tables.rollouts.c.id == _A.c.rollout_id,
        or_(
            *(tables.rollouts.c.phase == phase.value for phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED))
        ),
    )
    .exists()
)
_BACK = or_(_A.c.kind == Kind.RESTORE.value, and_(_A.c.kind == Kind.VERIFY.value, _GOES_BACK))
_KEEP, _TELL = _A.c.kind == Kind.COLLECT.value, _A.c.kind == Kind.NOTIFY.value
_IN_LANE: Mapping[Lane, ColumnElement[bool]] = {
    Lane.BACK: _BACK,
    Lane.KEEP: _KEEP,
    Lane.FORWARD: not_(or_(_KEEP, _TELL, _BACK)),
    Lane.TELL: _TELL,
}
_LANE = case(
    (_KEEP, Lane.KEEP.value),
    (_TELL, Lane.TELL.value),
    (_BACK, Lane.BACK.value),
    else_=Lane.FORWARD.value,
).label("lane")
_BACKLOG = (
    select(_LANE, func.count().label("pending"), func.min(_A.c.recorded_at).label("oldest"))
    .where(tables.IS_PENDING)
    .group_by(_LANE.name)
)
_SAVE = update(_A).where(_A.c.key == bindparam("saved_key"), tables.IS_PENDING)
_DROP = (
    update(_A)
    .where(
        _A.c.rollout_id == bindparam("of"), _A.c.key.in_(bindparam("keys", expanding=True)), tables.IS_PENDING
    )
    .values(state=ActionState.DROPPED.value, ended_at=bindparam("at", type_=_A.c.ended_at.type))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of the due actions: of services of `owner`, of one lane, without places that are `full`.

    `besides` are keys that are left out; `beyond` is the last of those that were found before.
    """

    owner: str | None = None
    lane: Lane | None = None
    full: Collection[str] = ()
    besides: Collection[str] = ()
    beyond: ActionRecord | None = None


def due(conn: Connection, now: datetime, limit: int, wanted: Wanted) -> tuple[ActionRecord, ...]:
    """Pending actions that wait for nothing any more; going back first, then the longest due."""
    key: dict[str, Any] = {"now": now, "limit": limit}
    if wanted.owner is not None:
        key["owner"] = wanted.owner
    if wanted.besides:
        key["besides"] = sorted(wanted.besides)
    if (last := wanted.beyond) is not None:
        rank = 0 if last.action.kind in GOING_BACK else 1
        key |= {"beyond_rank": rank, "beyond_due": last.due_at, "beyond_key": last.key}
    found = _due(wanted.lane, tuple(sorted(wanted.full)), frozenset(key))
    return tuple(mapping.ACTION.noun(row) for row in conn.execute(found, key))


@lru_cache(maxsize=64)  # lanes, times the sets of places that are full at once
def _due(lane: Lane | None, full: tuple[str, ...], key: frozenset[str]) -> Select[Any]:
    found = _DUE.where(*(not_(_asks(place)) for place in full))
    if lane is not None:
        found = found.where(_IN_LANE[lane])
    if "owner" in key:
        found = found.where(_SERVICE_OF.in_(claims.OWNED))
    if "besides" in key:
        found = found.where(_A.c.key.not_in(bindparam("besides", expanding=True)))
    if "beyond_key" in key:
        last = tuple_(bindparam("beyond_rank"), bindparam("beyond_due", type_=_A.c.due_at.type), _BEYOND)
        found = found.where(tuple_(_RANK, _A.c.due_at, _A.c.sequence) > last)
    return found


def _asks(place: str) -> ColumnElement[bool]:
    """Whether an action asks a region, or is a notice for a channel: its key begins with that.

    The key of a notice for the nameless channel begins with its rollout.
    A part of the body is compared as text, since it may hold numbers that no JSON function takes. Where the
    text is written otherwise, an action is found that need not be, and no action is lost.
    """
    if not place:
        own = _A.c.rollout_id.concat("/")
        return and_(_TELL, func.substr(_A.c.key, 1, func.length(own)) == own)
    region = f'","region":{json.dumps(place, ensure_ascii=False)},'
    begins = literal('{"action":{"kind":"').concat(_A.c.kind).concat(region)
    body = type_coerce(_A.c.body, Text)
    return or_(
        func.substr(body, 1, func.length(begins)) == begins, _A.c.key.startswith(f"{place}/", autoescape=True)
    )


def backlog(conn: Connection) -> Mapping[Lane, Backlog]:
    """What is pending in each lane, due or not; a lane without anything is absent."""
    return {Lane(row.lane): Backlog(pending=row.pending, oldest=row.oldest) for row in conn.execute(_BACKLOG)}


def record(conn: Connection, records: Sequence[ActionRecord]) -> None:
    """Insert new actions."""
    add(conn, _A, [mapping.action_row(record) for record in records])


def save(conn: Connection, record: ActionRecord, fence: Fence | None = None) -> bool:
    """Store an attempt unless the action has ended meanwhile; an end wakes its rollout. Raises Fenced."""
    values = mapping.action_row(record)
    fixed = ("key", "rollout_id", "kind", "recorded_at", "after", "waits_until")
    changed = {name: value for name, value in values.items() if name not in fixed}
    statement, held = claims.guarded(_SAVE, fence)
    if conn.execute(statement, {"saved_key": record.key, **changed, **held}).rowcount != 1:
        claims.check(conn, fence)
        return False
    if not record.open:
        assert record.ended_at is not None, f"{record.key} has ended and says not when"
        rollouts.wake(conn, record.rollout_id, record.ended_at)
    return True


def drop(conn: Connection, rollout_id: str, keys: Sequence[str], at: datetime) -> None:
    """End pending actions that are no longer wanted; those that have ended stay as they are."""
    if keys:
        conn.execute(_DROP, {"of": rollout_id, "keys": list(keys), "at": at})
