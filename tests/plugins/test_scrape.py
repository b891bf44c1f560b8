"""Every rule of the source `scrape`, over answers that a test writes line by line; no network."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from scrape_world import (
    AGE,
    EARLIER,
    ERRORS,
    LATENCY,
    RESTARTS,
    Answer,
    World,
    an_instance,
    exposed,
    histogram,
    numbers,
    the,
)

from rollout.core.errors import InvalidInput, TransientError
from rollout.core.signals import Signal, SignalKind
from rollout.registry import SOURCES
from rollout.sources.scrape import ScrapeSource
from rollout.sources.scrape_signals import ScrapeSignal, meaning


@pytest.fixture
def world() -> World:
    return World()


# ------------------------------------------------------------------ counters


async def test_the_first_reading_only_remembers_because_the_past_is_not_known(world: World) -> None:
    world.has(exposed(1000, 7))
    reading = await world.read()
    assert reading.samples == ()
    assert reading.problems == ()


async def test_the_second_reading_gives_the_increase_with_its_interval(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1090, 9))
    sample = the(await world.read())
    assert (sample.value, sample.exposure) == (2, 92)
    assert (sample.time, sample.duration_s, sample.region) == (world.clock.now(), 10, "R3")


async def test_instances_of_a_version_are_summed_and_versions_are_kept_apart(world: World) -> None:
    for name, version in (("a", "1.0"), ("b", "1.0"), ("c", "2.0")):
        world.has(exposed(100, 1, version=version), name, version)
    await world.read()
    for name, version in (("a", "1.0"), ("b", "1.0"), ("c", "2.0")):
        world.has(exposed(110, 3, version=version), name, version)
    reading = await world.read()
    assert numbers(reading) == (4, 24)
    assert numbers(reading, version="2.0") == (2, 12)


async def test_an_interval_without_traffic_is_a_sample_of_nothing_and_not_no_sample(world: World) -> None:
    world.has(exposed(100, 1))
    await world.read()
    assert numbers(await world.read()) == (0, 0)


async def test_a_restarted_process_counted_everything_since_its_start(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(2000, 3, start=world.now + 4))  # higher than before, and yet all of it is new
    assert numbers(await world.read()) == (3, 2003)


async def test_a_counter_that_fell_in_the_same_process_is_no_data_and_is_said_with_its_values(
    world: World,
) -> None:
    world.has(exposed(1_000_003, 7))
    world.has(exposed(100, 0), "b")
    await world.read()
    world.has(exposed(999_999, 12))
    world.has(exposed(110, 0), "b")
    reading = await world.read()
    assert numbers(reading) == (0, 10)  # of the other instance alone: neither a million, nor five failures
    (problem,) = reading.problems
    assert problem == (
        'Instance a (1.0) exposes http_requests_total{status="200",version="1.0"} as 999999, and 1000003 '
        "before, without a later start of its process; a counter that begins anew needs a new "
        "process_start_time_seconds. Signal errors gets nothing from it this time."
    )
    world.has(exposed(1_000_001, 13))
    assert numbers(await world.read()) == (1, 3)


async def test_a_counter_that_swings_never_gives_its_falls(world: World) -> None:
    given = []
    for ok in (1_000_000, 500_000, 500_010, 10, 15):
        world.has(exposed(ok, 0))
        given += [(s.value, s.exposure) for s in (await world.read()).samples]
    assert given == [(0, 10), (0, 5)]


async def test_several_counters_that_fell_are_one_sentence(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(30, 2))
    reading = await world.read()
    assert reading.samples == ()
    (problem,) = reading.problems
    assert "as 30, and 1000 before (1 more fell too), without" in problem


async def test_a_counter_that_fell_where_no_start_is_exposed_is_no_data(world: World) -> None:
    def mute(total: int) -> str:
        return f'http_requests_total{{status="200"}} {total}\n'

    world.has(mute(1_000_000))
    await world.read()
    world.has(mute(500_000))
    reading = await world.read()
    assert reading.samples == ()
    assert 'http_requests_total{status="200"} as 500000, and 1000000 before' in reading.problems[0]
    world.has(mute(500_004))
    assert numbers(await world.read()) == (0, 4)


async def test_a_fall_by_a_restart_counts_all_even_when_the_first_answer_after_it_was_broken(
    world: World,
) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    start = world.now + 4
    world.has(exposed(20, "NaN", start=start))
    assert (await world.read()).samples == ()
    world.has(exposed(30, 2, start=start))
    reading = await world.read()
    assert numbers(reading) == (2, 32)
    assert reading.problems == ()


async def test_a_start_time_that_wavers_by_less_than_half_a_second_is_the_same_process(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read(ERRORS, RESTARTS)
    world.has(exposed(1001, 7, start=EARLIER + 0.4))
    reading = await world.read(ERRORS, RESTARTS)
    assert numbers(reading) == (0, 1)
    assert the(reading, "restarts").value == 0


async def test_an_older_process_behind_the_same_address_is_no_evidence(world: World) -> None:
    world.has(exposed(1000, 7))
    world.has(exposed(10, 0), "b")
    await world.read()
    world.has(exposed(400, 400, start=EARLIER - 60))
    world.has(exposed(12, 0), "b")
    reading = await world.read()
    assert numbers(reading) == (0, 2)
    assert "60 s older" in reading.problems[0]
    world.has(exposed(1005, 7))
    assert numbers(await world.read()) == (0, 5)


async def test_a_new_instance_that_started_after_the_last_reading_gives_all_that_it_counted(
    world: World,
) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(12, 5, version="2.0", start=world.now + 3), "b", "2.0")
    assert numbers(await world.read(), version="2.0") == (5, 17)


async def test_a_process_that_does_not_say_when_it_started_is_dated_by_its_deployer(world: World) -> None:
    def mute(total: int) -> str:
        return f'http_requests_total{{status="200"}} {total}\n'

    world.has(mute(100))
    await world.read()
    world.has(mute(150))
    world.instances["a"] = replace(world.instances["a"], started_at=world.clock.now() + timedelta(seconds=2))
    assert numbers(await world.read()) == (0, 150)


async def test_a_new_instance_with_an_unknown_past_is_only_remembered(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(5000, 90), "b")
    assert numbers(await world.read()) == (0, 0)
    world.has(exposed(5010, 91), "b")
    assert numbers(await world.read()) == (1, 11)


async def test_the_first_count_of_a_new_series_is_not_lost(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1000, 7, more='http_requests_total{status="500",version="1.0"} 4\n'))
    assert numbers(await world.read()) == (4, 4)


async def test_a_series_that_comes_back_goes_on_where_it_was(world: World) -> None:
    more = 'http_requests_total{status="500",version="1.0"} 40\n'
    world.has(exposed(1000, 7, more=more))
    await world.read()
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1000, 7, more=more.replace("40", "41")))
    assert numbers(await world.read()) == (1, 1)


async def test_a_signal_asked_for_later_does_not_begin_with_the_whole_past(world: World) -> None:
    world.has(exposed(1000, 7, more=histogram(900, 1000)))
    await world.read(ERRORS)
    reading = await world.read(ERRORS, LATENCY)
    assert [s.signal for s in reading.samples] == ["errors"]
    world.has(exposed(1000, 7, more=histogram(905, 1010)))
    assert numbers(await world.read(ERRORS, LATENCY), "latency") == (5, 10)


async def test_a_restart_of_the_controller_loses_and_repeats_nothing(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1100, 9))
    world.a_new_controller()
    assert numbers(await world.read(after_s=300)) == (2, 102)
    world.a_new_controller()
    assert numbers(await world.read()) == (0, 0)


async def test_an_instance_that_failed_once_gives_both_intervals_the_next_time(world: World) -> None:
    world.has(exposed(10, 0), "b")
    world.has(exposed(1000, 7))
    await world.read()
    world.has(httpx.Response(503))
    await world.read()
    world.has(exposed(1020, 9))
    assert numbers(await world.read()) == (2, 22)


async def test_an_instance_not_seen_for_an_hour_is_forgotten(world: World) -> None:
    world.has(exposed(1000, 7))
    world.has(exposed(10, 0), "gone")
    await world.read()
    del world.instances["gone"]
    await world.read(after_s=3599)
    assert set(world.cursor["instances"]) == {"a", "gone"}
    await world.read(after_s=10)
    assert set(world.cursor["instances"]) == {"a"}


async def test_a_clock_that_went_backwards_gives_no_samples_and_keeps_the_memory(world: World) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1090, 9))
    asked = len(world.requests)
    reading = await world.read(after_s=-60)
    assert reading.samples == ()
    assert "Check the clock" in reading.problems[0]
    assert len(world.requests) == asked
    assert numbers(await world.read(after_s=70)) == (2, 92)


async def test_a_cursor_of_another_source_is_left_behind_with_a_sentence(world: World) -> None:
    world.has(exposed(1000, 7))
    world.cursor = {"offset": 12}
    reading = await world.read()
    assert reading.samples == ()
    assert "counting begins anew" in reading.problems[0]
    world.has(exposed(1001, 7))
    assert numbers(await world.read()) == (0, 1)


# ------------------------------------------------------------------ histograms and gauges


async def test_slow_requests_are_those_beyond_the_edge(world: World) -> None:
    world.has(exposed(more=histogram(900, 1000)))
    await world.read(LATENCY)
    world.has(exposed(more=histogram(980, 1100)))
    assert numbers(await world.read(LATENCY), "latency") == (20, 100)


async def test_an_edge_that_does_not_exist_is_named_with_those_that_do(world: World) -> None:
    world.has(exposed(more=histogram(900, 1000, ("0.1", "0.5", "+Inf"))))
    await world.read(LATENCY)
    reading = await world.read(LATENCY)
    assert reading.samples == ()
    assert "without an edge at 0.25; its edges are: 0.1, 0.5, inf" in reading.problems[0]


@pytest.mark.parametrize(
    ("across", "level", "summed"), [("max", 40, 0), ("sum", 65, 2), ("mean", pytest.approx(65 / 3), 0)]
)
async def test_a_gauge_is_taken_across_the_instances_of_a_version_and_a_sum_says_of_how_many(
    world: World, across: str, level: float, summed: int
) -> None:
    signal = Signal(
        name="backlog",
        kind=SignalKind.GAUGE,
        title="b",
        sources={"scrape": {"value": {"metric": "queue", "where": {"kind": "send|fetch"}}, "across": across}},
    )
    world.has(exposed(more='queue{kind="send"} 15\nqueue{kind="fetch"} 10\nqueue{kind="other"} 99\n'))
    world.has(exposed(more='queue{kind="fetch"} 40\n'), "b")
    sample = the(await world.read(signal), "backlog")
    assert (sample.value, sample.exposure) == (level, summed)


async def test_a_negative_gauge_is_a_level_like_any_other(world: World) -> None:
    world.has(exposed(more="oldest_item_seconds -3\n"))
    assert the(await world.read(AGE), "work_age").value == -3


async def test_a_counter_is_found_with_and_without_its_ending(world: World) -> None:
    signal = Signal(
        name="errors",
        kind=SignalKind.RATIO,
        title="e",
        sources={"scrape": {"bad": {"metric": "failures"}, "total": {"metric": "http_requests"}}},
    )
    world.has(exposed(10, 0, more="# TYPE failures counter\nfailures 1\n"))
    await world.read(signal)
    world.has(exposed(20, 0, more="# TYPE failures counter\nfailures 3\n"))
    assert numbers(await world.read(signal)) == (2, 10)


async def test_a_declared_counter_without_a_series_yet_is_zero(world: World) -> None:
    signal = Signal(
        name="errors",
        kind=SignalKind.RATIO,
        title="e",
        sources={"scrape": {"bad": {"metric": "failures_total"}, "total": {"metric": "http_requests_total"}}},
    )
    world.has(exposed(10, more="# TYPE failures_total counter\n"))
    await world.read(signal)
    world.has(exposed(20, more='# TYPE failures_total counter\nfailures_total{why="x"} 1\n'))
    assert numbers(await world.read(signal)) == (1, 10)


# ------------------------------------------------------------------ no evidence


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(503, text="overloaded"), "HTTP 503"),
        (httpx.Response(302, headers={"location": "http://elsewhere.test"}), "HTTP 302"),
        (
            httpx.Response(200, html="<html>welcome</html>\n"),
            "text/html; charset=utf-8 instead of text/plain",
        ),
        ("<html>\n<body>welcome</body></html>\n", "not Prometheus format"),
        (exposed(1, 1)[:-20], "cut off"),
        ('http_requests_total{status="200 5\n', "not Prometheus format"),
        ("http_requests_total five\n", "not Prometheus format"),
        (f"http_requests_total {'9' * 400}\n", "not Prometheus format"),
        (b"http_requests_total \xff\xfe 5\n", "not UTF-8, from byte 20"),
        ("", "answered nothing"),
        ("# " + "x" * 20_000 + "\n", "more than 16384 characters"),
        (httpx.Response(200, text=exposed(), headers={"content-encoding": "br"}), "compressed"),
        (httpx.ReadTimeout("slow"), "did not answer http://a.test/metrics within 1 s"),
        (httpx.ConnectError("refused"), "could not be asked at http://a.test/metrics: refused"),
        (httpx.RemoteProtocolError(""), "RemoteProtocolError"),
    ],
)
async def test_an_answer_that_is_no_metrics_is_a_sentence_and_nothing_else(
    world: World, answer: Answer, said: str
) -> None:
    world.has(exposed(10, 0))
    world.has(exposed(10, 0, version="2.0"), "b", "2.0")
    await world.read(ERRORS, RESTARTS)
    world.has(answer)
    world.has(exposed(15, 1, version="2.0"), "b", "2.0")
    reading = await world.read(ERRORS, RESTARTS)
    assert {sample.version for sample in reading.samples} == {"2.0"}
    assert len(reading.problems) == 1
    assert said in reading.problems[0]
    assert reading.problems[0].startswith("Instance a (1.0) ")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-3"])
async def test_a_counter_that_is_no_count_gives_nothing_and_is_made_up_for_later(
    world: World, value: str
) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(1050, value))
    reading = await world.read()
    assert reading.samples == ()
    assert "which is not a count" in reading.problems[0]
    assert 'http_requests_total{status="503",version="1.0"}' in reading.problems[0]
    world.has(exposed(1100, 9))
    assert numbers(await world.read()) == (2, 102)


@pytest.mark.parametrize("value", ["1e308", "9007199254740994"])
async def test_a_counter_beyond_what_can_be_counted_exactly_gives_nothing(world: World, value: str) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(value, 7))
    reading = await world.read()
    assert reading.samples == ()
    (problem,) = reading.problems
    assert 'exposes http_requests_total{status="200",version="1.0"} as ' in problem
    assert "which is beyond 2**53" in problem
    world.has(exposed(1010, 7))
    assert numbers(await world.read()) == (0, 10)


@pytest.mark.parametrize("value", ["1e308", "-1e308"])
async def test_a_gauge_beyond_what_can_be_counted_exactly_gives_nothing(world: World, value: str) -> None:
    world.has(exposed(more="oldest_item_seconds 5\n"))
    world.has(exposed(more=f"oldest_item_seconds {value}\n"), "b")
    reading = await world.read(AGE)
    assert the(reading, "work_age").value == 5
    (problem,) = reading.problems
    assert problem.startswith("Instance b (1.0) exposes oldest_item_seconds as ")


async def test_a_sum_beyond_what_can_be_counted_exactly_is_no_sample(world: World) -> None:
    for name in "ab":
        world.has(exposed(0, 0), name)
    await world.read()
    for name in "ab":
        world.has(exposed(2**53 - 1, 0), name)
    reading = await world.read()
    assert reading.samples == ()
    (problem,) = reading.problems
    assert problem.startswith("Signal errors of version 1.0 adds up to 1.80144e+16 over its instances")
    for name in "ab":
        world.has(exposed(2**53, 0), name)
    assert numbers(await world.read()) == (0, 2)


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
async def test_a_gauge_that_is_no_number_gives_nothing(world: World, value: str) -> None:
    world.has(exposed(more=f"oldest_item_seconds {value}\n"))
    reading = await world.read(AGE)
    assert reading.samples == ()
    assert "not a number" in reading.problems[0]


async def test_a_series_stated_twice_is_no_evidence(world: World) -> None:
    world.has(exposed(10, 0))
    await world.read()
    world.has(exposed(20, 0, more='http_requests_total{status="200",version="1.0"} 90\n'))
    reading = await world.read()
    assert reading.samples == ()
    assert "twice" in reading.problems[0]


async def test_a_metric_that_does_not_exist_is_never_zero_failures(world: World) -> None:
    signal = Signal(
        name="errors",
        kind=SignalKind.RATIO,
        title="e",
        sources={"scrape": {"bad": {"metric": "no_such_total"}, "total": {"metric": "http_requests_total"}}},
    )
    world.has(exposed(10, 5))
    await world.read(signal)
    reading = await world.read(signal)
    assert reading.samples == ()
    assert "exposes no metric no_such_total" in reading.problems[0]


async def test_a_label_that_no_series_has_is_never_zero_failures(world: World) -> None:
    bad = {"metric": "http_requests_total", "where": {"code": "5.."}}
    written = {"scrape": {"bad": bad, "total": {"metric": "http_requests_total"}}}
    signal = Signal(name="errors", kind=SignalKind.RATIO, title="e", sources=written)
    world.has(exposed(10, 5))
    await world.read(signal)
    reading = await world.read(signal)
    assert reading.samples == ()
    assert "without the label 'code', but: status, version" in reading.problems[0]


async def test_an_instance_that_lies_about_its_version_is_no_evidence_of_either(world: World) -> None:
    world.has(exposed(10, 0, version="2.0"), version="2.0")
    world.has(exposed(10, 0), "b")
    await world.read(ERRORS, RESTARTS)
    world.has(exposed(90, 80, version="1.0"), version="2.0", restarts=3)
    world.has(exposed(12, 0), "b")
    reading = await world.read(ERRORS, RESTARTS)
    assert {sample.version for sample in reading.samples} == {"1.0"}
    assert numbers(reading) == (0, 2)
    (problem,) = reading.problems
    assert problem.startswith("Instance a (2.0) says that it runs version 1.0, but its deployer says 2.0; ")


async def test_of_several_version_labels_only_the_own_one_counts(world: World) -> None:
    def both(own: int, other: int) -> str:
        return exposed(own, 0, more=f'http_requests_total{{status="503",version="0.9"}} {other}\n')

    world.has(both(10, 50))
    await world.read()
    world.has(both(15, 90))
    assert numbers(await world.read()) == (0, 5)


async def test_series_without_a_version_label_belong_to_the_version_that_the_deployer_says(
    world: World,
) -> None:
    world.has('# TYPE http_requests_total counter\nhttp_requests_total{status="500"} 5\n', version="2.0")
    await world.read()
    world.has('# TYPE http_requests_total counter\nhttp_requests_total{status="500"} 8\n', version="2.0")
    assert numbers(await world.read(), version="2.0") == (3, 3)


async def test_the_version_label_can_have_another_name() -> None:
    world = World(version_label="release", path="/admin/metrics")
    world.has('# TYPE http_requests_total counter\nhttp_requests_total{status="500",release="9"} 5\n')
    with pytest.raises(TransientError, match="says that it runs version 9"):
        await world.read()
    assert world.requests[0].url.path == "/admin/metrics"


# ------------------------------------------------------------------ limits and failures


async def test_ten_megabytes_are_a_problem_and_not_memory(world: World) -> None:
    given = 0

    class Flood(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal given
            for _ in range(160):
                given += 65_536
                yield b"# flood\n" * 8192

    world.has(exposed(10, 0), "b")
    world.has(httpx.Response(200, stream=Flood(), headers={"content-type": "text/plain"}))
    reading = await world.read()
    assert "more than 4000000 bytes" in reading.problems[0]
    assert given < 4_200_000


async def test_an_instance_that_drips_is_given_up_after_the_whole_time_limit() -> None:
    world = World(timeout_s=0.02)
    never = asyncio.Event()

    async def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "a.test":
            await never.wait()
        return world._answer(request)

    world.handler = handler
    world.has(exposed(10, 0))
    world.has(exposed(10, 0), "b")
    reading = await world.read()
    assert len(reading.problems) == 1
    assert "did not answer http://a.test/metrics within 0.02 s" in reading.problems[0]


async def test_all_instances_are_asked_at_the_same_time(world: World) -> None:
    everyone = asyncio.Barrier(5)

    async def handler(request: httpx.Request) -> httpx.Response:
        await everyone.wait()
        return world._answer(request)

    world.handler = handler
    for name in "abcde":
        world.has(exposed(10, 0), name)
    assert (await world.read()).problems == ()


async def test_when_no_instance_can_be_asked_it_is_an_error_and_never_a_verdict(world: World) -> None:
    world.has(httpx.Response(503))
    world.has(httpx.ReadTimeout("x"), "b")
    with pytest.raises(
        TransientError, match=r"2 of 2 instances of mail in R3 gave nothing; .*a answered HTTP 503"
    ):
        await world.read(ERRORS, RESTARTS)


async def test_no_instance_at_all_is_an_error(world: World) -> None:
    with pytest.raises(TransientError, match="The deployer reports no instance of mail in R3"):
        await world.read()


@pytest.mark.parametrize("url", ["", "http://[broken", "ftp://a.test"])
async def test_an_instance_without_a_usable_address_is_a_sentence(world: World, url: str) -> None:
    world.source._http = httpx.AsyncClient()  # its own check of addresses; nothing is ever connected
    world.instances["a"] = an_instance(url=url)
    with pytest.raises(TransientError, match="1 of 1 instances"):
        await world.read()


# ------------------------------------------------------------------ restarts


async def test_the_first_sight_of_an_instance_is_no_restart(world: World) -> None:
    world.has(exposed(), restarts=5)
    assert (await world.read(RESTARTS)).samples == ()
    reading = await world.read(RESTARTS, after_s=360)
    assert [(s.value, s.exposure, s.instance) for s in reading.samples] == [(0, 0.1, "")]


async def test_a_later_start_time_is_a_restart_and_names_the_instance(world: World) -> None:
    world.has(exposed())
    world.has(exposed(), "b")
    await world.read(RESTARTS)
    world.has(exposed(start=world.now + 100))
    reading = await world.read(RESTARTS, after_s=360)
    assert numbers(reading, "restarts") == pytest.approx((1, 0.2))
    single = the(reading, "restarts", instance="a")
    assert (single.value, single.exposure) == (1, 0)
    assert len(reading.samples) == 2


async def test_two_restarts_between_two_scrapes_are_seen_by_the_count(world: World) -> None:
    world.has(exposed(), restarts=1)
    await world.read(RESTARTS)
    world.has(exposed(start=world.now + 5), restarts=3)
    assert the(await world.read(RESTARTS), "restarts", instance="a").value == 2
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 0


async def test_one_restart_that_both_witnesses_saw_at_different_times_counts_once(world: World) -> None:
    world.has(exposed())
    await world.read(RESTARTS)
    world.has(exposed(start=world.now + 9))  # after the deployer was asked, before the instance was
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 1
    world.has(world.answers["a"], restarts=1)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 0
    world.has(exposed(start=world.now + 5), restarts=2)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 1


async def test_a_crash_loop_that_never_answers_is_seen_by_the_count_once(world: World) -> None:
    world.has(exposed(), "b")
    world.has(exposed(version="2.0"), version="2.0")
    await world.read(RESTARTS)
    world.has(httpx.ConnectError("refused"), version="2.0", restarts=2)
    reading = await world.read(RESTARTS)
    assert the(reading, "restarts", "2.0", "a").value == 2
    assert numbers(reading, "restarts", "2.0") == pytest.approx((2, 10 / 3600))
    world.has(exposed(version="2.0", start=world.now - 1), version="2.0", restarts=2)
    assert numbers(await world.read(RESTARTS), "restarts", "2.0")[0] == 0


async def test_a_new_version_that_never_answered_still_has_a_count_to_start_from(world: World) -> None:
    world.has(exposed(), "b")
    await world.read(RESTARTS)
    for count in (1, 3):
        world.has(httpx.ConnectError("refused"), version="2.0", restarts=count)
        reading = await world.read(RESTARTS)
    assert the(reading, "restarts", "2.0", "a").value == 2


async def test_restarts_count_even_when_nobody_answers(world: World) -> None:
    world.has(exposed())
    await world.read(RESTARTS)
    world.has(httpx.ConnectError("refused"), restarts=1)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 1


async def test_a_silent_instance_without_restarts_is_not_counted_as_healthy_time(world: World) -> None:
    world.has(exposed())
    world.has(exposed(), "b")
    await world.read(RESTARTS)
    world.has(httpx.ConnectError("refused"))
    assert numbers(await world.read(RESTARTS, after_s=3600), "restarts") == (0, 1)


async def test_an_instance_that_was_silent_makes_up_for_its_time_when_it_answers(world: World) -> None:
    world.has(exposed())
    world.has(exposed(), "b")
    await world.read(RESTARTS)
    world.has(httpx.ConnectError("refused"))
    await world.read(RESTARTS, after_s=3600)
    world.has(exposed())
    assert numbers(await world.read(RESTARTS, after_s=3600), "restarts") == (0, 3)


async def test_another_version_in_a_slot_is_a_deployment_and_counts_anew(world: World) -> None:
    world.has(exposed(), restarts=1)
    await world.read(RESTARTS)
    world.has(exposed(version="2.0", start=world.now + 2), version="2.0", restarts=4)
    assert (await world.read(RESTARTS)).samples == ()
    world.has(exposed(version="1.0", start=world.now + 2), restarts=9)
    assert (await world.read(RESTARTS)).samples == ()  # and so is the way back
    world.has(world.answers["a"], restarts=10)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 1


async def test_a_deployer_that_forgot_its_count_is_no_negative_restart(world: World) -> None:
    world.has(exposed(), restarts=5)
    await world.read(RESTARTS)
    world.has(exposed(), restarts=0)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 0
    world.has(exposed(), restarts=1)
    assert numbers(await world.read(RESTARTS), "restarts")[0] == 1


# ------------------------------------------------------------------ what may be written


@pytest.mark.parametrize(
    ("written", "place", "said"),
    [
        ({"badd": 1}, "signals.errors.scrape.badd", "unknown key 'badd'; did you mean 'bad'?"),
        ({"bad": {"metric": "x"}}, "signals.errors.scrape", "must say bad and total"),
        ({"starts": "x"}, "signals.errors.scrape", "written for a rate, but the signal is a ratio"),
        (
            {"bad": {"metric": "x", "where": {"a": "("}}, "total": {"metric": "x"}},
            "bad.where.a",
            "valid regular expression",
        ),
        (
            {"bad": {"metric": "a b"}, "total": {"metric": "x"}},
            "signals.errors.scrape.bad.metric",
            "must be text like",
        ),
        ({"slower_than": -1, "histogram": "h"}, "signals.errors.scrape.slower_than", "greater than 0"),
    ],
)
async def test_a_signal_written_wrong_is_refused_by_name_and_place(
    world: World, written: dict[str, Any], place: str, said: str
) -> None:
    signal = Signal(name="errors", kind=SignalKind.RATIO, title="e", sources={"scrape": written})
    world.has(exposed())
    with pytest.raises(InvalidInput) as caught:
        await world.read(signal)
    assert "Signal 'errors'" in str(caught.value)
    assert place in str(caught.value)
    assert said in str(caught.value)


async def test_a_signal_that_says_nothing_of_this_source_is_a_sentence(world: World) -> None:
    world.has(exposed(1, 0))
    await world.read()
    mute = Signal(name="mood", kind=SignalKind.GAUGE, title="m")
    reading = await world.read(ERRORS, mute)
    assert numbers(reading) == (0, 0)
    assert "Signal mood is not read in R3" in reading.problems[0]


def test_the_source_shows_what_a_signal_may_say_so_that_files_can_be_checked_early() -> None:
    assert ScrapeSource.signal_options is ScrapeSignal
    found = meaning(ERRORS)
    assert found is not None
    assert found.spec.kind is SignalKind.RATIO


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidInput, match="max_byte"):
        SOURCES.options("scrape", {"max_byte": 5})
