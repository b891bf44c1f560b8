"""The tests on counts and rates: fair when nothing changed, and quick when something did."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.judge import counts, mixture, rates
from rollout.core.judge.state import CheckState

BLOCKS = 60


def many_e(rng: np.random.Generator, kind: str, runs: int, *, lift: float = 1.0) -> list[float]:
    """e-values of `runs` tests after BLOCKS blocks."""
    found = []
    for _ in range(runs):
        state = CheckState(rate_high=2.0)
        for _ in range(BLOCKS):
            if kind == "ratio":
                counts.bet(state, [*_arm(rng, 60, 0.02 * lift), *_arm(rng, 70, 0.02)], 2.0, BLOCKS)
            else:
                one, other = float(rng.poisson(2.0 * 0.1 * lift)), float(rng.poisson(2.0 * 0.2))
                rates.bet(state, [one, 0.1, other, 0.2], 5.0, BLOCKS)
        tests = ("split", "sign") if kind == "ratio" else ("split", "own")
        found.append(math.exp(counts.log_e(state, tests, BLOCKS)))
    return found


def _arm(rng: np.random.Generator, mean: float, p: float) -> tuple[float, float]:
    n = max(1, int(rng.poisson(mean)))
    return float(rng.binomial(n, p)), float(n)


@pytest.mark.parametrize("kind", ["ratio", "rate"])
def test_the_mean_e_value_is_at_most_one_when_nothing_changed(kind):
    found = np.array(many_e(np.random.default_rng(5), kind, 400))
    assert found.mean() <= 1 + 3 * found.std() / math.sqrt(len(found))
    assert (found >= 20).mean() <= 0.05


@pytest.mark.parametrize("kind", ["ratio", "rate"])
def test_the_e_value_grows_when_the_candidate_is_five_times_as_bad(kind):
    found = np.array(many_e(np.random.default_rng(6), kind, 20, lift=5.0))
    assert (np.log(found) > math.log(100)).mean() >= 0.9


@given(
    x=st.integers(0, 300),
    n1=st.floats(0.1, 1e6),
    n0=st.floats(0.1, 1e6),
    phi=st.floats(1, 20),
)
def test_the_tempered_ratio_of_any_block_has_a_mean_of_at_most_one(x, n1, n0, phi):
    share = n1 / (n1 + n0)
    k = np.arange(x + 1)
    weight = [math.lgamma(x + 1) - math.lgamma(i + 1) - math.lgamma(x - i + 1) for i in k]
    chance = np.exp(weight + k * math.log(share) + (x - k) * math.log(1 - share))
    for rise in range(len(counts.RISES)):
        factors = [counts.split_factors([float(i), n1, float(x - i), n0], phi)[rise] for i in k]
        assert float(chance @ np.exp(factors)) <= 1 + 1e-6


@given(
    x=st.integers(0, 200),
    n1=st.floats(0.1, 1e6),
    n0=st.floats(0.1, 1e6),
    lift=st.floats(1.05, 50),
    phi=st.floats(1, 20),
)
def test_evidence_against_harm_has_a_mean_of_at_most_one_when_the_harm_is_there(x, n1, n0, lift, phi):
    share = lift * n1 / (lift * n1 + n0)
    k = np.arange(x + 1)
    weight = [math.lgamma(x + 1) - math.lgamma(i + 1) - math.lgamma(x - i + 1) for i in k]
    chance = np.exp(weight + k * math.log(share) + (x - k) * math.log1p(-share))
    factors = [counts.rule_out_factor([float(i), n1, float(x - i), n0], lift, phi) for i in k]
    assert float(chance @ np.exp(factors)) <= 1 + 1e-6


@given(z=st.floats(0, 50), rate=st.floats(1e-4, 1.0), scale=st.floats(1, 5))
def test_the_sign_test_is_fair_for_any_symmetric_difference(z, rate, scale):
    def factor(gap):
        return np.exp(counts.sign_factors([50 + gap, 500.0, 50 - gap, 500.0], rate, scale))

    assert np.allclose((factor(z) + factor(-z)) / 2, 1, atol=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_a_larger_noisy_baseline_does_not_lean_the_sign_test_towards_harm(share):
    rng, found = np.random.default_rng(7), []
    n1, n0 = 1200 * share, 1200 * (1 - share)
    for one, other in rng.gamma(4, 0.25, (20_000, 2)):
        x1, x0 = float(rng.poisson(0.005 * n1 * one)), float(rng.poisson(0.005 * n0 * other))
        found.append(np.exp(counts.sign_factors([x1, n1, x0, n0], 0.005, 1.2)))
    blocks = np.array(found)
    assert (blocks.mean(axis=0) <= 1 + 3 * blocks.std(axis=0) / math.sqrt(len(blocks))).all()


def test_one_block_is_worth_at_most_its_cap():
    flood = [10_000.0, 10_000.0, 0.0, 10_000.0]
    assert counts.split_factors(flood, 1.0).max() == pytest.approx(math.log(3))
    assert counts.sign_factors(flood, 0.01, 1.0).max() <= math.log(2) + 1e-12
    assert rates.own_factors(flood, 1e-6, 1.0).max() == pytest.approx(math.log(20))


def test_above_half_of_the_traffic_the_sign_test_stops_betting():
    state = CheckState(pool=[5.0, 500.0])
    counts.bet(state, [5.0, 100.0, 0.0, 100.0], 2.0, BLOCKS)
    frozen = list(state.logs["sign"])
    counts.bet(state, [5.0, 300.0, 0.0, 100.0], 2.0, BLOCKS)
    assert state.logs["sign"] == frozen
    assert state.bets == {"split": 2, "sign": 1}


def test_without_history_of_a_rate_its_own_test_stays_at_one():
    state = CheckState(rate_high=None)
    for _ in range(20):
        rates.bet(state, [1.0, 0.1, 0.0, 0.1], 5.0, BLOCKS)
    assert "own" not in state.logs
    split = mixture.log_e(state.logs["split"], state.bets["split"], BLOCKS)
    assert math.exp(counts.log_e(state, ("split", "own"), BLOCKS)) == pytest.approx((math.exp(split) + 1) / 2)


def test_harm_that_begins_after_hours_is_found_within_minutes_of_what_early_harm_takes():
    def blocks_until(quiet: int) -> int:
        state = CheckState()
        for _ in range(quiet):
            counts.bet(state, [3.0, 600.0, 3.0, 600.0], 2.0, 720)
        for block in range(500):
            counts.bet(state, [9.0, 600.0, 3.0, 600.0], 2.0, 720)
            if counts.log_e(state, ("split", "sign"), 720) >= math.log(111):
                return block
        raise AssertionError("never found")

    assert blocks_until(600) - blocks_until(0) <= 15


def test_a_mixture_that_never_bets_is_one_and_months_do_not_overflow():
    logs = mixture.start(2)
    assert mixture.log_e(logs, 0, 10) == 0.0
    for bets in range(5000):
        logs = mixture.bet(logs, bets, np.array([5.0, -5.0]), 10)
    assert np.isfinite(mixture.log_e(logs, 5000, 10))
    assert max(logs) == mixture.FAR
    assert min(logs) == -mixture.FAR


def test_the_restart_weights_sum_to_one():
    logs, fair = mixture.start(3), np.zeros(3)
    for bets in range(25):
        logs = mixture.bet(logs, bets, fair, 10)
        assert mixture.log_e(logs, bets + 1, 10) == pytest.approx(0.0, abs=1e-12)


def test_evidence_against_harm_is_kept_low_enough_to_be_taken_back():
    state = CheckState()
    for _ in range(1000):
        counts.bet(state, [3.0, 600.0, 3.0, 600.0], 2.0, BLOCKS)
    assert state.ruled_out["split"] == counts.RULED_OUT_MOST
    for _ in range(10):
        counts.bet(state, [12.0, 600.0, 3.0, 600.0], 2.0, BLOCKS)
    assert state.ruled_out["split"] < math.log(20)
