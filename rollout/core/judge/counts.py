"""Tests on how events split between candidate and baseline, given how much each was exposed.

Given the events N of a block, those of the candidate are Binomial(N, n1 / (n1 + n0)) when nothing changed,
whatever intensity both share. Two tests bet on it, and the judge takes their mean: a one-sided likelihood
ratio against a grid of rises, tempered by the over-dispersion of history and capped per block; and a sign
test on studentised differences, which stands any over-dispersion but is exact only where the candidate has no
more exposure than the baseline.
"""

import math

import numpy as np

from rollout.core.judge import mixture
from rollout.core.judge.mixture import Floats
from rollout.core.judge.state import CheckState

RISES = np.array([1.15, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10, 20, 50])
SHIFTS = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])  # of the studentised difference, in standard deviations
CAP = math.log(3)  # nats that one block may be worth: no single block decides
HALF = 0.55  # the sign test bets up to this share: half, and the scatter of one block's traffic around it
MEMORY = 0.95  # of the usual rate, from one block to the next: it follows the day
RULED_OUT_MOST = 6.0  # nats kept at most, so that a pass is taken back soon after harm begins


def split_factors(sums: list[float], phi: float, cap: float = CAP) -> Floats:
    """Log factors of the likelihood ratio of one block, one for each of RISES. Needs both exposures > 0."""
    x1, n1, x0, n0 = sums
    both, risen = n1 + n0, RISES * n1 + n0
    logs = (x1 * np.log(RISES * both / risen) + x0 * np.log(both / risen)) / phi
    capped: Floats = np.minimum(logs, cap)
    return capped


def sign_factors(sums: list[float], rate: float, scale: float) -> Floats:
    """Log factors of the sign test of one block, one for each of SHIFTS: at most ln 2 each.

    `rate` is what was usual before this block. Studentising by the block's own events would lean towards
    harm wherever the baseline is the larger and noisy: its quiet blocks would count for more than its loud.
    """
    x1, n1, x0, n0 = sums
    z = (x1 / n1 - x0 / n0) / math.sqrt(rate * (1 / n1 + 1 / n0)) / scale
    logs: Floats = np.log1p(np.clip(np.tanh(SHIFTS * z), -1 + 1e-9, 1))
    return logs


def usual_rate(pool: list[float]) -> float | None:
    """Events per exposure, and half an event more, of the blocks before; None before there were any."""
    return (pool[0] + 0.5) / pool[1] if pool[1] > 0 else None


def pooled(pool: list[float], events: float, exposure: float) -> list[float]:
    """The usual rate's sums after one more block of both versions."""
    return [MEMORY * pool[0] + events, MEMORY * pool[1] + exposure]


def rule_out_factor(sums: list[float], lift: float, phi: float) -> float:
    """Log factor of "no rise" against "a rise by `lift` or more", capped. A greater rise only lowers it."""
    x1, n1, x0, n0 = sums
    both, risen = n1 + n0, lift * n1 + n0
    return min((x1 * math.log(risen / (lift * both)) + x0 * math.log(risen / both)) / phi, CAP)


def place(state: CheckState, test: str, factors: Floats, blocks: int) -> None:
    """Bet one block of `test`."""
    logs = state.logs.get(test) or mixture.start(len(factors))
    bets = state.bets.get(test, 0)
    state.logs[test] = mixture.bet(logs, bets, factors, blocks)
    state.bets[test] = bets + 1


def rule_out(state: CheckState, test: str, factor: float) -> None:
    """Add to the evidence against harm of the tolerance."""
    total = state.ruled_out.get(test, 0.0) + factor
    state.ruled_out[test] = min(max(total, -mixture.FAR), RULED_OUT_MOST)


def comparable(sums: list[float]) -> bool:
    """Whether a block can tell the two apart: both were exposed, and something happened."""
    x1, n1, x0, n0 = sums
    return n1 > 0 and n0 > 0 and x1 + x0 > 0


def bet(state: CheckState, sums: list[float], tolerance: float, blocks: int) -> None:
    """Bet one block of a ratio signal."""
    if comparable(sums):
        _bet(state, sums, tolerance, blocks)
    state.pool = pooled(state.pool, sums[0] + sums[2], sums[1] + sums[3])


def _bet(state: CheckState, sums: list[float], tolerance: float, blocks: int) -> None:
    place(state, "split", split_factors(sums, state.phi), blocks)
    rate = usual_rate(state.pool)
    if rate is not None and sums[1] / (sums[1] + sums[3]) <= HALF:
        place(state, "sign", sign_factors(sums, rate, state.scale), blocks)
    rule_out(state, "split", rule_out_factor(sums, tolerance, state.phi))


def log_e(state: CheckState, tests: tuple[str, str], blocks: int) -> float:
    """The log of the mean of two tests; one that never bet counts as 1."""
    return mixture.log_mean(
        [mixture.log_e(state.logs.get(test, []), state.bets.get(test, 0), blocks) for test in tests]
    )
