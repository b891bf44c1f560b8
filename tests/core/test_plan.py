"""What a policy may not say, and what a plan makes of one that it may."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.errors import InvalidInput
from rollout.core.model import Plugin, Region
from rollout.core.plan import Plan, SetWeight, compile_plan
from rollout.core.policy import Bake, Policy
from rollout.core.signals import BaselineKind, Direction, Signal, SignalKind

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
        ({"holdback": 0.5}, "0.5 % is next to nothing; keep 1 % or more, or 0 for none"),
        ({"holdback": 0}, "the last set_weight is 90 % and must be 100 %"),
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


FULL = [{"set_weight": 25}, {"bake": "10m"}, {"set_weight": 100}, {"bake": "1h"}]
BESIDE, PEERS, HISTORY = BaselineKind


def kinds(plan: Plan) -> dict[str, tuple[BaselineKind, ...]]:
    return {region: plan.baselines(region, plan.checks[0]) for region in plan.regions}


def test_with_a_holdback_every_region_has_instances_beside_it_first():
    plan = compile_plan(policy(), ALL, SIGNALS)
    assert kinds(plan) == {"R3": (BESIDE, PEERS, HISTORY), "R1": (BESIDE, HISTORY), "R2": (BESIDE, HISTORY)}


def test_without_a_holdback_peers_come_first_and_the_last_region_has_its_past_alone():
    stages = [{"regions": ["R3"]}, {"regions": ["R1"]}, {"regions": ["R2"]}]
    plan = compile_plan(policy(holdback=0, steps=FULL, stages=stages), ALL, SIGNALS)
    assert kinds(plan) == {"R3": (PEERS, HISTORY), "R1": (PEERS, HISTORY), "R2": (HISTORY,)}
    assert plan.peers("R3") == ("R1", "R2")


@pytest.mark.parametrize(
    ("allowed", "regions_left", "knob"),
    [
        (["beside"], ["R3", "R1", "R2"], "keep a holdback of 1 % or more"),
        (["beside", "peers"], ["R1", "R2"], "put another region into a later stage"),
        (["peers"], ["R1", "R2"], "allow 'history' too"),
    ],
)
def test_a_check_without_any_baseline_names_itself_its_regions_and_the_knobs(
    allowed: list[str], regions_left: list[str], knob: str
):
    checks = [{"signal": "errors", "baselines": allowed}]
    with pytest.raises(InvalidInput) as refused:
        compile_plan(policy(holdback=0, steps=FULL, checks=checks), ALL, SIGNALS)
    problems = refused.value.problems
    assert [problem.place for problem in problems] == ["checks.0.baselines"] * len(regions_left)
    assert [problem.message.split()[0] for problem in problems] == regions_left
    assert all("'errors'" in problem.message and knob in problem.message for problem in problems)


def test_a_service_in_the_first_region_alone_has_no_peers_to_be_compared_with():
    checks = [{"signal": "errors", "baselines": ["peers"]}]
    narrow = policy(holdback=0, steps=FULL, checks=checks, stages=[{"regions": ["R3"]}, {"regions": ["R1"]}])
    with pytest.raises(InvalidInput, match="R3 has nothing to compare 'errors' with"):
        compile_plan(narrow, ALL, SIGNALS, only=("R3",))


def test_segments_share_the_weight_of_their_check_and_keep_its_settings():
    far = replace(SIGNALS["errors"], segments={"far": {"due": "year"}, "near": {"due": "day"}})
    check = {"signal": "errors", "segments": ["far", "near"], "weight": 3, "tolerance": 1.5}
    plan = compile_plan(policy(checks=[check]), ALL, {"errors": far})
    assert [(c.signal, c.weight, c.tolerance) for c in plan.checks] == [
        ("errors{segment=far}", 1.5, 1.5),
        ("errors{segment=near}", 1.5, 1.5),
    ]
    assert plan.signals["errors{segment=near}"].title == "failed requests (near)"


def test_a_check_with_a_kind_of_its_own_needs_no_signal():
    plan = compile_plan(policy(checks=[{"signal": "sent_mails", "kind": "throughput"}]), ALL, SIGNALS)
    signal = plan.signals["sent_mails"]
    assert (signal.kind, signal.direction, signal.title) == (
        SignalKind.THROUGHPUT,
        Direction.DOWN,
        "sent mails",
    )


def test_a_region_and_a_signal_that_are_nearly_right_are_offered():
    with pytest.raises(InvalidInput, match="unknown region 'R3'; did you mean 'R33'"):
        compile_plan(policy(stages=[{"regions": ["R3"]}]), regions("R33", "R1"), SIGNALS)
    with pytest.raises(InvalidInput, match="unknown signal 'error'; did you mean 'errors'"):
        compile_plan(policy(checks=["error"]), ALL, SIGNALS)
