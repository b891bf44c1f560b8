"""The OpenAPI document: valid, with examples that are true and every status that is answered."""

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from api_world import World, declare, open_world, touched
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from record_examples import record
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.description import EXAMPLES, PROBLEM, described, operations
from api.problems import PAGES
from rollout.core.model import Phase as RolloutPhase

CASES = 3  # of each route
ASKED_IN_VAIN = {"GET /openapi.json"}  # a document of itself
NO_ANSWER = {
    "GET /openapi.json",
    "GET /schemas/policy/v1.json",
    "GET /schemas/regions/v1.json",
    "DELETE /v1/tokens/{id}",
    "GET /v1/services/{name}/signals",  # asks plugins, of which there are none here
}
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _schema(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


async def test_the_document_is_an_openapi_document(world: World) -> None:
    document = described(world.app)
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    found = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(found) == len(set(found)) > 40


async def test_every_route_says_what_it_does_and_how_it_fails(world: World) -> None:
    silent = []
    for method, path, operation in operations(described(world.app)):
        told = " ".join(operation["summary"].split())
        failing = [status for status in operation["responses"] if status not in ("default", "304", "200")]
        if not (told and len(told) > 12 and {"500"} <= set(failing)):
            silent.append(f"{method} {path}")
    assert silent == []


async def test_every_problem_has_an_example_that_fits(world: World) -> None:
    document = described(world.app)
    shape, seen = _schema(document, {"$ref": "#/components/schemas/Problem"}), set()
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            for code, example in response.get("content", {}).get(PROBLEM, {}).get("examples", {}).items():
                shape.validate(example["value"])
                assert str(example["value"]["status"]) == status
                seen.add(code)
    outside = {"conflict", "method-not-allowed", "cross-site", "region-busy", "exists", "outside"}
    outside |= {"fenced", "not-known-good"}  # said in logs, and by the command for emergencies
    assert set(PAGES) - seen <= outside, "a code that no route is said to answer"


async def test_every_route_has_an_example_that_fits_its_schema(world: World) -> None:
    document, missing = described(world.app), set()
    for method, path, operation in operations(document):
        examples = 0
        for response in operation["responses"].values():
            for kind, content in response.get("content", {}).items():
                if "example" in content and kind == "application/json":
                    _schema(document, content["schema"]).validate(content["example"])
                examples += "example" in content
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            _schema(document, body["schema"]).validate(body["example"])
        missing |= set() if examples else {f"{method.upper()} {path}"}
    assert missing <= NO_ANSWER


@pytest.mark.real
async def test_the_examples_are_what_is_answered(world: World) -> None:
    written = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    found = await record()
    assert {route: _shape(each) for route, each in found.items()} == {
        route: _shape(each) for route, each in written.items()
    }, "record them anew: python tests/api/record_examples.py"


def _shape(found: Any) -> Any:
    """The keys, without values: ids and times differ."""
    if isinstance(found, dict):
        return {key: _shape(value) for key, value in found.items()}
    return [_shape(found[0])] if isinstance(found, list) and found else None


# ------------------------------------------------------------------ what nobody thought of


@pytest.mark.real
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")
def test_requests_made_from_the_document_are_answered_as_it_says(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        world, secret = runner.run(_prepared(tmp_path))
        schema = schemathesis.openapi.from_dict(described(world.app))
        client = world.http({"authorization": f"Bearer {secret}"})
        tried = 0

        @settings(
            max_examples=CASES,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def ask(operation: Any, data: st.DataObject) -> None:
            nonlocal tried
            case = data.draw(operation.as_strategy())
            sent = case.as_transport_kwargs(base_url="http://testserver")
            if "data" in sent:
                sent["content"] = sent.pop("data")
            wanted = ("method", "url", "headers", "params", "json", "content")
            answer = runner.run(client.request(**{key: sent[key] for key in wanted if key in sent}))
            case.validate_response(answer, checks=CHECKS)
            tried += 1

        for result in schema.get_all_operations():
            operation = result.ok()
            if f"{operation.method.upper()} {operation.path}" not in ASKED_IN_VAIN | NO_ANSWER:
                ask(operation)
        runner.run(client.aclose())
    assert tried >= 80


async def _prepared(directory: Path) -> tuple[World, str]:
    world, _ = open_world(directory)
    await declare(world)
    await world.put("ro_ONE", phase=RolloutPhase.PROGRESSING, regions=touched())
    world.app.state.room.most = 0  # nobody waits
    _, secret = await world.token("admin", "root")
    return world, secret
