"""Verdicts, their numbers, and the one budget over all of them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import cell_weights, hold_off, judge, threshold
from rollout.core.judge.state import CheckState
from rollout.core.judge.verdicts import passed
from rollout.core.signals import SignalKind, VerdictKind

from .traffic import NEW, OLD, START, a_plan, at, begun, fed, in_region, sample, steady

PLAN = a_plan("errors")


def said(samples, now, plan=PLAN, history=()):
    """The judgement of one region after samples."""
    return judge(plan, {"R3": fed(plan, begun(plan, history), samples)}, at(now))


def only(judgement):
    (verdict,) = judgement.verdicts
    return verdict


def test_twice_the_errors_fail_with_numbers_that_a_person_can_act_on():
    samples = steady(120, (3.0, 600.0), (3.0, 600.0)) + steady(90, (9.0, 600.0), (3.0, 600.0), first=120)
    judgement = said(samples, 210 * 60)
    verdict = only(judgement)
    assert verdict.kind is VerdictKind.FAIL
    assert judgement.culprits == (verdict,)
    assert judgement.log_e >= judgement.threshold == pytest.approx(math.log(1 / 0.008))
    assert verdict.value == pytest.approx(0.015, rel=0.05)
    assert verdict.baseline == pytest.approx(0.005, rel=0.05)
    assert verdict.limit == pytest.approx(2 * verdict.baseline)
    assert abs((verdict.since - at(120 * 60)).total_seconds()) <= 120
    assert verdict.newest == at(210 * 60)
    assert verdict.baseline_kind == "instances beside it in R3"
    assert verdict.guard == ""


def test_errors_against_a_baseline_without_any_are_a_clear_fail():
    verdict = only(said(steady(30, (6.0, 600.0), (0.0, 600.0)), 1800))
    assert verdict.kind is VerdictKind.FAIL
    assert verdict.baseline == 0.0


def test_fewer_errors_than_the_baseline_never_fail():
    verdict = only(said(steady(300, (1.0, 600.0), (9.0, 600.0)), 300 * 60))
    assert verdict.kind is VerdictKind.PASS


def test_a_pass_needs_evidence_and_until_then_it_is_undecided_and_says_what_it_needs():
    early, late = (only(said(steady(n, (3.0, 600.0), (3.0, 600.0)), n * 60)) for n in (3, 60))
    assert early.kind is VerdictKind.UNDECIDED
    assert early.needs.startswith("about ")
    assert "more candidate requests" in early.needs
    assert "min at the present pace" in early.needs
    assert late.kind is VerdictKind.PASS
    assert late.needs == ""


def test_what_it_says_it_needs_is_about_what_it_takes():
    words = only(said(steady(2, (3.0, 600.0), (3.0, 600.0)), 120)).needs
    promised = float(words.split()[1].replace(",", "")) + 1200
    taken = next(
        n * 600
        for n in range(3, 100)
        if only(said(steady(n, (3.0, 600.0), (3.0, 600.0)), n * 60)).kind is VerdictKind.PASS
    )
    assert taken / 2 <= promised <= taken * 2


def test_harm_equal_to_the_tolerance_is_not_passed():
    samples = steady(30, (6.0, 600.0), (3.0, 600.0))
    assert only(said(samples, 1800)).kind is not VerdictKind.PASS


def test_the_tolerance_decides_what_a_pass_rules_out():
    wide, narrow = (
        only(said(steady(15, (3.0, 600.0), (3.0, 600.0)), 900, a_plan(checks=[check])))
        for check in ({"signal": "errors", "tolerance": 5}, {"signal": "errors", "tolerance": 1.3})
    )
    assert wide.kind is VerdictKind.PASS
    assert narrow.kind is VerdictKind.UNDECIDED
    assert narrow.limit == pytest.approx(1.3 * 0.005)


def test_nothing_passes_while_it_has_evidence_of_harm():
    state = CheckState(bake=[9.0, 1800.0, 9.0, 1800.0], ruled_out=6.0)
    assert passed(PLAN, SignalKind.RATIO, state)
    state.log_e = math.log(20)
    assert not passed(PLAN, SignalKind.RATIO, state)


def test_what_a_guard_stopped_is_named_before_what_the_tests_found():
    plan = a_plan("errors", "restarts")
    loop = [sample(60.0 * k, NEW, 1.0, signal="restarts", instance="a") for k in (1, 2, 3)]
    harm = steady(60, (12.0, 600.0), (3.0, 600.0))
    judgement = judge(plan, {"R3": fed(plan, begun(plan), loop + harm)}, at(3600))
    assert [(v.signal, v.guard) for v in judgement.culprits] == [("restarts", "crash_loop"), ("errors", "")]


def test_zero_against_zero_passes_after_thirty_thousand_requests_and_not_before():
    verdict = only(said(steady(40, (0.0, 600.0), (0.0, 600.0)), 40 * 60))
    assert verdict.kind is VerdictKind.UNDECIDED
    assert verdict.needs.startswith("more than 6,000 ")
    assert "the baseline shows none yet" in verdict.needs
    assert only(said(steady(51, (0.0, 600.0), (0.0, 600.0)), 51 * 60)).kind is VerdictKind.PASS
    risen = [*steady(51, (0.0, 600.0), (0.0, 600.0)), *steady(60, (9.0, 600.0), (0.0, 600.0))[51:]]
    assert only(said(risen, 3600)).kind is VerdictKind.FAIL


def test_few_requests_never_pass():
    plan = a_plan("errors", judging={"warmup": 0.001, "min_requests": 50_000})
    verdict = only(said(steady(60, (3.0, 600.0), (3.0, 600.0)), 3600, plan))
    assert verdict.kind is VerdictKind.UNDECIDED
    assert "14,000 more candidate requests" in verdict.needs


def test_after_a_change_of_weight_a_pass_must_be_earned_by_what_runs_now():
    passed = fed(PLAN, begun(PLAN), steady(60, (3.0, 600.0), (3.0, 600.0)))
    assert only(judge(PLAN, {"R3": passed}, at(3600))).kind is VerdictKind.PASS
    changed = hold_off(passed, at(3660))
    verdict = only(judge(PLAN, {"R3": changed}, at(3610)))
    assert verdict.kind is VerdictKind.UNDECIDED
    assert verdict.note.startswith("not judged yet")


SAME = (3.0, 600.0)
NEVER = at(1e9)  # while the new weight is being ordered


def reweighted(evidence, seconds):
    """Evidence after another weight, whose warm-up ends after `seconds`."""
    return hold_off(hold_off(evidence, NEVER), at(seconds))


@given(before=st.integers(1, 90), wait=st.integers(0, 300), bad=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_later_bake_passes_no_sooner_than_one_that_has_nothing_to_lean_on(before, wait, bad):
    """Whatever an earlier bake ruled out, a pass takes the same new blocks as without it."""
    earlier = fed(PLAN, begun(PLAN), steady(before, SAME, SAME))
    leaning = reweighted(earlier, before * 60 + wait)
    alone = hold_off(begun(PLAN), at(before * 60 + wait))
    for minute in range(before, before + 40):
        one = steady(1, (float(bad), 600.0), SAME, first=minute)
        leaning, alone = fed(PLAN, leaning, one), fed(PLAN, alone, one)
        late, fresh = (only(judge(PLAN, {"R3": e}, at(minute * 60 + 60))) for e in (leaning, alone))
        assert late.seen == fresh.seen
        if late.kind is VerdictKind.PASS:
            assert fresh.kind is VerdictKind.PASS
            return


def test_a_new_weight_keeps_what_spoke_of_harm_and_how_many_requests_were_answered():
    harmed = fed(PLAN, begun(PLAN), steady(8, (9.0, 600.0), SAME))
    before = only(judge(PLAN, {"R3": harmed}, at(480)))
    changed = reweighted(harmed, 600)
    after = only(judge(PLAN, {"R3": changed}, at(600)))
    assert after.log_e == before.log_e > 0
    assert (before.seen, before.exposed) == (4800.0, 4800.0)
    assert (after.seen, after.exposed, after.value, after.baseline) == (0.0, 4800.0, None, None)
    later = only(judge(PLAN, {"R3": fed(PLAN, changed, steady(4, SAME, SAME, first=8))}, at(720)))
    assert (later.seen, later.exposed) == (1200.0, 7200.0)  # two minutes of warm-up were answered, not judged


def test_a_block_that_was_open_at_a_new_weight_is_bet_for_harm_and_rules_nothing_out():
    early = [sample(20.0, v, 3.0, 600.0, seconds=20.0) for v in (NEW, OLD)]
    rest = [sample(60.0, v, 3.0, 600.0, seconds=20.0) for v in (NEW, OLD)]
    next_block = steady(1, SAME, SAME, first=1)
    mixed = reweighted(fed(PLAN, begun(PLAN), early), 40).checks["errors"]
    assert mixed["mixed"]
    evidence = fed(PLAN, reweighted(fed(PLAN, begun(PLAN), early), 40), rest + next_block)
    assert evidence.checks["errors"]["running"]["closed"] == 1
    assert evidence.checks["errors"]["ruled_out"] == 0
    after = fed(PLAN, evidence, steady(1, SAME, SAME, first=2)).checks["errors"]
    assert after["ruled_out"] > 0


def test_a_new_weight_inside_a_block_does_not_pass_before_that_block_is_over():
    earlier = fed(PLAN, begun(PLAN), steady(60, SAME, SAME))
    early, rest = ([sample(t, v, 1.0, 200.0, seconds=20.0) for v in (NEW, OLD)] for t in (3620.0, 3660.0))
    assert only(judge(PLAN, {"R3": fed(PLAN, earlier, early)}, at(3620))).kind is VerdictKind.PASS
    changed = fed(PLAN, reweighted(fed(PLAN, earlier, early), 3640), rest)
    verdict = only(judge(PLAN, {"R3": changed}, at(3660)))
    assert verdict.seen >= PLAN.judging.min_requests
    assert verdict.kind is VerdictKind.UNDECIDED


def test_the_same_hold_off_again_changes_nothing():
    evidence = fed(PLAN, begun(PLAN), steady(30, SAME, SAME))
    assert hold_off(evidence, evidence.judged_from) is evidence


def test_a_later_bake_needs_its_own_requests():
    plan = a_plan("errors", judging={"warmup": 0.001, "min_requests": 12_000})
    evidence = fed(plan, begun(plan), steady(60, SAME, SAME))
    later = fed(plan, reweighted(evidence, 3600), steady(12, SAME, SAME, first=60))
    verdict = only(judge(plan, {"R3": later}, at(72 * 60)))
    assert verdict.kind is VerdictKind.UNDECIDED
    assert verdict.needs.startswith("about 4,800 more candidate requests")


def test_a_baseline_that_is_next_to_nothing_is_said_and_divides_nothing():
    verdict = only(said(steady(5, (3.0, 1e15), (1.0, 0.01)), 300))
    assert verdict.needs.startswith("more of the baseline beside it")


def test_a_failure_in_the_warm_up_of_a_later_weight_still_has_numbers():
    harmed = fed(PLAN, begun(PLAN), steady(60, (12.0, 600.0), SAME))
    verdict = only(judge(PLAN, {"R3": hold_off(harmed, NEVER)}, at(3600)))
    assert verdict.kind is VerdictKind.FAIL
    assert verdict.value == pytest.approx(0.02)
    assert verdict.limit == pytest.approx(0.01)


def test_a_pass_is_taken_back_when_harm_begins():
    quiet = steady(300, (3.0, 600.0), (3.0, 600.0))
    harm = steady(8, (12.0, 600.0), (3.0, 600.0), first=300)
    assert only(said(quiet, 300 * 60)).kind is VerdictKind.PASS
    assert only(said(quiet + harm, 308 * 60)).kind is not VerdictKind.PASS


RESTARTS = a_plan("restarts")
WEEK = [sample(-60.0 * k, OLD, 1.0 if k <= 34 else 0.0, 10.0, signal="restarts") for k in range(1, 169)]


def restarting(minutes, per_hour, *, first=0):
    """Ten candidate instances beside ten of the baseline, which has a rest of 0.02 per hour."""
    every = round(60 / (10 * per_hour))
    return [
        sample(60.0 * (k + 1), v, float(v == NEW and k % every == 0), 10 / 60, signal="restarts")
        for k in range(first, first + minutes)
        for v in (NEW, OLD)
    ]


def test_a_small_periodic_restart_rate_is_found():
    minutes = 120
    verdict = only(said(restarting(minutes, 0.3), minutes * 60, RESTARTS, WEEK))
    assert verdict.kind is VerdictKind.FAIL
    assert verdict.baseline_kind == "instances beside it in R3 and the history of R3"
    assert verdict.value == pytest.approx(0.3, rel=0.3)


def test_restarts_of_both_alike_are_no_harm():
    both = [
        sample(60.0 * (k + 1), v, float(k % 30 == 0), 10 / 60, signal="restarts")
        for k in range(300)
        for v in (NEW, OLD)
    ]
    history = [sample(-60.0 * k, OLD, float(k % 30 == 0), 10 / 60, signal="restarts") for k in range(1, 6000)]
    assert only(said(both, 300 * 60, RESTARTS, history)).kind is not VerdictKind.FAIL


def test_no_restarts_at_all_are_ruled_out_only_by_history_that_had_some():
    none = restarting(600, 1e-6)
    without, beside = (only(said(none[2:], 36_000, RESTARTS, past)) for past in ((), WEEK))
    assert without.kind is VerdictKind.UNDECIDED
    assert "instance-hours" in without.needs
    assert beside.kind is VerdictKind.PASS


def test_one_host_that_falls_with_all_its_instances_is_no_verdict():
    quiet = restarting(30, 1e-6)[2:]
    crash = [sample(1860, v, 10.0 * (v == NEW), 10 / 60, signal="restarts") for v in (NEW, OLD)]
    after = [sample(1920, v, 0.0, 10 / 60, signal="restarts") for v in (NEW, OLD)]
    assert said(quiet + crash + after, 1920, RESTARTS, WEEK).culprits == ()


MANY = a_plan(
    regions=("R3", "R1"),
    checks=[{"signal": "errors", "weight": 3}, {"signal": "latency"}, {"signal": "oldest_age", "limit": 1}],
)


def weights_of(plan, region="R3", history=()):
    checks = {cell: CheckState.view(raw) for cell, raw in begun(plan, history, region).checks.items()}
    return cell_weights(plan, region, checks)


def test_weights_are_frozen_by_the_plan_and_sum_to_one():
    weights = weights_of(MANY) | weights_of(MANY, "R1")
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["R3", "errors"] == weights["R1", "errors"] == pytest.approx(0.95 * 3 / 10)
    assert weights["R3", "oldest_age"] == pytest.approx(0.95 / 10)
    assert weights["R3", "gaps"] == pytest.approx(0.05 / 2)


def test_what_has_not_started_counts_as_one():
    one = fed(MANY, begun(MANY), steady(60, (9.0, 600.0), (3.0, 600.0)))
    judgement = judge(MANY, {"R3": one}, at(3600))
    alone = next(v for v in judgement.verdicts if v.signal == "errors")
    part = weights_of(MANY)["R3", "errors"]
    gaps = math.exp(one.checks["gaps"]["log_e"]) - 1  # a little below 1 where none were seen
    expected = part * math.exp(alone.log_e) + 1 - part + 0.025 * gaps
    assert math.exp(judgement.log_e) == pytest.approx(expected, rel=1e-9)


def test_regions_that_rise_together_are_blamed_together_worst_first():
    samples = steady(60, (9.0, 600.0), (3.0, 600.0))
    worse = in_region(steady(60, (10.0, 600.0), (3.0, 600.0)), "R1")
    evidence = {"R3": fed(MANY, begun(MANY), samples), "R1": fed(MANY, begun(MANY, region="R1"), worse)}
    judgement = judge(MANY, evidence, at(3600))
    assert next((v.region, v.signal) for v in judgement.culprits) == ("R1", "errors")
    assert {v.kind for v in judgement.culprits} == {VerdictKind.FAIL}
    innocent = [v for v in judgement.verdicts if v.signal == "latency"]
    assert VerdictKind.FAIL not in {v.kind for v in innocent}


def test_a_smaller_budget_asks_for_more_evidence():
    strict = a_plan("errors", false_rollback_budget=0.1)
    assert threshold(strict) == pytest.approx(threshold(PLAN) + math.log(10))


def test_errors_of_sources_are_passed_through_and_are_no_verdict():
    errors = {"R3": ("connection refused", START)}
    judgement = judge(PLAN, {}, at(60), errors)
    assert judgement.errors == errors
    assert judgement.verdicts == judgement.culprits == ()
    assert judgement.log_e == pytest.approx(0)


def test_a_check_with_nothing_to_compare_with_has_no_part_of_the_budget():
    plan = a_plan(checks=["errors", {"signal": "oldest_age", "baselines": ["history"], "limit": 1}])
    weights = weights_of(plan)
    assert ("R3", "oldest_age") not in weights
    assert weights["R3", "errors"] == pytest.approx(0.95)
    assert judge(plan, {"R3": begun(plan)}, at(1)).log_e == pytest.approx(0)


def test_ignored_samples_are_said():
    bad = [sample(1.0 + k, NEW, math.nan, 1.0) for k in range(7)]
    verdict = only(said(bad + steady(5, (3.0, 600.0), (3.0, 600.0)), 300))
    assert "7 unusable samples were ignored" in verdict.note
