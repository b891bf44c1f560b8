"""What is shipped loads clean, and its schemas and documents say what the code says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rollout.config import load_configuration, parse_policy, policy_schema
from rollout.config.schemas import SCHEMAS, written
from rollout.core import policy as policies
from rollout.core.plan import compile_plan
from rollout.core.policy import CheckSpec, Policy

ROOT = Path(__file__).parents[2]
SHIPPED = ["standard", "careful", "emergency"]


def test_the_shipped_configuration_loads() -> None:
    found = load_configuration(ROOT)
    assert set(found.policies) == set(SHIPPED)
    assert {name: (r.title, r.time_zone, r.order) for name, r in found.regions.items()} == {
        "R1": ("Europe", "Europe/Berlin", 2),
        "R2": ("North America", "America/New_York", 3),
        "R3": ("APAC", "Asia/Tokyo", 1),
    }
    assert set(found.signals) == {
        "errors",
        "latency",
        "restarts",
        "work_age",
        "work_done",
        "backlog",
        "oldest_age",
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_policy_begins_in_apac_and_reaches_every_region(name: str) -> None:
    found = load_configuration(ROOT)
    stages = [stage.regions for stage in found.policies[name].policy.stages]
    assert stages[0] == ("R3",)
    assert sorted(region for stage in stages for region in stage) == ["R1", "R2", "R3"]


def test_the_everyday_policy_names_only_signals_and_is_complete() -> None:
    found = load_configuration(ROOT)
    policy = found.policies["standard"].policy
    assert policy.checks == tuple(CheckSpec(signal=check.signal) for check in policy.checks)
    checks = {check.signal: check for check in compile_plan(policy, found.regions, found.signals).checks}
    assert set(checks) == {"errors", "latency", "restarts", "work_age", "oldest_age"}
    assert (checks["oldest_age"].limit, checks["oldest_age"].no_data) == (900, "ignore")
    assert {checks[name].no_data for name in ("errors", "latency", "restarts", "work_age")} == {"hold"}


def test_the_policies_are_what_their_names_promise() -> None:
    kept = {name: file.policy for name, file in load_configuration(ROOT).policies.items()}
    asks = {
        name: [any(step.approval for step in stage.steps or policy.steps) for stage in policy.stages]
        for name, policy in kept.items()
    }
    assert asks == {
        "standard": [False] * 3,
        "careful": [False, True, True],
        "emergency": [False] * 2,
    }
    assert kept["careful"].require_digest
    assert [kept[name].watch for name in SHIPPED] == [6 * 3600, 24 * 3600, 6 * 3600]
    assert bake_seconds(kept["emergency"]) < bake_seconds(kept["standard"]) < bake_seconds(kept["careful"])


def bake_seconds(policy: Policy) -> float:
    return sum(s.bake.max for stage in policy.stages for s in stage.steps or policy.steps if s.bake)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_is_a_page_with_its_schema_in_the_first_line(name: str) -> None:
    lines = (ROOT / "policies" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=schema.json"
    assert 12 <= len(lines) <= 40
    assert sum("#" in line for line in lines) >= 4


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == written(SCHEMAS[name]()), "run rollout.config.schemas.write_schemas(Path('.'))"


@pytest.mark.parametrize("name", ["regions.yaml", "policies/signals.yaml"])
def test_the_schema_that_a_file_names_is_there(name: str) -> None:
    first = (ROOT / name).read_text().splitlines()[0]
    named = (ROOT / name).parent / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(named.read_text())["type"] == "object"


def test_the_schema_permits_what_people_write() -> None:
    schema = policy_schema()
    assert schema["required"] == ["apiVersion", "name", "stages", "checks"]
    assert schema["additionalProperties"] is False
    bake = schema["$defs"]["Step"]["properties"]["bake"]
    patterns = [form["pattern"] for form in bake["anyOf"][0]["anyOf"] if form["type"] == "string"]
    assert all(re.search(patterns[0], text) for text in ("30m", "1.5h", "90 s"))
    assert not re.search(patterns[0], "30 minutes")
    assert {"$ref": "#/$defs/Bake"} in bake["anyOf"]
    short, whole = schema["properties"]["checks"]["items"]["anyOf"]
    assert re.search(short["pattern"], "errors")
    assert whole == {"$ref": "#/$defs/CheckSpec"}


def test_the_example_of_the_reference_is_a_good_policy() -> None:
    example = re.search(r"```yaml\n(.+?)```", (ROOT / "docs/policy.md").read_text(), re.DOTALL)
    assert example is not None
    assert parse_policy(example[1]).stages[1].regions == ("R1", "R2")


def models() -> list[type[BaseModel]]:
    found = [value for value in vars(policies).values() if isinstance(value, type)]
    return [m for m in found if issubclass(m, policies.Strict) and m is not policies.Strict]


def keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_key_of_a_policy_is_in_its_reference(model: type[BaseModel]) -> None:
    text = (ROOT / "docs/policy.md").read_text()
    rows = {match[1] for match in re.finditer(r"^\| `([\w.\[\]]+)` \|", text, re.MULTILINE)}
    prefixes = {
        "Policy": "", "Step": "steps[].", "Stage": "stages[].", "Bake": "bake.", "ApprovalStep": "approval.",
        "GateStep": "gate.",
        "CheckSpec": "checks[].", "Guards": "guards.", "CrashLoop": "guards.crash_loop.",
        "SuccessGuard": "guards.success.", "Judging": "judging.", "Recovery": "recovery.",
        "Deadlines": "deadlines.",
    }  # fmt: skip
    assert {f"{prefixes[model.__name__]}{key}" for key in keys(model)} <= rows


def test_the_reference_names_no_key_that_does_not_exist() -> None:
    text = (ROOT / "docs/policy.md").read_text()
    known = {key for model in models() for key in keys(model)} | {"steps", "stages", "checks"}
    section = text.split("## Regions")[0]
    written_keys = re.findall(r"^\| `([\w.\[\]]+)` \|", section, re.MULTILINE)
    assert {key.rpartition(".")[2] for key in written_keys} <= known


def test_the_defaults_of_the_reference_are_those_of_the_code() -> None:
    text = (ROOT / "docs/policy.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.\[\]]+)` \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE))
    described: dict[str, type[BaseModel]] = {
        "judging": policies.Judging,
        "deadlines": policies.Deadlines,
        "recovery": policies.Recovery,
        "guards": policies.Guards,
        "guards.crash_loop": policies.CrashLoop,
        "guards.success": policies.SuccessGuard,
        "approval": policies.ApprovalStep,
        "gate": policies.GateStep,
    }
    for prefix, model in described.items():
        for name, field in model.model_fields.items():
            if isinstance(field.default, BaseModel) or field.is_required():
                continue
            shown = rows[f"{prefix}.{field.alias or name}"].strip("` ")
            assert _value(shown) == field.default, f"{prefix}.{name}"


def _value(shown: str) -> Any:
    words = {"none": (), "false": False, "true": True}
    if shown in words or shown in ("hold", "rollback"):
        return words.get(shown, shown)
    if shown.endswith("%"):
        return policies.percent(shown)
    return int(shown) if shown.isdigit() else policies.seconds(shown)
