"""The sentences that people read, word for word."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rollout.core import reason as say
from rollout.core.model import Plugin, Region
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Direction, Signal, SignalKind, Verdict, VerdictKind

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HARM = Verdict(
    region="R1",
    signal="errors",
    kind=VerdictKind.FAIL,
    value=0.013,
    baseline=0.0025,
    baseline_kind="instances beside it in R1",
    low=2.1,
    high=12.0,
    events=(39.0, 3000.0),
    beside=(8.0, 3200.0),
    since=NOON,
)


def verdict(signal: str, **given: Any) -> Verdict:
    """A verdict of a check in R1 that knows nothing but what is given."""
    return Verdict(**({"region": "R1", "signal": signal, "kind": VerdictKind.FAIL, "since": NOON} | given))


@pytest.fixture(scope="module")
def plan() -> Plan:
    plugin = Plugin(kind="fake")
    region = Region(
        name="R1", title="Europe", time_zone="UTC", order=1, traffic_share=1, deployer=plugin, source=plugin
    )
    signals = {
        "errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests"),
        "minor": Signal(name="minor", kind=SignalKind.RATIO, title="slow pages"),
        "finished": Signal(
            name="finished", kind=SignalKind.RATIO, title="finished sends", direction=Direction.DOWN
        ),
        "latency": Signal(name="latency", kind=SignalKind.DISTRIBUTION, title="response time", unit="s"),
        "size": Signal(name="size", kind=SignalKind.DISTRIBUTION, title="size", unit="kB"),
        "restarts": Signal(name="restarts", kind=SignalKind.RATE, title="restarts"),
        "work_age": Signal(name="work_age", kind=SignalKind.GAUGE, title="oldest work", unit="s"),
    }
    policy = {
        "apiVersion": "rollout/v1",
        "name": "p",
        "holdback": 1,
        "stages": [{"regions": ["R1"], "steps": [{"set_weight": 99}, {"bake": "5m"}]}],
        "checks": [{"signal": name, "critical": name != "minor"} for name in signals],
    }
    return compile_plan(Policy.model_validate(policy), {"R1": region}, signals)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-5, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (4000, "1 h 6 min"), (90000, "1 d 1 h")],
)
def test_a_span_has_two_units_at_most(seconds: float, said: str):
    assert say.span(seconds) == said


def test_harm_says_what_value_baseline_interval_evidence_and_since_when(plan: Plan):
    reason = say.harm(plan, [HARM], 5.6, 4.7)
    assert reason.text == (
        "R1 failed requests 1.30 % (39 of 3,000) against 0.25 % (8 of 3,200) on instances beside it in R1: "
        "×5.2, between ×2.1 and ×12 (95 % at every look); since 12:00:00 UTC. "
        "Evidence of harm 270 to 1; acts at 110 to 1."
    )
    assert (reason.code, reason.region, reason.signal, reason.since) == ("check.harm", "R1", "errors", NOON)
    assert reason.evidence == ("R1/errors",)


def test_a_guard_says_its_limit_and_needs_no_evidence(plan: Plan):
    guarded = verdict("work_age", value=412.0, limit=300.0, guard="limit")
    reason = say.harm(plan, [guarded], 0.0, 4.7)
    assert reason.text == ("R1 oldest work 412 s, limit 300 s; hard guard 'limit' fired; since 12:00:00 UTC.")
    assert reason.code == "guard.limit"


@pytest.mark.parametrize(
    ("signal", "guard", "note", "said"),
    [
        ("restarts", "crash_loop", "instance R1-2 restarted 3 times in 5 s", "R1 restarts: {note}; "),
        (
            "errors",
            "silence",
            "it reports nothing, for 12 s and 80 expected requests",
            "R1 failed requests: {note}; ",
        ),
        (
            "errors",
            "success",
            "only 3 of 30 requests succeeded for 60 s",
            "R1 failed requests 90.00 %: {note}; ",
        ),
    ],
)
def test_a_guard_says_what_it_saw_and_no_limit_of_the_test(
    plan: Plan, signal: str, guard: str, note: str, said: str
):
    fired = replace(HARM, signal=signal, guard=guard, note=note, value=0.9, limit=0.0106)
    reason = say.harm(plan, [fired], 0.0, 4.7)
    assert reason.text == f"{said.format(note=note)}hard guard '{guard}' fired; since 12:00:00 UTC."
    assert reason.limit == (0.0106 if guard == "success" else None)


def test_the_worst_culprit_is_spelled_out_and_two_more_are_named(plan: Plan):
    loop = verdict("restarts", guard="crash_loop")
    reason = say.harm(plan, [HARM, loop, verdict("work_age", value=412.0), HARM, HARM], 9.0, 4.7)
    assert reason.text.count("failed requests") == 1
    assert "; also R1 restarts (hard guard 'crash_loop'), R1 oldest work 412 s, and 2 more." in reason.text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("peers R2 by time of day", "against 0.25 % (8 of 3,200) on peers R2 by time of day: "),
        ("nothing", "against 0.25 % (8 of 3,200): "),
        ("", "against 0.25 % (8 of 3,200): "),
    ],
)
def test_the_kind_of_the_baseline_is_named(plan: Plan, kind: str, said: str):
    assert said in say.describe(plan, replace(HARM, baseline_kind=kind))


def test_a_fall_says_that_it_fell(plan: Plan):
    fell = verdict(
        "finished",
        value=0.812,
        baseline=0.971,
        baseline_kind="instances beside it in R1",
        low=0.8,
        high=0.89,
        events=(2436.0, 3000.0),
        beside=(3107.0, 3200.0),
    )
    assert say.describe(plan, fell) == (
        "R1 finished sends fell to 81.20 % (2,436 of 3,000) against 97.10 % (3,107 of 3,200) on instances "
        "beside it in R1: ×0.84, between ×0.80 and ×0.89 (95 % at every look); since 12:00:00 UTC"
    )
    assert "fell" not in say.describe(plan, replace(fell, value=0.98))
    assert "fell" not in say.describe(plan, replace(HARM, value=0.001)), "of errors, less is no fall"


@pytest.mark.parametrize(
    ("signal", "edge", "said"),
    [
        ("latency", 0.25, "R1 response time slower than 250 ms 4.10 % (123 of 3,000)"),
        ("latency", 1.5, "R1 response time slower than 1.5 s 4.10 % (123 of 3,000)"),
        ("size", 1024.0, "R1 size above 1,024 kB 4.10 % (123 of 3,000)"),
    ],
)
def test_a_distribution_names_its_edge(plan: Plan, signal: str, edge: float, said: str):
    slow = verdict(signal, value=0.041, edge=edge, events=(123.0, 3000.0))
    assert say.describe(plan, slow).startswith(said)


def test_a_tested_gauge_says_its_baseline_and_its_interval(plan: Plan):
    old = verdict(
        "work_age",
        value=412.0,
        baseline=120.0,
        baseline_kind="the past of R1 by time of day",
        low=2.0,
        high=None,
    )
    assert say.describe(plan, replace(old, events=(9.0, 3.0))) == (
        "R1 oldest work 412 s against 120 s on the past of R1 by time of day: ×3.4, at least ×2.0 (95 % at "
        "every look); since 12:00:00 UTC"
    )


def test_a_baseline_without_events_has_no_factor_and_still_an_interval(plan: Plan):
    none = replace(HARM, baseline=0.0, beside=(0.0, 3200.0), low=4.1, high=math.inf)
    assert "0.00 % (0 of 3,200) on instances beside it in R1: at least ×4.1 (95 %" in say.describe(plan, none)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (2.1, 12.4, "between ×2.1 and ×12"),
        (0.8, 0.994, "between ×0.80 and ×0.99"),
        (None, 3.0, "at most ×3.0"),
        (0.0, 3.0, "at most ×3.0"),
        (2.0, math.inf, "at least ×2.0"),
        (None, None, ""),
        (9.96, 999.0, "between ×10 and ×999"),
        (2.0, 1000.0, "at least ×2.0"),
    ],
)
def test_an_interval_says_which_of_its_ends_are_known(low: float | None, high: float | None, said: str):
    assert say.interval(low, high) == said


def test_what_is_suspected_says_why_it_does_not_act_alone_and_what_to_do(plan: Plan):
    minor = say.suspected(plan, [replace(HARM, signal="minor", log_e=5.9)], "ro_1", watched=False)
    assert minor.text.endswith(
        "; since 12:00:00 UTC. Suspected: evidence of harm 370 to 1. It does not act alone, as the check is "
        "not critical. Go on: rollout resume ro_1; go back: rollout rollback ro_1"
    )
    assert (minor.code, minor.region, minor.value, minor.since) == ("check.suspected", "R1", 0.013, NOON)
    new = say.suspected(plan, [replace(HARM, log_e=5.9)], "ro_1", watched=True)
    assert (
        "as its comparison is not calibrated yet (it acts alone at 100 times stronger evidence)" in new.text
    )
    assert new.text.endswith("The watch goes on; go back: rollout rollback ro_1")
    cause = "the same rise is seen in R2, where the release is not"
    common = replace(HARM, log_e=5.9, rests_on="calibration", note=f"over-dispersion 2; {cause}")
    assert f"It does not act alone, as {cause}." in say.suspected(plan, [common], "ro_1", watched=False).text
    proven = say.suspected(plan, [replace(HARM, rests_on="proof")], "ro_1", watched=False)
    assert "as it takes evidence of checks to be enough that do not act alone." in proven.text


def test_sentences_fit_on_a_phone(plan: Plan):
    others = [replace(HARM, signal="minor"), verdict("restarts", guard="crash_loop"), HARM, HARM]
    assert len(say.harm(plan, [HARM], 12.0, 4.7).text) <= 240
    assert len(say.harm(plan, [HARM, *others], 12.0, 4.7).text) <= 320
    held = say.suspected(plan, [HARM, *others], "ro_01M7ZNH2ZJAH6NQ4", watched=False)
    assert len(held.text) <= 500


def test_what_speaks_against_harm_is_the_same_check_where_it_passed(plan: Plan):
    passed = replace(HARM, region="R2", kind=VerdictKind.PASS, value=0.0024, low=0.6, high=1.4, since=None)
    idle = verdict("restarts", kind=VerdictKind.PASS, value=0.0, high=1.1)
    assert say.against(plan, [HARM, idle, passed], [HARM]) == (
        "R2 failed requests 0.24 % (39 of 3,000) against 0.25 % (8 of 3,200) on instances beside it in R1: "
        "×0.96, between ×0.60 and ×1.4 (95 % at every look): harm is ruled out. 2 of 3 checks passed."
    )
    assert say.against(plan, [HARM, idle], [HARM]).startswith("R1 restarts 0 per instance-hour")
    assert say.against(plan, [HARM], [HARM]) == "Nothing: no check has ruled harm out."


def test_what_speaks_against_going_on_is_the_strongest_evidence_of_harm(plan: Plan):
    mild = replace(HARM, kind=VerdictKind.UNDECIDED, log_e=1.1, since=None)
    assert say.against(plan, [verdict("restarts"), mild], []).endswith("look). Evidence of harm 3 to 1.")
    assert say.against(plan, [replace(mild, log_e=-2.0)], []).startswith("Nothing: no check has any evidence")
    assert say.against(plan, [], []) == ""


def test_no_evidence_and_no_data_are_told_apart_and_one_to_one_is_none(plan: Plan):
    blind = replace(HARM, kind=VerdictKind.NO_DATA)
    even = replace(HARM, kind=VerdictKind.UNDECIDED, log_e=0.2)
    assert say.against(plan, [blind, blind], []) == "Nothing was judged: no check has data."
    assert (
        say.against(plan, [even, blind], []) == "Nothing: no check has any evidence of harm; 1 had no data."
    )
    loop = verdict("restarts", guard="crash_loop", note="instance R1-2 restarted 3 times in 5 s")
    assert "Evidence" not in say.against(plan, [even, loop], [])
    assert "R1-2 restarted" in say.against(plan, [even, loop], [])


def test_what_goes_on_suspected_says_the_worst_who_resumed_and_how_strong(plan: Plan):
    found = [replace(HARM, log_e=6.04), verdict("restarts", log_e=1.0)]
    assert say.still_suspected(plan, found, "resumed by dana") == (
        "R1 failed requests and 1 more, resumed by dana; evidence 420 to 1"
    )
    assert say.still_suspected(plan, [], "resumed by dana") == ""


def test_what_a_passed_bake_did_not_rule_out_is_named_up_to_three():
    assert say.not_ruled_out([]) == ""
    assert (
        say.not_ruled_out(["×2 failed requests", "restarts"])
        == "; not ruled out: ×2 failed requests, restarts"
    )
    assert say.not_ruled_out(list("abcde")) == "; not ruled out: a, b, c and 2 more"


def test_blindness_says_for_how_long_and_what_to_do(plan: Plan):
    verdict = replace(HARM, kind=VerdictKind.NO_DATA, note="the baseline stopped reporting")
    assert say.blind(plan, verdict, 320).text == (
        "R1 failed requests: no data for 5 min 20 s (the baseline stopped reporting). "
        "Nothing is promoted without data: mend the source and resume, or roll back."
    )
    assert say.source_error("R1", "Prometheus answers 503.", 60, NOON).text == (
        "R1 could not be asked for its health for 1 min: Prometheus answers 503. "
        "Nothing is promoted blind: mend the source and resume, or roll back."
    )


def test_an_undecided_bake_says_what_is_missing(plan: Plan):
    waiting = replace(HARM, kind=VerdictKind.UNDECIDED, needs="about 900 more candidate requests")
    assert say.undecided(plan, [waiting], 1800).text == (
        "R1 baked its whole 30 min and harm is not ruled out for failed requests (needs about 900 more "
        "candidate requests). Resume to bake as long again, or roll back."
    )


@pytest.mark.parametrize(
    ("kind", "unit", "value", "said"),
    [
        (SignalKind.RATIO, "", 0.00123, "0.12 %"),
        (SignalKind.DISTRIBUTION, "s", 0.00123, "0.12 %"),
        (SignalKind.RATE, "", 13500.0, "13,500 per instance-hour"),
        (SignalKind.RATE, "", 0.5, "0.5 per instance-hour"),
        (SignalKind.GAUGE, "s", 12.345, "12.3 s"),
        (SignalKind.GAUGE, "s", 123456.7, "123,457 s"),
        (SignalKind.GAUGE, "", None, "unknown"),
    ],
)
def test_numbers_carry_their_unit(kind: SignalKind, unit: str, value: float | None, said: str):
    assert say.number(kind, unit, value) == said


def test_one_is_singular() -> None:
    assert [say.many(n, "policy", "policies") for n in (0, 1, 2)] == ["0 policies", "1 policy", "2 policies"]
    assert say.many(1200, "region") == "1,200 regions"
