"""Requests with a key: reserving, marking the effect, keeping the answer, forgetting. Never a secret.

A row is changed only by the copy that owns it; `owner` is compared with every write.
"""

import zlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from rollout.core.errors import Conflict
from rollout.once import TAKEN_OVER_AFTER_S, Answer, Claim, Kept
from rollout.store import tables
from rollout.store.writing import add_missing

_Q = tables.requests


def reserve(conn: Connection, claim: Claim) -> Kept:
    """Take the key for this copy unless another has it; what is known of it then.

    A copy that ended, or has been silent for a minute, is taken over only if it had no effect.
    """
    row = {"scope": claim.scope, "key": claim.key, "fingerprint": claim.fingerprint}
    add_missing(conn, _Q, row | {"owner": claim.owner, "started_at": claim.at})
    found = _kept(conn.execute(select(_Q).where(*_at(claim)).with_for_update()).one())
    if not _is_dead(found, claim):
        return found
    values = {"owner": claim.owner, "started_at": claim.at}
    conn.execute(update(_Q).where(*_at(claim), _Q.c.owner == found.owner).values(values))
    return Kept(fingerprint=found.fingerprint, owner=claim.owner, started_at=claim.at)


def mark(conn: Connection, claim: Claim, resource: str) -> None:
    """Write that the claim takes effect, with the effect. Raises Conflict when another copy took it over.

    The first resource stays, since it is the one that was asked for.
    """
    mine = update(_Q).where(*_at(claim), _Q.c.owner == claim.owner, _Q.c.status.is_(None))
    if conn.execute(mine.values(owner=claim.owner)).rowcount != 1:
        raise Conflict(
            "Another copy of this request took over, because this one was silent for a minute. Nothing was "
            "changed by this one; send it again with the same key for the answer.",
            "request-running",
        )
    conn.execute(mine.where(_Q.c.effect_at.is_(None)).values(effect_at=claim.at, resource=resource))


def answer(conn: Connection, claim: Claim, given: Answer) -> Answer:
    """Keep the first answer of the copy that owns the key. Returns what is kept, maybe from another copy.

    What one says that was taken over is for its own client alone: the other one may have had an effect.
    """
    body = zlib.compress(given.body, 1)
    values = {"status": given.status, "headers": dict(given.headers), "answer": body, "owner": ""}
    mine = (*_at(claim), _Q.c.owner == claim.owner, _Q.c.status.is_(None))
    conn.execute(update(_Q).where(*mine).values(values))
    row = conn.execute(select(_Q).where(*_at(claim))).one_or_none()
    return (_kept(row).answer if row is not None else None) or given


def release(conn: Connection, claim: Claim) -> None:
    """End a copy without an answer: the key is free again where it had no effect."""
    mine = (*_at(claim), _Q.c.owner == claim.owner, _Q.c.status.is_(None))
    conn.execute(delete(_Q).where(*mine, _Q.c.effect_at.is_(None)))
    conn.execute(update(_Q).where(*mine).values(owner=""))


def forget(conn: Connection, before: datetime, limit: int) -> int:
    """Delete the oldest that began before a time. Returns how many were deleted."""
    old = select(_Q.c.scope, _Q.c.key).where(_Q.c.started_at < before).order_by(_Q.c.started_at).limit(limit)
    rows = conn.execute(old).all()
    for row in rows:
        conn.execute(delete(_Q).where(_Q.c.scope == row.scope, _Q.c.key == row.key))
    return len(rows)


def _at(claim: Claim) -> tuple[Any, Any]:
    return _Q.c.scope == claim.scope, _Q.c.key == claim.key


def _is_dead(found: Kept, claim: Claim) -> bool:
    """Whether the copy that has the key will never answer, and had no effect."""
    silent = found.started_at < claim.at - timedelta(seconds=TAKEN_OVER_AFTER_S)
    unanswered = found.answer is None and found.effect_at is None
    return unanswered and (silent or not found.owner) and found.fingerprint == claim.fingerprint


def _kept(row: Row[Any]) -> Kept:
    given = None
    if row.status is not None:
        given = Answer(status=row.status, headers=row.headers, body=zlib.decompress(row.answer))
    return Kept(
        fingerprint=row.fingerprint,
        owner=row.owner,
        started_at=row.started_at,
        effect_at=row.effect_at,
        resource=row.resource,
        answer=given,
    )
