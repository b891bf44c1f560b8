"""History in its bounds: old days in longer blocks, then gone; the same for what takes too many bytes.

What is too large is thinned, and in the end dropped, in its own service: none costs another its history.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, delete, func, select

from rollout.ports import Keep
from rollout.store import accounts, tables
from rollout.store.blocks import COARSER, COARSEST_S, DAY_S, FINE_S, Block, at, merged
from rollout.store.writing import put

log = structlog.get_logger(__name__)

_B, _D, _N = tables.history, tables.history_days, tables.series
_LEAST = 200  # rows that any piece of work counts as, so that many small ones end a step too

_OF_DAY = (
    _B.c.length_s == bindparam("length_s"),
    _B.c.start >= bindparam("begin"),
    _B.c.start < bindparam("end"),
)
_HAS_BLOCKS = select(_B.c.start).where(_B.c.series == _N.c.id, *_OF_DAY).exists()
_SERIES = (
    select(_N.c.id)
    .where(_N.c.service == bindparam("service"), _HAS_BLOCKS)
    .order_by(_N.c.id)
    .limit(bindparam("limit"))
)
_OF_SERIES = (_B.c.series.in_(bindparam("ids", expanding=True)), *_OF_DAY)
_BLOCKS = select(_B).where(*_OF_SERIES)
_DELETE = delete(_B).where(*_OF_SERIES)
_CLOSE = delete(_D).where(
    _D.c.service == bindparam("of"), _D.c.day == bindparam("on"), _D.c.length_s == bindparam("long")
)
_ANY_BLOCK = select(_B.c.start).where(_B.c.series == _N.c.id).exists()
_DAYS = select(_D).order_by(_D.c.day, _D.c.service, _D.c.length_s).limit(1)
_UNUSED = delete(_N).where(_N.c.service == bindparam("of"), ~_ANY_BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The blocks of one length of one service and day become longer ones, or, without `to_s`, nothing."""

    service: str
    day: int  # of the epoch
    length_s: int
    to_s: int | None = None
    why: str


def thin(conn: Connection, now: datetime, keep: Keep, limit: int) -> int:
    """Bring history into its ages and bytes, about `limit` rows of it. Returns how many were touched."""
    touched = 0
    while touched < limit and (job := _next(conn, now, keep)) is not None:
        touched += work(conn, job, limit - touched)
    return touched


def work(conn: Connection, job: Job, limit: int) -> int:
    """Do about `limit` rows of a job, by whole series. Returns how many rows it counts as."""
    span = {"length_s": job.length_s, "begin": job.day * DAY_S, "end": (job.day + 1) * DAY_S}
    most = max(1, limit // (DAY_S // job.length_s))
    ids = conn.scalars(_SERIES, {**span, "service": job.service, "limit": most}).all()
    if not ids:
        _close(conn, job)
        return _LEAST
    if job.to_s is not None:
        _lengthen(conn, job, {**span, "ids": ids})
    gone = conn.execute(_DELETE, {**span, "ids": ids}).rowcount
    accounts.count(conn, job.service, job.length_s, {job.day: -gone})
    return max(gone, _LEAST)


def _lengthen(conn: Connection, job: Job, span: dict[str, Any]) -> None:
    """Merge blocks into longer ones, also into those that are there: a day may be thinned while it fills."""
    assert job.to_s is not None, "only a job with a length lengthens"
    to_s = job.to_s
    found: dict[tuple[int, int], list[Block]] = {}
    for row in conn.execute(_BLOCKS, span):
        found.setdefault((row.series, row.start // to_s * to_s), []).append(_block(row))
    new = len(found)
    for row in conn.execute(_BLOCKS, {**span, "length_s": to_s}):
        if (row.series, row.start) in found:
            found[row.series, row.start].append(_block(row))
            new -= 1
    longer = [accounts.row(of, to_s, start, merged(rows)) for (of, start), rows in found.items()]
    put(conn, _B, longer)
    accounts.count(conn, job.service, to_s, {job.day: new})


def _block(row: Row[Any]) -> Block:
    return Block(row.value, row.exposure, row.middle, row.samples)


def _close(conn: Connection, job: Job) -> None:
    """Nothing is left to do: the account of the day is closed, and names that nothing is of are forgotten."""
    conn.execute(_CLOSE, {"of": job.service, "on": job.day, "long": job.length_s})
    if job.to_s is None:
        conn.execute(_UNUSED, {"of": job.service})
    done = f"history thinned to blocks of {job.to_s} s" if job.to_s else "history dropped"
    log.info(
        done, service=job.service, day=f"{at(job.day * DAY_S):%Y-%m-%d}", block_s=job.length_s, why=job.why
    )


# ---------------------------------------------------------------------- what is to do


def _next(conn: Connection, now: datetime, keep: Keep) -> Job | None:
    """What comes first: what is too old, then what is too much."""
    return (
        _old(conn, now, keep)
        or _old_and_fine(conn, now, keep)
        or _large_day(conn, keep)
        or _large(conn, keep)
    )


def _old(conn: Connection, now: datetime, keep: Keep) -> Job | None:
    row = conn.execute(_DAYS.where(_D.c.day < _day(now) - keep.days)).first()
    return _job(row, None, f"older than {keep.days} days")


def _old_and_fine(conn: Connection, now: datetime, keep: Keep) -> Job | None:
    too_old = _D.c.day < _day(now) - keep.fine_days
    row = conn.execute(_DAYS.where(_D.c.length_s == FINE_S, too_old)).first()
    return _job(row, COARSER[FINE_S], f"older than {keep.fine_days} days")


def _large_day(conn: Connection, keep: Keep) -> Job | None:
    """A day of a service that takes more than it may, unless its blocks are as long as blocks get."""
    blocks, finest = func.sum(_D.c.blocks), func.min(_D.c.length_s)
    most = keep.day_bytes // accounts.block_bytes(conn)
    days = select(_D.c.service, _D.c.day, finest.label("length_s")).group_by(_D.c.service, _D.c.day)
    row = conn.execute(days.having(blocks > most, finest < COARSEST_S).limit(1)).first()
    to_s = None if row is None else COARSER[row.length_s]
    return _job(row, to_s, f"more than {keep.day_bytes} bytes a day")


def _large(conn: Connection, keep: Keep) -> Job | None:
    """The oldest day of a service that takes more than it may in all, though its days are thin."""
    most = keep.day_bytes * keep.days // accounts.block_bytes(conn)
    large = select(_D.c.service).group_by(_D.c.service).having(func.sum(_D.c.blocks) > most)
    row = conn.execute(_DAYS.where(_D.c.service.in_(large))).first()
    return _job(row, None, f"more than {keep.days} × {keep.day_bytes} bytes")


def oldest(conn: Connection, service: str, why: str) -> Job | None:
    """The work of dropping the oldest day of a service."""
    row = conn.execute(_DAYS.where(_D.c.service == service)).first()
    return _job(row, None, why)


def _job(row: Any, to_s: int | None, why: str) -> Job | None:
    if row is None:
        return None
    return Job(service=row.service, day=row.day, length_s=row.length_s, to_s=to_s, why=why)


def _day(now: datetime) -> int:
    return int(now.timestamp()) // DAY_S
