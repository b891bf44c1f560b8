"""What a candidate is compared with where nothing runs beside it: peers, history, or nothing at all."""

import math

import numpy as np
import pytest

from rollout.core.errors import InvalidInput
from rollout.core.judge import judge, without_peers
from rollout.core.judge.baseline import at_hours, hours_of_day, level_profile, rate_profile, ratio_margin
from rollout.core.judge.forecasts import UNCALIBRATED
from rollout.core.signals import VerdictKind

from .regions import BEGUN, STEP, ZONES, a_worldly_plan, days, later, worldly
from .traffic import NEW, a_plan, fed, sample

PLAN = a_worldly_plan()
PAST = [each for region in ("R3", "R1", "R2") for each in days(region, -15, 0)]
HISTORY_ONLY = a_worldly_plan(checks=[{"signal": "errors", "baselines": ["history"]}])


def merged(*streams):
    return sorted((each for stream in streams for each in stream), key=lambda one: one.time)


def afterwards(own: float, *, hours: float, region: str = "R3", peers=("R1", "R2"), shared: float = 1.0):
    """The candidate in one region, and the version before in its peers."""
    last = hours / 24
    return merged(
        days(region, 0, last, version=NEW, times=own * shared),
        *(days(peer, 0, last, times=shared) for peer in peers),
    )


def timeline(plan, region, history, samples):
    """What was said after each ten minutes."""
    evidence, found = worldly(plan, region, history), []
    for end in sorted({one.time for one in samples}):
        evidence = fed(plan, evidence, [one for one in samples if one.time == end])
        found.append(judge(plan, {region: evidence}, end))
    return evidence, found


def test_without_instances_beside_it_a_region_is_compared_with_those_that_come_later():
    evidence = worldly(PLAN, "R3", PAST)
    assert evidence.checks["errors"]["base"] == "peers"
    assert evidence.peers == ("R1", "R2")
    assert set(evidence.checks["errors"]["profiles"]) == {"R1", "R2"}
    assert worldly(PLAN, "R1", PAST).peers == ("R2",)


def test_the_last_region_has_no_peer_and_is_compared_with_its_own_past():
    evidence = worldly(PLAN, "R2", PAST)
    assert evidence.checks["errors"]["base"] == "history"
    assert evidence.peers == ()
    evidence = fed(PLAN, evidence, days("R2", 0, 0.25, version=NEW))
    (verdict,) = judge(PLAN, {"R2": evidence}, later(6)).verdicts
    assert verdict.baseline_kind == "the past of R2 by time of day"
    assert verdict.rests_on == "uncalibrated"


@pytest.mark.parametrize(("plan", "region"), [(PLAN, "R3"), (PLAN, "R1"), (HISTORY_ONLY, "R1")])
def test_a_day_like_those_before_is_no_harm_whatever_the_hour(plan, region):
    peers = worldly(plan, region, PAST).peers
    _, said = timeline(plan, region, PAST, afterwards(1.0, hours=24, region=region, peers=peers))
    assert not any(each.culprits or each.suspected for each in said)


def test_what_rises_in_every_region_alike_is_no_harm_of_the_release():
    _, said = timeline(PLAN, "R3", PAST, afterwards(1.0, hours=12, shared=3.0))
    assert not any(each.culprits or each.suspected for each in said)
    _, said = timeline(HISTORY_ONLY, "R3", PAST, afterwards(1.0, hours=12, shared=3.0))
    assert any(each.suspected for each in said)  # history alone cannot tell


@pytest.mark.parametrize(("plan", "region"), [(PLAN, "R3"), (HISTORY_ONLY, "R3")])
def test_an_uncalibrated_forecast_is_suspected_first_and_acts_on_evidence_a_hundred_times_stronger(
    plan, region
):
    _, said = timeline(plan, region, PAST, afterwards(4.0, hours=12, region=region))
    suspected = next(place for place, each in enumerate(said) if each.suspected)
    failed = next(place for place, each in enumerate(said) if each.culprits)
    assert suspected < failed
    (doubted,) = said[suspected].suspected
    assert (doubted.region, doubted.signal) == (region, "errors")
    assert doubted.rests_on == "uncalibrated"
    assert said[suspected].verdicts[0].kind is not VerdictKind.FAIL
    assert said[suspected].log_e < said[suspected].threshold
    (culprit,) = said[failed].culprits
    evidence = worldly(plan, region, PAST).checks["errors"]
    assert evidence["discount"] >= UNCALIBRATED == math.log(100)
    assert culprit.log_e >= said[failed].threshold + UNCALIBRATED
    assert said[failed].suspected == ()


def test_a_release_like_the_past_passes_against_a_forecast():
    _, said = timeline(PLAN, "R3", PAST, afterwards(1.0, hours=6))
    assert said[-1].verdicts[0].kind is VerdictKind.PASS
    assert said[-1].verdicts[0].baseline_kind == "peers R1, R2 by time of day"
    _, harmed = timeline(PLAN, "R3", PAST, afterwards(2.0, hours=6))
    assert VerdictKind.PASS not in {each.verdicts[0].kind for each in harmed}


