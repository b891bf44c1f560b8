"""The traffic of the bench has the moments that its words promise."""

import math

import numpy as np
import pytest

from bench.judge_traffic import (
    DAY,
    HEAVY,
    NOISES,
    WEATHERS,
    against,
    beside,
    bursts,
    drift,
    regions,
    restarts,
)


def chance(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_both_arms_together_get_twice_the_traffic_and_the_candidate_its_share(share: float):
    seen = beside(chance(), 20, rpm=600, share=share)
    for part in (seen.history, seen.after):
        assert part.n1.mean() == pytest.approx(1200 * share, rel=0.02)
        assert part.n0.mean() == pytest.approx(1200 * (1 - share), rel=0.02)


def test_a_rise_is_the_candidates_alone_and_begins_with_the_deploy():
    seen = beside(chance(), 40, rpm=6000, lift=5.0)
    before = seen.history.x1.sum(1) / seen.history.n1.sum(1)
    assert before == pytest.approx(seen.base, rel=0.1)
    assert seen.after.x1.sum(1) / seen.after.n1.sum(1) == pytest.approx(5 * seen.base, rel=0.1)
    assert seen.after.x0.sum(1) / seen.after.n0.sum(1) == pytest.approx(seen.base, rel=0.1)


def test_clean_minutes_are_binomial_and_noisy_ones_are_not():
    def excess(noise: str) -> float:
        arms = beside(chance(), 20, rpm=6000, noise=noise).history
        errors = arms.x1 + arms.x0
        return float((arms.x1 - errors / 2).var() / (errors.mean() / 4))

    assert excess("clean") == pytest.approx(1.0, abs=0.05)
    assert excess("noisy") > 2


@pytest.mark.parametrize(("noise", "deviation"), [("noisy", 0.5), ("lognormal", 1.0), ("gaps", 0.5)])
def test_the_noise_of_one_arm_has_mean_one_and_the_stated_deviation(noise: str, deviation: float):
    weather = WEATHERS[noise](chance(), 50, DAY)
    for arm in (weather.candidate, weather.baseline):
        assert arm.mean() == pytest.approx(1.0, abs=0.02)
        assert arm.std() == pytest.approx(deviation, rel=0.05)
    assert np.corrcoef(weather.candidate.ravel(), weather.baseline.ravel())[0, 1] == pytest.approx(
        0, abs=0.02
    )


def test_zero_inflated_errors_fall_in_three_of_ten_minutes():
    arm = WEATHERS["zero-inflated"](chance(), 50, DAY).candidate
    assert (arm == 0).mean() == pytest.approx(0.7, abs=0.01)
    assert arm.mean() == pytest.approx(1.0, abs=0.03)


def test_drift_has_its_deviation_and_keeps_its_part_from_minute_to_minute():
    walk = np.log(drift(chance(), 400, DAY, 0.3, 0.9))
    assert walk.std() == pytest.approx(0.3, rel=0.05)
    assert walk[:, 0].std() == pytest.approx(0.3, rel=0.1)
    assert np.corrcoef(walk[:, 500], walk[:, 501])[0, 1] == pytest.approx(0.9, abs=0.03)


def test_incidents_come_as_often_as_stated_and_multiply_by_three_to_ten():
    found = bursts(chance(), 300, DAY, 0.5, 4)
    begins = (np.diff(found, axis=1) > 0).sum() + (found[:, 0] > 1).sum()
    assert begins / 300 == pytest.approx(0.5, rel=0.2)
    hit = found[found > 1]
    assert hit.min() >= 3
    assert np.median(hit) < 10


def test_a_gap_has_neither_events_nor_exposure():
    arms = beside(chance(), 20, rpm=600, noise="gaps").after
    for events, requests in ((arms.x1, arms.n1), (arms.x0, arms.n0)):
        assert (requests == 0).mean() == pytest.approx(0.1, abs=0.01)
        assert events[requests == 0].sum() == 0


@pytest.mark.parametrize("noise", [*NOISES, *HEAVY])
def test_every_kind_of_noise_makes_counts_that_can_be(noise: str):
    arms = beside(chance(), 3, rpm=60, noise=noise, lift=20.0).after
    for events, requests in ((arms.x1, arms.n1), (arms.x0, arms.n0)):
        assert events.shape == (3, DAY)
        assert (events >= 0).all()
        assert (events <= requests).all()


def test_the_same_chance_makes_the_same_traffic():
    first, again, other = (beside(chance(seed), 2, rpm=60, noise="bursty").after.x1 for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_restarts_are_counted_on_instance_hours_with_a_week_of_history():
    seen = restarts(chance(), 100, instances=50, lift=5.0)
    assert seen.history.n1.shape == (100, 7 * DAY)
    assert seen.after.n1.sum(1) == pytest.approx(50 * 24)
    assert seen.after.n0.sum(1) == pytest.approx(100 * 24)
    assert seen.history.x1.sum() / seen.history.n1.sum() == pytest.approx(0.02, rel=0.03)
    assert seen.after.x1.sum() / seen.after.n1.sum() == pytest.approx(0.1, rel=0.05)
    assert seen.after.x0.sum() / seen.after.n0.sum() == pytest.approx(0.02, rel=0.05)


def test_only_the_first_of_the_regions_rises_and_peers_are_added_up():
    own, *peers = regions(chance(), 60, lift=5.0, days=2)
    whole = against(own, tuple(peers))
    assert whole.n1.shape == (60, 3 * DAY)
    assert (whole.n0 == peers[0].n + peers[1].n).all()

    def risen(x: np.ndarray, n: np.ndarray) -> float:
        return float(np.median(x[:, 2 * DAY :].sum(1) / n[:, 2 * DAY :].sum(1) * n.sum(1) / x.sum(1)))

    assert risen(own.x, own.n) > 1.8
    for one in peers:
        assert risen(one.x, one.n) == pytest.approx(1.0, abs=0.25)
    assert math.isclose(own.n.mean(), 600, rel_tol=0.05)
