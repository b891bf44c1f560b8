"""What a bake can rule out, from streams and levels that were measured."""

import math
import random

import pytest

from rollout.core.judge import detectable, exposure_to_rule_out
from rollout.core.judge.noise import Noise
from rollout.core.judge.reach import RARE, UNKNOWN, Compared, Level, Stream, level_of, noise_of

HALF = Compared(share=0.5, pace=5)
ERRORS = Stream(events=500, exposure=100_000, per_s=10, noise=RARE)


def test_independent_events_are_the_limit_itself():
    assert ERRORS.needed(2, HALF) == pytest.approx(exposure_to_rule_out(0.005, 2, 0.5), rel=0.001)
    assert ERRORS.smallest(5000, HALF) == pytest.approx(detectable(0.005, 5000, 0.5), rel=0.001)


def test_what_varies_more_from_block_to_block_needs_more_exposure():
    noisy = Stream(events=500, exposure=100_000, per_s=10, noise=Noise(rho=0.1, psi=1.5, every=1))
    temper = (1 + (0.005 * 600 - 1) * 0.1) * 1.5  # three events a block
    assert noisy.needed(2, HALF) == pytest.approx(temper * ERRORS.needed(2, HALF))


def test_the_smallest_rise_and_the_exposure_that_it_needs_are_inverse():
    for against in (HALF, Compared(share=0.2, margin=1.1), Compared(share=1.0, margin=1.1, forecast=True)):
        lift = ERRORS.smallest(20_000, against)
        assert ERRORS.needed(lift, against) == pytest.approx(20_000, rel=1e-6)


def test_a_margin_costs_and_nothing_within_it_is_seen():
    drifting = Compared(share=0.5, pace=5, margin=1.1)
    assert ERRORS.smallest(5000, drifting) > ERRORS.smallest(5000, HALF)
    forecast = Compared(share=1.0, pace=5, margin=1.1, forecast=True)
    assert ERRORS.needed(1.1, forecast) == math.inf


def test_one_block_is_never_enough_however_loud():
    loud = Stream(events=50_000, exposure=100_000, per_s=1e6, noise=RARE)
    against = Compared(share=0.5, pace=5e5)
    assert loud.nats(5e5 * 60, 10, against) < math.log(20)
    assert loud.nats(5e5 * 120, 10, against) > math.log(20)


def test_history_of_rare_events_is_more_of_the_baseline():
    alone = Stream(events=20, exposure=1000, per_s=4 / 3600, noise=RARE)
    known = Stream(events=20, exposure=1000, per_s=4 / 3600, noise=RARE, known=1000)
    assert known.needed(5, HALF) < alone.needed(5, HALF)
    assert known.needed(5, HALF) == pytest.approx(exposure_to_rule_out(0.02, 5), rel=0.3)


def test_nothing_is_seen_without_events_without_exposure_or_without_a_baseline():
    none = Stream(events=0, exposure=100, per_s=1)
    assert none.smallest(1e12, HALF) == math.inf
    assert none.needed(2, HALF) == math.inf
    assert ERRORS.smallest(0, HALF) == math.inf
    assert ERRORS.smallest(1e12, Compared(share=1.0)) == math.inf


def test_the_rate_that_chance_may_hide_is_above_the_one_that_was_seen():
    assert Stream(events=0, exposure=100, per_s=1).highest == pytest.approx(0.03)
    assert ERRORS.rate < ERRORS.highest < 1.1 * ERRORS.rate


def test_a_level_is_seen_by_blocks_and_by_how_much_it_swings():
    still, swinging = Level(mean=20, spread=0.05), Level(mean=20, spread=0.5)
    assert still.smallest(4) == math.inf  # four coins that fall alike are no evidence at 5 %
    assert still.smallest(8) < swinging.smallest(8)
    assert swinging.smallest(60) < swinging.smallest(10)
    assert still.smallest(1000) > math.exp(still.margin)
    assert still.needed(still.smallest(8)) == pytest.approx(8)


def test_a_level_that_stands_at_nought_has_no_ratio_to_see():
    assert Level(mean=0).needed(2) == math.inf
    assert level_of([0.0] * 50).mean == 0


def test_counts_of_chance_alone_have_less_excess_variation_than_clustered_ones():
    chance = random.Random(7)
    plain = {block: (sum(chance.random() < 0.05 for _ in range(400)), 400.0) for block in range(240)}
    bursts = {block: (20.0 + 30 * (chance.random() < 0.3), 400.0) for block in range(240)}
    assert noise_of(plain).rho < noise_of(bursts).rho / 2


def test_too_few_blocks_are_taken_for_noisy():
    assert noise_of({1: (5.0, 100.0), 2: (4.0, 100.0)}) == UNKNOWN
