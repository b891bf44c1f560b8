"""What history says about a check before anything is deployed: its over-dispersion, and its own rate.

Over-dispersion is measured on two versions that ran beside each other where history has them, else on
neighbouring blocks of each version that ran: that also counts drift from block to block, so it errs
towards caution. History holds known-good versions only (see begin). Where it is too short, a default is
taken and named.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rollout.core.judge.counts import pooled
from rollout.core.judge.samples import Sums, tally
from rollout.core.judge.state import CheckState
from rollout.core.model import Sample, Signal, SignalKind

Table = NDArray[np.float64]  # one row per block: x1, n1, x0, n0

LEAST_BLOCKS = 30
LEAST_EVENTS = 20
LEAST_GROUPS = 20  # of the longer stretches, to be measured at all
STRETCHES = {
    True: (1, 5, 15, 30),
    False: (1, 5),
}  # in blocks; longer ones see autocorrelation, or, in one arm, drift
TRIM = 0.03  # the worst blocks (bursts) are left to the cap
TRIM_BIAS = 0.8306  # mean of a chi-square(1) below its 97th percentile
# Failures come in clusters in most services; restarts of different instances are taken as independent, and a
# block is capped.
DEFAULT_PHI = {SignalKind.RATIO: 2.0, SignalKind.RATE: 1.0, SignalKind.GAUGE: 1.0}


def calibrate(signal: Signal, region: str, history: Sequence[Sample], length: float) -> CheckState:
    """The state of a check before its first sample. `length` is that of a block, in seconds."""
    state = CheckState()
    if signal.kind is SignalKind.GAUGE:
        return state
    arms = tally(history, region=region, signal=signal.name, kind=signal.kind, length=length)
    _dispersion(state, signal.kind, arms)
    for _, events, exposure in sorted((b, *cell) for sums in arms.values() for b, cell in sums.items()):
        state.pool = pooled(state.pool, events, exposure)
    if signal.kind is SignalKind.RATE:
        _rate(state, arms)
    return state


def _dispersion(state: CheckState, kind: SignalKind, arms: dict[str, Sums]) -> None:
    table, paired = _table(arms)
    events = float(table[:, [0, 2]].sum())
    if len(table) < LEAST_BLOCKS or events < LEAST_EVENTS:
        state.phi = DEFAULT_PHI[kind]
        state.scale = math.sqrt(state.phi)
        few = len(table) < LEAST_BLOCKS
        has = f"{len(table)} of {LEAST_BLOCKS} blocks" if few else f"{events:.0f} of {LEAST_EVENTS} events"
        state.learned = f"over-dispersion {state.phi:g} assumed, history has {has}"
        return
    state.phi = dispersion(table, STRETCHES[paired])
    state.scale = math.sqrt(dispersion(table, (1,)))
    how = "blocks side by side" if paired else "neighbouring blocks"
    state.learned = f"over-dispersion {state.phi:.2f} of {len(table)} {how}"


def _table(arms: dict[str, Sums]) -> tuple[Table, bool]:
    """Pairs of blocks, and whether they are of two versions at the same time."""
    largest = sorted(arms, key=lambda version: (-sum(n for _, n in arms[version].values()), version))
    if len(largest) > 1:
        one, other = arms[largest[1]], arms[largest[0]]
        beside = _rows([(one[block], other[block]) for block in sorted(one.keys() & other.keys())])
        if len(beside) >= LEAST_BLOCKS and beside[:, [0, 2]].sum() >= LEAST_EVENTS:
            return beside, True
    alone = sorted((b, version) for version, sums in arms.items() for b in sums if b % 2 == 0)
    pairs = [(arms[version][b], arms[version][b + 1]) for b, version in alone if b + 1 in arms[version]]
    return _rows(pairs), False


def _rows(pairs: list[tuple[list[float], list[float]]]) -> Table:
    table = np.array([[*one, *other] for one, other in pairs], dtype=np.float64).reshape(-1, 4)
    return table[(table[:, 1] > 0) & (table[:, 3] > 0)]


def dispersion(table: Table, stretches: Sequence[int]) -> float:
    """Over-dispersion (>= 1) of the split between the arms: the largest over stretches of blocks, trimmed."""
    best = 1.0
    for size in stretches:
        groups = len(table) // size
        if size > 1 and groups < LEAST_GROUPS:
            continue
        x1, n1, x0, n0 = table[: groups * size].reshape(groups, size, 4).sum(axis=1).T
        events, share = x1 + x0, n1 / (n1 + n0)
        square, variance = (x1 - events * share) ** 2, events * share * (1 - share)
        told = variance > 0
        if not told.any():
            continue
        square, variance = square[told], variance[told]
        kept = square / variance <= np.quantile(square / variance, 1 - TRIM)
        best = max(best, float(square[kept].sum() / variance[kept].sum()) / TRIM_BIAS)
    return best


def _rate(state: CheckState, arms: dict[str, Sums]) -> None:
    """Bounds of two sigma around the rate of all versions of history, per instance-hour."""
    blocks = [cell for sums in arms.values() for cell in sums.values()]
    events, hours = sum(x for x, _ in blocks), sum(n for _, n in blocks)
    if hours <= 0:
        state.learned += "; no history of the rate"
        return
    state.rate_high = (events + 2 * math.sqrt(events + 1) + 1) / hours
    state.rate_mean = events / hours
    state.rate_low = max(0.0, events - 2 * math.sqrt(events)) / hours
    state.learned += f"; at most {state.rate_high:.3g} an hour"
