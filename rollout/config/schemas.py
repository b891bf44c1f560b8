"""JSON Schemas of the files, generated from the models, so that an editor helps while they are written.

`write_schemas(Path("."))` writes them into the repository; a test compares the committed ones.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from rollout.config.shapes import RegionsFile, SignalsFile
from rollout.core.policy import Duration, Policy

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> dict[str, Any]:
    """Generate the schema of policies/*.yaml."""
    schema = _schema(Policy, "A policy of the rollout controller")
    step = schema["$defs"]["Step"]["properties"]["bake"]
    step["anyOf"].insert(0, TypeAdapter(Duration).json_schema())  # `bake: 30m` is short for its max
    gate = schema["$defs"]["Step"]["properties"]["gate"]
    gate["anyOf"].insert(0, schema["$defs"]["GateStep"]["properties"]["name"])  # `gate: smoke`
    check = schema["properties"]["checks"]
    name = schema["$defs"]["CheckSpec"]["properties"]["signal"]
    check["items"] = {"anyOf": [name, check["items"]]}  # `errors` is short for a check with only defaults
    return schema


def regions_schema() -> dict[str, Any]:
    """Generate the schema of regions.yaml."""
    return _schema(RegionsFile, "The regions of the rollout controller")


def signals_schema() -> dict[str, Any]:
    """Generate the schema of policies/signals.yaml."""
    return _schema(SignalsFile, "The signals of the rollout controller")


SCHEMAS = {
    "policies/schema.json": policy_schema,
    "policies/signals.schema.json": signals_schema,
    "regions.schema.json": regions_schema,
}


def written(schema: dict[str, Any]) -> str:
    """Write a schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, **model.model_json_schema(), "title": title}


def write_schemas(directory: Path) -> None:
    """Write every schema to its place under `directory`."""
    for name, schema in SCHEMAS.items():
        (directory / name).write_text(written(schema()), encoding="utf-8")
