"""The largest and the smallest, months of blocks, and samples in any order or none."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import begin, hold_off, judge, sequential, streams
from rollout.core.judge.sequential import Terms
from rollout.core.signals import VerdictKind

from .traffic import NEW, OLD, START, a_plan, at, begun, fed, sample, steady

PLAN = a_plan("errors")
ALL = a_plan("errors", "restarts", "oldest_age", "duration", "done")


def only(samples, now, plan=PLAN):
    return judge(plan, {"R3": fed(plan, begun(plan), samples)}, at(now)).verdicts[0]


# ----------------------------------------------------------------- sizes


def finite(verdict):
    numbers = (verdict.value, verdict.baseline, verdict.limit, verdict.log_e, verdict.seen, verdict.low)
    return all(number is None or math.isfinite(number) for number in numbers)


@pytest.mark.parametrize("n", [1.0, 3.0, 600.0, 1e6, 1e12])
def test_any_traffic_is_judged_and_says_finite_numbers(n):
    bad = 5e-3 * n if n > 100 else 0.0
    calm, harmed = (only(steady(60, (times * bad, n), (bad, n)), 3600) for times in (1, 5))
    assert finite(calm)
    assert finite(harmed)
    assert calm.kind is not VerdictKind.FAIL
    if n > 100:
        assert harmed.kind is VerdictKind.FAIL
        assert calm.kind is VerdictKind.PASS


def test_one_request_an_interval_neither_passes_nor_fails_for_hours():
    verdict = only(steady(120, (0.0, 1.0), (0.0, 1.0)), 7200)
    assert verdict.kind is VerdictKind.UNDECIDED
    assert verdict.needs


@pytest.mark.parametrize(("new", "old"), [(1.0, 1e12), (1e12, 1.0)])
def test_arms_of_wildly_different_size_are_no_evidence_by_their_size(new, old):
    verdict = only(steady(60, (0.005 * new, new), (0.005 * old, old)), 3600)
    assert verdict.kind is not VerdictKind.FAIL
    assert finite(verdict)


def test_a_value_that_float64_cannot_count_is_junk():
    evidence = fed(PLAN, begun(PLAN), [sample(60, NEW, 2.0**53 + 2, 2.0**54), sample(60, OLD, 1.0, 2.0**53)])
    assert evidence.checks["errors"]["junk"] == 1
    assert evidence.checks["errors"]["totals"][3] == 2.0**53


def test_one_wild_interval_decides_nothing():
    """1e12 failures in a minute, then all is well: one bet of five nats at most."""
    samples = steady(30, (3.0, 600.0), (3.0, 600.0))
    wild = steady(1, (1e12, 1e12), (0.0, 1e12), first=30)
    evidence = fed(PLAN, begun(PLAN), samples + wild)
    assert judge(PLAN, {"R3": evidence}, at(31 * 60)).culprits == ()


# ----------------------------------------------------------------- months


@pytest.mark.parametrize("family", ["split", "sign", "joint", "forecast", "level", "step"])
@pytest.mark.parametrize("every", [1, 7])
def test_four_months_of_minutes_stay_bounded_and_finite(family, every):
    """172,800 minutes in streams that are always harmed, never, or in turns; sped up by jumps in between."""
    pattern = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # harm in even and odd blocks
    settled = Terms(
        tests=(sequential.Test(family, False, 1.0),),
        lift=2.0,
        horizon=420,
        every=every,
        known=(3.5, 100.0),
        margin=0.1 if family in sequential.LEVELS else 1.0,
        scale=1.0,
    )
    running = sequential.begin(settled, (3,))
    for _ in range(12):
        for block in range(100):
            harm = pattern[block % 2]
            rows = np.stack(
                [5 + 50 * harm, 0 * harm + 1000, 0 * harm + 5, 0 * harm + 1000, 0 * harm + 5], axis=-1
            )
            if family in sequential.LEVELS:
                rows[:, :4] = np.stack([3 * harm, 0 * harm + 1, 0 * harm, 0 * harm + 1], axis=-1)
            sequential.step(settled, running, rows)
            found = sequential.log_e(settled, running)
            assert np.isfinite(found).all()
            assert np.isfinite(sequential.ruled_out(settled, running)).all()
        running.closed = running.closed + 14_400 // every
    assert found[0] > 5
    assert found[1] <= 0.1
    size = np.array([np.abs(logs).max() for logs in running.logs.values()])
    assert (size <= 700).all()


def test_evidence_of_months_is_as_small_as_that_of_an_hour():
    evidence = fed(ALL, begun(ALL), _hours(0, 1))
    first = len(json.dumps(evidence.checks))
    for day in range(1, 90):
        evidence = fed(ALL, evidence, _hours(24 * day, 1))
    assert len(json.dumps(evidence.checks)) < 1.15 * first


def _hours(first, hours):
    rng = np.random.default_rng(first)
    made = []
    for minute in range(first * 60 + 1, (first + hours) * 60, 7):
        for version in (NEW, OLD):
            made += [
                sample(60.0 * minute, version, float(rng.binomial(500, 0.01)), 500.0),
                sample(60.0 * minute, version, float(rng.poisson(0.1)), 0.2, signal="restarts"),
                sample(60.0 * minute, version, float(rng.lognormal(3, 0.2)), signal="oldest_age"),
                sample(60.0 * minute, version, float(rng.binomial(500, 0.9)), 500.0, signal="done"),
            ]
    return made


# ----------------------------------------------------------------- order and clocks


def clocks_apart(ahead, bad, end=7300):
    """The candidate's source is ahead by so many seconds; samples arrive as they are read, both together."""
    return [
        sample(10.0 * k + (ahead if version == NEW else 0.0), version, x / 6, 100.0, seconds=10.0)
        for k in range(12, end // 10)
        for version, x in ((NEW, bad), (OLD, 3.0))
    ]


@pytest.mark.parametrize("ahead", [-60.0, -59.0, -10.0, 10.0, 59.0, 60.0])
def test_clocks_that_differ_by_a_minute_hide_neither_harm_nor_health(ahead):
    for bad, kind in ((3.0, VerdictKind.PASS), (15.0, VerdictKind.FAIL)):
        assert only(clocks_apart(ahead, bad), 7290).kind is kind


@pytest.mark.parametrize("ahead", [-90.0, -60.0, -10.0, 10.0, 59.0, 60.0, 90.0])
def test_clocks_that_differ_make_no_wrong_verdict(ahead):
    assert only(clocks_apart(ahead, 3.0), 7290).kind is not VerdictKind.FAIL
    assert only(clocks_apart(ahead, 15.0), 7290).kind is not VerdictKind.PASS


def test_intervals_that_arrive_out_of_order_or_twice_or_late_are_taken_once_in_order():
    whole = steady(60, (3.0, 600.0), (3.0, 600.0))
    rng = np.random.default_rng(3)
    mixed = [whole[place] for place in rng.permutation(len(whole))]
    for arrived in (mixed, [*whole, *whole], [one for one in whole for _ in range(3)], whole[::-1]):
        evidence = fed(PLAN, begun(PLAN), arrived)
        state = evidence.checks["errors"]
        accepted = sum(state["totals"][1::2]) / 600
        assert accepted <= len(whole)
        assert accepted + state["junk"] == len(arrived)
        assert judge(PLAN, {"R3": evidence}, at(3600)).culprits == ()


def test_an_interval_that_is_longer_than_a_block_is_one_block():
    plan = a_plan("errors", judging={"warmup": 0.001, "block": "60s", "max_age": "10m"})

    def hours(bad):
        return [
            sample(300.0 * k, version, x, 3000.0, seconds=300.0)
            for k in range(1, 25)
            for version, x in ((NEW, bad), (OLD, 15.0))
        ]

    assert only(hours(15.0), 7200, plan).kind is VerdictKind.PASS
    assert only(hours(75.0), 7200, plan).kind is VerdictKind.FAIL
    assert fed(plan, begun(plan), hours(15.0)).checks["errors"]["blocks"] == 23


# ----------------------------------------------------------------- junk of every kind

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**30),
    st.sampled_from([True, False, None, "3", "NaN", 10**400, -0.0, 2.0**53, 2.0**53 + 2, 1e308, 5e-324]),
)
series = st.sampled_from(
    ["errors", "restarts", "oldest_age", "done", "duration{le=0.1}", "duration{le=+Inf}", "duration{le=nan}",
     "duration{le=}", "duration", "errors{le=0.5}", "gaps", "", "{", "unknown", "errors{segment=far}"]
)  # fmt: skip


