"""Reading history: a sample per block, from blocks that are stored and from samples that are in none yet.

Blocks end by the mark of their region and samples are taken from behind it, so nothing counts twice.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from math import floor, fsum
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from rollout.core.signals import Sample, Signal, SignalKind, series_name, series_parts
from rollout.store import tables
from rollout.store.blocks import (
    COARSEST_S,
    DAY_S,
    EPOCH,
    FINE_S,
    LENGTHS,
    Block,
    at,
    blocks_of,
    merged,
    start_of,
    whole,
)

_B, _M, _N, _S = tables.history, tables.history_marks, tables.series, tables.samples
_D = tables.history_days
_CHUNK = 50  # series that one question is about
_PAGE_S = 6 * 3600  # of history that one transaction reads

_LO, _HI = bindparam("lo", type_=_B.c.start.type), bindparam("hi", type_=_B.c.start.type)
_END = _B.c.start + _B.c.length_s
_BLOCKS = select(
    _B.c.series, _B.c.length_s, _B.c.start, _B.c.value, _B.c.exposure, _B.c.middle, _B.c.samples
).where(
    _B.c.series.in_(bindparam("ids", expanding=True)),
    _B.c.length_s.in_(LENGTHS),
    _B.c.start > _LO - COARSEST_S,
    _B.c.start < _HI,
    _END > _LO,
    _END <= _HI,
)
_TIME = _S.c.time.type
_EARLIEST = select(func.min(_S.c.time)).where(
    _S.c.service == bindparam("service"),
    _S.c.region == bindparam("region"),
    _S.c.time > bindparam("after", type_=_TIME),
)
_SAMPLES = (
    select(_S.c.version, _S.c.signal, _S.c.time, _S.c.value, _S.c.exposure, _S.c.duration_s)
    .where(
        _S.c.service == bindparam("service"),
        _S.c.region == bindparam("region"),
        _S.c.time > bindparam("after", type_=_TIME),
        _S.c.time <= bindparam("until", type_=_TIME),
        _S.c.version.in_(bindparam("versions", expanding=True)),
        _S.c.instance == "",
    )
    .order_by(_S.c.version, _S.c.signal, _S.c.time, _S.c.sequence)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; `block_s` is the length of the shortest blocks that are given, in seconds."""

    service: str
    regions: Sequence[str]
    signals: Collection[Signal]
    versions: Collection[str]
    block_s: float


_Name = tuple[str, str, str]  # region, version, series
_Cells = dict[
    tuple[float, float, _Name], list[Block]
]  # start, length and name of a block that is given → parts


def pages(since: datetime, until: datetime, block_s: float) -> Iterator[tuple[datetime, datetime]]:
    """Cut the whole blocks inside (since, until] into pieces, so that no transaction reads for long.

    Stored blocks never reach over their borders, so thinning meanwhile moves nothing from one to the next.
    """
    begin, end = whole(since, block_s), whole(until, block_s)
    begin += timedelta(seconds=block_s) if begin < since else timedelta()
    while begin < end:
        border = whole(whole(begin, _PAGE_S) + timedelta(seconds=_PAGE_S), block_s)
        border = min(end, max(border, begin + timedelta(seconds=block_s)))
        yield begin, border
        begin = border


