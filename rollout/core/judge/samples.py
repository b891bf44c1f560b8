"""What counts as a sample, what it says of which check, and which block it belongs to.

A block is the half-open stretch (k·length, (k+1)·length] of the epoch: an interval is placed by its END, so
an interval that ends exactly on a border belongs to the block it fills, and finer samples of the same blocks
add up to the same sums.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from rollout.core.judge.state import BASELINE, CANDIDATE
from rollout.core.signals import Direction, Sample, Signal, SignalKind, series_name, series_parts

LARGEST = 2.0**53  # above it float64 no longer counts by ones
LEAST = 1e-9  # of an exposure that is not 0: microseconds of an instance-hour, and no division overflows
COUNTS, LEVELS, BUCKETS = "counts", "levels", "buckets"


@dataclass(frozen=True, slots=True)
class Told:
    """What one sample says: events of an exposure, or a level (then exposure is 1)."""

    family: str
    value: float
    exposure: float


def block_of(time: float, length: float) -> int:
    """The block in which an interval that ends at epoch second `time` lies."""
    return math.ceil(round(time / length, 9)) - 1


def arm_of(
    sample: Sample, *, region: str, candidate: str, baseline: str, peers: tuple[str, ...] = ()
) -> str | None:
    """Which arm a sample speaks for, a peer by its region; None when it is of another region or release."""
    if sample.region == region:
        return {baseline: BASELINE, candidate: CANDIDATE}.get(sample.version)
    return sample.region if sample.region in peers and sample.version != candidate else None


@lru_cache(maxsize=4096)
def cell_of(name: str) -> tuple[str, float | None]:
    """The check that a series belongs to, and its edge when it is a bucket: `latency{le=0.25}`."""
    base, labels = series_parts(name)
    edge = labels.pop("le", None)
    try:
        return series_name(base, **labels), None if edge is None else float(edge)
    except ValueError:
        return name, None


def usable(kind: SignalKind, sample: Sample) -> bool:
    """Whether the numbers of an aggregate sample can be true at all.

    A ratio of 0 out of 0 is usable: the version is heard, and had no traffic. So is one with more bad events
    than events: work that is late now was begun in an earlier interval. It can only speak against a version.
    A bucket never holds more than all.
    """
    if not (_number(sample.value) and _number(sample.exposure) and _number(sample.duration_s)):
        return False
    if 0 < sample.exposure < LEAST:
        return False
    if kind is SignalKind.DISTRIBUTION:
        return sample.value <= sample.exposure
    return kind is not SignalKind.RATE or sample.exposure > 0


def told(signal: Signal, sample: Sample) -> Told:
    """What a usable sample says, with harm turned to "more of it" where it is a count with exposure."""
    value, exposure = float(sample.value), float(sample.exposure)
    if signal.kind is SignalKind.DISTRIBUTION:
        return Told(COUNTS, exposure - value, exposure)
    if signal.kind is SignalKind.RATIO:
        fallen = signal.direction is Direction.DOWN
        return Told(COUNTS, max(0.0, exposure - value) if fallen else value, exposure)
    if signal.kind is SignalKind.THROUGHPUT and exposure > 0:
        return Told(COUNTS, max(0.0, exposure - value), exposure)
    if signal.kind is SignalKind.RATE:
        return Told(COUNTS, value, exposure)
    if signal.kind is SignalKind.THROUGHPUT:
        return Told(LEVELS, value / sample.duration_s if sample.duration_s > 0 else value, 1.0)
    return Told(LEVELS, value / exposure if exposure > 0 else value, 1.0)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def of_check(history: Iterable[Sample], check: str, signal: Signal) -> Iterator[Sample]:
    """The aggregate samples of a check in order of time, without junk and repeats."""
    newest: dict[tuple[str, str, str], float] = {}
    for sample in sorted(history, key=lambda sample: sample.time):
        if sample.instance or cell_of(sample.signal)[0] != check or not usable(signal.kind, sample):
            continue
        series, time = (sample.region, sample.version, sample.signal), sample.time.timestamp()
        if time > newest.get(series, -math.inf):
            newest[series] = time
            yield sample
