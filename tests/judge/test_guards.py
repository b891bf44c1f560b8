"""Hard limits, and silence."""

import pytest

from rollout.core.judge import hold_off, judge
from rollout.core.signals import VerdictKind

from .traffic import NEW, OLD, a_plan, at, begun, fed, sample, steady

ALL = a_plan("errors", "restarts", "latency")


def said(plan, samples, now, evidence=None):
    """Verdicts by signal."""
    judgement = judge(plan, {"R3": fed(plan, evidence or begun(plan), samples)}, at(now))
    return {verdict.signal: verdict for verdict in judgement.verdicts}, judgement


def restart(time, instance, times=1.0, version=NEW):
    return sample(time, version, times, signal="restarts", seconds=10.0, instance=instance)


def test_one_instance_that_restarts_three_times_in_ten_minutes_fails_at_once():
    found, judgement = said(ALL, [restart(t, "a") for t in (100, 300, 600)], 601)
    verdict = found["restarts"]
    assert (verdict.kind, verdict.guard) == (VerdictKind.FAIL, "crash_loop")
    assert verdict.since == at(100)
    assert "instance a restarted 3 times in 500 s" in verdict.note
    assert judgement.culprits == (verdict,)
    assert judgement.log_e < judgement.threshold


def test_a_crash_loop_is_seen_during_the_warm_up():
    evidence = hold_off(begun(ALL), at(5000))
    found, _ = said(ALL, [restart(100, "a", 3.0)], 101, evidence)
    assert found["restarts"].guard == "crash_loop"


@pytest.mark.parametrize(
    "samples",
    [
        [restart(100, "a"), restart(400, "a"), restart(701, "a")],
        [restart(100, "a"), restart(100, "b"), restart(100, "c")],
        [restart(t, "a", version=OLD) for t in (100, 110, 120)],
        [restart(100, "a")] * 3,
    ],
    ids=["too slow", "spread over instances", "the baseline", "the same one repeated"],
)
def test_other_restarts_are_no_crash_loop(samples):
    found, _ = said(ALL, samples, 710)
    assert found["restarts"].guard != "crash_loop"


def test_restarts_of_instances_are_not_counted_twice_in_the_rate():
    evidence = fed(ALL, begun(ALL), [sample(60, NEW, 1.0, 0.1, signal="restarts"), restart(60, "a")])
    assert evidence.checks["restarts"]["totals"][:2] == [1.0, 0.1]


def test_at_most_64_instances_are_remembered_and_the_newest_stay():
    evidence = fed(ALL, begun(ALL), [restart(10.0 * k, f"i{k}") for k in range(1, 200)])
    kept = evidence.checks["restarts"]["loops"]
    assert len(kept) == 64
    assert "i199" in kept


def failing(minutes, share, n=100.0):
    return steady(minutes, (share * n, n), (0.0, n))


def test_success_below_half_for_two_minutes_fails():
    found, _ = said(ALL, failing(2, 0.6), 121)
    verdict = found["errors"]
    assert (verdict.kind, verdict.guard) == (VerdictKind.FAIL, "success")
    assert verdict.value == pytest.approx(0.6)
    assert verdict.limit == pytest.approx(0.5)
    assert verdict.since == at(0)


def test_success_is_guarded_in_pieces_of_ten_requests():
    alternating = [sample(k + 1.0, NEW, float(k % 4 != 0), 1.0, seconds=1.0) for k in range(130)]
    found, _ = said(ALL, alternating, 131)
    assert found["errors"].guard == "success"


@pytest.mark.parametrize(
    "samples",
    [failing(1, 0.9), failing(5, 0.4), [sample(120, NEW, 5.0, 5.0, seconds=120.0)]],
    ids=["too short", "above half", "too few requests"],
)
def test_the_success_guard_waits_for_time_depth_and_ten_requests(samples):
    found, _ = said(ALL, samples, 121)
    assert found["errors"].guard == ""


def test_only_errors_are_guarded_for_success():
    slow = steady(3, (90.0, 100.0), (1.0, 100.0), signal="latency")
    found, _ = said(ALL, slow, 181)
    assert found["latency"].guard == ""


LEVEL = a_plan(checks=[{"signal": "errors"}, {"signal": "oldest_age", "limit": 100, "limit_for": "2m"}])


def levels(*values):
    return [
        sample(60.0 * (k + 1), version, value, signal="oldest_age")
        for k, value in enumerate(values)
        for version in (NEW, OLD)
    ]