@st.composite
def anything(draw):
    """A sample of any label, time and numbers. Those of the baseline may be good; the candidate's never."""
    version = draw(st.sampled_from([OLD, NEW, "1.3.9", ""]))
    value, exposure = draw(numbers), draw(numbers)
    if version == NEW:  # never a good sample of the candidate: its value is more than all, or no number
        value = draw(st.sampled_from([math.nan, math.inf, -1.0, "1", True, None, 10**400]))
    return sample(
        draw(st.floats(-1e6, 1e6)),
        version,
        value,
        exposure,
        signal=draw(series),
        seconds=draw(st.sampled_from([0.0, 10.0, 60.0, 1e9, -5.0, math.nan])),
        region=draw(st.sampled_from(["R3", "R1", ""])),
        instance=draw(st.sampled_from(["", "", "a"])),
    )


@settings(derandomize=True, deadline=None, max_examples=150)
@given(junk=st.lists(anything(), max_size=40), history=st.lists(anything(), max_size=20))
def test_any_sequence_of_junk_raises_nothing_and_never_passes(junk, history):
    evidence = begin(ALL, region="R3", candidate=NEW, baseline=OLD, now=START, history=history)
    evidence = fed(ALL, hold_off(evidence, START), junk)
    json.dumps(evidence.checks, allow_nan=False)
    for now in (60, 400, 10**6):
        judgement = judge(ALL, {"R3": evidence}, at(now))
        assert VerdictKind.PASS not in {verdict.kind for verdict in judgement.verdicts}
        assert math.isfinite(judgement.log_e)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    values=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12),
    name=st.sampled_from(["errors", "restarts", "oldest_age", "done", "duration{le=0.1}"]),
)
def test_usable_extremes_of_both_arms_never_raise_nor_leave_a_number_that_is_none(values, name):
    samples = [
        sample(60.0 * (minute + 1), version, *pair, signal=name)
        for minute, pair in enumerate(values)
        for version in (NEW, OLD)
    ]
    evidence = fed(ALL, begun(ALL), samples)
    json.dumps(evidence.checks, allow_nan=False)
    judgement = judge(ALL, {"R3": evidence}, at(60.0 * len(values)))
    assert math.isfinite(judgement.log_e)
    assert all(math.isfinite(verdict.log_e) for verdict in judgement.verdicts)


def test_arms_that_are_both_always_the_same_are_never_evidence():
    rows = np.zeros((4, 200, 5))
    for place, n in enumerate((1e-3, 1.0, 1e6, 1e12)):
        rows[place, :, :4] = [0.01 * n, n, 0.01 * n, n]
    tests = (sequential.Test("split", False, 0.8), sequential.Test("sign", False, 0.2))
    paths = streams.replay_streams(Terms(tests=tests, lift=2.0, horizon=200), rows)
    assert (paths.log_e <= 1e-9).all()
