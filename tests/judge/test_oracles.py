"""The judge's arithmetic against scipy's, and its delay against savvi's sequential test. Tests only."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from rollout.core.judge import counts, needed_requests, noise, rates, sequential, streams
from rollout.core.judge.intervals import ratio_interval
from rollout.core.judge.sequential import Terms

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its solver, which is not used here
    from savvi.multinomial import Multinomial

SURE = settings(derandomize=True, deadline=None, max_examples=60)
exposures = st.floats(0.5, 1e5)


@SURE
@given(x1=st.integers(0, 400), x0=st.integers(0, 400), n1=exposures, n0=exposures)
def test_a_split_is_the_binomial_likelihood_ratio_given_all_events(x1, x0, n1, n0):
    events = x1 + x0
    risen = counts.RISES * n1 / (counts.RISES * n1 + n0)
    oracle = stats.binom.logpmf(x1, events, risen) - stats.binom.logpmf(x1, events, n1 / (n1 + n0))
    assert counts.split_logs(x1, n1, x0, n0, 1.0) == pytest.approx(oracle, rel=1e-7, abs=1e-6)


@SURE
@given(x1=st.integers(0, 400), x0=st.integers(0, 400), n1=exposures, n0=exposures, lift=st.floats(1.1, 50))
def test_what_rules_a_rise_out_is_the_same_ratio_the_other_way(x1, x0, n1, n0, lift):
    events = x1 + x0
    share, risen = n1 / (n1 + n0), lift * n1 / (lift * n1 + n0)
    oracle = stats.binom.logpmf(x1, events, share) - stats.binom.logpmf(x1, events, risen)
    assert counts.rule_out_logs(x1, n1, x0, n0, lift, 1.0) == pytest.approx(oracle, rel=1e-7, abs=1e-6)


@SURE
@given(x1=st.integers(0, 200), expected=st.floats(0.01, 200), lift=st.floats(1.1, 30), falls=st.booleans())
def test_a_forecast_bet_is_the_poisson_likelihood_ratio(x1, expected, lift, falls):
    times = 1 / rates.RISES if falls else rates.RISES
    usual = stats.poisson.logpmf(x1, expected)
    oracle = stats.poisson.logpmf(x1, expected * times) - usual
    assert rates.forecast_logs(x1, expected, 1.0, falls=falls) == pytest.approx(oracle, rel=1e-7, abs=1e-6)
    out = usual - stats.poisson.logpmf(x1, expected * lift)
    assert rates.forecast_rule_out_logs(x1, expected, lift, 1.0) == pytest.approx(out, rel=1e-7, abs=1e-6)


def marginal(x1: int, n1: float, events: float, exposure: float, rise: float) -> float:
    """Log likelihood of the candidate's events, the usual rate drawn from Gamma(events, exposure)."""
    believed = stats.gamma(events, scale=1 / exposure)
    low, high = believed.ppf([1e-12, 1 - 1e-12])
    value, _ = integrate.quad(
        lambda rate: stats.poisson.pmf(x1, rise * rate * n1) * believed.pdf(rate),
        low,
        high,
        epsabs=0,
        epsrel=1e-9,
        limit=200,
    )
    return math.log(value)


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize(
    ("x1", "n1", "x0", "n0"), [(0, 5.0, 3.5, 40.0), (3, 2.0, 1.5, 60.0), (12, 30.0, 8.0, 35.0)]
)
def test_a_joint_bet_is_the_gamma_poisson_bayes_factor(x1, n1, x0, n0, falls):
    rises = 1 / rates.RISES if falls else rates.RISES
    usual = marginal(x1, n1, x0, n0, 1.0)
    oracle = [marginal(x1, n1, x0, n0, rise) - usual for rise in rises]
    assert rates.joint_logs(x1, n1, x0, n0, falls=falls) == pytest.approx(oracle, rel=1e-5, abs=1e-6)
    out = usual - marginal(x1, n1, x0, n0, 5.0)
    assert rates.joint_rule_out_logs(x1, n1, x0, n0, 5.0) == pytest.approx(out, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.02, 0.1, 0.3])
def test_the_over_dispersion_of_beta_binomial_data_is_recovered(rho):
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        events, share = rng.poisson(40, 1500), 0.3
        if rho:
            concentration = 1 / rho - 1
            law = stats.betabinom(events, share * concentration, (1 - share) * concentration)
        else:
            law = stats.binom(events, share)
        x1 = law.rvs(random_state=rng).astype(float)
        sizes = np.full((2, 1500), 1000.0) * np.array([share, 1 - share])[:, None]
        found.append(noise.overdispersion(np.stack([x1, sizes[0], events - x1, sizes[1]], axis=1)))
    assert rho - 0.01 <= np.mean(found) <= 1.35 * rho + 0.02  # it errs to the high side


