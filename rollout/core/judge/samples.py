"""What counts as a sample, and which block it belongs to.

A block is the half-open stretch (k·length, (k+1)·length] of the epoch: an interval is placed by its END, so
an interval that ends exactly on a border belongs to the block it fills, and finer samples of the same blocks
add up to the same sums.
"""

import math
from collections.abc import Iterable

from rollout.core.judge.state import BASELINE, CANDIDATE
from rollout.core.model import Sample, SignalKind

LARGEST = 2.0**53  # above it float64 no longer counts by ones

Sums = dict[int, list[float]]  # block → [events, exposure]


def block_of(time: float, length: float) -> int:
    """The block in which an interval that ends at epoch second `time` lies."""
    return math.ceil(round(time / length, 9)) - 1


def arm_of(sample: Sample, *, region: str, candidate: str, baseline: str) -> str | None:
    """Which of the two a sample speaks for, or None when it is of another region or release."""
    if sample.region != region:
        return None
    return {baseline: BASELINE, candidate: CANDIDATE}.get(sample.version)


def usable(kind: SignalKind, sample: Sample) -> bool:
    """Whether the numbers of an aggregate sample can be true at all.

    A ratio of 0 out of 0 is usable: the version is heard, and had no traffic. So is one with more bad events
    than events: work that is late now was begun in an earlier interval. It can only speak against a version.
    """
    if not (_number(sample.value) and _number(sample.exposure) and _number(sample.duration_s)):
        return False
    return kind is not SignalKind.RATE or sample.exposure > 0


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def tally(
    history: Iterable[Sample], *, region: str, signal: str, kind: SignalKind, length: float
) -> dict[str, Sums]:
    """Events and exposure of a signal per version and block of `length` seconds, without junk and repeats."""
    sums: dict[str, Sums] = {}
    newest: dict[str, float] = {}
    for sample in sorted(history, key=lambda sample: sample.time):
        if (sample.region, sample.signal, sample.instance) != (region, signal, "") or not usable(
            kind, sample
        ):
            continue
        time = sample.time.timestamp()
        if time <= newest.get(sample.version, -math.inf):
            continue
        newest[sample.version] = time
        cell = sums.setdefault(sample.version, {}).setdefault(block_of(time, length), [0.0, 0.0])
        cell[0] += sample.value
        cell[1] += sample.exposure
    return sums
