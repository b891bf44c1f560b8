"""The figures of the design's section on limits."""

import math

import pytest

from rollout.core.judge import detectable, exposure_to_rule_out, needed_hours, needed_requests

TABLE = [
    (1.5, 8463, 9548, 18183, 6338),
    (2.0, 2369, 2708, 5381, 1953),
    (5.0, 225, 273, 624, 251),
]


@pytest.mark.parametrize(("lift", "known", "nine", "equal", "ruled_out"), TABLE)
def test_the_table_of_needed_requests_holds(lift, known, nine, equal, ruled_out):
    assert needed_requests(0.005, lift, 0.0, 0.01) == pytest.approx(known, abs=1)
    assert needed_requests(0.005, lift, 0.1, 0.01) == pytest.approx(nine, abs=1)
    assert needed_requests(0.005, lift, 0.5, 0.01) == pytest.approx(equal, abs=1)
    assert exposure_to_rule_out(0.005, lift) == pytest.approx(ruled_out, abs=1)


def test_five_times_the_restarts_take_57_instance_hours():
    assert needed_hours(0.02, 5, 0.01) == pytest.approx(57, abs=0.5)


def test_ruling_five_times_the_restarts_out_takes_four_instances_16_hours():
    assert exposure_to_rule_out(0.02, 5) / 4 == pytest.approx(16, abs=0.5)


def test_a_known_baseline_is_the_limit_of_a_large_one():
    assert exposure_to_rule_out(0.005, 2, 1e-6) == pytest.approx(exposure_to_rule_out(0.005, 2), rel=1e-4)


def test_the_smallest_rise_and_the_exposure_that_it_needs_are_inverse():
    lift = detectable(0.005, 5000, 0.25)
    assert exposure_to_rule_out(0.005, lift, 0.25) == pytest.approx(5000, rel=1e-6)
    assert detectable(0.005, 0) == math.inf
    assert detectable(0.0, 5000) == math.inf
    assert detectable(1e-9, 100) == math.inf


@pytest.mark.parametrize("share", [1.0, 1.5])
def test_with_nothing_beside_it_no_exposure_is_enough(share):
    assert detectable(0.005, 1e12, share) == math.inf
    assert exposure_to_rule_out(0.005, 2, share) == math.inf
    assert needed_requests(0.005, 2, share, 0.01) == math.inf


def test_no_event_at_all_rules_nothing_out():
    assert exposure_to_rule_out(0.0, 2, 0.5) == math.inf


@pytest.mark.parametrize("share", [1e-12, 1e-6, 0.5, 0.999, 1 - 1e-9, 1 - 2**-53])
def test_any_share_below_all_has_a_finite_answer_or_says_that_there_is_none(share):
    assert exposure_to_rule_out(0.005, 2, share) > 0
