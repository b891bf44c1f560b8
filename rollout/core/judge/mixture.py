"""A test martingale that can start late: a weighted mixture over bets and over restarts, declared in advance.

Harm may begin hours after promotion, when a plain e-process has sunk so low that it would need as long again
to climb back. So a tenth of each test's weight is kept to start it afresh at every later block, in equal
parts over the horizon of the plan (its bakes and its watch). A part that has not started counts as 1, so
the whole keeps a mean of at most 1 when nothing changed (a weighted form of the Shiryaev-Roberts e-detector;
Shin, Ramdas, Rinaldo 2023, arXiv 2203.03532). It costs ln(1/0.9) = 0.1 nats for harm from the start and
ln(10 · blocks) nats, about 8 for 6 h of minutes, for harm that begins late. The state stays constant: all
starts of one bet share one log sum.

Every function works on one stream or on thousands: leading axes are streams, the last one is bets.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollout.core.plan import Plan
from rollout.core.policy import Bake

Floats = NDArray[np.float64]

FIRST = 0.9  # of the weight starts with the first block
FAR = 700.0  # nats; further out exp() would leave the range of float64


def horizon(plan: Plan, block: float) -> int:
    """For how many blocks of these seconds restarts are declared: bakes at their longest, and the watch."""
    bakes = sum(step.max for stage in plan.stages for step in stage.steps if isinstance(step, Bake))
    return max(1, math.ceil((bakes + plan.watch_s) / block))


def start(streams: tuple[int, ...], bets: int) -> Floats:
    """The log sums of a test before its first block."""
    return np.full((*streams, bets), math.log(FIRST))


def bet(logs: Floats, closed: Any, factors: Floats, blocks: Any) -> Floats:
    """The log sums after one more block, whose log factors are `factors`; `closed` blocks came before."""
    late = (np.asarray(closed) > 0) & (np.asarray(closed) <= blocks)
    joining = np.where(late, np.log((1 - FIRST) / np.asarray(blocks)), -np.inf)[..., None]
    after: Floats = np.clip(np.logaddexp(logs, joining) + factors, -FAR, FAR)
    return after


def log_e(logs: Floats, weights: Floats, started: Any, blocks: Any) -> Floats:
    """The log e-value of the whole mixture, with the parts that have not started at 1.

    `started` is how many blocks have been bet on, the open one included; 0 means 1 for the whole.
    """
    bets = np.asarray(started)
    kept = (1 - FIRST) * (1 - np.minimum(np.maximum(bets - 1, 0), blocks) / blocks)
    with np.errstate(divide="ignore"):
        whole = np.logaddexp(log_mean(logs, weights), np.log(kept))
    value: Floats = np.where(bets > 0, whole, 0.0)
    return value


def log_mean(logs: Any, weights: Any) -> Floats:
    """Log of the weighted mean of exp(logs) over the last axis; the weights sum to 1."""
    values = np.asarray(logs, dtype=np.float64)
    top = values.max(axis=-1)
    mean: Floats = top + np.log((np.exp(values - top[..., None]) * weights).sum(axis=-1))
    return mean
