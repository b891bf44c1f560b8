"""The sentences that people read, word for word."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rollout.core import reason as say
from rollout.core.model import Plugin, Region, Signal, SignalKind, Verdict, VerdictKind
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HARM = Verdict(
    region="R1",
    signal="errors",
    kind=VerdictKind.FAIL,
    value=0.0184,
    baseline=0.0021,
    baseline_kind="instances beside it in R1",
    since=NOON,
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    plugin = Plugin(kind="fake")
    region = Region(
        name="R1", title="Europe", time_zone="UTC", order=1, traffic_share=1, deployer=plugin, source=plugin
    )
    signals = {
        "errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests"),
        "restarts": Signal(name="restarts", kind=SignalKind.RATE, title="restarts"),
        "work_age": Signal(name="work_age", kind=SignalKind.GAUGE, title="oldest work", unit="s"),
    }
    policy = {
        "apiVersion": "rollout/v1",
        "name": "p",
        "holdback": 1,
        "stages": [{"regions": ["R1"], "steps": [{"set_weight": 99}, {"bake": "5m"}]}],
        "checks": [{"signal": name} for name in signals],
    }
    return compile_plan(Policy.model_validate(policy), {"R1": region}, signals)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-5, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (4000, "1 h 6 min"), (90000, "1 d 1 h")],
)
def test_a_span_has_two_units_at_most(seconds: float, said: str):
    assert say.span(seconds) == said


def test_harm_says_what_value_baseline_evidence_and_since_when(plan: Plan):
    reason = say.harm(plan, [HARM], 12.34, 4.7)
    assert reason.text == (
        "R1 failed requests 1.84 % against 0.21 % (×8.8) on instances beside it in R1; since 12:00:00 UTC. "
        "Evidence of harm 230,000 to 1; acts at 110 to 1."
    )
    assert (reason.code, reason.region, reason.signal, reason.since) == ("check.harm", "R1", "errors", NOON)
    assert reason.evidence == ("R1/errors",)


def test_a_guard_says_its_limit_and_needs_no_evidence(plan: Plan):
    guarded = replace(
        HARM, signal="work_age", value=412.0, baseline=None, limit=300.0, guard="limit", since=NOON
    )
    reason = say.harm(plan, [guarded], 0.0, 4.7)
    assert reason.text == ("R1 oldest work 412 s, limit 300 s; hard guard 'limit' fired; since 12:00:00 UTC.")
    assert reason.code == "guard.limit"


def test_only_three_culprits_are_spelled_out(plan: Plan):
    reason = say.harm(plan, [HARM] * 5, 9.0, 4.7)
    assert reason.text.count("failed requests") == 3
    assert ", and 2 more. Evidence" in reason.text


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
        (SignalKind.RATE, "", 0.5, "0.5 per instance-hour"),
        (SignalKind.GAUGE, "s", 12.345, "12.3 s"),
        (SignalKind.GAUGE, "", None, "unknown"),
    ],
)
def test_numbers_carry_their_unit(kind: SignalKind, unit: str, value: float | None, said: str):
    assert say.number(kind, unit, value) == said
