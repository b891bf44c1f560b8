"""What a plan says that its bakes can see, and which tolerances it says they cannot."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Bake, Policy
from rollout.core.signals import Direction, Sample, Signal, SignalKind
from rollout.foresight.outlook import outlook
from rollout.foresight.sight import comparisons, figure, smallest_rises, step_words, unseen
from rollout.foresight.traffic import Traffic, traffic
from tests.scenarios.world import POLICY, configuration

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = Bake(max=3600)
NO_HOLDBACK = {
    "holdback": 0,
    "steps": [{"set_weight": 25}, {"bake": "1h"}, {"set_weight": 100}, {"bake": "1h"}],
}
SIGNALS = {
    "errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests"),
    "restarts": Signal(name="restarts", kind=SignalKind.RATE, title="restarts"),
    "latency": Signal(name="latency", kind=SignalKind.DISTRIBUTION, title="time to answer", unit="s"),
    "done": Signal(name="done", kind=SignalKind.THROUGHPUT, title="work done", direction=Direction.DOWN),
    "age": Signal(name="age", kind=SignalKind.GAUGE, title="oldest age", unit="s", limit=900),
}


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (184.2, 2, "180"),
        (99.9, 2, "100"),
        (2.14, 2, "2.1"),
        (0.0123, 2, "0.012"),
        (12_345.0, 3, "12,300"),
        (27_500_000.0, 2, "28,000,000"),
        (10.4, 3, "10.4"),
    ],
)
def test_a_figure_is_rounded_and_has_no_exponent(value: float, digits: int, words: str) -> None:
    assert figure(value, digits) == words


def test_a_bake_until_pass_says_its_least_and_its_most() -> None:
    assert step_words(Bake(until="pass", min=600, max=14400)) == "bake 10 min to 4 h until pass"
    assert step_words(Bake(until="pass", max=14400)) == "bake 4 h until pass"


# ---------------------------------------------------------------------- what a bake sees


def made(check: Any = "errors", **changes: Any) -> tuple[Plan, Policy]:
    """A plan that checks one signal, and its policy."""
    policy = Policy.model_validate({**POLICY, "checks": [check], **changes})
    return compile_plan(policy, configuration(POLICY).regions, SIGNALS), policy


def minutes(signal: str, value: float, exposure: float, count: int = 60) -> list[Sample]:
    return [
        Sample(
            time=NOON + timedelta(minutes=minute),
            region="R3",
            version="1.0.0",
            signal=signal,
            value=value,
            exposure=exposure,
            duration_s=60.0,
        )
        for minute in range(count)
    ]


def everywhere(samples: Sequence[Sample], days: int = 0) -> dict[str, Traffic]:
    """The same traffic in all three regions."""
    return {name: traffic(samples, SIGNALS, days=days) for name in ("R3", "R1", "R2")}


def said(plan: Plan, regions: dict[str, Traffic], weight: int = 75, region: str = "R3") -> str:
    (text,) = smallest_rises(plan, region, regions, weight, HOUR).values()
    return text


def test_a_known_rate_gives_the_smallest_rise_that_the_bake_can_rule_out() -> None:
    plan, _ = made()
    words = said(plan, everywhere(minutes("errors", 6, 600)))
    assert words.startswith("failed requests: ×1.")
    assert words.endswith("from 27,000 requests")


def test_more_weight_sees_less_where_it_leaves_too_little_beside_it() -> None:
    plan, _ = made()
    regions = everywhere(minutes("errors", 6, 600))
    rises = [
        outlook(plan, "R3", plan.checks[0], regions, weight=weight, bake_s=3600).rise
        for weight in (5, 50, 99)
    ]
    assert rises[1] < min(rises[0], rises[2])


def test_a_rate_that_was_never_seen_promises_nothing() -> None:
    plan, _ = made()
    words = said(plan, everywhere(minutes("errors", 0, 600)))
    assert "none in 36,000 requests lately" in words
    assert "×" not in words


def test_work_of_which_nothing_was_missing_is_not_said_to_be_none() -> None:
    plan, _ = made("done")
    assert "none missing in 36,000 items lately" in said(plan, everywhere(minutes("done", 600, 600)))


def test_what_was_not_read_is_not_known() -> None:
    plan, _ = made()
    assert said(plan, {}) == "failed requests: nothing was read yet, so what it can see is not known"


def test_too_short_for_the_usual_tolerance_says_how_long_it_takes() -> None:
    plan, _ = made()
    words = said(plan, everywhere(minutes("errors", 1, 60)), weight=5)
    assert words == "failed requests: ×3.4 from 180 requests; 3 h 36 min would be needed for ×2"


def test_restarts_of_few_instances_are_left_to_guards_and_watch() -> None:
    plan, _ = made("restarts")
    regions = everywhere(minutes("restarts", 1 / 60 * 0.08, 4 / 60, 600))
    assert said(plan, regions) == (
        "restarts: cannot be judged in 1 h with 3 of 4 instances (7 d 6 h would be needed for ×5): "
        "guards and the watch cover it"
    )


def test_a_distribution_is_seen_at_its_median_slow_tenth_and_hundredth() -> None:
    plan, _ = made("latency")
    edges = {"0.05": 60, "0.1": 330, "0.25": 545, "0.5": 594, "1": 599}
    samples = [s for le, count in edges.items() for s in minutes(f"latency{{le={le}}}", count, 600)]
    words = said(plan, everywhere(samples))
    assert re.fullmatch(
        r"time to answer: ×1\.\d+ slower than 100 ms, ×1\.\d+ slower than 250 ms, "
        r"×1\.\d+ slower than 500 ms from 27,000 requests",
        words,
    )


def test_work_that_arrived_and_is_not_done_is_seen_as_a_rise_of_that() -> None:
    plan, _ = made("done")
    assert said(plan, everywhere(minutes("done", 570, 600))) == ("work done: ×1.4 undone from 27,000 items")


def test_work_that_nobody_counts_arriving_is_seen_as_a_fall() -> None:
    plan, _ = made("done")
    assert said(plan, everywhere(minutes("done", 570, 0))).startswith("work done: a fall to ")


def test_a_gauge_is_seen_by_blocks_and_its_limit_is_said() -> None:
    plan, _ = made("age", judging={**POLICY["judging"], "block": "60s"})
    levels = [s for m in range(60) for s in minutes("age", 20 + m % 3, 0, m + 1)[-1:]]
    words = said(plan, {"R3": traffic(levels, SIGNALS)})
    assert words.startswith("oldest age: ×1.1")
    assert words.endswith("from 59 blocks; over 900 s and rising acts at once")


def test_a_large_limit_has_its_thousands_apart() -> None:
    plan, _ = made({"signal": "age", "limit": 50000}, judging={**POLICY["judging"], "block": "60s"})
    levels = [s for m in range(60) for s in minutes("age", 20 + m % 3, 0, m + 1)[-1:]]
    assert "; over 50,000 s and rising" in said(plan, {"R3": traffic(levels, SIGNALS)})


def test_the_warm_up_is_not_seen() -> None:
    plan, _ = made(judging={**POLICY["judging"], "warmup": "30m"}, steps=[{"bake": "1h"}])
    assert said(plan, everywhere(minutes("errors", 6, 600))).endswith("from 13,500 requests")


def test_without_a_holdback_a_region_is_seen_against_its_peers_and_the_last_against_its_past() -> None:
    plan, _ = made(**NO_HOLDBACK)
    regions = everywhere(minutes("errors", 6, 600), days=5)
    assert said(plan, regions, 100).endswith("requests against R1, R2")
    assert said(plan, regions, 100, "R2").endswith("requests against its own past")


def test_without_a_holdback_and_without_history_there_is_nothing_to_compare_with() -> None:
    plan, _ = made(**NO_HOLDBACK)
    assert "nothing to compare with before there are 2 h of history" in said(
        plan, everywhere(minutes("errors", 6, 600)), 100
    )


# ---------------------------------------------------------------------- what no bake sees


LITTLE = everywhere(minutes("errors", 1, 60))  # one in sixty, sixty a minute
LONG = [{"set_weight": 25}, {"bake": "30m"}, {"set_weight": 75}, {"bake": "1h"}]


def places(check: Any, regions: dict[str, Traffic], **changes: Any) -> list[str]:
    plan, policy = made(check, steps=LONG, **changes)
    return [f"{each.problem.place} {each.problem.message[:2]}" for each in unseen(plan, policy, regions)]


def test_a_written_tolerance_that_no_bake_sees_is_named_in_every_region() -> None:
    found = places({"signal": "errors", "tolerance": 1.2}, LITTLE)
    assert found == ["checks.0.tolerance R3", "checks.0.tolerance R1", "checks.0.tolerance R2"]


@pytest.mark.parametrize(
    "check",
    [
        "errors",
        {"signal": "errors", "tolerance": 30},
        {"signal": "latency", "tolerance": 1.2},
    ],
    ids=["not written", "seen", "not read"],
)
def test_what_is_not_written_or_seen_or_not_known_is_not_refused(check: Any) -> None:
    assert places(check, LITTLE) == []


def test_a_rate_that_was_never_seen_is_not_refused() -> None:
    assert places({"signal": "errors", "tolerance": 1.2}, everywhere(minutes("errors", 0, 60))) == []


def test_one_event_in_a_minute_may_be_chance_and_is_not_refused() -> None:
    once = everywhere([*minutes("errors", 1, 6000, 1), *minutes("errors", 0, 6000, 2)[1:]])
    plan, policy = made({"signal": "errors", "tolerance": 3}, steps=LONG)
    looks = [
        outlook(plan, "R3", plan.checks[0], once, weight=w, bake_s=s) for w, s in ((25, 1800), (75, 3600))
    ]
    assert all(look.rise > 3 for look in looks)
    assert unseen(plan, policy, once) == ()


def test_every_knob_that_is_said_mends_it() -> None:
    plan, policy = made({"signal": "errors", "tolerance": 1.5}, steps=LONG)
    message = unseen(plan, policy, LITTLE)[0].problem.message
    assert message.startswith(
        "R3: no bake can see ×1.5 of failed requests at the present traffic (usually 1.67 %, 60 requests a "
        "minute): 1 h at 75 % can rule out ×"
    )
    needed = message.split("Bake ")[1].split(" at ")[0]
    wider = message.split("write a tolerance of ")[1].split(",")[0]
    assert message.endswith("or say with 'accept_unseen' why it may stay unseen.")
    hours = {"h": 3600.0, "min": 60.0, "d": 86400.0}
    words = needed.split()
    seconds = sum(float(n) * hours[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    longer = [{"set_weight": 75}, {"bake": seconds}]
    plan, policy = made({"signal": "errors", "tolerance": 1.5}, steps=longer)
    assert unseen(plan, policy, LITTLE) == ()
    plan, policy = made({"signal": "errors", "tolerance": float(wider)}, steps=LONG)
    assert unseen(plan, policy, LITTLE) == ()


def test_a_weight_that_would_be_enough_is_offered() -> None:
    steps = [{"set_weight": 99}, {"bake": "4h"}]
    plan, policy = made({"signal": "errors", "tolerance": 2}, steps=steps, holdback=1)
    message = unseen(plan, policy, everywhere(minutes("errors", 2, 120)))[0].problem.message
    weight = int(message.split("bake as long at ")[1].split(" %")[0])
    check, regions = plan.checks[0], everywhere(minutes("errors", 2, 120))
    assert outlook(plan, "R3", check, regions, weight=weight, bake_s=4 * 3600).rise <= 2


def test_an_accepted_tolerance_keeps_its_reason() -> None:
    check = {"signal": "errors", "tolerance": 1.2, "accept_unseen": "guards are enough here"}
    plan, policy = made(check, steps=LONG)
    found = unseen(plan, policy, LITTLE)
    assert {each.accepted for each in found} == {"guards are enough here"}
    assert not any("accept_unseen" in each.problem.message for each in found), "it was said already"


def test_a_segment_is_refused_at_its_checks_place() -> None:
    far = Signal(
        name="errors", kind=SignalKind.RATIO, title="failed requests", segments={"far": {"due": "x"}}
    )
    checks = ["restarts", {"signal": "errors", "segments": ["far"], "tolerance": 1.2}]
    policy = Policy.model_validate({**POLICY, "checks": checks, "steps": LONG})
    plan = compile_plan(policy, configuration(POLICY).regions, {**SIGNALS, "errors": far})
    regions = {"R3": traffic(minutes("errors{segment=far}", 1, 60), plan.signals)}
    (found,) = unseen(plan, policy, regions)
    assert found.problem.place == "checks.1.tolerance"
    assert "failed requests (far)" in found.problem.message


# ---------------------------------------------------------------------- what is compared with what


def test_instances_beside_it_are_proof() -> None:
    plan, _ = made()
    found = comparisons(plan, {})
    assert [(each.region, each.kind, each.rests_on) for each in found] == [
        (name, "beside", "proof") for name in ("R3", "R1", "R2")
    ]
    assert found[0].text == "R3: all checks against instances beside it, 25 % or more: proved."


def test_peers_and_past_say_their_days_and_how_many_would_vouch_for_the_budget() -> None:
    plan, _ = made(**NO_HOLDBACK)
    found = comparisons(plan, {"R3": 14, "R2": 1})
    assert [each.kind for each in found] == ["peers", "peers", "history"]
    assert {each.rests_on for each in found} == {"uncalibrated"}
    assert found[0].text == (
        "R3: all checks against R1, R2 (upgraded later), by time of day: 14 days of history, and 300 clean "
        "release-days vouch for 1 % (3/n). Not calibrated: alone it acts only on evidence 100 times "
        "stronger, else it holds and pages."
    )
    assert "its own past, by time of day: 1 day of history" in found[2].text


def test_enough_clean_days_calibrate() -> None:
    plan, _ = made(**NO_HOLDBACK, false_rollback_budget="20%")
    assert {each.rests_on for each in comparisons(plan, dict.fromkeys(("R3", "R1", "R2"), 15))} == {
        "calibration"
    }
