"""How noisy history is: over-dispersion, how long it is correlated, how long its incidents last.

Measured on two arms that ran beside each other, or on any pair of columns that are compared like that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollout.core.judge.counts import MEMORY, ambient
from rollout.core.judge.mixture import Floats

STRETCHES = (1, 2, 5, 10, 15, 30)  # base blocks
LEAST_GROUPS = 20  # of a stretch, to be measured at all
WINSOR = 16.0  # squared standard deviations that one block may weigh: an incident is no noise
GROWTH = 1.3  # of the variance ratio with the stretch, that counts as correlation
RISEN = 3.0  # times the usual rate: an incident, not a drift
LOUD = 2.0  # times the usual rate, to which an incident reaches
PRIOR_RHO, PRIOR_BLOCKS = 0.1, 60  # what is believed before history says more
MEDIAN_EVENTS, MEDIAN_PIECES = 5, 4  # of a piece, and of an hour, for a median to mean anything
LONGEST = 30  # base blocks of one bet at most
LONG = 0.9  # of incidents are no longer than what bets are made for
HOUR = 60  # base blocks in which the usual rate is taken as one


@dataclass(frozen=True, slots=True)
class Noise:
    """rho: over-dispersion that grows with events; psi: what correlation adds; every: blocks of one bet."""

    rho: float
    psi: float
    every: int


def measure(table: Floats) -> Noise:
    """`table` has one row for each base block in order of time: x1, n1, x0, n0; all exposures > 0."""
    every = max(_correlated(table), _incident(table))
    grouped = gather(table, every)
    rho = overdispersion(grouped)
    psi = 1.0
    for size in STRETCHES[1:]:
        wide = gather(grouped, size)
        if len(wide) < LEAST_GROUPS:
            break
        ratio = _ratio(grouped, rho, size)
        if ratio > 1 + 2.33 * math.sqrt(2 / len(wide)):  # more than chance at 1 %
            psi = max(psi, ratio)
    return Noise(rho=rho, psi=psi, every=every)


def gather(table: Floats, size: int) -> Floats:
    """Sums of `size` rows each; an incomplete last group is left out."""
    groups = len(table) // size
    summed: Floats = table[: groups * size].reshape(groups, size, table.shape[1]).sum(axis=1)
    return summed


def overdispersion(table: Floats) -> float:
    """Rho of variance N·p(1-p)·(1 + (N-1)·rho), by moments with bounded influence; errs to the high side.

    The mean of squared standardised residuals is brought to 1 less two standard errors of that mean.
    """
    x1, n1, x0, n0 = table.T[:4]
    events, share = x1 + x0, n1 / (n1 + n0)
    variance = events * share * (1 - share)
    told = variance > 0
    more = np.maximum(ambient(table, usual(table)) - 1, 0)[told]
    square, variance = (x1 - events * share)[told] ** 2, variance[told]
    if not more.any():
        return PRIOR_RHO
    error = math.sqrt(2 / len(square))

    def mean(rho: float) -> float:
        return float(np.minimum(square / (variance * (1 + more * rho)), WINSOR).mean())

    low, high = 0.0, 0.0 if mean(0.0) <= 1 + 1.64 * error else 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) > 1 - error else (low, middle)
    return (len(square) * high + PRIOR_BLOCKS * PRIOR_RHO) / (len(square) + PRIOR_BLOCKS)


def usual(table: Floats) -> Floats:
    """The rate before each row, by the same fading memory that the judge keeps."""
    events, exposure = table[:, 0] + table[:, 2], table[:, 1] + table[:, 3]
    rates, pool = np.zeros(len(table)), (0.0, 0.0)
    for place, (seen, of) in enumerate(zip(events.tolist(), exposure.tolist(), strict=True)):
        rates[place] = (pool[0] + 0.5) / pool[1] if pool[1] > 0 else seen / of
        pool = MEMORY * pool[0] + seen, MEMORY * pool[1] + of
    return rates


def _ratio(table: Floats, rho: float, size: int) -> float:
    """Variance of sums of `size` residuals against that of independent ones."""
    x1, n1, x0, n0 = table.T[:4]
    events, share = x1 + x0, n1 / (n1 + n0)
    more = np.maximum(ambient(table, usual(table)) - 1, 0)
    variance = events * share * (1 - share) * (1 + more * rho)
    residual = x1 - events * share
    limit = math.sqrt(WINSOR) * np.sqrt(variance)
    pairs = gather(np.stack([np.clip(residual, -limit, limit), variance], axis=1), size)
    total, spread = pairs[pairs[:, 1] > 0].T
    if not len(total):
        return 1.0
    return float(np.minimum(total**2 / spread, WINSOR).mean())


def _correlated(table: Floats) -> int:
    """The shortest stretch beyond which the variance ratio does not grow much."""
    rho = overdispersion(table)
    seen = [size for size in STRETCHES if len(table) // size >= LEAST_GROUPS]
    ratios = [_ratio(table, rho, size) for size in seen]
    for place, size in enumerate(seen):
        slack = [2.33 * math.sqrt(2 * other / len(table)) for other in seen]
        later = zip(ratios[place + 1 :], slack[place + 1 :], strict=True)
        if all(ratio <= max(GROWTH, 1 + extra) * max(ratios[place], 1.0) for ratio, extra in later):
            return size
    return seen[-1] if seen else 1


def _incident(table: Floats) -> int:
    """Half as many blocks as an incident lasts, so that it spans three bets at most; 1 without incidents."""
    spans = [length for size in (1, 5) for length in _incidents(gather(table, size), size)]
    if not spans:
        return 1
    return min(LONGEST, math.ceil(float(np.quantile(spans, LONG)) / 2))


def _incidents(table: Floats, size: int) -> Sequence[int]:
    """How many base blocks each incident lasted: the shared rate surely at three times what is usual.

    It lasts as long as three blocks in a row stay above twice what is usual.
    """
    if len(table) < LEAST_GROUPS:
        return ()
    events, exposure = table[:, 0] + table[:, 2], table[:, 1] + table[:, 3]
    expected = _around(events, exposure, max(1, HOUR // size)) * exposure
    sure = events > RISEN * expected + 3 * np.sqrt(RISEN * expected) + 1
    if not sure.any():
        return ()
    beside = np.ones(3)
    loud = np.convolve(events, beside, "same") > LOUD * np.convolve(expected, beside, "same")
    return [size * (last - first + 1) for first, last in _runs(loud | sure) if sure[first : last + 1].any()]


def _around(events: Floats, exposure: Floats, hour: int) -> Floats:
    """The usual rate around each block: the median of its hour, in pieces that hold enough to have one."""
    rates = np.empty(len(events))
    for first in range(0, len(events), hour):
        begin = max(0, min(first, len(events) - hour))
        near = np.stack([events[begin : begin + hour], exposure[begin : begin + hour]], axis=1)
        size = math.ceil(MEDIAN_EVENTS / max(float(near[:, 0].mean()), 1e-9))
        pieces = gather(near, size) if len(near) >= MEDIAN_PIECES * size else near.sum(axis=0)[None]
        rates[first : first + hour] = np.median(pieces[:, 0] / pieces[:, 1])
    return rates


def _runs(mask: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """First and last place of each run of true values."""
    places = np.flatnonzero(mask)
    if not len(places):
        return ()
    ends = np.flatnonzero(np.diff(places) > 1)
    firsts, lasts = places[np.r_[0, ends + 1]], places[np.r_[ends, len(places) - 1]]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]
