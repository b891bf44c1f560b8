"""Events whose usual rate is known from before: restarts per instance-hour, or failures against a forecast.

`joint_logs`: history counts as more of the baseline. With a Gamma(a, T) belief about the usual rate (a events
in T hours of history, and of the baseline beside it since), the candidate's events under "risen by r" against
"not risen" have the ratio r^X · ((T+N) / (T+r·N))^(X+a): the Gamma-Poisson Bayes factor. It is a martingale
when nothing changed and the belief is right; what history does not know, it does not claim.

`forecast_logs`: a rate that moves with the time of day is forecast, and the candidate is compared with it.
"""

import math
from typing import Any

import numpy as np

from rollout.core.judge.mixture import Floats

RISES = np.array([1.5, 2.0, 3.0, 5.0, 10.0, 30.0])  # rare events: small rises take weeks, loops are large
RISE_WEIGHTS = np.array([0.15, 0.20, 0.20, 0.20, 0.15, 0.10])
# nats that one block may be worth: one host that falls with all its instances is no verdict
CAP = math.log(20)


def joint_logs(x1: Any, n1: Any, x0: Any, n0: Any, *, falls: bool = False) -> Floats:
    """Log e-values of ALL events so far, one for each of RISES; `x0`, `n0` include history."""
    x1, n1, x0, n0 = (np.asarray(each, dtype=np.float64)[..., None] for each in (x1, n1, x0, n0))
    times = 1 / RISES if falls else RISES
    told = n0 > 0
    known, risen = np.where(told, n0 + n1, 1.0), np.where(told, n0 + times * n1, 1.0)
    logs: Floats = np.where(told, x1 * np.log(times) + (x1 + x0) * np.log(known / risen), 0.0)
    return logs


def joint_rule_out_logs(x1: Any, n1: Any, x0: Any, n0: Any, lift: Any) -> Floats:
    """Log e-value of ALL events so far for "no rise" against "risen by `lift`"."""
    x1, n1, x0, n0 = (np.asarray(each, dtype=np.float64) for each in (x1, n1, x0, n0))
    told = n0 > 0
    known, risen = np.where(told, n0 + n1, 1.0), np.where(told, n0 + lift * n1, 1.0)
    logs: Floats = np.where(told, -(x1 * np.log(lift) + (x1 + x0) * np.log(known / risen)), 0.0)
    return logs


def forecast_logs(x1: Any, expected: Any, temper: Any, *, falls: bool = False) -> Floats:
    """Log factors of one block against so many expected events, one for each of RISES (Poisson)."""
    x1, expected, temper = (np.asarray(each, dtype=np.float64)[..., None] for each in (x1, expected, temper))
    times = 1 / RISES if falls else RISES
    logs: Floats = (x1 * np.log(times) - expected * (times - 1)) / temper
    return logs


def forecast_rule_out_logs(x1: Any, expected: Any, lift: Any, temper: Any) -> Floats:
    """Log factor of the forecast against `lift` times as much or more."""
    logs: Floats = (np.asarray(expected) * (np.asarray(lift) - 1) - np.asarray(x1) * np.log(lift)) / temper
    return logs
