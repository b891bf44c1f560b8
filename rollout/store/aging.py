"""Ended rollouts and accesses that are old enough go, a few at each step. Samples: settling.py, thinning.py.

A rollout goes as a whole, with its plan, evidence, history, actions, intents and obligations, once it has
ended long ago and nothing of it is owed or under way. That its version was rolled back stays known. The one
with the newest event stays, since a database that ends before it is taken for an older copy (doubt.py).
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, delete, func, or_, select

from rollout.core.model import FINISHED
from rollout.ports import Keep
from rollout.store import tables

log = structlog.get_logger(__name__)

ROLLOUTS = 20  # of one step: each has some hundred rows
_COST = 250  # rows that a rollout counts as
_R, _A, _T = tables.rollouts, tables.actions, tables.tokens
_PARTS = (
    tables.actions,
    tables.intents,
    tables.obligations,
    tables.transitions,
    tables.evidence,
    tables.regions,
    tables.plans,
)
_ENDED = [phase.value for phase in sorted(FINISHED)]
_UNDER_WAY = select(_A.c.key).where(_A.c.rollout_id == _R.c.id, tables.IS_PENDING).exists()
_NEWEST = (
    select(tables.transitions.c.rollout_id)
    .where(tables.transitions.c.sequence == select(func.max(tables.transitions.c.sequence)).scalar_subquery())
    .scalar_subquery()
)
_SESSIONS = select(tables.sessions.c.session_hash).where(tables.sessions.c.token_id == _T.c.id).exists()


def drop_rollouts(conn: Connection, now: datetime, keep: Keep, limit: int) -> int:
    """Delete rollouts that ended more than `keep.rollout_days` ago. Returns how many rows it counts as."""
    before = now - timedelta(days=keep.rollout_days)
    old = (
        select(_R.c.id)
        .where(
            _R.c.phase.in_(_ENDED),
            _R.c.created_at < before,  # by the index; what has ended was made before
            _R.c.finished_at < before,
            _R.c.next_due_at.is_(None),
            ~_UNDER_WAY,
            _R.c.id != _NEWEST,
        )
        .order_by(_R.c.created_at, _R.c.id)
        .limit(min(ROLLOUTS, max(1, limit // _COST)))
    )
    ids = conn.scalars(old).all()
    if not ids:
        return 0
    for table in _PARTS:
        conn.execute(delete(table).where(table.c.rollout_id.in_(ids)))
    conn.execute(delete(_R).where(_R.c.id.in_(ids)))
    log.info("ended rollouts deleted", rollouts=len(ids), why=f"ended more than {keep.rollout_days} days ago")
    return len(ids) * _COST


def drop_access(conn: Connection, now: datetime, keep: Keep, limit: int) -> int:
    """Delete ended sessions, and tokens that ended `keep.token_days` ago; history keeps their names."""
    ended = now - timedelta(seconds=keep.raw_s)
    conn.execute(delete(tables.sessions).where(tables.sessions.c.expires_at < ended))
    before = now - timedelta(days=keep.token_days)
    gone = or_(_T.c.expires_at < before, _T.c.revoked_at < before)
    old = select(_T.c.id).where(gone, ~_SESSIONS).order_by(_T.c.id).limit(limit)
    return conn.execute(delete(_T).where(_T.c.id.in_(old.scalar_subquery()))).rowcount
