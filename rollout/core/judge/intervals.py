"""How the ratio of candidate to baseline may be, at 95 %, at every look at once.

All ratios that a test has not rejected: for each, the likelihood of how the events split, against a mixture
of higher and lower ratios, is an e-process, and a ratio is out once it exceeds 1/0.05 (a confidence sequence
by the mixture method: Robbins 1970; for counts Lindon and Malek 2022, arXiv 2011.03567). It is tempered like
the tests are. It is an interval for people; what acts is the e-value of the tests.
"""

import math
from collections.abc import Sequence

import numpy as np

from rollout.core.judge import mixture
from rollout.core.judge.counts import RISES

ALPHA = 0.05
RATIOS = np.exp(np.linspace(math.log(1e-3), math.log(1e3), 481))  # 3 % apart
BETS = np.concatenate([1 / RISES[::-1], RISES])


def ratio_interval(sums: Sequence[float], temper: float, looks: int = 1) -> tuple[float, float] | None:
    """Low and high of candidate over baseline from [x1, n1, x0, n0]; None without exposure or events.

    `looks` is over how many starting points the window was chosen: a rise that began late is looked for in
    retrospect, so its error is shared by them (union bound). High is inf without an event of the baseline.
    """
    x1, n1, x0, n0 = sums[:4]
    if n1 <= 0 or n0 <= 0 or x1 + x0 <= 0:
        return None
    expected = RATIOS[:, None] * n1
    moved = BETS * expected
    logs = x1 * np.log(BETS * (expected + n0) / (moved + n0)) + x0 * np.log((expected + n0) / (moved + n0))
    against = mixture.log_mean(logs / temper, np.full(len(BETS), 1 / len(BETS)))
    left = RATIOS[against < math.log(max(1, looks) / ALPHA)]
    if not len(left):  # between two of the ratios that were tried
        estimate = float(x1 / n1 * n0 / x0) if x0 > 0 else math.inf
        return estimate, estimate
    low = 0.0 if x1 <= 0 or left[0] <= RATIOS[0] else float(left[0])
    high = math.inf if x0 <= 0 or left[-1] >= RATIOS[-1] else float(left[-1])
    return low, high