def test_a_gauge_above_its_limit_and_rising_fails():
    found, _ = said(LEVEL, levels(90.0, 110.0, 130.0, 150.0), 240)
    verdict = found["oldest_age"]
    assert (verdict.kind, verdict.guard, verdict.value, verdict.limit) == (
        VerdictKind.FAIL,
        "limit",
        150,
        100,
    )
    assert verdict.since == at(120)


@pytest.mark.parametrize(
    "values",
    [
        (90.0, 95.0, 99.0, 99.9),
        (110.0, 130.0),
        (500.0, 400.0, 300.0, 200.0),
        (110.0, 150.0, 90.0, 120.0),
        (110.0, 110.0, 110.0, 110.0),
    ],
    ids=["below", "too short", "falling", "interrupted", "level"],
)
def test_a_gauge_that_is_not_rising_above_its_limit_is_undecided(values):
    found, _ = said(LEVEL, levels(*values), 60 * len(values))
    assert found["oldest_age"].kind is VerdictKind.UNDECIDED
    assert found["oldest_age"].value == values[-1]


def test_a_gauge_with_neither_limit_nor_baseline_says_that_it_cannot_fail():
    plan = a_plan(checks=["errors", {"signal": "oldest_age", "baselines": ["history"]}])
    found, _ = said(plan, levels(1.0, 1e9), 120)
    assert found["oldest_age"].kind is VerdictKind.UNDECIDED
    assert "cannot fail" in found["oldest_age"].note
    assert found["oldest_age"].rests_on == "none"


ONE = a_plan("errors")


def alone(version, minutes, n=600.0, first=0):
    return [sample(60.0 * (first + k + 1), version, 3.0 if n else 0.0, n) for k in range(minutes)]


def test_a_silent_candidate_is_no_data_at_first_and_then_fails():
    found, _ = said(ONE, alone(OLD, 2), 130)
    assert found["errors"].kind is VerdictKind.NO_DATA
    found, judgement = said(ONE, alone(OLD, 4), 240)
    assert (found["errors"].kind, found["errors"].guard) == (VerdictKind.FAIL, "silence")
    assert found["errors"].since == at(0)
    assert judgement.culprits


def test_a_candidate_that_falls_silent_fails_from_its_last_word():
    both = steady(10, (3.0, 600.0), (3.0, 600.0))
    found, _ = said(ONE, both + alone(OLD, 4, first=10), 840)
    assert (found["errors"].guard, found["errors"].since) == ("silence", at(600))


def test_silence_before_the_candidate_should_serve_is_nothing():
    found, _ = said(ONE, alone(OLD, 10), 600, hold_off(begun(ONE), at(590)))
    assert found["errors"].kind is VerdictKind.UNDECIDED
    assert found["errors"].needs


def test_a_candidate_without_traffic_fails_only_where_traffic_was_to_be_expected():
    both = steady(10, (3.0, 600.0), (3.0, 600.0))
    quiet = [one for k in range(10, 15) for one in (alone(NEW, 1, 0.0, k)[0], alone(OLD, 1, 600.0, k)[0])]
    found, _ = said(ONE, both + quiet, 900)
    assert found["errors"].guard == "silence"
    night = [one for k in range(10, 15) for one in (alone(NEW, 1, 0.0, k)[0], alone(OLD, 1, 0.0, k)[0])]
    found, _ = said(ONE, both + night, 900)
    assert found["errors"].guard == ""
    assert found["errors"].kind is not VerdictKind.FAIL


def test_a_candidate_that_missed_few_requests_is_no_data_and_no_failure():
    both = steady(10, (3.0, 600.0), (3.0, 600.0))
    few = [
        sample(60.0 * (k + 1), version, 0.0, n)
        for k in range(10, 15)
        for version, n in ((NEW, 0.0), (OLD, 1.0))
    ]
    found, judgement = said(ONE, both + few, 900)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert found["errors"].note == "the candidate serves nothing where 5 requests were to be expected"
    assert judgement.culprits == ()


def test_a_lost_baseline_is_no_data():
    both = steady(10, (3.0, 600.0), (3.0, 600.0))
    found, judgement = said(ONE, both + alone(NEW, 5, first=10), 900)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert found["errors"].note.startswith("the baseline stopped reporting")
    assert found["errors"].since == at(600)
    assert judgement.culprits == ()


def test_a_baseline_that_never_reported_is_said_as_such():
    found, _ = said(ONE, alone(NEW, 5), 300)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert found["errors"].note.startswith("no baseline beside it")
    assert found["errors"].baseline_kind == "none"


