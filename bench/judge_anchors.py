"""Decision rules of today's tools, on arrays of runs, written anew from their published descriptions.

Each takes candidate and baseline minute by minute after the deploy and returns, for each run, the minute of
its rollback (1 is the first), inf for none.

kayenta  the NetflixACA judge: samples of each minute, candidate against baseline, two-sided 98 % Mann–Whitney
         interval of the shift (Hodges–Lehmann); high when its lower end exceeds a quarter of the estimate.
         One metric, so high means score 0, a failure. Roots to the documented absolute 1e-4, in percent.
flagger  request success of at least 99 % each minute; rolls back at 5 failed checks, counted for ever.
argo     a success condition on each measurement; fails when more than `failureLimit` of them failed.
z_test   a pooled one-sided test of two proportions on the sums so far.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from bench.judge_traffic import DAY, Arms, Array, block_sums

ALPHA = 0.01
Z98 = float(norm.isf(ALPHA))
EVERY_MINUTE = (*range(10, 241), *range(250, DAY + 1, 10))  # to 4 h, then every 10 minutes
AS_DOCUMENTED = (60, 120, 180)  # three looks, an hour apart


def first(mask: Array) -> Array:
    """The first true column of each row, counted from 1; inf where there is none."""
    return np.where(mask.any(1), mask.argmax(1) + 1.0, np.inf)


def kayenta(arms: Arms, looks: Sequence[int] = EVERY_MINUTE) -> Array:
    """Looks after so many minutes; stops at the first that is high."""
    with np.errstate(all="ignore"):
        candidate = np.nan_to_num(100 * arms.x1 / arms.n1)[:, : max(looks)]  # a missing value counts as 0
        baseline = np.nan_to_num(100 * arms.x0 / arms.n0)[:, : max(looks)]
    return np.array([_first_high(*pair, looks) for pair in zip(candidate, baseline, strict=True)])


def flagger(arms: Arms, threshold: float = 0.99, limit: int = 5) -> Array:
    """A minute without requests is a failed check too."""
    return first(np.cumsum(_bad(arms.x1, arms.n1, threshold) | (arms.n1 == 0), 1) >= limit)


def argo(arms: Arms, threshold: float, minutes: int, failure_limit: int) -> Array:
    """A measurement over each `minutes`."""
    bad = _bad(block_sums(arms.x1, minutes), block_sums(arms.n1, minutes), threshold)
    return first(np.cumsum(bad, 1) > failure_limit) * minutes


def z_test(arms: Arms, looks: Sequence[int] | None = None) -> Array:
    """At every minute, or only after those of `looks`; from 5 errors on."""
    x1, n1, x0, n0 = (np.cumsum(each, 1) for each in arms.each())
    with np.errstate(all="ignore"):
        pooled = (x1 + x0) / (n1 + n0)
        z = (x1 / n1 - x0 / n0) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    high = (np.nan_to_num(z) > norm.isf(ALPHA)) & (x1 + x0 >= 5)
    if looks is not None:
        high &= np.isin(np.arange(1, high.shape[1] + 1), looks)
    return first(high)


def restart_threshold(arms: Arms, limit: int = 3, minutes: int = 60) -> Array:
    """More than `limit` restarts within `minutes`."""
    so_far = np.cumsum(arms.x1, 1)
    before = np.pad(so_far, ((0, 0), (minutes, 0)))[:, : so_far.shape[1]]
    return first(so_far - before > limit)


def _bad(events: Array, requests: Array, threshold: float) -> Array:
    return (requests > 0) & (1 - events / np.maximum(requests, 1) < threshold)


def _first_high(candidate: Array, baseline: Array, looks: Sequence[int]) -> float:
    path = _growing(candidate, baseline)
    for look in looks:
        if path[look - 1] > Z98 - 1e-9 and _high(candidate[:look], baseline[:look]):
            return float(look)
    return math.inf


def _high(x: Array, y: Array) -> bool:
    """Kayenta's word for an interval that lies above no change, by a quarter of the effect at least."""
    if np.array_equal(np.sort(x), np.sort(y)):
        return False
    lowest, highest = x.min() - y.max(), x.max() - y.min()
    if lowest == highest:
        return False
    estimate, low = (_shift(x, y, quantile, lowest, highest) for quantile in (0.0, Z98))
    if not low > 0.25 * abs(estimate):
        return False
    means = x.mean(), y.mean()
    return bool(0 in means or means[0] / means[1] >= 1)  # the effect size is skipped where it is undefined


def _shift(x: Array, y: Array, quantile: float, lowest: float, highest: float) -> float:
    """The shift of x at which the rank sum stands at `quantile`."""
    if not _rank_sum(lowest, x, y, quantile) > 0:
        return lowest
    if not _rank_sum(highest, x, y, quantile) < 0:
        return highest
    return float(brentq(_rank_sum, lowest, highest, args=(x, y, quantile), xtol=1e-4))


def _rank_sum(shift: float, x: Array, y: Array, quantile: float) -> float:
    """Standardised, continuity-corrected rank sum of x − shift against y, less `quantile`."""
    m, n = len(x), len(y)
    values = np.concatenate([x - shift, y])
    above = rankdata(values)[:m].sum() - m * (m + 1) / 2 - m * n / 2
    ties = np.unique(values, return_counts=True)[1].astype(float)
    variance = m * n / 12 * ((m + n + 1) - (ties**3 - ties).sum() / ((m + n) * (m + n - 1)))
    return (
        float((above - 0.5 * np.sign(above)) / math.sqrt(variance) - quantile) if variance > 0 else math.nan
    )


def _growing(x: Array, y: Array) -> Array:
    """The rank sum at no shift for every growing window at once: skips the looks that cannot be high."""
    n = len(x)
    wins = 0.5 * (1 + np.sign(x[:, None] - y[None, :]))
    u = np.cumsum(np.tril(wins).sum(1) + np.triu(wins, 1).sum(0))
    both = np.empty(2 * n)
    both[0::2], both[1::2] = x, y
    order = np.argsort(both, kind="stable")
    ordered = both[order]
    begins = np.r_[True, ordered[1:] != ordered[:-1]]
    place = np.arange(2 * n)
    earlier = np.empty(2 * n)  # equal values before this one: c³ − c grows by 3e² + 3e with each
    earlier[order] = place - np.maximum.accumulate(np.where(begins, place, 0))
    ties = np.cumsum(3 * earlier * earlier + 3 * earlier)[1::2]
    k = np.arange(1.0, n + 1)
    above = u - k * k / 2
    variance = k * k / 12 * ((2 * k + 1) - ties / np.maximum(2 * k * (2 * k - 1), 1))
    with np.errstate(all="ignore"):
        return (above - 0.5 * np.sign(above)) / np.sqrt(variance)