def test_the_interval_of_the_ratio_holds_at_every_look_at_once():
    rng = np.random.default_rng(31)
    runs, looks, truth, missed = 400, 120, 1.6, 0
    x1 = rng.poisson(0.01 * truth * 300, (runs, looks)).cumsum(axis=1)
    x0 = rng.poisson(0.01 * 600, (runs, looks)).cumsum(axis=1)
    for run in range(runs):
        for look in range(9, looks):  # asymptotic: from a few dozen events on
            sums = [float(x1[run, look]), 300.0 * (look + 1), float(x0[run, look]), 600.0 * (look + 1)]
            low, high = ratio_interval(sums, 1.0)
            if not low <= truth <= high:
                missed += 1
                break
    assert missed / runs <= 0.05


def test_the_interval_of_the_ratio_tightens_around_the_truth():
    widths = []
    for hours in (1, 10, 100):
        low, high = ratio_interval([80.0 * hours, 4000.0 * hours, 40.0 * hours, 4000.0 * hours], 1.0)
        assert low < 2.0 < high
        widths.append(math.log(high / low))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.3


def test_zero_events_bound_the_ratio_on_one_side_only():
    assert ratio_interval([0.0, 1000.0, 20.0, 1000.0], 1.0)[0] == 0.0
    assert ratio_interval([20.0, 1000.0, 0.0, 1000.0], 1.0)[1] == math.inf
    assert ratio_interval([5.0, 0.0, 5.0, 1000.0], 1.0) is None


def savvis(x1: np.ndarray, x0: np.ndarray, share: float, alpha: float) -> int | None:
    """The block after which savvi's multinomial test rejects "the split is that of the exposures"."""
    test = Multinomial(alpha, np.array([share, 1 - share]))
    for block, (one, other) in enumerate(zip(x1.tolist(), x0.tolist(), strict=True), start=1):
        test.update(np.array([one, other]))
        if test.odds >= 1 / alpha:
            return block
    return None


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("lift", [1.5, 2.0, 5.0])
def test_a_rise_is_found_about_as_soon_as_by_the_multinomial_test_of_savvi(share, lift):
    rng, alpha, blocks = np.random.default_rng(41), 0.01, 2000
    x1 = rng.poisson(3.0 * 2 * share * lift, (40, blocks))
    x0 = rng.poisson(3.0 * 2 * (1 - share), (40, blocks))
    tests = (sequential.Test("split", False, 0.8), sequential.Test("sign", False, 0.2))
    settled = Terms(tests=tests, lift=2.0, horizon=blocks)
    theirs = [savvis(x1[run], x0[run], share, alpha) for run in range(40)]
    assert None not in theirs
    rows = np.stack([x1, 0 * x1 + share, x0, 0 * x0 + 1 - share, 0 * x0], axis=-1).astype(float)
    paths = streams.replay_streams(settled, rows[:, : 2 * max(theirs) + 20]).log_e
    ours = np.where(
        paths.max(axis=1) >= math.log(1 / alpha), (paths >= math.log(1 / alpha)).argmax(axis=1) + 1, np.inf
    )
    assert np.median(ours) <= 1.5 * np.median(theirs) + 3  # a bet is capped, so a few blocks are the least
    assert np.isfinite(ours).mean() >= 0.9


def test_without_a_change_neither_test_rejects_more_often_than_promised():
    rng, alpha = np.random.default_rng(42), 0.05
    x1, x0 = rng.poisson(2.0, (300, 100)), rng.poisson(2.0, (300, 100))
    rows = np.stack([x1, 0 * x1 + 1, x0, 0 * x0 + 1, 0 * x0], axis=-1).astype(float)
    settled = Terms(tests=(sequential.Test("split", False, 1.0),), lift=2.0, horizon=100)
    ours = (streams.replay_streams(settled, rows).log_e.max(axis=1) >= math.log(1 / alpha)).mean()
    theirs = np.mean([savvis(x1[run], x0[run], 0.5, alpha) is not None for run in range(300)])
    assert max(ours, theirs) <= alpha + 3 * math.sqrt(alpha / 300)


@pytest.mark.parametrize(("share", "lift"), [(0.1, 2.0), (0.5, 2.0), (0.5, 3.0)])
def test_the_delay_in_clean_traffic_is_near_the_limit_of_any_test(share, lift):
    """Section 5 of the design: requests on average, against those that the limit asks for."""
    rng, base, alpha = np.random.default_rng(43), 0.01, 0.01
    per_block = 30.0  # candidate requests
    limit = needed_requests(base, lift, share, alpha)
    blocks = round(6 * limit / per_block)
    beside = per_block * (1 - share) / share
    x1 = rng.binomial(30, base * lift, (200, blocks))
    x0 = rng.poisson(base * beside, (200, blocks))
    rows = np.stack([x1, 0 * x1 + per_block, x0, 0 * x0 + beside, 0 * x0], axis=-1).astype(float)
    tests = (sequential.Test("split", False, 0.8), sequential.Test("sign", False, 0.2))
    paths = streams.replay_streams(Terms(tests=tests, lift=2.0, horizon=blocks), rows).log_e
    hit = paths >= math.log(1 / alpha)
    delays = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, blocks) * per_block
    assert hit.any(axis=1).mean() >= 0.95
    assert 0.5 * limit <= np.median(delays) <= 2.0 * limit
