"""From samples to history: settled samples become blocks of 60 s; later the samples themselves are deleted.

A sample counts exactly once: blocks, and the mark that says up to where samples are in them, are written in
one transaction. Samples that arrive behind the mark are too late for history. Those of single instances, and
numbers that cannot be true, are in no block.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from rollout.store import accounts, tables
from rollout.store.blocks import DAY_S, FINE_S, at, blocks_of, microseconds, start_of
from rollout.store.writing import add

SETTLE_S = 3600  # a sample that comes later than this may miss its block
_S, _M, _N = tables.samples, tables.history_marks, tables.series

_PAIR = (_S.c.service == bindparam("service"), _S.c.region == bindparam("region"))
_TIME = _S.c.time.type
_AFTER, _UNTIL = _S.c.time > bindparam("after", type_=_TIME), _S.c.time <= bindparam("until", type_=_TIME)
_OF_MARK = (_S.c.service == _M.c.service, _S.c.region == _M.c.region)
_UNSETTLED = (
    select(_M)
    .where(select(_S.c.time).where(*_OF_MARK, _S.c.time > _M.c.until, _UNTIL).exists())
    .order_by(_M.c.until, _M.c.service, _M.c.region)
    .with_for_update()
)
_SETTLED = (
    select(_M)
    .where(select(_S.c.time).where(*_OF_MARK, _S.c.time <= _M.c.until, _UNTIL).exists())
    .order_by(_M.c.service, _M.c.region)
    .with_for_update()
)
_TIMES = select(_S.c.time).where(*_PAIR, _AFTER, _UNTIL).order_by(_S.c.time).limit(bindparam("limit"))
_OLDEST = select(_S.c.time).where(*_PAIR).order_by(_S.c.time).limit(1).offset(bindparam("offset"))
_NAMES = (_S.c.version, _S.c.signal)
_ROWS = (
    select(*_NAMES, _S.c.time, _S.c.value, _S.c.exposure, _S.c.duration_s)
    .where(*_PAIR, _AFTER, _UNTIL, _S.c.instance == "")
    .order_by(*_NAMES, _S.c.time, _S.c.sequence)
)
_DROP = delete(_S).where(*_PAIR, _UNTIL)
_MARK = update(_M).where(_M.c.service == bindparam("of"), _M.c.region == bindparam("place"))
_KNOWN = select(_N.c.version, _N.c.signal, _N.c.id).where(
    _N.c.service == bindparam("service"), _N.c.region == bindparam("region")
)


def settle(conn: Connection, now: datetime, limit: int) -> int:
    """Make history of samples that have settled, about `limit` of them, the longest waiting region first.

    Blocks are always whole, so all the samples of the last one are taken.
    Returns how many samples were taken.
    """
    until = at((now.timestamp() - SETTLE_S) // FINE_S * FINE_S)
    taken = 0
    for mark in conn.execute(_UNSETTLED, {"until": until}).all():
        if taken >= limit:
            break
        taken += _settle_region(conn, mark, until, limit - taken)
    return taken


def _settle_region(conn: Connection, mark: Row[Any], until: datetime, limit: int) -> int:
    pair = {"service": mark.service, "region": mark.region}
    span = {**pair, "after": mark.until, "until": until}
    times = conn.scalars(_TIMES, {**span, "limit": limit}).all()
    end = _end_of_block(times[-1])
    _write(conn, mark.service, mark.region, conn.execute(_ROWS, {**span, "until": end}).all())
    conn.execute(_MARK.values(until=end), {"of": mark.service, "place": mark.region})
    return len(times)


def _end_of_block(time: datetime) -> datetime:
    return at(start_of(microseconds(time), FINE_S) + FINE_S)


def _write(conn: Connection, service: str, region: str, rows: Iterable[Any]) -> None:
    """Add up rows in order of series and time, and store the blocks and how many there are."""
    kept = {
        (version, signal, int(start)): block
        for (version, signal), series in groupby(rows, key=lambda row: (row.version, row.signal))
        for start, block in blocks_of(series, FINE_S)
    }
    ids = _series(conn, service, region, {(version, signal) for version, signal, _ in kept})
    blocks = [
        accounts.row(ids[version, signal], FINE_S, start, block)
        for (version, signal, start), block in kept.items()
    ]
    add(conn, tables.history, blocks)
    accounts.count(conn, service, FINE_S, Counter(start // DAY_S for _, _, start in kept))


def _series(
    conn: Connection, service: str, region: str, names: set[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """The number of each (version, signal) of the pair; new ones get one."""
    place = {"service": service, "region": region}
    known = {(row.version, row.signal) for row in conn.execute(_KNOWN, place)}
    new = sorted(names - known)
    add(conn, _N, [{**place, "version": version, "signal": signal} for version, signal in new])
    return {(row.version, row.signal): row.id for row in conn.execute(_KNOWN, place)}


def drop_settled(conn: Connection, before: datetime, limit: int, service: str | None = None) -> int:
    """Delete about `limit` samples that end by `before` and are in history, of one service or of all.

    Returns how many were deleted.
    """
    pairs = _SETTLED if service is None else _SETTLED.where(_M.c.service == service)
    dropped = 0
    for mark in conn.execute(pairs, {"until": before}).all():
        if dropped >= limit:
            break
        dropped += _drop(conn, mark, min(before, mark.until), limit - dropped)
    return dropped


def _drop(conn: Connection, mark: Row[Any], before: datetime, limit: int) -> int:
    pair = {"service": mark.service, "region": mark.region}
    last = conn.scalar(_OLDEST, {**pair, "offset": limit - 1})
    gone = conn.execute(_DROP, {**pair, "until": min(before, last) if last else before}).rowcount
    row = {"of": mark.service, "place": mark.region}
    conn.execute(_MARK.values(samples=_M.c.samples - gone), row)
    return gone
