"""What history says before anything is deployed."""

import math

import numpy as np
import pytest

from rollout.core.judge import noise

from .traffic import NEW, OLD, a_plan, begun, noisy, sample, steady

PLAN = a_plan("errors", "restarts")


def clean(rng, minutes, versions):
    return [
        sample(60.0 * (minute - minutes), version, float(rng.binomial(600, 0.005)), 600.0)
        for minute in range(minutes)
        for version in versions
    ]


def rho(history):
    return begun(PLAN, history).checks["errors"]["terms"]["rho"]


def test_two_versions_side_by_side_tell_the_over_dispersion():
    rng = np.random.default_rng(1)
    noisy_state = begun(PLAN, noisy(rng, 700, first=-700, p=0.02)).checks["errors"]
    clean_state = begun(PLAN, clean(rng, 700, (OLD, NEW))).checks["errors"]
    settled = noisy_state["terms"]
    # each arm wobbles by half, 0.25 / 2 = 0.125, and independent blocks of one bet share that
    assert 0.07 < settled["rho"] * settled["every"] < 0.2
    assert clean_state["terms"]["rho"] < 0.03
    assert "700 blocks side by side" in noisy_state["learned"]


def test_one_version_alone_is_compared_with_its_own_neighbouring_blocks():
    rng = np.random.default_rng(2)
    alone = [one for one in noisy(rng, 700, first=-700, p=0.02) if one.version == OLD]
    state = begun(PLAN, alone).checks["errors"]
    assert 0.05 < state["terms"]["rho"] < 0.25
    assert "neighbouring blocks" in state["learned"]


@pytest.mark.parametrize("history", [[], steady(10, (1.0, 600.0), (1.0, 600.0), first=-10)])
def test_too_little_history_takes_the_default_and_says_why(history):
    state = begun(PLAN, history).checks["errors"]
    assert state["terms"]["rho"] == noise.PRIOR_RHO
    assert state["terms"]["every"] == 1
    assert "assumed" in state["learned"]
    assert "30" in state["learned"]


def test_many_quiet_blocks_are_too_few_events():
    history = steady(60, (0.0, 600.0), (0.0, 600.0), first=-60)
    state = begun(PLAN, history).checks["errors"]
    assert state["terms"]["rho"] == noise.PRIOR_RHO
    assert "0 of 20 events" in state["learned"]


def test_a_burst_in_history_does_not_blind_the_judge():
    rng = np.random.default_rng(4)
    history = clean(rng, 700, (OLD, NEW))
    history[200] = sample(60.0 * (100 - 700), OLD, 300.0, 600.0)
    assert rho(history) < 0.06


def test_incidents_of_both_versions_make_bets_as_long_as_half_of_them():
    rng = np.random.default_rng(8)
    history = [
        sample(60.0 * (minute - 1400), version, float(rng.binomial(600, 0.1 if loud else 0.005)), 600.0)
        for minute in range(1400)
        for loud in [minute % 350 >= 330]
        for version in (OLD, NEW)
    ]
    assert 8 <= begun(PLAN, history).checks["errors"]["terms"]["every"] <= 15


def test_the_usual_rate_of_restarts_is_the_events_and_hours_of_history():
    history = [sample(-60.0 * k, OLD, 1.0 if k <= 8 else 0.0, 0.5, signal="restarts") for k in range(1, 21)]
    state = begun(PLAN, history).checks["restarts"]
    assert state["terms"]["known"] == [8.5, 10.0]
    assert [test["family"] for test in state["terms"]["tests"]] == ["joint", "split"]
    assert "0.8 an hour in 10 instance-hours" in state["learned"]


def test_without_history_no_usual_rate_of_restarts_is_claimed():
    state = begun(PLAN).checks["restarts"]
    assert state["terms"]["known"] == [0.0, 0.0]
    assert [test["family"] for test in state["terms"]["tests"]] == ["split"]


def test_restarts_that_come_in_clusters_are_tempered():
    def restarts(times):
        return [
            sample(-60.0 * k, OLD, times if k % (20 * times) == 0 else 0.0, 0.5, signal="restarts")
            for k in range(1, 2001)
        ]

    alone, clustered = (begun(PLAN, restarts(times)).checks["restarts"]["terms"] for times in (1.0, 5.0))
    assert alone["psi"] == 1.0
    assert clustered["psi"] > 2


def test_two_known_good_versions_one_after_the_other_are_each_compared_with_themselves():
    """The second has three times the failures of the first: the step between them is no dispersion."""
    rng = np.random.default_rng(5)

    def ran(version, first, minutes, rate):
        return [
            sample(60.0 * minute, version, float(rng.binomial(600, rate)), 600.0)
            for minute in range(first, first + minutes)
        ]

    history = ran(OLD, -700, 350, 0.005) + ran(NEW, -350, 350, 0.015)
    assert rho(history) < 0.04
    overlapping = ran(OLD, -700, 360, 0.005) + ran(NEW, -350, 350, 0.015)  # ten minutes of changing over
    assert rho(overlapping) < 0.04


def test_many_short_lived_known_good_versions_are_measured_together():
    rng = np.random.default_rng(6)
    history = [
        sample(60.0 * minute, f"1.{minute // 20}.0", float(rng.binomial(600, 0.005)), 600.0)
        for minute in range(-200, 0)
    ]
    assert "assumed" not in begun(PLAN, history).checks["errors"]["learned"]


@pytest.mark.parametrize("events", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("minutes", [0, 5, 2000])
def test_what_was_learned_is_said_in_at_most_140_characters(events, minutes):
    history = [
        sample(-60.0 * k, version, events, 1e7 / 60 if signal == "errors" else 1e5, signal=signal)
        for k in range(1, minutes + 1)
        for version in (OLD, NEW)
        for signal in ("errors", "restarts")
    ]
    for state in begun(PLAN, history).checks.values():
        assert 0 < len(state["learned"]) <= 140


def test_junk_in_history_and_other_regions_are_left_out():
    history = [
        sample(-60, OLD, math.nan, 1.0, signal="restarts"),
        sample(-120, OLD, 5.0, 1.0, signal="restarts", region="R1"),
        sample(-180, OLD, 0.0, 2.0, signal="restarts"),
        sample(-180, OLD, 9.0, 2.0, signal="restarts"),
    ]
    assert begun(PLAN, history).checks["restarts"]["terms"]["known"] == [0.5, 2.0]
