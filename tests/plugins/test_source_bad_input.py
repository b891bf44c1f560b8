"""What a metrics server may do wrong, over a real connection: each is said, in bounds, and never a number."""

import asyncio
from collections.abc import Callable
from typing import Any

import bad_server as bad
import http_json_lab
import prometheus_lab
import pytest

from rollout import http as web
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.ports import Ask, MetricSource
from rollout.registry import SOURCES, Surroundings
from rollout.testing import ManualClock

pytestmark = pytest.mark.real

WAIT_S = 0.3  # for an answer
ENOUGH = 5.0  # seconds for one reading, whatever it meets
MOST = 100_000  # bytes of an answer
ON_ITS_WAY = 12_000_000  # bytes that the system takes from the server before we read them

SOURCES_OF: dict[str, tuple[dict[str, Any], Callable[..., Ask], dict[str, Any]]] = {
    "prometheus": (
        {"url": "http://127.0.0.1:{port}"},
        prometheus_lab.ask,
        prometheus_lab.since(0),
    ),
    "http_json": (
        {"url": "http://127.0.0.1:{port}/{service}?from={start}&to={end}"},
        http_json_lab.ask,
        http_json_lab.since(0),
    ),
}

WRONG: dict[str, tuple[bad.Misbehaviour, type[OutsideError], str]] = {
    "it never answers": (bad.says_nothing, TransientError, r"did not answer .* within 0\.3 s"),
    "it answers byte by byte": (bad.drips, TransientError, r"did not answer .* within 0\.3 s"),
    "it hangs in the body": (bad.hangs_in_the_body, TransientError, r"did not answer .* within 0\.3 s"),
    "half a body": (bad.ends_in_the_body, TransientError, "could not be asked at .*peer closed"),
    "it hangs up": (bad.hangs_up, TransientError, "could not be asked at .*disconnected"),
    "another protocol": (bad.speaks_no_http, TransientError, "could not be asked at "),
    "a head without an end": (bad.has_an_endless_head, TransientError, "could not be asked at |within"),
    "a body without an end": (bad.is_endless, TransientError, "more than 100000 bytes"),
    "10 MB": (bad.answer(b" " * 10_000_000), TransientError, "more than 100000 bytes"),
    "a bomb of zeros": (bad.bomb(), TransientError, "compressed content, which was not asked for"),
    "a page": (bad.answer(b"<html>login", kind="text/html"), TransientError, "answered text/html instead of"),
    "no type": (bad.answer(b"{}", kind=""), TransientError, "answered no content type instead of"),
    "nothing": (bad.answer(b""), TransientError, "no query result|no JSON"),
    "half of the JSON": (bad.answer(b'{"status":"success","da'), TransientError, "no query result|no JSON"),
    "no UTF-8": (bad.answer(b'{"status":"\xff\xfe"}'), TransientError, "no query result|no JSON"),
    "UTF-16": (bad.answer('{"status":"success"}'.encode("utf-16")), TransientError, "no query|no JSON"),
    "a number": (bad.answer(b"17"), TransientError, r"no query result|nothing is at rows\[\*\]"),
    "null": (bad.answer(b"null"), TransientError, r"no query result|nothing is at rows\[\*\]"),
    "a list": (bad.answer(b"[]"), TransientError, r"no query result|nothing is at rows\[\*\]"),
    "very deep": (bad.answer(b"[" * 50_000), TransientError, "no query result|no JSON"),
    "an endless number": (bad.answer(b"1" * 50_000), TransientError, "no query result|no JSON"),
    "an error in a 200": (
        bad.answer(b'{"status":"error","errorType":"timeout","error":"query timed out"}'),
        TransientError,
        'timeout: query timed out|says error: "query timed out"',
    ),
    "a warning": (
        bad.answer(b'{"status":"success","warnings":["store b is away"],"data":'
                   b'{"resultType":"matrix","result":[]},"rows":[]}'),
        TransientError,
        "store b is away",
    ),
    "a part": (
        bad.answer(b'{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]},'
                   b'"rows":[]}'),
        TransientError,
        "partial by its own word|says isPartial: true",
    ),
    "a redirect": (
        bad.answer(b"", "302 Found", location="http://127.0.0.1:1/"),
        PermanentError,
        "redirects to http://127.0.0.1:1/; write that address as url",
    ),
    "no token": (bad.answer(b"", "401 Unauthorized"), PermanentError, "refused with HTTP 401; check token"),
    "no right": (bad.answer(b"", "403 Forbidden"), PermanentError, "refused with HTTP 403; check token"),
    "not there": (bad.answer(b"", "404 Not Found"), PermanentError, "answered HTTP 404"),
    "too busy": (bad.answer(b"", "429 Slow Down", retry_after="7"), TransientError, "HTTP 429.*after 7 s"),
    "broken": (bad.answer(b"", "500 Oops", "text/html"), TransientError, "HTTP 500: no reason was given"),
    "in repair": (
        bad.answer(b"", "503 Service Unavailable", retry_after="120"),
        TransientError,
        "HTTP 503: no reason was given; it asks to come back after 120 s",
    ),
    "it changes protocol": (bad.answer(b"", "101 Switching Protocols"), OutsideError, "not be|HTTP 101"),
    "an error that is very deep": (bad.answer(b"[" * 50_000, "500 Oops"), TransientError, "HTTP 500: no"),
    "no content": (bad.answer(b"", "204 No Content"), PermanentError, "answered HTTP 204"),
}  # fmt: skip


@pytest.fixture(params=list(SOURCES_OF))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("case", WRONG)
async def test_whatever_a_server_does_wrong_is_said_in_bounds_and_is_no_sample(kind: str, case: str) -> None:
    does, error, said = WRONG[case]
    options, ask, cursor = SOURCES_OF[kind]
    loop = asyncio.get_running_loop()
    async with bad.serving(does) as server, web.client() as client:
        begun = loop.time()
        with pytest.raises(error, match=said):
            await made(kind, options, server.port, client).collect(ask(at=10, cursor=cursor))
        assert loop.time() - begun < ENOUGH
        assert server.asked
        assert server.sent < (MOST + ON_ITS_WAY) * len(server.asked)


async def test_a_server_that_is_down_is_said(kind: str) -> None:
    options, ask, cursor = SOURCES_OF[kind]
    async with bad.serving(bad.says_nothing) as server:
        port = server.port
    async with web.client() as client:
        with pytest.raises(TransientError, match=r"could not be asked at .*All connection attempts failed"):
            await made(kind, options, port, client).collect(ask(at=10, cursor=cursor))


def made(kind: str, options: dict[str, Any], port: int, client: Any) -> MetricSource:
    around = Surroundings(region="R3", http=client, clock=ManualClock(prometheus_lab.T0), directory=None)  # type: ignore[arg-type]
    written = {**options, "url": options["url"].replace("{port}", str(port))}
    return SOURCES.build(kind, {**written, "timeout_s": WAIT_S, "max_bytes": MOST, "settle_s": 0}, around)
