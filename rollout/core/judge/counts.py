"""How events split between candidate and baseline, given how much each was exposed.

Given the events N of a block, those of the candidate are Binomial(N, n1 / (n1 + n0)) when nothing changed,
whatever intensity both share. Two tests bet on it: a one-sided likelihood ratio against a grid of rises,
tempered by the over-dispersion of history; and a sign test on studentised differences, which stands any
over-dispersion but is exact only where the candidate has no more exposure than the baseline.

Over-dispersion grows with the events of a block: two arms whose rates wobble by themselves split N events as
a beta-binomial does, with variance N·p(1-p)·(1 + (N-1)·rho). So a loud block is tempered more than a quiet
one (quasi-likelihood: Wedderburn 1974; Williams 1982 for the binomial).

Every function works on one stream or on thousands: arguments broadcast, the last axis of a result is bets.
"""

import math
from typing import Any

import numpy as np

from rollout.core.judge.mixture import Floats

# Steps of 1.25 to 2 apart lose little against the best bet, and fewer bets share the weight. Most weight is
# on doublings and triplings, which is what tolerances say; rises beyond 15 fill the cap of a block anyway.
RISES = np.array([1.25, 1.5, 2.0, 3.0, 6.0, 15.0])
RISE_WEIGHTS = np.array([0.10, 0.20, 0.25, 0.25, 0.15, 0.05])
SHIFTS = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])  # of the studentised difference, in standard deviations
SHIFT_WEIGHTS = np.full(6, 1 / 6)
STEPS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # of a level, in standard deviations of its forecast
STEP_WEIGHTS = np.full(5, 1 / 5)
DEGREES = 4.0
CAP = math.log(5)  # nats that one block may be worth, so that it takes four to decide
HALF = 0.55  # the sign test bets up to this share: half, and the scatter of one block's traffic around it
MEMORY = 0.95  # of the usual rate, from one block to the next: it follows the day
RULED_OUT_MOST = 6.0  # nats kept at most, so that a pass is taken back soon after harm begins


def tempering(events: Any, rho: Any, psi: Any) -> Floats:
    """By how much the variance of a block with so many events exceeds the binomial one."""
    factor: Floats = (1 + np.maximum(np.asarray(events) - 1, 0) * rho) * psi
    return factor


def split_logs(x1: Any, n1: Any, x0: Any, n0: Any, temper: Any) -> Floats:
    """Log factors of the likelihood ratio of one block, one for each of RISES; 0 without both exposures."""
    x1, n1, x0, n0, temper = (
        np.asarray(each, dtype=np.float64)[..., None] for each in (x1, n1, x0, n0, temper)
    )
    told = (n1 > 0) & (n0 > 0)
    both, risen = np.where(told, n1 + n0, 1.0), np.where(told, RISES * n1 + n0, 1.0)
    shared = np.log(both / risen)
    logs: Floats = np.where(told, (x1 * (_LOG_RISES + shared) + x0 * shared) / temper, 0.0)
    return logs


_LOG_RISES = np.log(RISES)


def sign_logs(x1: Any, n1: Any, x0: Any, n0: Any, rate: Any, rho: Any) -> Floats:
    """Log factors of the sign test of one block, one for each of SHIFTS: at most ln 2 each.

    `rate` is what was usual before this block. Studentising by the block's own events would lean towards
    harm wherever the baseline is the larger and noisy: its quiet blocks would count for more than its loud.
    """
    x1, n1, x0, n0, rate = (np.asarray(each, dtype=np.float64) for each in (x1, n1, x0, n0, rate))
    both = n1 + n0
    told = (n1 > 0) & (n0 > 0) & (n1 <= HALF * both) & (rate > 0) & (x1 + x0 > 0)
    safe1, safe0 = np.where(told, n1, 1.0), np.where(told, n0, 1.0)
    variance = np.where(told, rate, 1.0) * (1 / safe1 + 1 / safe0) * (1 + rate * both * rho)
    z = np.where(told, (x1 / safe1 - x0 / safe0) / np.sqrt(variance), 0.0)
    return shift_logs(z)


def shift_logs(z: Any) -> Floats:
    """Log factors of a bet that a difference in standard deviations, symmetric about 0, is above 0.

    log(1 + tanh(d·z)): the exact likelihood ratio against a normal shift by d, given |z|.
    """
    logs: Floats = np.log1p(np.clip(np.tanh(SHIFTS * np.asarray(z)[..., None]), -1 + 1e-9, 1))
    return logs


def student_logs(z: Any) -> Floats:
    """Log likelihood ratios of a shift by one of STEPS against none, where noise is Student's t(4).

    For forecasts, whose scale is known from trials. Tails as heavy as t(4) keep one outlier from deciding.
    """
    seen = np.clip(np.asarray(z, dtype=np.float64), -STEPS[-1], STEPS[-1])[..., None]
    shifted = np.log1p((seen - STEPS) ** 2 / DEGREES)
    logs: Floats = (DEGREES + 1) / 2 * (np.log1p(seen**2 / DEGREES) - shifted)
    return logs


def rule_out_logs(x1: Any, n1: Any, x0: Any, n0: Any, lift: Any, temper: Any) -> Floats:
    """Log factor of "no rise" against "a rise by `lift` or more". A greater rise only lowers it."""
    x1, n1, x0, n0 = (np.asarray(each, dtype=np.float64) for each in (x1, n1, x0, n0))
    told = (n1 > 0) & (n0 > 0)
    both, risen = np.where(told, n1 + n0, 1.0), np.where(told, lift * n1 + n0, 1.0)
    shared = np.log(risen / both)
    logs: Floats = np.where(told, (x1 * (shared - np.log(lift)) + x0 * shared) / temper, 0.0)
    return logs


def ambient(sums: Floats, usual: Any) -> Floats:
    """Events that a block with these exposures has at the usual rate, or at the lower rate of its two arms.

    `sums` has x1, n1, x0, n0 first on its last axis.
    """
    x1, n1, x0, n0 = (sums[..., place] for place in range(4))
    told = (n1 > 0) & (n0 > 0)
    lower = np.where(told, np.minimum(x1 / np.where(told, n1, 1.0), x0 / np.where(told, n0, 1.0)), 0.0)
    events: Floats = np.maximum(lower, usual) * (n1 + n0)
    return events