def test_a_peer_that_is_upgraded_too_is_dropped_and_the_others_go_on():
    evidence = fed(PLAN, worldly(PLAN, "R3", PAST), afterwards(1.0, hours=1))
    before = evidence.checks["errors"]["totals"]
    evidence = without_peers(evidence, ["R1"])
    assert evidence.peers == ("R2",)
    # the upgraded peer falls ill: it is no baseline any more, and makes the candidate look neither way
    rest = [
        *days("R3", 1 / 24, 0.25, version=NEW),
        *days("R1", 1 / 24, 0.25, times=50.0),
        *days("R2", 1 / 24, 0.25),
    ]
    evidence = fed(PLAN, evidence, merged(rest))
    exposed = evidence.checks["errors"]["totals"][3] - before[3]
    scaled = evidence.checks["errors"]["profiles"]["R2"]
    assert exposed <= 30 * 20_000 / min(scaled)
    (verdict,) = judge(PLAN, {"R3": evidence}, later(6)).verdicts
    assert verdict.baseline_kind == "peers R2 by time of day"
    assert verdict.kind is not VerdictKind.FAIL
    assert 0.7 < verdict.value / verdict.baseline < 1.4


def test_a_peer_that_runs_the_candidate_is_never_a_baseline():
    evidence = worldly(PLAN, "R3", PAST)
    evidence = fed(PLAN, evidence, days("R1", 0, 0.25, version=NEW))
    assert evidence.checks["errors"]["totals"] == [0.0] * 4
    assert evidence.checks["errors"]["junk"] == 0  # it belongs to the evidence of another region


def test_with_no_peer_left_there_is_no_data_and_never_a_pass():
    evidence = fed(PLAN, worldly(PLAN, "R3", PAST), afterwards(1.0, hours=6))
    assert judge(PLAN, {"R3": evidence}, later(6)).verdicts[0].kind is VerdictKind.PASS
    evidence = fed(PLAN, without_peers(evidence, ["R1", "R2"]), days("R3", 0.25, 0.5, version=NEW))
    (verdict,) = judge(PLAN, {"R3": evidence}, later(12)).verdicts
    assert verdict.kind is VerdictKind.NO_DATA
    assert "no region is left" in verdict.note
    assert verdict.baseline_kind == "no peers any more"


def test_peers_that_fall_silent_are_no_data():
    evidence = fed(PLAN, worldly(PLAN, "R3", PAST), afterwards(1.0, hours=6))
    evidence = fed(PLAN, evidence, days("R3", 0.25, 0.5, version=NEW))
    judgement = judge(PLAN, {"R3": evidence}, later(12))
    assert judgement.verdicts[0].kind is VerdictKind.NO_DATA
    assert judgement.verdicts[0].note == "no peer reports"
    assert judgement.culprits == ()


@pytest.mark.parametrize("past", [0.0, 0.05])
def test_with_too_little_history_there_is_nothing_to_compare_with_and_it_is_said(past):
    history = merged(*(days(region, -past, 0) for region in ("R3", "R1", "R2"))) if past else []
    evidence = worldly(PLAN, "R3", history)
    assert evidence.peers == ()
    evidence = fed(PLAN, evidence, afterwards(5.0, hours=12))
    judgement = judge(PLAN, {"R3": evidence}, later(12))
    (verdict,) = judgement.verdicts
    assert verdict.kind is not VerdictKind.PASS
    assert verdict.rests_on == "none"
    assert f"nothing to compare with: {24 * past:.1f} h of history" in verdict.note
    assert judgement.culprits == judgement.suspected == ()


def test_hours_of_history_only_ever_hold_and_only_beyond_the_tolerance():
    history = merged(*(days(region, -0.3, 0) for region in ("R3", "R1", "R2")))
    for lift, suspected in ((1.0, False), (20.0, True)):
        _, said = timeline(PLAN, "R3", history, afterwards(lift, hours=3))
        assert any(each.suspected for each in said) is suspected
        assert not any(each.culprits for each in said)


def test_a_policy_that_forbids_peers_takes_the_past_where_there_are_peers():
    evidence = worldly(HISTORY_ONLY, "R3", PAST)
    assert evidence.checks["errors"]["base"] == "history"
    assert evidence.peers == ()


def test_a_policy_that_forbids_all_that_a_region_can_have_is_refused():
    with pytest.raises(InvalidInput) as refused:
        a_worldly_plan(checks=[{"signal": "errors", "baselines": ["peers"]}])
    assert "R2 has nothing to compare 'errors' with" in str(refused.value.problems)


