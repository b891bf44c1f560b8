"""What a policy may not say, and what a plan makes of one that it may."""

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.errors import InvalidInput
from rollout.core.model import Plugin, Region, Signal, SignalKind
from rollout.core.plan import SetWeight, compile_plan
from rollout.core.policy import Bake, Policy

STEPS = [{"set_weight": "25%"}, {"bake": "10m"}, {"set_weight": 90}, {"bake": {"max": "1h"}}]


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(
        {
            "apiVersion": "rollout/v1",
            "name": "standard",
            "steps": STEPS,
            "stages": [{"regions": ["R3"]}, {"regions": ["R1", "R2"], "name": "rest"}],
            "checks": [{"signal": "errors"}],
            **changes,
        }
    )


def regions(*names: str) -> dict[str, Region]:
    plugin = Plugin(kind="fake")
    return {
        name: Region(
            name=name,
            title=name,
            time_zone="UTC",
            order=order,
            traffic_share=0.3,
            deployer=plugin,
            source=plugin,
        )
        for order, name in enumerate(names)
    }


ALL = regions("R3", "R1", "R2")
SIGNALS = {"errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests")}


def test_a_plan_resolves_steps_stages_and_shares():
    plan = compile_plan(policy(), ALL, SIGNALS, revision=7)
    assert [stage.name for stage in plan.stages] == ["R3", "rest"]
    assert plan.stages[0].steps == (
        SetWeight(weight=25),
        Bake(max=600),
        SetWeight(weight=90),
        Bake(max=3600),
    )
    assert (plan.revision, plan.budget, plan.stage_of("R2")) == (7, 0.01, 1)


def test_steps_without_a_weight_begin_with_all_but_the_holdback():
    plan = compile_plan(policy(steps=[{"bake": "5m"}], holdback="20%"), ALL, SIGNALS)
    assert plan.stages[0].steps[0] == SetWeight(weight=80)


def test_a_service_that_lives_in_fewer_regions_has_a_shorter_plan():
    plan = compile_plan(policy(), ALL, SIGNALS, only=("R2",))
    assert [(stage.name, stage.regions) for stage in plan.stages] == [("rest", ("R2",))]
    assert set(plan.regions) == {"R2"}
    with pytest.raises(InvalidInput, match="reaches none of the regions R9"):
        compile_plan(policy(), ALL, SIGNALS, only=("R9",))


def test_unknown_regions_and_signals_are_refused_listing_the_known():
    with pytest.raises(InvalidInput, match="unknown region 'R2'; known: R1, R3"):
        compile_plan(policy(), regions("R3", "R1"), SIGNALS)
    with pytest.raises(InvalidInput, match="unknown signal 'errors'; known: latency"):
        compile_plan(policy(), ALL, {"latency": SIGNALS["errors"]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": [{"regions": ["R3"]}, {"regions": ["R3"]}]}, "'R3' is named more than once"),
        ({"checks": [{"signal": "errors"}] * 2}, "'errors' is named more than once"),
        ({"steps": [{"set_weight": 90}]}, "has no bake, so nothing would be judged"),
        ({"steps": [{"set_weight": 90}, {"bake": 9}, {"set_weight": 25}]}, "weights must rise"),
        ({"steps": [{"set_weight": 50}, {"bake": "5m"}]}, "the last set_weight is 50 % and must be 90 %"),
        ({"steps": [{"bake": 9}, {"set_weight": 90}]}, "begins with a bake before anything runs"),
        ({"steps": [{"set_weight": 90, "bake": "5m"}]}, "exactly one of set_weight, bake, approval"),
        ({"steps": [{"set_weight": 90}, {"bake": {"min": "2h", "max": "1h"}}]}, "never ends"),
        ({"watch": "soon"}, "'soon' is not a duration; write for example 90s, 15m, 6h or 2d"),
        ({"watch": "91d"}, "longer than 90d"),
        ({"holdback": "a tenth"}, "'a tenth' is not a share; write for example 25%"),
        ({"watch": True}, "is true"),
        ({"speed": "fast"}, "Extra inputs are not permitted"),
        ({"false_rollback_budget": 0}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(changes: dict[str, Any], said: str):
    with pytest.raises(ValidationError) as refused:
        policy(**changes)
    assert said in str(refused.value)
