"""How the source `prometheus` asks, what it shares, and what it makes of bad answers; no network."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_lab import (
    ERRORS,
    START,
    T0,
    FakeEngine,
    ask,
    every,
    instance,
    numbers,
    signal,
    since,
    source_of,
    source_with,
    success,
)

from rollout.core.errors import InvalidInput, OutsideError, PermanentError, TransientError
from rollout.core.signals import SignalKind
from rollout.ports import Past
from rollout.sources.prometheus import PrometheusSource
from rollout.testing import ManualClock

LATENCY = signal(SignalKind.DISTRIBUTION, "latency", histogram="took_seconds")
DEPTH = signal(SignalKind.GAUGE, "depth", value="depth", across="sum")
Answer = Callable[[FakeEngine, httpx.Request], httpx.Response]


def steady(engine: FakeEngine | None = None, until: int = 600) -> FakeEngine:
    """Ten requests in ten seconds, one of them bad."""
    engine = engine or FakeEngine()
    engine.add("requests_total", every(10, -600, until, 0.1), code="503")
    engine.add("requests_total", every(10, -600, until, 0.9), code="200")
    return engine


def client(engine: FakeEngine) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(engine))


# ------------------------------------------------------------------ how it asks


async def test_raw_points_are_asked_for_with_the_matchers_of_the_service() -> None:
    engine = steady()
    source = source_of(
        engine, ManualClock(T0), org_id="team-a", settle_s=2, matchers={"job": 'x/"{service}"'}
    )
    await source.collect(ask(at=12, cursor=since(0)))
    queries = {request.url.params["query"] for request in engine.asked}
    assert queries == {
        'requests_total{job="x/\\"mail\\""}[360s]',
        'process_start_time_seconds{job="x/\\"mail\\""}[360s]',
    }
    request = engine.asked[0]
    assert str(request.url).startswith("http://engine.test/prom/api/v1/query?")
    assert (request.url.params["time"], request.headers["X-Scope-OrgID"]) == (f"{START + 10:.0f}", "team-a")
    assert "Authorization" not in request.headers


async def test_a_secret_comes_from_the_environment_or_from_a_file_and_a_new_one_is_used_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = steady()
    monkeypatch.setenv("METRICS_TOKEN", "abc")
    file = tmp_path / "token"
    file.write_text("def\n")
    http = client(engine)
    by_env = source_with(http, ManualClock(T0), token_env="METRICS_TOKEN")
    by_file = source_with(http, ManualClock(T0), directory=tmp_path, token_file="token")
    basic = source_with(http, ManualClock(T0), username="me", password_env="METRICS_TOKEN")
    for source in (by_env, by_file, basic):
        await source.collect(ask(at=10, cursor=since(0)))
    file.write_text("ghi")
    await by_file.collect(ask(at=20, cursor=since(10)))
    said = [request.headers["Authorization"] for request in engine.asked]
    assert list(dict.fromkeys(said)) == ["Bearer abc", "Bearer def", "Basic bWU6YWJj", "Bearer ghi"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"token_env": "NOT_SET"},
            "The secret for Prometheus is empty: set the environment variable NOT_SET.",
        ),
        ({"token_file": "none"}, "The secret for Prometheus is not readable in the file none"),
        ({"token_env": "TWO_LINES"}, "has characters that no header may have"),
    ],
)
async def test_a_secret_that_is_not_there_is_an_error_that_names_its_place(
    options: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWO_LINES", "a\nb")
    source = source_with(client(steady()), ManualClock(T0), directory=tmp_path, **options)
    with pytest.raises(PermanentError, match=said):
        await source.collect(ask(at=10, cursor=since(0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"matchers": {"region": "{region}"}}, "has no {service}"),
        ({"matchers": {"job": "{servce}"}}, "nothing else|no more"),
        ({"matchers": {"job": "{service}-{version}", "v": "{version}"}}, "one tells the version"),
        ({"token_env": "A", "token_file": "b"}, "one secret is enough"),
        ({"username": "me"}, "basic auth needs"),
        ({"password_env": "A"}, "basic auth needs"),
        ({"url": "ftp://engine"}, "url"),
        ({"url": "http://me:secret@engine"}, "url"),
        ({"settle": 3}, "did you mean 'settle_s'"),
    ],
)
def test_options_written_wrong_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        source_of(FakeEngine(), ManualClock(T0), **options)


# ------------------------------------------------------------------ what is shared


async def test_regions_and_signals_that_want_the_same_share_one_request() -> None:
    engine = steady()
    engine.add("requests_total", every(10, -600, 600, 0.5), code="200", region="R1")
    http, clock = client(engine), ManualClock(T0)
    more = signal(name="more", bad="requests_total", total="requests_total")
    readings = await asyncio.gather(
        *(
            source_with(http, clock, region).collect(
                ask((ERRORS, more), 10, since(0, ERRORS, more), region=region)
            )
            for region in ("R3", "R1")
        )
    )
    assert len(engine.asked) == 2  # the requests, and when their processes started
    assert [numbers(reading)[0] for reading in readings] == [
        ("errors", "1.0", 1, 10),
        ("errors", "1.0", 0, 5),
    ]


async def test_another_tenant_or_another_time_is_another_request() -> None:
    engine = steady()
    http, clock = client(engine), ManualClock(T0)
    first = source_with(http, clock)
    await first.collect(ask(at=10, cursor=since(0)))
    await source_with(http, clock, org_id="b").collect(ask(at=10, cursor=since(0)))
    await first.collect(ask(at=20, cursor=since(10)))
    assert len(engine.asked) == 6


async def test_a_failure_is_not_remembered() -> None:
    engine = steady()
    source = source_of(engine, ManualClock(T0))
    engine.answer = lambda _: httpx.Response(503)
    with pytest.raises(TransientError, match="HTTP 503"):
        await source.collect(ask(at=10, cursor=since(0)))
    engine.answer = lambda _: None
    assert numbers(await source.collect(ask(at=10, cursor=since(0)))) == [("errors", "1.0", 1, 10)]


async def test_one_that_gives_up_waiting_leaves_the_request_to_the_others() -> None:
    engine, gate, begun = steady(), asyncio.Event(), asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        begun.set()
        await gate.wait()
        return engine(request)

    http, clock = httpx.AsyncClient(transport=httpx.MockTransport(slow)), ManualClock(T0)
    tasks = [
        asyncio.create_task(source_with(http, clock).collect(ask(at=10, cursor=since(0)))) for _ in range(2)
    ]
    await begun.wait()
    tasks[0].cancel()
    gate.set()
    assert numbers(await tasks[1]) == [("errors", "1.0", 1, 10)]
    assert tasks[0].cancelled()
    assert len(engine.asked) == 2


async def test_two_regions_may_not_read_the_same_series_as_their_own() -> None:
    http, clock = client(steady()), ManualClock(T0)
    matchers = {"job": "{service}"}
    first, second = (source_with(http, clock, region, matchers=matchers) for region in ("R1", "R3"))
    await first.collect(ask(at=10, cursor=since(0), region="R1"))
    with pytest.raises(PermanentError, match="Regions R3 and R1 read the same series"):
        await second.collect(ask(at=10, cursor=since(0)))
    await second.collect(ask(at=800, cursor=since(790)))  # R1 is not read any more


# ------------------------------------------------------------------ bad answers


class Broken(httpx.AsyncByteStream):
    """Half a body, and then the connection is gone."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"status":"success","data":{"resultType":"matrix","result":['
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def body(text: str | bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    content = text.encode() if isinstance(text, str) else text
    return lambda *_: httpx.Response(status, content=content, headers={"content-type": kind, **headers})


def failing(error: Exception) -> Answer:
    def fail(*_: Any) -> httpx.Response:
        raise error

    return fail


BAD: dict[str, tuple[Answer, type[OutsideError], str]] = {
    "an error in a 200": (
        body('{"status":"error","errorType":"timeout","error":"query timed out."}'),
        TransientError,
        "could not answer: timeout: query timed out.",
    ),
    "half a body": (
        body('{"status":"success","data":{"resultType":"mat'),
        TransientError,
        "is no query result",
    ),
    "a connection that ends": (
        lambda *_: httpx.Response(200, headers={"content-type": "application/json"}, stream=Broken()),
        TransientError,
        "could not be asked at http://engine.test/prom/api/v1/query: peer closed",
    ),
    "10 MB": (body(b" " * 10_000_001), TransientError, "more than 10000000 bytes; let its series be fewer"),
    "a page": (body("<html>", kind="text/html"), TransientError, "text/html instead of application/json"),
    "nothing": (body(""), TransientError, "is no query result"),
    "null": (body("null"), TransientError, "is no query result"),
    "bytes": (body(b"\xff\xfe{}"), TransientError, "is no query result"),
    "another type": (
        body('{"status":"success","data":{"resultType":"vector","result":[]}}'),
        TransientError,
        "data.resultType",
    ),
    "no data": (body('{"status":"success"}'), TransientError, "could not answer: no data"),
    "words as values": (
        lambda *_: success([{"metric": {}, "values": [[START, "many"]]}]),
        TransientError,
        "data.result.0.values.0.1",
    ),
    "a warning": (
        lambda engine, request: engine.matrix(request, warnings=["store b did not answer"]),
        TransientError,
        r"warned \(1×\) that its answer may be partial, so it counts as no data: store b did not answer\.",
    ),
    "an info": (
        lambda engine, request: engine.matrix(request, infos=["might not be a counter"]),
        TransientError,
        "warned .* might not be a counter",
    ),
    "a part": (
        lambda engine, request: engine.matrix(request, isPartial=True),
        TransientError,
        "is partial by its own word",
    ),
    "a native histogram": (
        lambda *_: success([{"metric": {"__name__": "took_seconds"}, "histograms": [[START, {}]]}]),
        TransientError,
        "keeps took_seconds as a native histogram",
    ),
    "compressed": (body(b"x", **{"content-encoding": "br"}), TransientError, "compressed content"),
    "no right": (body("", 401), PermanentError, "refused with HTTP 401; check token, password and org_id"),
    "a redirect": (body("", 302, location="http://other/"), PermanentError, "redirects to http://other/"),
    "a bad query": (
        body('{"status":"error","errorType":"bad_data","error":"parse error"}', 400),
        PermanentError,
        "HTTP 400: parse error.",
    ),
    "too busy": (body("slow down", 429, "text/plain"), TransientError, "HTTP 429: no reason was given"),
    "down": (body("", 502, "text/html"), TransientError, "HTTP 502"),
    "refused": (failing(httpx.ConnectError("refused")), TransientError, "could not be asked at .*: refused"),
    "slow": (failing(httpx.ReadTimeout("")), TransientError, "did not answer .* within 4 s"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_answer_is_an_error_with_its_reason_and_loses_nothing(case: str) -> None:
    answer, kind, said = BAD[case]
    engine = steady()
    source = source_of(engine, ManualClock(T0))
    engine.answer = lambda request: answer(engine, request)
    with pytest.raises(kind, match=said):
        await source.collect(ask(at=10, cursor=since(0)))
    engine.answer = lambda _: None
    assert numbers(await source.collect(ask(at=20, cursor=since(0)))) == [("errors", "1.0", 2, 20)]


async def test_an_engine_that_hangs_is_left_after_its_time() -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    source = source_of(hang, ManualClock(T0), timeout_s=0.01)  # type: ignore[arg-type]
    with pytest.raises(TransientError, match=r"did not answer .* within 0\.01 s"):
        await source.collect(ask(at=10, cursor=since(0)))


async def test_one_signal_without_an_answer_holds_up_no_other_and_catches_up() -> None:
    engine = steady()
    engine.add("depth", every(10, -600, 600, 0, 3))
    source = source_of(engine, ManualClock(T0))
    engine.answer = lambda request: (
        engine.matrix(request, warnings=["half"]) if "requests" in request.url.params["query"] else None
    )
    reading = await source.collect(ask((ERRORS, DEPTH), 10, since(0, ERRORS, DEPTH)))
    assert numbers(reading) == [("depth", "1.0", 3, 1)]
    assert reading.problems[0].startswith("Signal errors is not read this time: Prometheus at http://engine")
    engine.answer = lambda _: None
    cursor = json.loads(json.dumps(reading.cursor))
    later = await source.collect(ask((ERRORS, DEPTH), 20, cursor))
    assert numbers(later) == [("errors", "1.0", 2, 20), ("depth", "1.0", 3, 1)]
    assert [one.duration_s for one in later.samples] == [20, 10]


async def test_a_cursor_of_another_source_is_left_behind_with_a_sentence() -> None:
    reading = await source_of(steady(), ManualClock(T0)).collect(
        ask(at=10, cursor={"at": None, "instances": {}})
    )
    assert reading.samples == ()
    assert reading.problems == ("What was remembered of R3 is not of 'prometheus'; reading begins anew.",)


async def test_the_first_reading_tells_nothing_and_says_what_is_missing() -> None:
    source = source_of(steady(), ManualClock(T0))
    reading = await source.collect(ask((ERRORS, LATENCY), 10))
    assert reading.samples == ()
    assert len(reading.problems) == 1
    assert "no series of took_seconds_bucket" in reading.problems[0]


async def test_what_is_remembered_stays_small() -> None:
    engine = steady(until=20_000)
    engine.add("requests_total", every(10, -600, 2000), code="200", version="0.9")
    source, cursor = source_of(engine, ManualClock(T0)), since(0)
    heard = []
    for at in range(600, 9000, 600):
        reading = await source.collect(ask(at=at, cursor=cursor, instances=(instance(), instance("0.9", ""))))
        cursor = json.loads(json.dumps(reading.cursor))
        heard.append(set(cursor["signals"]["errors"]["heard"]))
    assert heard[0] == {"0.9", "1.0"}
    assert heard[-1] == {"1.0"}
    assert len(source._engine._under_way) <= 2


# ------------------------------------------------------------------ history


def past(*signals: Any, begin: float = -600, end: float = 600, interval_s: float = 60) -> Past:
    return Past(
        service="mail",
        region="R3",
        signals=signals or (ERRORS,),
        since=T0 + timedelta(seconds=begin),
        until=T0 + timedelta(seconds=end),
        interval_s=interval_s,
    )


def history_of(engine: FakeEngine, now_s: float = 700, **options: Any) -> PrometheusSource:
    return source_of(engine, ManualClock(T0 + timedelta(seconds=now_s)), **options)


async def test_history_is_what_would_have_been_told_live() -> None:
    engine = steady()
    counted = every(10, 35, 600, 0.2)
    engine.add("requests_total", counted, code="200", version="2.0", instance="b:80")
    engine.started(at=30, points=range(35, 600, 10), version="2.0", instance="b:80")
    found = await history_of(engine).history(past(begin=0, interval_s=60))
    live = await history_of(engine).collect(
        ask(at=600, cursor=since(0), instances=(instance(), instance("2.0", "")))
    )
    assert found == live.samples
    assert sum(one.exposure for one in found if one.version == "2.0") == counted[-1][1]


async def test_every_version_that_ran_is_told_without_a_deployer() -> None:
    engine = steady()
    engine.add("requests_total", every(10, -600, -300), code="200", version="0.9")
    found = await history_of(engine).history(past())
    assert {one.version for one in found} == {"0.9", "1.0"}


async def test_an_interval_that_is_not_over_or_not_settled_is_left_out() -> None:
    found = await history_of(steady(), now_s=100, settle_s=30).history(past(begin=0, end=600, interval_s=20))
    assert [one.time - T0 for one in found] == [timedelta(seconds=s) for s in (20, 40, 60)]


async def test_a_long_time_is_read_in_parts_that_fit_and_nothing_is_lost_between_them() -> None:
    engine = steady(until=20_000)
    found = await history_of(engine, 21_000, max_bytes=16_000).history(
        past(begin=0, end=20_000, interval_s=100)
    )
    assert len(found) == 200
    assert (sum(one.value for one in found), sum(one.exposure for one in found)) == (2000, 20_000)
    windows = {int(request.url.params["query"].rpartition("[")[2][:-2]) for request in engine.asked}
    assert max(windows) > 7000
    assert min(windows) < 1000


async def test_intervals_of_history_adjoin_also_where_scrapes_are_rare() -> None:
    engine = FakeEngine()
    for code in ("200", "503"):
        engine.add("requests_total", every(60, -595, 20_000), code=code)
    found = await history_of(engine, 21_000).history(past(begin=0, end=20_000, interval_s=20))
    assert sum(one.duration_s for one in found[1:]) == (found[-1].time - found[0].time).total_seconds()


async def test_history_that_does_not_fit_in_the_smallest_part_says_so() -> None:
    with pytest.raises(TransientError, match="more than 1024 bytes"):
        await history_of(steady(), max_bytes=1024).history(past())


async def test_partial_history_is_an_error_and_a_signal_without_series_has_none() -> None:
    engine = steady()
    assert await history_of(engine).history(past(DEPTH)) == ()
    engine.answer = lambda request: engine.matrix(request, warnings=["half"])
    with pytest.raises(TransientError, match="partial"):
        await history_of(engine).history(past())


async def test_three_regions_and_twenty_rollouts_are_one_request_for_each_metric() -> None:
    engine = FakeEngine()
    for region in ("R1", "R2", "R3"):
        steady_in(engine, region)
    http, clock = client(engine), ManualClock(T0)
    more = [signal(name=f"errors-{n}", bad="requests_total", total="requests_total") for n in range(20)]
    sources = {region: source_with(http, clock, region) for region in ("R1", "R2", "R3")}
    cursors: dict[str, Any] = dict.fromkeys(sources, since(0, *more))
    for at in (10, 20, 30):
        engine.asked.clear()
        readings = await asyncio.gather(
            *(
                source.collect(ask(more, at, cursors[region], region=region))
                for region, source in sources.items()
            )
        )
        assert [len(reading.samples) for reading in readings] == [20, 20, 20]
        assert len(engine.asked) == 2  # requests_total, and when their processes started
        cursors = {region: dict(reading.cursor) for region, reading in zip(sources, readings, strict=True)}


def steady_in(engine: FakeEngine, region: str) -> None:
    engine.add("requests_total", every(10, -600, 600, 1), code="200", region=region)


async def test_a_window_that_begins_seconds_earlier_for_one_region_is_the_same_request() -> None:
    engine = FakeEngine()
    for region in ("R1", "R3"):
        steady_in(engine, region)
    http, clock = client(engine), ManualClock(T0)
    await asyncio.gather(
        source_with(http, clock, "R1").collect(ask(at=30, cursor=since(20), region="R1")),
        source_with(http, clock, "R3").collect(ask(at=30, cursor=since(3), region="R3")),
    )
    assert len(engine.asked) == 2


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([], "Prometheus has no series of requests_total"),
        (every(10, 700, 900), r"its newest scrape is|no sample|Prometheus has no series"),
    ],
)
async def test_series_without_a_point_in_time_are_no_sample(
    points: list[tuple[float, float]], said: str
) -> None:
    engine = FakeEngine()
    if points:
        engine.add("requests_total", points, code="200")
        engine.answer = lambda _: success(
            [
                {"metric": labels, "values": [[START + t, str(v)] for t, v in some]}
                for labels, some in engine.series
            ]
        )
    reading = await source_of(engine, ManualClock(T0)).collect(ask(at=10, cursor=since(0)))
    assert reading.samples == ()
    if not points:
        assert said in reading.problems[0]


async def test_one_of_two_instances_that_vanishes_leaves_the_numbers_of_the_other() -> None:
    engine = FakeEngine()
    engine.add("requests_total", every(10, -600, 600, 1), code="200")
    engine.add("requests_total", every(10, -600, -20, 1), code="200", instance="b:80")
    reading = await source_of(engine, ManualClock(T0)).collect(ask(at=10, cursor=since(0)))
    assert numbers(reading) == [("errors", "1.0", 0, 10)]
