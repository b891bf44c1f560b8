"""The anchors decide as the tools that they stand for are documented to."""

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from bench import judge_anchors, judge_references
from bench.judge_anchors import argo, flagger, kayenta, restart_threshold, z_test
from bench.judge_traffic import Arms, beside


def minutes(candidate: list[float], baseline: list[float] | None = None, requests: float = 100.0) -> Arms:
    """One run with so many errors in each minute."""
    x1, x0 = np.array([candidate]), np.array([baseline or [0.0] * len(candidate)])
    return Arms(x1, np.full_like(x1, requests), x0, np.full_like(x0, requests))


def test_kayentas_rank_sum_is_the_one_of_scipy():
    rng = np.random.default_rng(3)
    x, y = rng.poisson(5, 60).astype(float), rng.poisson(4, 60).astype(float)
    p = mannwhitneyu(x, y, alternative="greater", method="asymptotic", use_continuity=True).pvalue
    path = judge_anchors._growing(x, y)
    assert path[-1] == pytest.approx(norm.isf(p))
    assert path == pytest.approx(
        [judge_anchors._rank_sum(0.0, x[:k], y[:k], 0.0) for k in range(1, 61)], nan_ok=True
    )


def test_kayenta_sees_a_doubling_at_a_look_and_nothing_in_equal_arms():
    rng = np.random.default_rng(4)
    base = list(rng.poisson(5, 180).astype(float))
    doubled = minutes(list(rng.poisson(10, 180).astype(float)), base)
    assert kayenta(doubled, [60, 120, 180]) == [60]
    assert kayenta(minutes(base, base), [60, 120, 180]) == [math.inf]


def test_flagger_counts_failed_checks_for_ever_and_counts_silence():
    arms = minutes([2, 0, 2, 0, 2, 0, 2, 0, 2, 0])
    assert flagger(arms) == [9]
    silent = Arms(*(np.zeros((1, 10)) for _ in range(4)))
    assert flagger(silent) == [5]
    assert flagger(minutes([1] * 20)) == [math.inf]


def test_argo_fails_with_one_more_failure_than_its_limit():
    assert argo(minutes([2] * 10), 0.99, 1, 3) == [4]
    assert argo(minutes([6] * 30), 0.95, 5, 3) == [20]
    assert argo(minutes([5] * 30), 0.95, 5, 3) == [math.inf]


def test_a_z_test_looks_only_when_it_is_told_to():
    arms = minutes([10] * 60, [1] * 60)
    assert z_test(arms)[0] < 5
    assert z_test(arms, [30, 60]) == [30]


def test_restarts_beyond_the_limit_within_the_hour():
    spread = minutes([1.0 if minute % 20 == 0 else 0.0 for minute in range(240)])
    assert restart_threshold(spread) == [math.inf]
    close = minutes([1.0 if minute % 10 == 0 else 0.0 for minute in range(240)])
    assert restart_threshold(close) == [31]


def test_the_references_hold_their_promise_in_clean_traffic_and_see_harm():
    calm = beside(np.random.default_rng(5), 200, rpm=600)
    assert np.isfinite(judge_references.reference(calm.history, calm.after)).mean() <= 0.03
    assert np.isfinite(judge_references.plain_mixture(calm.after)).mean() <= 0.03
    harm = beside(np.random.default_rng(6), 50, rpm=600, lift=5.0)
    assert np.median(judge_references.reference(harm.history, harm.after)) < 15


def test_sums_around_a_minute_wrap_around_midnight():
    day = np.zeros((1, 1440))
    day[0, 0] = 1.0
    near = judge_references._within_an_hour(day)[0]
    assert near.sum() == 120
    assert near[1439] == near[60] == 1
    assert near[720] == 0