def test_how_many_days_it_was_learned_from_is_said():
    learned = worldly(PLAN, "R3", PAST).checks["errors"]["learned"]
    assert "15.0 days" in learned
    assert "R1, R2" in learned


# ----------------------------------------------------------------- clocks


def test_the_time_of_day_is_the_regions_own_when_clocks_are_put_on():
    """Berlin put its clocks on ten days before: in its own time, office hours did not move."""
    own, utc = (
        worldly(
            a_worldly_plan(checks=[{"signal": "errors", "baselines": ["history"]}], zones=zones), "R1", PAST
        ).checks["errors"]["terms"]["margin"]
        for zones in (ZONES, {})
    )
    assert own < utc


def test_hours_of_day_follow_daylight_saving():
    before, after = (
        np.array([BEGUN.timestamp() - days * 86400.0]) for days in (14, 0)
    )  # 09:00 UTC, on both sides of the change
    assert hours_of_day(before, "Europe/Berlin") == pytest.approx(10)
    assert hours_of_day(after, "Europe/Berlin") == pytest.approx(11)
    assert hours_of_day(after, "Asia/Kolkata") == pytest.approx(14.5)
    assert hours_of_day(after, "UTC") == pytest.approx(9)


def test_a_profile_does_not_jump_on_the_hour_nor_at_midnight():
    profile = np.arange(24.0)
    for hour in (0.0, 0.5, 7.0, 12.25, 23.5, 23.999):
        assert at_hours(profile, np.array([hour])) == pytest.approx(
            at_hours(profile, np.array([hour + 1e-9])), abs=1e-6
        )
    assert at_hours(profile, np.array([23.9999])) == pytest.approx(
        at_hours(profile, np.array([0.0])), abs=1e-2
    )


def test_a_profile_of_a_rate_has_the_shape_of_the_day_and_draws_few_events_to_the_whole():
    hours = np.tile(np.arange(24) + 0.5, 30)
    exposure = np.full(len(hours), 1000.0)
    rates = np.where((hours > 9) & (hours < 17), 0.05, 0.01)
    many = rate_profile(hours, rates * exposure, exposure)
    assert many[13] == pytest.approx(0.05, rel=0.05)
    assert many[3] == pytest.approx(0.01, rel=0.1)
    few = rate_profile(hours, rates * exposure / 5000, exposure / 5000)
    assert few.max() / few.min() < many.max() / many.min()
    assert np.isfinite(rate_profile(hours, 0 * exposure, exposure)).all()


def test_a_profile_of_a_level_is_the_difference_to_the_whole():
    hours = np.tile(np.arange(24) + 0.5, 10)
    profile = level_profile(hours, np.where(hours < 12, 0.0, 2.0))
    assert profile[3] < profile[18]
    assert profile[18] - profile[3] == pytest.approx(2)


def test_a_margin_is_one_standard_deviation_of_drift_and_never_less_than_a_tenth():
    assert ratio_margin(0.0) == ratio_margin(0.01) == 1.1
    assert ratio_margin(0.5) == pytest.approx(math.exp(0.5))


# ----------------------------------------------------------------- levels


def swinging(version, first, last, times=1.0, region="R3", seed=4):
    """A backlog that doubles in office hours."""
    rng = np.random.default_rng([seed, round(first * 144) + 10_000])
    found = []
    for step in range(round(first * 144), round(last * 144)):
        end = (BEGUN - later(0)).total_seconds() + STEP * (step + 1)
        hour = ((later(0).hour * 3600 + end) / 3600) % 24
        level = 50 * (1 + float(9 <= hour < 17)) * rng.lognormal(0, 0.1) * times
        seconds = (later(0) - BEGUN_AT).total_seconds() + end
        found.append(sample(seconds, version, level, signal="oldest_age", seconds=STEP, region=region))
    return found


BEGUN_AT = sample(0, NEW, 0.0).time  # START


@pytest.mark.parametrize(
    ("direction", "times", "found"),
    [("up", 3.0, True), ("up", 0.3, False), ("down", 0.3, True), ("down", 3.0, False), ("up", 1.0, False)],
)
def test_a_level_is_compared_with_its_own_past_by_time_of_day(direction, times, found):
    check = {"signal": "oldest_age", "direction": direction, "baselines": ["history"]}
    plan = a_worldly_plan("R3", checks=[check])
    history = swinging("1.4.0", -14, 0)
    evidence, said = timeline(plan, "R3", history, swinging(NEW, 0, 0.6, times))
    assert evidence.checks["oldest_age"]["base"] == "history"
    assert any(each.suspected or each.culprits for each in said) is found
    assert said[-1].verdicts[0].baseline is not None


def test_a_plan_with_instances_beside_it_prefers_them_to_any_forecast():
    plan = a_plan("errors", regions=("R3", "R1"))
    evidence = worldly(plan, "R3", PAST)
    assert evidence.checks["errors"]["base"] == "beside"
    assert evidence.peers == ()
