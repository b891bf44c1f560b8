"""What is kept: one bounded step of making history, deleting, thinning, and staying within the bounds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from rollout.ports import Keep
from rollout.store import accounts, aging, claims, requests, settling, thinning
from rollout.store.disk import Room

log = structlog.get_logger(__name__)

BATCH = 5000  # rows of one step, so that no transaction is long
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def step(conn: Connection, room: Callable[[Connection, int], Room], now: datetime, keep: Keep) -> bool:
    """Do one step. Returns whether more is to do at once."""
    before = now - timedelta(seconds=keep.raw_s)
    left = BATCH
    requests_before = now - timedelta(seconds=keep.requests_s)
    for piece in (
        partial(requests.forget, conn, requests_before),
        partial(settling.settle, conn, now),
        partial(settling.drop_settled, conn, before),
        partial(_large_samples, conn, keep),
        partial(thinning.thin, conn, now, keep),
        partial(aging.drop_rollouts, conn, now, keep),
        partial(aging.drop_access, conn, now, keep),
        partial(claims.forget, conn, now),
    ):
        if left > 0:
            left -= piece(left)
    return left <= 0 or _relieve(conn, room(conn, keep.database_bytes), left)


def _large_samples(conn: Connection, keep: Keep, limit: int) -> int:
    """Delete settled samples early where a service has more than it may; the oldest go first."""
    dropped, most = 0, keep.raw_bytes // accounts.sample_bytes(conn)
    for service, rows in accounts.samples(conn).items():
        if rows <= most or dropped >= limit:
            continue
        gone = settling.drop_settled(conn, NEVER, min(rows - most, limit - dropped), service)
        dropped += gone
        if gone:
            why = f"more than {keep.raw_bytes} bytes"
            log.info("samples deleted early", service=service, rows=gone, why=why)
    return dropped


def _relieve(conn: Connection, found: Room, limit: int) -> bool:
    """Where the database is too large, free rows of the service that has the most bytes.

    Its settled samples go first, since what they said is in its history; then its oldest day. Returns whether
    anything was freed.
    """
    if found.used <= found.allowed:
        return False
    sizes = {"used": found.used, "allowed": found.allowed}
    for service, _ in sorted(accounts.sizes(conn).items(), key=lambda item: (-item[1], item[0])):
        if freed := _free(conn, service, limit):
            log.warning("database is larger than allowed", **sizes, freed_of=service, rows=freed)
            return True
    log.error("database is larger than allowed, and no history is left to free", **sizes)
    return False


def _free(conn: Connection, service: str, limit: int) -> int:
    if freed := settling.drop_settled(conn, NEVER, limit, service):
        return freed
    job = thinning.oldest(conn, service, "the database is larger than allowed")
    return 0 if job is None else thinning.work(conn, job, limit)
