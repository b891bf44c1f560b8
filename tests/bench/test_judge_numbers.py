"""Bounds are what they say they are, and floors are those of the design."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from bench.judge_numbers import median_bounds, need_ceiling, ratio_floor, restart_floor, share_bounds


def test_nothing_in_a_thousand_bounds_the_share_at_three_in_a_thousand():
    low, high = share_bounds(0, 1000)
    assert low == 0
    assert high == pytest.approx(1 - 0.05 ** (1 / 1000))


@pytest.mark.parametrize(("hits", "runs"), [(1, 40), (8, 1000), (39, 40)])
def test_at_its_bounds_a_share_explains_the_hits_in_one_case_of_twenty(hits: int, runs: int):
    low, high = share_bounds(hits, runs)
    assert binom.cdf(hits, runs, high) == pytest.approx(0.05)
    assert binom.sf(hits - 1, runs, low) == pytest.approx(0.05)


def test_bounds_of_everything_and_of_no_runs():
    assert share_bounds(40, 40) == (pytest.approx(0.05 ** (1 / 40)), 1.0)
    assert share_bounds(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("runs", [10, 60, 1000])
def test_the_true_median_lies_below_its_upper_bound_in_nineteen_cases_of_twenty(runs: int):
    rng = np.random.default_rng(runs)
    found = [median_bounds(rng.exponential(size=runs)) for _ in range(600)]
    for misses in (sum(high < math.log(2) for _, high in found), sum(low > math.log(2) for low, _ in found)):
        assert misses <= binom.ppf(0.999, 600, 0.05)
        assert runs < 60 or misses > 5  # no wider than needed


def test_a_median_that_most_runs_never_reach_has_no_upper_bound():
    low, high = median_bounds(np.array([5.0] * 30 + [math.inf] * 30))
    assert low == 5.0
    assert high == math.inf
    assert median_bounds(np.array([1.0, 2.0])) == (-math.inf, math.inf)


def test_the_floors_are_those_of_the_design():
    requests = ratio_floor(np.array([0.005]), 2.0, 600)[0] * 600
    assert requests == pytest.approx(5381, rel=0.01)
    unequal = ratio_floor(np.array([0.005]), 2.0, 600, share=0.1)[0] * 120
    assert unequal == pytest.approx(2708, rel=0.02)
    assert restart_floor(0.02, 5.0, 50) == pytest.approx(68, abs=0.5)


def test_the_ceiling_of_said_needs_is_that_of_a_walk_to_its_threshold():
    rng = np.random.default_rng(1)
    drift = 0.02
    walks = np.cumsum(rng.normal(drift, math.sqrt(2 * drift), (1500, 4000)), 1)
    taken = np.where((walks >= math.log(20)).any(1), (walks >= math.log(20)).argmax(1), np.inf)
    best = max(np.mean((taken >= said / 2) & (taken <= 2 * said)) for said in range(20, 400, 5))
    assert best == pytest.approx(need_ceiling(0.05), abs=0.04)
    assert need_ceiling(0.05) < 0.7
    assert need_ceiling(1e-12) > 0.95  # far away, the walk is straight
