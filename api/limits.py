"""What holds for every answer, before any route is looked at: size, trace id, headers, and no bare failures.

Pure ASGI, so that a body is counted while it arrives and nothing is buffered.
"""

import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from api.problems import PAGES
from rollout.telemetry.spans import current_trace_id

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_NO_TRACE = "0" * 32  # W3C: all zeros is invalid
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",  # the page sets its own
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
Observe = Callable[[Scope, int, float], None]


class Envelope:
    """Gives each request a trace id and each answer its headers; an exception becomes a bare 500.

    `observe(scope, status, seconds)` is told of every answer when it has ended.
    """

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = trace_id_of(scope)
        scope.setdefault("state", {})["trace_id"] = trace_id
        status, began = 0, time.perf_counter()

        async def sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _seal(MutableHeaders(scope=message), trace_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            try:
                await self._app(scope, receive, sealed)
            except Exception:
                log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # the answer is under way: only closing the connection says that it is not whole
                answer = problem(500, "internal", PAGES["internal"].mend, trace_id=trace_id)
                await answer(scope, receive, sealed)
            finally:
                self._observe(scope, status or 500, time.perf_counter() - began)
                structlog.contextvars.unbind_contextvars("actor", "rollout_id", "service")


class BodyLimit:
    """Refuses a body over MAX_BODY_BYTES: at once by Content-Length, else while it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced(scope) > MAX_BODY_BYTES:
            detail = f"The body may have {MAX_BODY_BYTES} bytes. {PAGES['too-large'].mend}"
            answer = problem(413, "too-large", detail, trace_id=scope["state"]["trace_id"])
            await answer(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > MAX_BODY_BYTES:
                raise HTTPException(413)  # FastAPI lets this through; api/errors.py makes it a problem
            return message

        await self._app(scope, counted, send)


def trace_id_of(scope: Scope) -> str:
    """The trace id that is being recorded, else that of the caller's W3C traceparent, else a new one.

    It has 32 hexadecimal digits.
    """
    if traced := current_trace_id():
        return traced
    sent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    match = _TRACEPARENT.fullmatch(sent)
    return match[1] if match and match[1] != _NO_TRACE else secrets.token_hex(16)


def _seal(headers: MutableHeaders, trace_id: str) -> None:
    headers["x-trace-id"] = trace_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


def _announced(scope: Scope) -> int:
    written = dict(scope["headers"]).get(b"content-length", b"0")
    return int(written) if written.isdigit() else 0
