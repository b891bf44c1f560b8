"""A test martingale that can start late: a weighted mixture over restarts, declared in advance.

Harm may begin hours after promotion, when a plain e-process has sunk so low that it would need as long again
to climb back. So a fifth of each test's weight is kept to start it afresh at every later block, in equal
parts over the horizon of the plan (its bakes and its watch). A part that has not started counts as 1, so
the whole keeps a mean of at most 1 when nothing changed. It costs ln(1/0.8) = 0.2 nats for harm from the
start and ln(5 · blocks) nats, about 7.5 for 6 h of minutes, for harm that begins late. The state stays
constant: all starts of one bet share one log sum.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollout.core.plan import Plan
from rollout.core.policy import Bake

Floats = NDArray[np.float64]

FIRST = 0.8  # of the weight starts with the first block
FAR = 700.0  # nats; further out exp() would leave the range of float64


def horizon(plan: Plan) -> int:
    """For how many blocks restarts are declared: every bake at its longest, and the watch."""
    bakes = sum(step.max for stage in plan.stages for step in stage.steps if isinstance(step, Bake))
    return max(1, math.ceil((bakes + plan.watch_s) / plan.judging.block))


def start(size: int) -> list[float]:
    """The log sums of a test of `size` bets before its first block."""
    return [math.log(FIRST)] * size


def bet(logs: list[float], bets: int, factors: Floats, blocks: int) -> list[float]:
    """The log sums after one more block, whose log factors are `factors`; `bets` blocks came before."""
    held = np.asarray(logs)
    if 0 < bets <= blocks:
        held = np.logaddexp(held, math.log((1 - FIRST) / blocks))
    after: list[float] = np.clip(held + factors, -FAR, FAR).tolist()
    return after


def log_e(logs: list[float], bets: int, blocks: int) -> float:
    """The log e-value of the whole mixture, with the parts that have not started at 1."""
    if bets == 0:
        return 0.0
    started = log_mean(np.asarray(logs))
    kept = (1 - FIRST) * (1 - min(bets - 1, blocks) / blocks)
    return float(np.logaddexp(started, math.log(kept))) if kept > 0 else started


def log_mean(logs: Any, weights: Any = None) -> float:
    """Log of the weighted mean of exp(logs); equal weights unless given (they need not sum to 1)."""
    values = np.asarray(logs, dtype=np.float64)
    shares = np.full(values.shape, 1 / values.size) if weights is None else np.asarray(weights)
    top = float(values.max())
    return top + math.log(float((shares * np.exp(values - top)).sum()))
