"""How sure a measured figure is, and the floors that no judge can be faster than.

All bounds are one-sided 95 % bounds.
"""

import math

import numpy as np
from scipy.stats import beta, binom, invgauss

Array = np.ndarray
SURE = 0.95


def share_bounds(hits: int, runs: int) -> tuple[float, float]:
    """Clopper–Pearson: the lower and the upper 95 % bound of a share, exact whatever the true share is."""
    if runs == 0:
        return 0.0, 1.0
    low = float(beta.ppf(1 - SURE, hits, runs - hits + 1)) if hits else 0.0
    high = float(beta.ppf(SURE, hits + 1, runs - hits)) if hits < runs else 1.0
    return low, high


def median_bounds(values: Array) -> tuple[float, float]:
    """Order statistics below and above the median of the population, each with 95 %; inf is a value."""
    ordered = np.sort(values)
    place = int(binom.ppf(1 - SURE, len(ordered), 0.5)) - 1  # P(fewer than so many lie below) <= 5 %
    if place < 0:
        return -math.inf, math.inf
    return float(ordered[place]), float(ordered[len(ordered) - 1 - place])


def ratio_floor(base: Array, lift: float, rpm: float, share: float = 0.5, alpha: float = 0.01) -> Array:
    """Minutes below which no test sees `base` rise by `lift` on average: log(1/alpha) over the information.

    Both arms are unknown and get 2 × `rpm` requests a minute together (Wald and Lorden, two samples).
    """
    risen, weight = base * lift, np.array([share, 1 - share])
    middle = weight[0] * risen + weight[1] * base
    told = 2 * rpm * (weight[0] * risen * np.log(risen / middle) + weight[1] * base * np.log(base / middle))
    return math.log(1 / alpha) / told


def restart_floor(rate: float, lift: float, instances: int, alpha: float = 0.01) -> float:
    """Minutes below which no test sees a known `rate` per instance-hour rise by `lift` on average."""
    return 60 * math.log(1 / alpha) / (rate * instances * (lift * math.log(lift) - lift + 1))


def need_ceiling(error: float) -> float:
    """The most that any said need can be within a factor of two of, for a test that rules out at `error`.

    The log e-value of a good test walks with a drift m and, being a likelihood ratio, a variance of 2 m. So
    the exposure until it has climbed log(1/error) is inverse Gaussian, with a squared deviation of
    2 / log(1/error) means, however well the traffic and the rate are known before.
    """
    shape = math.log(1 / error) / 2
    taken = invgauss(1 / shape, scale=shape)  # in means
    said = np.linspace(0.05, 2.0, 400)
    return float((taken.cdf(2 * said) - taken.cdf(said / 2)).max())
