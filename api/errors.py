"""Errors become HTTP here and nowhere else: one table, one shape (RFC 9457 problem+json)."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from api.problems import PAGES
from rollout.core import errors
from rollout.core.errors import Conflict, InvalidInput, NotAllowed, Problem, RolloutError

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 5
_RETRY = {"retry-after": str(RETRY_AFTER_S)}


class Malformed(InvalidInput):
    """The body cannot be read at all."""

    code = "malformed"


class PreconditionRequired(RolloutError):
    """A decision without If-Match."""

    code = "precondition-required"


class KeyReused(InvalidInput):
    """An Idempotency-Key that came before with another request."""

    code = "key-reused"


class RequestRunning(Conflict):
    """Another copy of a request with a key is being answered."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "request-running")


class TookEffect(Conflict):
    """A request with a key whose effect is there and whose answer is not."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "request-took-effect")


class Full(RolloutError):
    """As many streams are open as there may be."""

    code = "too-many-streams"


class CrossSite(NotAllowed):
    """A form that did not come from our own page."""

    code = "cross-site"


STATUS: dict[type[RolloutError], int] = {
    Malformed: 400,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,  # IllegalTransition too
    errors.StaleWrite: 412,
    errors.InvalidInput: 422,
    PreconditionRequired: 428,
    errors.PermanentError: 502,
    errors.OutsideError: 503,
    errors.StoreError: 503,
    Full: 503,
    RolloutError: 500,
}
CODE_HEADERS = {"request-running": {"retry-after": "1"}}
HEADERS: dict[int, dict[str, str]] = {401: {"www-authenticate": "Bearer"}, 503: _RETRY}
_FRAMEWORK = {400: "malformed", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}


def install(app: FastAPI) -> None:
    """Register every handler; unexpected exceptions are answered by api/limits.py."""
    app.add_exception_handler(RolloutError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


async def answer(request: Request, error: Exception) -> Response:
    """Answer an error as the handlers do that `install` registers."""
    if isinstance(error, RequestValidationError):
        return await _invalid(request, error)
    return await (_ours if isinstance(error, RolloutError) else _framework)(request, error)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    trace_id: str,
    wrong: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the one shape of an error. A `code` without a page is called about:blank, as RFC 9457 wants."""
    known = code in PAGES
    body: dict[str, Any] = {
        "type": f"/problems/{code}" if known else "about:blank",
        "title": PAGES[code].title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": [{"pointer": each.place, "detail": each.message} for each in wrong],
        "trace_id": trace_id,
    }
    return Response(
        json.dumps(body),  # ASCII, so that a lone surrogate in a key cannot break the answer
        status,
        {**HEADERS.get(status, {}), **(headers or {})},
        "application/problem+json",
    )


def trace_id(request: Request) -> str:
    """The request's trace id, as api/limits.py set it."""
    return str(getattr(request.state, "trace_id", ""))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, RolloutError)
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    detail, wrong = str(error), getattr(error, "problems", ())
    if isinstance(error, errors.StoreError) or status == 500:
        log.error("request failed", error=detail, code=error.code)
        said = getattr(error, "public", "") or PAGES[error.code].meaning
        detail = f"{said} The log has the cause under the trace id {trace_id(request)}."
    elif wrong:
        detail = str(error.args[0])
    headers = CODE_HEADERS.get(error.code)
    return problem(status, error.code, detail, trace_id=trace_id(request), wrong=wrong, headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: list[ErrorDetails] = list(error.errors())
    if any(each["type"] == "json_invalid" for each in found):
        place = found[0]["loc"][-1]
        detail = f"The body is not JSON: {found[0]['ctx']['error']} at character {place}."
        return problem(400, "malformed", detail, trace_id=trace_id(request))
    wrong = [Problem(_pointer(each["loc"]), _sentence(each)) for each in found]
    places = "1 place" if len(wrong) == 1 else f"{len(wrong)} places"
    detail = f"{places} in the request cannot be accepted; nothing was changed. Mend what `errors` names."
    return problem(422, "invalid-input", detail, trace_id=trace_id(request), wrong=wrong)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _FRAMEWORK.get(error.status_code, "")
    detail = PAGES[code].mend if code else str(error.detail)
    if code == "not-found":
        detail = f"There is nothing at {request.url.path}. The API begins at /v1; /docs lists it."
    elif code == "method-not-allowed":
        allowed = ", ".join(_methods(request))
        detail = f"{request.url.path} does not answer {request.method}. It answers: {allowed}."
        return problem(405, code, detail, trace_id=trace_id(request), headers={"allow": allowed})
    return problem(error.status_code, code, detail, trace_id=trace_id(request), headers=error.headers)


def _methods(request: Request) -> list[str]:
    """What the path answers; Starlette itself names only the first route that fits."""
    found = {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.methods and compile_path(route.path or "")[0].match(request.url.path)
        for method in route.methods
    }
    return sorted(found)


def _pointer(loc: tuple[int | str, ...]) -> str:
    """`/regions/0` for the body, `?limit` for the query, `{id}` for the path, the name of a header."""
    where, *rest = loc
    if where == "query":
        return "?" + ".".join(map(str, rest))
    if where == "path":
        return "{" + str(rest[0]) + "}"
    if where == "body":
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in rest)
    return str(rest[0]) if rest else str(where)


_SENTENCES = {
    "extra_forbidden": "is unknown here; take it away, or check its spelling",
    "missing": "is missing; add it",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be a JSON object, sent with content-type application/json",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "does not fit the pattern {pattern}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_unicode": "holds half of a character; send valid Unicode",
}


def _sentence(detail: ErrorDetails) -> str:
    """Say what belongs there; the value itself is never repeated, since it may be a secret."""
    if detail["type"] == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    template = _SENTENCES.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else str(detail["msg"])
