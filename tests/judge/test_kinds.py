"""Every kind of signal: a harm that is put in is found, and without one nothing fails."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from rollout.core.judge import judge
from rollout.core.signals import BaselineKind, Judgement, Sample, VerdictKind

from .traffic import NEW, OLD, a_plan, at, begun, fed, sample

HOURS = 6  # of history
Numbers = Callable[[int, np.random.Generator], tuple[float, float]]  # minute → value, exposure


def minutes(signal: str, first: int, count: int, arms: dict[str, Numbers], seed: int = 1) -> list[Sample]:
    rng = np.random.default_rng(seed + first + 10_000)
    return [
        sample(60.0 * (minute + 1), version, *numbers(minute, rng), signal=signal)
        for minute in range(first, first + count)
        for version, numbers in arms.items()
    ]


def judged(plan, signal: str, usual: Numbers, own: Numbers, count: int, *, past: bool = True) -> Judgement:
    """The judgement after `count` minutes beside a baseline that is as usual."""
    history = minutes(signal, -60 * HOURS, 60 * HOURS, {OLD: usual, NEW: usual}) if past else []
    evidence = begun(plan, history)
    evidence = fed(plan, evidence, minutes(signal, 0, count, {NEW: own, OLD: usual}))
    return judge(plan, {"R3": evidence}, at(60.0 * count))


def counted(rate: float, n: float = 600.0) -> Numbers:
    return lambda _, rng: (float(rng.binomial(int(n), rate)), n)


def events(per_hour: float, instances: float = 10.0) -> Numbers:
    return lambda _, rng: (float(rng.poisson(per_hour * instances / 60)), instances / 60)


def level(mean: float, spread: float = 0.1) -> Numbers:
    return lambda _, rng: (float(mean * rng.lognormal(0, spread)), 0.0)


def queue(mean: float) -> Numbers:
    """A level that is often zero."""
    return lambda _, rng: (float(rng.poisson(mean)), 0.0)


def work(done: float, arrived: float = 0.0) -> Numbers:
    if arrived:
        return lambda _, rng: (float(rng.binomial(int(arrived), done)), arrived)
    return lambda _, rng: (float(rng.poisson(done)), 0.0)


CASES = {
    # check, usual, harmed, minutes in which it is found
    "ratio up": ({"signal": "errors"}, counted(0.005), counted(0.02), 60),
    "ratio down": ({"signal": "errors", "direction": "down"}, counted(0.98), counted(0.93), 60),
    "ratio both, risen": ({"signal": "errors", "direction": "both"}, counted(0.01), counted(0.04), 60),
    "ratio both, fallen": ({"signal": "errors", "direction": "both"}, counted(0.04), counted(0.005), 60),
    "rate up": ({"signal": "restarts"}, events(0.1), events(4.0), 60),
    "rate down": ({"signal": "restarts", "direction": "down"}, events(60.0), events(3.0), 60),
    "gauge up": ({"signal": "oldest_age"}, level(30.0), level(90.0), 60),
    "gauge down": ({"signal": "oldest_age", "direction": "down"}, level(30.0), level(10.0), 60),
    "gauge both, fallen": ({"signal": "oldest_age", "direction": "both"}, level(30.0), level(10.0), 60),
    "gauge often zero": ({"signal": "oldest_age"}, queue(2.0), queue(20.0), 60),
    "throughput of what arrived": ({"signal": "done"}, work(0.98, 400), work(0.85, 400), 60),
}


@pytest.mark.parametrize("name", CASES)
def test_harm_of_every_kind_is_found_beside_a_baseline(name):
    check, usual, harmed, within = CASES[name]
    said = judged(a_plan(checks=[check]), check["signal"], usual, harmed, within)
    assert [(v.signal, v.kind, v.guard) for v in said.culprits] == [(check["signal"], VerdictKind.FAIL, "")]
    (verdict,) = said.culprits
    assert verdict.rests_on in {"proof", "calibration"}  # a rare rate rests on history too
    assert verdict.value is not None
    assert verdict.baseline is not None
    assert (verdict.value > verdict.baseline) is (harm_is_up(name))


def harm_is_up(name: str) -> bool:
    """How the shown numbers differ; a ratio of good events is shown as its bad ones."""
    shown_bad = {"ratio down", "throughput of what arrived"}
    return name in shown_bad or not any(word in name for word in ("down", "fallen", "throughput"))


@pytest.mark.parametrize("name", CASES)
def test_without_a_change_nothing_of_any_kind_fails(name):
    check, usual, _, _ = CASES[name]
    said = judged(a_plan(checks=[check]), check["signal"], usual, usual, 240)
    assert said.culprits == ()
    assert said.suspected == ()


@pytest.mark.parametrize("name", CASES)
def test_the_other_way_of_a_direction_is_no_harm(name):
    check, usual, harmed, within = CASES[name]
    if check.get("direction") == "both":
        return
    said = judged(a_plan(checks=[check]), check["signal"], harmed, usual, within)
    assert said.culprits == ()


@pytest.mark.parametrize(
    "name",
    [
        "ratio up",
        "ratio down",
        "rate down",
        "gauge up",
        "gauge down",
        "throughput of what arrived",
    ],
)
def test_a_candidate_like_its_baseline_passes_and_one_that_is_harmed_never_does(name):
    check, usual, harmed, _ = CASES[name]
    plan = a_plan(checks=[check])
    assert judged(plan, check["signal"], usual, usual, 240).verdicts[0].kind is VerdictKind.PASS
    for count in (5, 30):
        said = judged(plan, check["signal"], usual, harmed, count)
        assert VerdictKind.PASS not in {verdict.kind for verdict in said.verdicts}


@pytest.mark.parametrize("name", ["ratio up", "gauge up", "throughput of what arrived"])
def test_without_any_history_harm_is_found_too(name):
    check, usual, harmed, within = CASES[name]
    said = judged(a_plan(checks=[check]), check["signal"], usual, harmed, within, past=False)
    assert [verdict.signal for verdict in said.culprits] == [check["signal"]]


@pytest.mark.parametrize("name", ["gauge up"])
def test_the_unit_of_a_level_does_not_matter(name):
    check, usual, harmed, _ = CASES[name]

    def scaled(numbers: Numbers) -> Numbers:
        return lambda minute, rng: (1000 * (made := numbers(minute, rng))[0], made[1])

    plan = a_plan(checks=[check])
    for own in (usual, harmed):
        plain = judged(plan, check["signal"], usual, own, 30)
        other = judged(plan, check["signal"], scaled(usual), scaled(own), 30)
        assert other.log_e == pytest.approx(plain.log_e, abs=1e-6)
        assert [v.kind for v in other.verdicts] == [v.kind for v in plain.verdicts]


def test_the_unit_of_a_level_that_is_often_zero_does_not_matter_once_history_is_known():
    plan = a_plan("oldest_age")
    for own in (2.0, 20.0):
        plain = judged(plan, "oldest_age", queue(2.0), queue(own), 30)
        other = judged(plan, "oldest_age", *(_thousand(queue(mean)) for mean in (2.0, own)), 30)
        assert other.log_e == pytest.approx(plain.log_e, abs=1e-6)


def _thousand(numbers: Numbers) -> Numbers:
    return lambda minute, rng: (1000 * numbers(minute, rng)[0], 0.0)


def test_the_unit_of_exposure_of_a_rate_does_not_matter():
    """Instance-hours or instance-minutes: the same events."""
    plan = a_plan("restarts")

    def in_minutes(numbers: Numbers) -> Numbers:
        return lambda minute, rng: ((made := numbers(minute, rng))[0], 60 * made[1])

    for own in (0.1, 4.0):
        plain = judged(plan, "restarts", events(0.1), events(own), 60)
        other = judged(plan, "restarts", in_minutes(events(0.1)), in_minutes(events(own)), 60)
        assert other.log_e == pytest.approx(plain.log_e, abs=1e-9)
        assert [v.kind for v in other.verdicts] == [v.kind for v in plain.verdicts]


def test_a_sum_over_instances_is_judged_by_its_level_in_one_instance():
    """Nine candidate instances hold nine times the backlog of one baseline instance: no harm."""

    def backlog(instances: float, each: float) -> Numbers:
        return lambda _, rng: (float(rng.poisson(each * instances)), instances)

    plan = a_plan("oldest_age")
    same = judged(plan, "oldest_age", backlog(1, 200.0), backlog(9, 200.0), 60, past=False)
    more = judged(plan, "oldest_age", backlog(1, 200.0), backlog(9, 600.0), 60, past=False)
    assert same.culprits == ()
    assert [verdict.signal for verdict in more.culprits] == ["oldest_age"]
    assert more.culprits[0].value == pytest.approx(600, rel=0.1)


@pytest.mark.parametrize("events_seen", [0.0, 0.0001])
def test_no_baseline_event_against_many_is_a_fail_in_every_counted_kind(events_seen):
    for signal, harmed in (("errors", counted(0.02)), ("restarts", events(10.0))):
        none: Numbers = lambda _, rng, s=signal: (0.0, 600.0 if s == "errors" else 10 / 60)  # noqa: E731
        said = judged(a_plan(signal), signal, none, harmed, 60)
        assert [verdict.signal for verdict in said.culprits] == [signal]
        assert said.culprits[0].baseline == pytest.approx(0, abs=0.01)


def test_a_segment_is_a_check_of_its_own_and_shares_the_weight():
    plan = a_plan(checks=[{"signal": "errors", "segments": ["near", "far"], "kind": "ratio"}])
    assert [check.signal for check in plan.checks] == ["errors{segment=near}", "errors{segment=far}"]
    assert sum(check.weight for check in plan.checks) == 1

    def arm(segment: str, own: float) -> list[Sample]:
        return minutes(f"errors{{segment={segment}}}", 0, 90, {NEW: counted(own), OLD: counted(0.005)})

    evidence = fed(plan, begun(plan), sorted(arm("near", 0.005) + arm("far", 0.03), key=lambda one: one.time))
    said = judge(plan, {"R3": evidence}, at(5400))
    assert [(v.signal, v.kind) for v in said.verdicts] == [
        ("errors{segment=near}", VerdictKind.PASS),
        ("errors{segment=far}", VerdictKind.FAIL),
    ]
    assert [verdict.signal for verdict in said.culprits] == ["errors{segment=far}"]


def test_a_check_that_is_not_critical_is_only_ever_suspected():
    checks = [{"signal": "errors", "critical": False}, "latency"]
    plan = a_plan(checks=checks)
    harm = minutes("errors", 0, 120, {NEW: counted(0.1), OLD: counted(0.005)})
    calm = minutes("latency", 0, 120, {NEW: counted(0.01), OLD: counted(0.01)})
    evidence = fed(plan, begun(plan), sorted(harm + calm, key=lambda one: one.time))
    said = judge(plan, {"R3": evidence}, at(7200))
    assert said.culprits == ()
    assert said.log_e < said.threshold
    assert [verdict.signal for verdict in said.suspected] == ["errors"]
    assert said.suspected[0].value == pytest.approx(0.1, rel=0.1)
    assert VerdictKind.PASS not in {v.kind for v in said.verdicts if v.signal == "errors"}


def test_evidence_that_acts_is_no_suspicion_too():
    said = judged(a_plan("errors"), "errors", counted(0.005), counted(0.05), 60)
    assert said.culprits
    assert said.suspected == ()


def test_what_is_compared_beside_rests_on_proof_and_says_its_interval():
    verdict = judged(a_plan("errors"), "errors", counted(0.01), counted(0.01), 120).verdicts[0]
    assert verdict.rests_on == "proof"
    assert verdict.baseline_kind == "instances beside it in R3"
    assert verdict.low < 1 < verdict.high
    assert verdict.events == (pytest.approx(120 * 6, rel=0.15), 120 * 600)
    assert verdict.beside[1] == 120 * 600
    assert math.isclose(verdict.value, verdict.events[0] / verdict.events[1])


def test_a_policy_may_forbid_instances_beside_it():
    plan = a_plan(checks=[{"signal": "errors", "baselines": ["history"]}])
    assert plan.baselines("R3", plan.checks[0]) == (BaselineKind.HISTORY,)
    said = judged(plan, "errors", counted(0.005), counted(0.5, 60), 60)
    assert said.verdicts[0].rests_on == "uncalibrated"
    assert said.culprits == ()  # six hours of history only ever hold
