"""Single bets on counts: fair when nothing changed, capped, and tempered by what is noisy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import counts, rates

FAIR = settings(derandomize=True, deadline=None, max_examples=60)
exposures = st.floats(0.1, 1e6)


def chances(events: int, share: float) -> np.ndarray:
    """Logs of the binomial chances of 0..events on the candidate's side."""
    k = np.arange(events + 1)
    ways = [math.lgamma(events + 1) - math.lgamma(i + 1) - math.lgamma(events - i + 1) for i in k]
    return ways + k * math.log(share) + (events - k) * math.log1p(-share)


@FAIR
@given(events=st.integers(0, 300), n1=exposures, n0=exposures, temper=st.floats(1, 20))
def test_the_tempered_ratio_of_any_block_has_a_mean_of_at_most_one(events, n1, n0, temper):
    k = np.arange(events + 1.0)
    logs = counts.split_logs(k, n1, events - k, n0, temper)
    mean = np.exp(logs + chances(events, n1 / (n1 + n0))[:, None]).sum(axis=0)
    assert (mean <= 1 + 1e-6).all()


@FAIR
@given(
    events=st.integers(0, 200), n1=exposures, n0=exposures, lift=st.floats(1.05, 50), temper=st.floats(1, 20)
)
def test_evidence_against_harm_has_a_mean_of_at_most_one_when_the_harm_is_there(events, n1, n0, lift, temper):
    k = np.arange(events + 1.0)
    logs = counts.rule_out_logs(k, n1, events - k, n0, lift, temper)
    assert np.exp(logs + chances(events, lift * n1 / (lift * n1 + n0))).sum() <= 1 + 1e-6


@FAIR
@given(expected=st.floats(1e-3, 1e3), temper=st.floats(1, 20), falls=st.booleans())
def test_a_bet_against_a_true_forecast_has_a_mean_of_at_most_one(expected, temper, falls):
    k = np.arange(int(expected + 40 * math.sqrt(expected) + 60))
    chance = k * math.log(expected) - expected - np.array([math.lgamma(i + 1) for i in k])
    logs = rates.forecast_logs(k, expected, temper, falls=falls)
    assert (np.exp(logs + chance[:, None]).sum(axis=0) <= 1 + 1e-6).all()


@FAIR
@given(gap=st.floats(0, 50), rate=st.floats(1e-4, 1.0), rho=st.floats(0, 1))
def test_the_sign_test_is_fair_for_any_symmetric_difference(gap, rate, rho):
    above, below = (
        np.exp(counts.sign_logs(50 + side * gap, 500.0, 50 - side * gap, 500.0, rate, rho))
        for side in (1, -1)
    )
    assert np.allclose((above + below) / 2, 1, atol=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_a_larger_noisy_baseline_does_not_lean_the_sign_test_towards_harm(share):
    rng = np.random.default_rng(7)
    n1, n0 = 1200 * share, 1200 * (1 - share)
    wobble = rng.gamma(4, 0.25, (2, 20_000))
    x1, x0 = rng.poisson(0.005 * n1 * wobble[0]), rng.poisson(0.005 * n0 * wobble[1])
    blocks = np.exp(counts.sign_logs(x1, n1, x0, n0, 0.005, 0.1))
    assert (blocks.mean(axis=0) <= 1 + 3 * blocks.std(axis=0) / math.sqrt(len(blocks))).all()


@pytest.mark.parametrize(("share", "bets"), [(0.05, True), (0.5, True), (0.54, True), (0.56, False)])
def test_above_half_of_the_traffic_the_sign_test_stops_betting(share, bets):
    logs = counts.sign_logs(90.0, 1000 * share, 10.0, 1000 * (1 - share), 0.05, 0.0)
    assert bool(logs.any()) is bets


def test_before_anything_is_usual_the_sign_test_does_not_bet():
    assert not counts.sign_logs(9.0, 100.0, 0.0, 100.0, 0.0, 0.1).any()


def test_without_exposure_of_both_nothing_is_told():
    for n1, n0 in ((0.0, 100.0), (100.0, 0.0), (0.0, 0.0)):
        assert not counts.split_logs(5.0, n1, 1.0, n0, 1.0).any()
        assert not counts.sign_logs(5.0, n1, 1.0, n0, 0.01, 0.1).any()
        assert counts.rule_out_logs(5.0, n1, 1.0, n0, 2.0, 1.0) == 0


@FAIR
@given(events=st.floats(0, 1e9), more=st.floats(1, 1e6), rho=st.floats(0, 1), psi=st.floats(1, 20))
def test_a_louder_block_is_never_tempered_less_than_a_quiet_one(events, more, rho, psi):
    quiet, loud = counts.tempering([events, events * more], rho, psi)
    assert psi <= quiet <= loud


def test_without_over_dispersion_no_block_is_tempered():
    assert (counts.tempering([0.0, 1.0, 1e9], 0.0, 1.0) == 1).all()


@FAIR
@given(x=st.integers(0, 50), n1=exposures, n0=exposures, lift=st.floats(1.05, 50), more=st.floats(1, 10))
def test_more_events_of_the_candidate_speak_less_for_a_pass(x, n1, n0, lift, more):
    fewer, many = (float(counts.rule_out_logs(k, n1, 5.0, n0, lift, 1.0)) for k in (x, x * more + 1))
    assert many <= fewer + 1e-9


@pytest.mark.parametrize("weights", [counts.RISE_WEIGHTS, counts.SHIFT_WEIGHTS, rates.RISE_WEIGHTS])
def test_the_weights_of_the_bets_of_a_test_sum_to_one(weights):
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_the_usual_events_of_a_block_are_those_of_its_quieter_arm_where_both_are_loud():
    both_loud = np.array([30.0, 100.0, 50.0, 100.0, 0.0])
    one_loud = np.array([0.0, 100.0, 50.0, 100.0, 0.0])
    assert counts.ambient(both_loud, 0.01) == pytest.approx(0.3 * 200)
    assert counts.ambient(one_loud, 0.01) == pytest.approx(0.01 * 200)