def earliest(conn: Connection, wanted: Wanted, since: datetime) -> datetime | None:
    """No stored block or sample of these regions ended in (since, this]; None: none ended after `since`."""
    days = select(func.min(_D.c.day)).where(_D.c.service == wanted.service)
    day = conn.execute(days.where(_D.c.day >= floor(since.timestamp()) // DAY_S)).scalar()
    found = [] if day is None else [at(day * DAY_S)]
    for region in wanted.regions:
        place = {"service": wanted.service, "region": region, "after": since}
        first = conn.execute(_EARLIEST, place).scalar()
        found += [] if first is None else [first]
    return max(since, min(found) - timedelta(seconds=wanted.block_s)) if found else None


def page(conn: Connection, wanted: Wanted, after: datetime, until: datetime) -> tuple[Sample, ...]:
    """A sample for each block that ends in (after, until], in order of time and names.

    Its time is the END of the block. Stored blocks that are longer than `block_s` are given as they are.
    """
    kinds = {signal.name: signal.kind for signal in wanted.signals}
    cells: _Cells = {}
    _take_blocks(conn, wanted, kinds, cells, after, until)
    _take_samples(conn, wanted, kinds, cells, after, until)
    return tuple(
        _sample(start + length_s, length_s, name, cells[start, length_s, name], kinds[signal_of(name[2])])
        for start, length_s, name in sorted(cells)
    )


@lru_cache(maxsize=4096)  # a database has few different series
def signal_of(series: str) -> str:
    """The signal that a stored series belongs to: the edge of a bucket is no part of its name."""
    name, labels = series_parts(series)
    return series_name(name, **{label: value for label, value in labels.items() if label != "le"})


def _take_blocks(
    conn: Connection, wanted: Wanted, kinds: Collection[str], cells: _Cells, after: datetime, until: datetime
) -> None:
    names = {
        row.id: (row.region, row.version, row.signal)
        for row in conn.execute(_series(wanted))
        if signal_of(row.signal) in kinds
    }
    span = {"lo": floor(after.timestamp()), "hi": floor(until.timestamp())}
    ids = sorted(names)
    for first in range(0, len(ids), _CHUNK):
        rows = conn.execute(_BLOCKS, {**span, "ids": ids[first : first + _CHUNK]}).all()
        for series, length_s, start, value, exposure, middle, count in rows:
            place: tuple[float, float] = (start, length_s)
            if length_s < wanted.block_s:
                place = start_of((start + length_s) * 1_000_000, wanted.block_s), wanted.block_s
            cells.setdefault((*place, names[series]), []).append(Block(value, exposure, middle, count))


def _series(wanted: Wanted) -> Any:
    return select(_N).where(
        _N.c.service == wanted.service, _N.c.region.in_(wanted.regions), _N.c.version.in_(wanted.versions)
    )


def _take_samples(
    conn: Connection, wanted: Wanted, kinds: Collection[str], cells: _Cells, after: datetime, until: datetime
) -> None:
    """Make blocks of samples as they would be stored, so that a block says the same however old it is."""
    fine_s = min(FINE_S, wanted.block_s)
    after, until = whole(after, fine_s), whole(until, fine_s)
    marks = {row.region: row.until for row in conn.execute(select(_M).where(_M.c.service == wanted.service))}
    for region in wanted.regions:
        begin = max(after, marks.get(region, EPOCH))
        if begin >= until:
            continue
        span = {"service": wanted.service, "region": region, "after": begin, "until": until}
        rows = conn.execute(_SAMPLES, {**span, "versions": sorted(wanted.versions)}).all()
        for (version, signal), series in groupby(rows, key=lambda row: (row.version, row.signal)):
            for start, block in blocks_of(series, fine_s) if signal_of(signal) in kinds else ():
                place = start_of(round((start + fine_s) * 1_000_000), wanted.block_s), wanted.block_s
                cells.setdefault((*place, (region, version, signal)), []).append(block)


def _sample(end: float, length_s: float, name: _Name, parts: list[Block], kind: SignalKind) -> Sample:
    """What a judge takes in: sums, and of a level the median, with the mean number of its instances."""
    if kind is SignalKind.GAUGE:
        block = merged(parts)
        value, exposure = block.middle, block.exposure / block.samples
    else:
        value, exposure = fsum(part.value for part in parts), fsum(part.exposure for part in parts)
    region, version, signal = name
    return Sample(
        time=_time(end),
        region=region,
        version=version,
        signal=signal,
        value=value,
        exposure=exposure,
        duration_s=float(length_s),
    )


_time = lru_cache(maxsize=8192)(at)  # all series of a day have their blocks at the same times
