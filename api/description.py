"""What the OpenAPI document says beyond what the framework finds: every error with an example, and examples.

Answers in api/examples.json were recorded from a running app (tests/api/record_examples.py).
"""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.deps import declared_permission
from api.idempotency import KEY_BYTES
from api.problems import PAGES
from api.schemas import ProblemBody
from rollout.access import Permission

EXAMPLES = Path(__file__).parent / "examples.json"
JSON, PROBLEM = "application/json", "application/problem+json"
_METHODS = ("get", "put", "post", "delete")
_PHASE = ("illegal-transition",)
# What each route can answer with 409, beyond an id that is too short and a key that is in use.
CONFLICTS: Mapping[str, tuple[str, ...]] = {
    "start": ("already-running", "version-rolled-back", "rollout-active"),
    "hold": _PHASE,
    "resume": (*_PHASE, "beside-harm"),
    "promote": (*_PHASE, "no-bake", "beside-harm"),
    "rollback": (*_PHASE, "replaced", "observes"),
    "cancel": (*_PHASE, "touched"),
    "retry": (*_PHASE, "already-running", "version-rolled-back", "rollout-active"),
    "approve": (*_PHASE, "answered", "expired"),
    "reject": _PHASE,
    "decide": (*_PHASE, "answered", "expired"),
    "decide_approval": (*_PHASE, "answered", "expired"),
    "report_gate": (*_PHASE, "which-stage"),
    "adopt": ("not-read", "mixed", "rollout-active"),
    "create_token": ("name-taken", "request-took-effect"),
}
NEEDS_MATCH = frozenset({"approve", "promote", "decide", "decide_approval"})
TAKES_MATCH = NEEDS_MATCH | {"hold", "resume", "rollback", "cancel", "retry", "reject", "put_service"}
WAITS = frozenset({"rollout", "events", "rollout_events"})
VERSIONED = frozenset({"rollout", "approval"})
Operation = dict[str, Any]


def described(app: FastAPI) -> dict[str, Any]:
    """Return the whole document of an app."""
    document = copy.deepcopy(app.openapi())
    document["components"]["schemas"]["Problem"] = ProblemBody.model_json_schema()
    permissions = _permissions(app)
    for method, path, operation in operations(document):
        route = f"{method.upper()} {path}"
        _describe(operation, route, permissions[route])
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    """Each method, path and operation of a document."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _permissions(app: FastAPI) -> dict[str, Permission]:
    return {
        f"{method} {context.path}": declared_permission(context) or Permission.OPEN
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    }


def _describe(operation: Operation, route: str, permission: Permission) -> None:
    name = operation["operationId"]
    operation["summary"] = str(operation.get("description", name)).split("\n")[0].rstrip(".")
    keyed = route.startswith("POST /v1/") and permission is not Permission.READ
    operation.setdefault("parameters", []).extend(_headers(name, posts=route.startswith("POST /v1/")))
    for status, codes in sorted(_problems(operation, name, permission, keyed=keyed).items()):
        operation["responses"][str(status)] = _problem(status, codes)
    if name in VERSIONED:
        operation["responses"]["304"] = {"description": "Unchanged since the version in If-None-Match."}
    _exemplify(operation, _examples().get(route, {}))


def _problems(
    operation: Operation, name: str, permission: Permission, *, keyed: bool
) -> dict[int, tuple[str, ...]]:
    """The statuses that an operation can fail with, and their codes."""
    found: dict[int, tuple[str, ...]] = {500: ("internal",)}
    if permission is not Permission.OPEN:
        unknown = ("outcome-unknown",) if permission is not Permission.READ else ()
        streams = ("too-many-streams",) if name in WAITS - VERSIONED else ()
        found |= {401: ("not-authenticated",), 403: ("not-allowed",), 503: ("store", *unknown, *streams)}
    places = [each["in"] for each in operation["parameters"]]
    if "path" in places or name in {"start", "plan"} or "query" in places:
        found[404] = ("not-found",)
    if places or "requestBody" in operation:
        found[422] = ("invalid-input", "key-reused") if keyed else ("invalid-input",)
    if "requestBody" in operation:
        found |= {400: ("malformed",), 413: ("too-large",)}
    if conflicts := _conflicts(operation, name, keyed=keyed):
        found[409] = conflicts
    if name in TAKES_MATCH:
        found[412] = ("stale",)
    if name in NEEDS_MATCH:
        found[428] = ("precondition-required",)
    return found


def _conflicts(operation: Operation, name: str, *, keyed: bool) -> tuple[str, ...]:
    short = any("prefix" in each.get("description", "") for each in operation["parameters"])
    running = ("request-running",) if keyed else ()
    return (*CONFLICTS.get(name, ()), *(("ambiguous",) if short else ()), *running)


def _problem(status: int, codes: tuple[str, ...]) -> dict[str, Any]:
    value = {"errors": [], "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    examples = {
        code: {
            "summary": PAGES[code].title,
            "value": {
                "type": f"/problems/{code}",
                "title": PAGES[code].title,
                "status": status,
                "detail": PAGES[code].mend,
                **value,
            },
        }
        for code in codes
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    description = HTTPStatus(status).phrase + ": " + ", ".join(f"`{code}`" for code in codes)
    return {"description": description, "content": {PROBLEM: {"schema": schema, "examples": examples}}}


def _headers(name: str, *, posts: bool) -> list[dict[str, Any]]:
    """The headers that are read without being parameters of a handler."""
    found = []
    if posts:
        text = "A repeated request with the same key takes effect once, and is answered as the first was."
        found.append(_header("Idempotency-Key", text, {"minLength": 1, "maxLength": KEY_BYTES}))
    if name in TAKES_MATCH:
        needed = " Without it the answer is 428." if name in NEEDS_MATCH else ""
        found.append(_header("If-Match", f"The ETag of what was looked at; 412 when it changed.{needed}"))
    if name in VERSIONED:
        found.append(_header("If-None-Match", "The ETag that the client has; 304 while it is the newest."))
    if name in WAITS:
        found.append(_header("Prefer", "`wait=N`: wait at most N seconds, 60 at most, for what is new."))
    return found


def _header(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **(schema or {})},
    }


@lru_cache(maxsize=1)
def _examples() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return found


def _exemplify(operation: Operation, example: Mapping[str, Any]) -> None:
    """Put what was sent and what was answered into the operation."""
    if "sent" in example and "requestBody" in operation:
        operation["requestBody"]["content"][JSON]["example"] = example["sent"]
    if "answer" in example:
        content = operation["responses"][str(example["status"])].setdefault("content", {})
        content.setdefault(example["type"], {})["example"] = example["answer"]
