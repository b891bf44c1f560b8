"""Recorded actions: what is due, and how far it has come."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, or_, select, update

from rollout.core.actions import GOING_BACK, ActionRecord
from rollout.core.model import ActionState
from rollout.store import mapping, rollouts, tables
from rollout.store.writing import add

_A = tables.actions
_BEFORE = _A.alias("before")
_WAITS = (
    select(_BEFORE.c.key)
    .where(_BEFORE.c.key == _A.c.after, _BEFORE.c.state == ActionState.PENDING.value)
    .exists()
)
_NOW = bindparam("now", type_=_A.c.due_at.type)
_RANK = case((_A.c.kind.in_(sorted(kind.value for kind in GOING_BACK)), 0), else_=1)
_DUE = (
    select(_A)
    .where(
        tables.IS_PENDING, _A.c.due_at <= _NOW, or_(_A.c.after.is_(None), ~_WAITS, _A.c.waits_until <= _NOW)
    )
    .order_by(_RANK, _A.c.due_at, _A.c.sequence)
    .limit(bindparam("limit"))
)
_SAVE = update(_A).where(_A.c.key == bindparam("saved_key"), tables.IS_PENDING)
_DROP = (
    update(_A)
    .where(
        _A.c.rollout_id == bindparam("of"), _A.c.key.in_(bindparam("keys", expanding=True)), tables.IS_PENDING
    )
    .values(state=ActionState.DROPPED.value, ended_at=bindparam("at", type_=_A.c.ended_at.type))
)


def due(conn: Connection, now: datetime, limit: int) -> tuple[ActionRecord, ...]:
    """Pending actions that wait for nothing any more; going back first, then the longest due."""
    return tuple(mapping.ACTION.noun(row) for row in conn.execute(_DUE, {"now": now, "limit": limit}))


def record(conn: Connection, records: Sequence[ActionRecord]) -> None:
    """Insert new actions."""
    add(conn, _A, [mapping.action_row(record) for record in records])


def save(conn: Connection, record: ActionRecord) -> bool:
    """Store an attempt unless the action has ended meanwhile; an end wakes its rollout."""
    values = mapping.action_row(record)
    fixed = ("key", "rollout_id", "kind", "recorded_at", "after", "waits_until")
    changed = {name: value for name, value in values.items() if name not in fixed}
    if conn.execute(_SAVE, {"saved_key": record.key, **changed}).rowcount != 1:
        return False
    if not record.open:
        assert record.ended_at is not None, f"{record.key} has ended and says not when"
        rollouts.wake(conn, record.rollout_id, record.ended_at)
    return True


def drop(conn: Connection, rollout_id: str, keys: Sequence[str], at: datetime) -> None:
    """End pending actions that are no longer wanted; those that have ended stay as they are."""
    if keys:
        conn.execute(_DROP, {"of": rollout_id, "keys": list(keys), "at": at})
