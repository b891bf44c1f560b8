"""Blocks of history: which block an interval belongs to, and how blocks are merged. Pure numbers; no SQL.

A block is the half-open stretch (start, start + length] of the epoch, as the judge has it: an interval is
placed by its END, so blocks of 60 s nest in those of 10 minutes, these in hours, and hours in days.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, repeat
from math import fsum
from operator import attrgetter
from statistics import median
from typing import Any, NamedTuple

FINE_S, COARSE_S, COARSEST_S, DAY_S = 60, 600, 3600, 86400
LENGTHS = (FINE_S, COARSE_S, COARSEST_S)
COARSER = {FINE_S: COARSE_S, COARSE_S: COARSEST_S}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 2.0**53  # above it float64 no longer counts by ones


class Block(NamedTuple):
    """Sums of the samples of one block, and the median of their values, which is what a level needs."""

    value: float
    exposure: float
    middle: float
    samples: int


def microseconds(time: datetime) -> int:
    """A time as microseconds of the epoch, which is exact."""
    return (time - EPOCH) // timedelta(microseconds=1)


def start_of(end_us: int, length_s: float) -> float:
    """Epoch second at which the block begins in which an interval lies that ends at a microsecond."""
    length_us = round(length_s * 1_000_000)
    return (end_us - 1) // length_us * length_us / 1_000_000


def at(second: float) -> datetime:
    """The time of an epoch second."""
    return EPOCH + timedelta(seconds=second)


def whole(time: datetime, length_s: float) -> datetime:
    """The newest border of blocks that is not after `time`."""
    length = timedelta(seconds=length_s)
    return time - (time - EPOCH) % length


def blocks_of(rows: Iterable[Any], length_s: float) -> Iterator[tuple[float, Block]]:
    """Blocks, by their start, of the samples of one series in order of time.

    What cannot be true is in none; of several samples that end at the same time, only the first is.
    """
    first = (next(same) for _, same in groupby(filter(_usable, rows), key=attrgetter("time")))
    for start, block in groupby(first, key=lambda row: start_of(microseconds(row.time), length_s)):
        pairs = [(row.value, row.exposure) for row in block]
        values = [value for value, _ in pairs]
        yield start, Block(fsum(values), fsum(exposure for _, exposure in pairs), median(values), len(pairs))


def merged(blocks: Sequence[Block]) -> Block:
    """One block of several: the sums of their sums, and the median of their medians, each by its samples."""
    if len(blocks) == 1:
        return blocks[0]
    middles = [middle for block in blocks for middle in repeat(block.middle, block.samples)]
    return Block(
        fsum(block.value for block in blocks),
        fsum(block.exposure for block in blocks),
        median(middles),
        sum(block.samples for block in blocks),
    )


def _usable(sample: Any) -> bool:
    """Whether the numbers of a sample can be true at all; the rule of the judge, for any kind of signal."""
    return all(0 <= number <= LARGEST for number in (sample.value, sample.exposure, sample.duration_s))
