"""Tests on events per instance-hour, such as restarts, where there is no count of chances to fail.

The judge takes the mean of two: events of the candidate against the upper bound of the region's own history
(one sample), and their split between candidate and baseline (two samples, as in counts.py). Without history
the first stays at 1 and is mixed in as that.
"""

import math

import numpy as np

from rollout.core.judge import counts
from rollout.core.judge.counts import RISES
from rollout.core.judge.mixture import Floats
from rollout.core.judge.state import CheckState

# nats that one block may be worth: one host that falls with all its instances is no verdict
CAP = math.log(20)


def own_factors(sums: list[float], rate: float, phi: float) -> Floats:
    """Log factors of one block against a known `rate` per instance-hour, one for each of RISES."""
    logs = (sums[0] * np.log(RISES) - rate * sums[1] * (RISES - 1)) / phi
    capped: Floats = np.minimum(logs, CAP)
    return capped


def own_rule_out_factor(sums: list[float], mean: float, harm: float, phi: float) -> float:
    """Log factor of the rate of history `mean` against the rate `harm` or more, capped. Needs mean < harm."""
    return min((sums[0] * math.log(mean / harm) + (harm - mean) * sums[1]) / phi, counts.CAP)


def bet(state: CheckState, sums: list[float], tolerance: float, blocks: int) -> None:
    """Bet one block of a rate signal."""
    if state.rate_high is not None and sums[1] > 0:
        counts.place(state, "own", own_factors(sums, state.rate_high, state.phi), blocks)
        harm = tolerance * state.rate_low  # against the low end of history: a pass must not rest on its luck
        if harm > state.rate_mean:
            factor = own_rule_out_factor(sums, state.rate_mean, harm, state.phi)
            counts.rule_out(state, "own", factor)
    if counts.comparable(sums):
        counts.place(state, "split", counts.split_factors(sums, state.phi, CAP), blocks)
        counts.rule_out(state, "split", counts.rule_out_factor(sums, tolerance, state.phi))
