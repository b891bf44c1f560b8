"""What history says of noise: how much, for how long it is correlated, how long its incidents last."""

import numpy as np
import pytest

from rollout.core.judge import noise


def table(x1, x0, n=1000.0):
    exposure = np.full(len(x1), n)
    return np.stack([x1, exposure, x0, exposure], axis=1).astype(float)


def clean(rng, blocks=1400, mean=8.0):
    return table(rng.poisson(mean, blocks), rng.poisson(mean, blocks))


def test_clean_counts_have_next_to_no_over_dispersion_and_bets_of_one_block():
    found = [noise.measure(clean(np.random.default_rng(seed))) for seed in range(10)]
    assert np.median([each.rho for each in found]) < 0.03
    assert np.median([each.every for each in found]) == 1
    assert np.median([each.psi for each in found]) == 1


def test_what_both_arms_share_is_no_noise():
    rng = np.random.default_rng(1)
    shared = 8 * rng.lognormal(0, 0.5, 1400)
    assert noise.overdispersion(table(rng.poisson(shared), rng.poisson(shared))) < 0.04


@pytest.mark.parametrize("length", [5, 15])
def test_noise_that_lasts_makes_longer_bets(length):
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        wobble = np.repeat(rng.gamma(4, 0.25, (2, 3000 // length)), length, axis=1)
        measured = noise.measure(table(rng.poisson(30 * wobble[0]), rng.poisson(30 * wobble[1])))
        found.append(measured.every)
    assert np.median(found) == length


def test_incidents_that_both_arms_share_make_bets_of_half_their_length():
    rng = np.random.default_rng(3)
    mean = np.full(2000, 4.0)
    for first in range(100, 2000, 200):
        mean[first : first + 20] = 80.0
    assert 8 <= noise.measure(table(rng.poisson(mean), rng.poisson(mean))).every <= 16


def test_one_wild_block_weighs_no_more_than_its_bound():
    rng = np.random.default_rng(4)
    blocks = clean(rng)
    before = noise.overdispersion(blocks)
    blocks[700, 0] = 1000.0
    assert noise.overdispersion(blocks) <= before + 0.01


def test_few_blocks_are_drawn_towards_what_is_believed_of_any_service():
    rng = np.random.default_rng(5)
    few, many = (noise.overdispersion(clean(rng, blocks)) for blocks in (30, 3000))
    assert abs(few - noise.PRIOR_RHO) < abs(many - noise.PRIOR_RHO)
    assert many < 0.02


def test_a_history_without_any_event_says_nothing():
    assert noise.overdispersion(table(np.zeros(100), np.zeros(100))) == noise.PRIOR_RHO


def test_a_bet_is_never_longer_than_half_an_hour_of_minutes():
    rng = np.random.default_rng(6)
    mean = np.full(3000, 4.0)
    mean[1000:1400] = 100.0
    assert noise.measure(table(rng.poisson(mean), rng.poisson(mean))).every <= noise.LONGEST


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_unit_of_exposure_does_not_matter(unit):
    rng = np.random.default_rng(7)
    wobble = rng.gamma(4, 0.25, (2, 600))
    blocks = table(rng.poisson(20 * wobble[0]), rng.poisson(20 * wobble[1]))
    scaled = blocks * np.array([1, unit, 1, unit])
    assert noise.measure(scaled).rho == pytest.approx(noise.measure(blocks).rho, rel=1e-6)
    assert noise.measure(scaled).every == noise.measure(blocks).every