def test_both_lost_is_a_fault_of_telemetry_and_never_a_failure():
    both = steady(60, (3.0, 600.0), (3.0, 600.0))
    found, judgement = said(ONE, both, 60 * 60 + 3000)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert "telemetry" in found["errors"].note
    assert judgement.culprits == ()


def test_one_missing_interval_beyond_the_age_limit_is_no_data_and_not_pass():
    both = steady(60, (3.0, 600.0), (3.0, 600.0))
    found, _ = said(ONE, both, 3600)
    assert found["errors"].kind is VerdictKind.PASS
    found, _ = said(ONE, both, 3661)
    assert found["errors"].kind is VerdictKind.NO_DATA


def test_a_check_that_ignores_missing_data_is_undecided_instead():
    plan = a_plan(checks=[{"signal": "errors", "no_data": "ignore"}])
    found, judgement = said(plan, alone(OLD, 10), 600)
    assert found["errors"].kind is VerdictKind.UNDECIDED
    assert judgement.culprits == ()


def test_silence_fails_only_where_the_baseline_served_enough_meanwhile():
    """With one check in one region the guard may spend 0.1 %: 7 requests at half the traffic."""
    found, judgement = said(ONE, alone(OLD, 4, n=3.0), 240)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert found["errors"].note == "the candidate reports nothing while the baseline does"
    assert judgement.culprits == ()
    found, _ = said(ONE, alone(OLD, 4, n=4.0), 240)
    assert found["errors"].guard == "silence"
    assert found["errors"].note.endswith("does, for 240 s and 8 expected requests")


def test_the_budget_of_silence_is_shared_by_all_checks_and_regions():
    wide = a_plan("errors", "latency", "work_age", "restarts", regions=("R3", "R1", "R2"))
    found, _ = said(wide, alone(OLD, 4, n=4.0), 240)  # 8 requests are e**-8, more than 0.1 % / 12
    assert found["errors"].kind is VerdictKind.NO_DATA
    found, _ = said(wide, alone(OLD, 4, n=5.0), 240)
    assert found["errors"].guard == "silence"


def test_a_silent_rate_fails_by_the_requests_that_the_candidate_did_not_serve():
    plan = a_plan("errors", "restarts")
    hours = [sample(60.0 * (k + 1), OLD, 0.0, 0.1, signal="restarts") for k in range(4)]
    found, _ = said(plan, hours + alone(OLD, 4), 240)
    assert found["restarts"].guard == "silence"
    serving = steady(4, (3.0, 600.0), (3.0, 600.0))
    found, judgement = said(plan, hours + serving, 240)
    assert found["restarts"].kind is VerdictKind.NO_DATA
    assert judgement.culprits == ()


def test_where_nothing_counts_requests_silence_is_never_harm():
    plan = a_plan("restarts", "oldest_age")
    hours = [sample(60.0 * (k + 1), OLD, 0.0, 1000.0, signal="restarts") for k in range(60)]
    levels = [sample(60.0 * (k + 1), OLD, 1.0, signal="oldest_age") for k in range(60)]
    found, judgement = said(plan, hours + levels, 3600)
    assert {verdict.kind for verdict in found.values()} == {VerdictKind.NO_DATA}
    assert judgement.culprits == ()


def test_a_new_weight_begins_the_silence_anew():
    silent = fed(ONE, begun(ONE), alone(OLD, 3))
    found, _ = said(ONE, alone(OLD, 4, n=0.0, first=3), 420, hold_off(silent, at(180)))
    assert found["errors"].kind is VerdictKind.NO_DATA


@pytest.mark.parametrize(
    "samples",
    [alone(OLD, 2), alone(NEW, 2), [], [sample(5.0, NEW, -1.0, 1.0)]],
    ids=["no candidate", "no baseline", "neither", "junk"],
)
def test_no_data_is_one_short_clause_without_what_history_said(samples):
    found, _ = said(ONE, samples, 130)
    assert found["errors"].kind is VerdictKind.NO_DATA
    assert len(found["errors"].note) <= 80
    assert ";" not in found["errors"].note
    assert "over-dispersion" not in found["errors"].note


def test_a_time_in_the_future_does_not_hide_silence():
    samples = [sample(1e7, NEW, 0.0, 600.0), *alone(OLD, 4)]
    found, _ = said(ONE, samples, 240)
    assert found["errors"].guard == "silence"
