from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.model import Sample
from rollout.core.plan import compile_plan
from rollout.core.policy import Bake, Policy
from rollout.sight import figure, flows, smallest_rises
from tests.scenarios.world import POLICY, configuration

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


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


def said(errors: float) -> str:
    """What a bake of an hour at 75 % can rule out for errors, when each minute had `errors` in 600."""
    known = configuration(POLICY)
    plan = compile_plan(Policy.model_validate(POLICY), known.regions, known.signals)
    samples = [
        Sample(
            time=NOON + timedelta(minutes=minute),
            region="R3",
            version="1.0.0",
            signal="errors",
            value=errors,
            exposure=600.0,
            duration_s=60.0,
        )
        for minute in range(10)
    ]
    return smallest_rises(plan, flows(samples), 75, Bake(max=3600))["errors"]


def test_a_known_rate_gives_the_smallest_rise_that_the_bake_can_rule_out() -> None:
    assert said(6).startswith("failed requests: ×1.")
    assert said(6).endswith("from 27,000 requests")


def test_a_rate_that_was_never_seen_promises_nothing() -> None:
    assert "its usual rate is not known" in said(0)
    assert "×" not in said(0)
