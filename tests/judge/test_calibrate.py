"""What history says before anything is deployed."""

import math

import numpy as np
import pytest

from .traffic import NEW, OLD, a_plan, begun, noisy, sample, steady

PLAN = a_plan("errors", "restarts")


def clean(rng, minutes, versions):
    return [
        sample(60.0 * (minute - minutes), version, float(rng.binomial(600, 0.005)), 600.0)
        for minute in range(minutes)
        for version in versions
    ]


def test_two_versions_side_by_side_tell_the_over_dispersion():
    rng = np.random.default_rng(1)
    noisy_state = begun(PLAN, noisy(rng, 700, first=-700, p=0.02)).checks["errors"]
    clean_state = begun(PLAN, clean(rng, 700, (OLD, NEW))).checks["errors"]
    assert 2.0 < noisy_state["phi"] < 6.0  # 1 + 0.25 · 12 / 2 ≈ 2.5 per block, more in longer stretches
    assert clean_state["phi"] < 2.0
    assert noisy_state["learned"].endswith("700 blocks side by side")


def test_one_version_alone_is_compared_with_its_own_neighbouring_blocks():
    rng = np.random.default_rng(2)
    alone = [one for one in noisy(rng, 700, first=-700, p=0.02) if one.version == OLD]
    state = begun(PLAN, alone).checks["errors"]
    assert 2.0 < state["phi"] < 9.0
    assert state["learned"].endswith("350 neighbouring blocks")


@pytest.mark.parametrize("history", [[], steady(10, (1.0, 600.0), (1.0, 600.0), first=-10)])
def test_too_little_history_takes_the_default_and_says_why(history):
    state = begun(PLAN, history).checks["errors"]
    assert state["phi"] == 2.0
    assert state["scale"] == pytest.approx(math.sqrt(2))
    assert "assumed" in state["learned"]
    assert "30" in state["learned"]


def test_a_burst_in_history_does_not_blind_the_judge():
    rng = np.random.default_rng(4)
    history = clean(rng, 700, (OLD, NEW))
    history[200] = sample(60.0 * (100 - 700), OLD, 300.0, 600.0)
    assert begun(PLAN, history).checks["errors"]["phi"] < 2.5


def test_the_bound_of_the_restart_rate_is_two_sigma_above_history():
    history = [sample(-60.0 * k, OLD, 1.0 if k <= 8 else 0.0, 0.5, signal="restarts") for k in range(1, 21)]
    state = begun(PLAN, history).checks["restarts"]
    assert state["rate_high"] == pytest.approx((8 + 2 * 3 + 1) / 10)
    assert state["rate_mean"] == pytest.approx(0.8)
    assert state["rate_low"] == pytest.approx((8 - 2 * math.sqrt(8)) / 10)


def test_without_history_there_is_no_bound_and_the_reason_is_said():
    state = begun(PLAN).checks["restarts"]
    assert state["rate_high"] is None
    assert state["learned"].endswith("no history of the rate")


def test_two_known_good_versions_one_after_the_other_are_each_compared_with_themselves():
    """The second has three times the failures of the first: the step between them is no dispersion."""
    rng = np.random.default_rng(5)

    def ran(version, first, minutes, rate):
        return [
            sample(60.0 * minute, version, float(rng.binomial(600, rate)), 600.0)
            for minute in range(first, first + minutes)
        ]

    history = ran(OLD, -700, 350, 0.005) + ran(NEW, -350, 350, 0.015)
    state = begun(PLAN, history).checks["errors"]
    assert state["phi"] < 2.0
    assert state["learned"].endswith("348 neighbouring blocks")
    overlapping = ran(OLD, -700, 360, 0.005) + ran(NEW, -350, 350, 0.015)  # ten minutes of changing over
    assert begun(PLAN, overlapping).checks["errors"]["phi"] < 2.0


def test_many_short_lived_known_good_versions_are_measured_together():
    rng = np.random.default_rng(6)
    history = [
        sample(60.0 * minute, f"1.{minute // 20}.0", float(rng.binomial(600, 0.005)), 600.0)
        for minute in range(-200, 0)
    ]
    assert "assumed" not in begun(PLAN, history).checks["errors"]["learned"]


@pytest.mark.parametrize("events", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("minutes", [0, 5, 2000])
def test_what_was_learned_is_said_in_at_most_90_characters(events, minutes):
    history = [
        sample(-60.0 * k, version, events, 1e7 / 60 if signal == "errors" else 1e5, signal=signal)
        for k in range(1, minutes + 1)
        for version in (OLD, NEW)
        for signal in ("errors", "restarts")
    ]
    for state in begun(PLAN, history).checks.values():
        assert 0 < len(state["learned"]) <= 90


def test_junk_in_history_and_other_regions_are_left_out():
    history = [
        sample(-60, OLD, math.nan, 1.0, signal="restarts"),
        sample(-120, OLD, 5.0, 1.0, signal="restarts", region="R1"),
        sample(-180, OLD, 0.0, 2.0, signal="restarts"),
        sample(-180, OLD, 9.0, 2.0, signal="restarts"),
    ]
    assert begun(PLAN, history).checks["restarts"]["rate_high"] == pytest.approx(3 / 2)
