"""What the source `prometheus` tells of series that a test writes; no network, and time stands still."""

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_lab import (
    ERRORS,
    T0,
    FakeEngine,
    ask,
    every,
    instance,
    numbers,
    signal,
    since,
    source_of,
)

from rollout.core.errors import InvalidInput
from rollout.core.signals import Signal, SignalKind
from rollout.ports import Reading
from rollout.sources.prometheus_signals import read_signal
from rollout.testing import ManualClock

AGE = signal(SignalKind.GAUGE, "age", value="oldest_seconds", across="max")
RESTARTS = signal(SignalKind.RATE, "restarts", starts="process_start_time_seconds")
LATENCY = signal(SignalKind.DISTRIBUTION, "latency", histogram="took_seconds")
SLOW = signal(SignalKind.RATIO, "slow", histogram="took_seconds", slower_than=0.25)
STARTS = {"instances": (instance("1.0"), instance("2.0", "http://b:80"))}


async def told(
    engine: FakeEngine,
    *signals: Signal,
    begin: float = 0,
    at: float = 10,
    instances: Any = None,
    **options: Any,
) -> Reading:
    """One reading of the time between `begin` and `at`, in seconds after T0."""
    chosen = signals or (ERRORS,)
    source = source_of(engine, ManualClock(T0), **options)
    return await source.collect(ask(chosen, at, since(begin, *chosen), instances))


def counters(engine: FakeEngine, bad: Any, ok: Any, **labels: str) -> None:
    engine.add("requests_total", bad, code="503", **labels)
    engine.add("requests_total", ok, code="200", **labels)


# ------------------------------------------------------------------ counters


async def test_counters_are_differenced_between_stored_scrapes_and_never_extrapolated() -> None:
    engine = FakeEngine()
    counters(engine, [(-7, 3), (8, 5)], [(-7, 100), (8, 190)])
    assert numbers(await told(engine)) == [("errors", "1.0", 2, 92)]


async def test_a_first_failure_is_a_new_series_and_counts_from_zero() -> None:
    engine = FakeEngine()
    counters(engine, [(8, 4)], [(-7, 100), (8, 190)])
    assert numbers(await told(engine)) == [("errors", "1.0", 4, 94)]


async def test_a_process_that_has_just_started_counts_from_zero() -> None:
    engine = FakeEngine()
    engine.started(at=-3, points=[8])
    counters(engine, [(8, 4)], [(8, 90)])
    assert numbers(await told(engine)) == [("errors", "1.0", 4, 94)]


@pytest.mark.parametrize("known", [True, False])
async def test_an_old_process_that_is_seen_first_counts_from_its_second_scrape_on(known: bool) -> None:
    engine = FakeEngine()
    if known:
        engine.started()
    counters(engine, [(3, 4000), (8, 4001)], [(3, 90_000), (8, 90_009)])
    reading = await told(engine, instances=(instance(url=""),))
    assert numbers(reading) == [("errors", "1.0", 1, 10)]
    assert "scrapes that do not count: 1" in reading.problems[0]


async def test_a_metric_that_begins_to_be_kept_does_not_count_the_past_of_its_process() -> None:
    engine = FakeEngine()
    engine.started()  # the process was scraped all the time, and this metric was not kept
    counters(engine, [(8, 4000)], [(8, 90_000)])
    assert numbers(await told(engine)) == []


async def test_a_restart_is_known_by_its_start_even_above_the_old_count() -> None:
    engine = FakeEngine()
    engine.started(at=-9000, points=[-7])
    engine.started(at=2, points=[8])
    counters(engine, [(-7, 1), (8, 2)], [(-7, 100), (8, 500)])
    assert numbers(await told(engine)) == [("errors", "1.0", 2, 502)]


async def test_a_counter_that_falls_while_its_process_lives_is_no_evidence_at_that_scrape() -> None:
    engine = FakeEngine()
    engine.started(points=[-7, 4, 8])
    counters(engine, [(-7, 1), (4, 2), (8, 3)], [(-7, 100), (4, 90), (8, 95)])
    reading = await told(engine)
    assert numbers(reading) == [("errors", "1.0", 1, 6)]
    assert "scrapes that do not count: 1" in reading.problems[0]


async def test_a_counter_that_falls_where_nobody_knows_the_start_began_anew() -> None:
    engine = FakeEngine()
    counters(engine, [(-7, 1), (8, 0)], [(-7, 100), (8, 30)])
    assert numbers(await told(engine, instances=(instance(url=""),))) == [("errors", "1.0", 0, 30)]


async def test_the_deployer_tells_the_start_of_a_process_that_does_not() -> None:
    engine = FakeEngine()
    counters(engine, [(8, 4)], [(8, 90)])
    assert numbers(await told(engine, instances=(instance(started=2),))) == [("errors", "1.0", 4, 94)]


async def test_scrapes_further_apart_than_the_lookback_are_no_neighbours() -> None:
    engine = FakeEngine()
    counters(engine, [(-108, 1), (8, 2)], [(-108, 100), (8, 500)])
    assert numbers(await told(engine, lookback_s=100, instances=(instance(url=""),))) == []


async def test_a_version_without_a_new_scrape_is_not_told() -> None:
    engine = FakeEngine()
    counters(engine, [(-7, 1)], [(-7, 100)])
    assert numbers(await told(engine)) == []


async def test_scrapes_rarer_than_readings_give_samples_as_long_as_their_distance() -> None:
    engine = FakeEngine()
    counters(engine, every(60, -120, 240, 0), every(60, -120, 240))
    source, cursor = source_of(engine, ManualClock(T0)), since(0)
    durations, total = [], 0.0
    for at in range(10, 250, 10):
        reading = await source.collect(ask(at=at, cursor=cursor))
        cursor = json.loads(json.dumps(reading.cursor))
        durations += [one.duration_s for one in reading.samples]
        total += sum(one.exposure for one in reading.samples)
    assert durations == [60, 60, 60, 60]
    assert total == 240


async def test_samples_of_instances_that_are_scraped_at_different_times_do_not_overlap() -> None:
    engine = FakeEngine()
    counters(engine, every(15, -60, 600, 0), every(15, -60, 600))
    counters(engine, every(15, -53, 600, 0), every(15, -53, 600), instance="b:80")
    source, cursor, durations = source_of(engine, ManualClock(T0)), since(0), []
    for at in range(10, 310, 10):
        reading = await source.collect(ask(at=at, cursor=cursor))
        cursor = json.loads(json.dumps(reading.cursor))
        durations += [one.duration_s for one in reading.samples]
    assert sum(durations) - durations[0] == 290
    assert durations[0] == 18  # the first one rests on a scrape from before the first reading


async def test_a_long_time_is_told_in_minutes_so_that_no_block_gets_it_all() -> None:
    engine = FakeEngine()
    counters(engine, every(15, -300, 900, 0), every(15, -300, 900))
    reading = await told(engine, at=630)
    assert [one.duration_s for one in reading.samples] == [60] * 10 + [30]
    assert [one.exposure for one in reading.samples] == [60] * 10 + [30]
    assert reading.samples[-1].time.timestamp() == T0.timestamp() + 630


async def test_what_is_older_than_an_hour_is_said_and_not_read() -> None:
    engine = FakeEngine()
    counters(engine, every(60, -300, 9000, 0), every(60, -300, 9000))
    reading = await told(engine, at=7200)
    assert sum(one.exposure for one in reading.samples) == 3600
    assert reading.problems == ("Signal errors in R3: 3600 s of it were never read, and are too old now.",)


async def test_only_what_has_settled_is_told() -> None:
    engine = FakeEngine()
    counters(engine, every(1, -60, 60, 0), every(1, -60, 60))
    reading = await told(engine, at=50, settle_s=30)
    assert [(one.exposure, one.time.timestamp() - T0.timestamp()) for one in reading.samples] == [(20, 20)]


SCRAPES = st.lists(st.tuples(st.integers(4, 40), st.integers(0, 9), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(scrapes=SCRAPES, readings=st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_readings_at_any_times_add_up_to_the_truth(
    scrapes: list[tuple[int, int, bool]], readings: list[int]
) -> None:
    at, count, start, truth = 0, 0, -9000.0, 0
    totals: list[tuple[float, Any]] = [(0.0, 0)]
    starts: list[tuple[float, Any]] = [(0.0, T0.timestamp() + start)]
    for gap, more, restarted in scrapes:
        if restarted:
            count, start = 0, at + gap - 0.5
        start_now = T0.timestamp() + start
        at, count, truth = at + gap, count + more, truth + more
        totals.append((float(at), count))
        starts.append((float(at), start_now))
    engine = FakeEngine()
    engine.add("requests_total", totals, code="200")
    engine.add("process_start_time_seconds", starts)

    async def all_readings() -> float:
        cursor, now, found = since(0), 0, 0.0
        for pause in [*readings, 1300]:
            now += pause
            reading = await source_of(engine, ManualClock(T0)).collect(ask(at=now, cursor=cursor))
            cursor = json.loads(json.dumps(reading.cursor))
            found += sum(one.exposure for one in reading.samples)
        return found

    assert asyncio.run(all_readings()) == truth


# ------------------------------------------------------------------ whose series


async def test_each_version_is_told_by_its_label() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10))
    counters(engine, every(5, -60, 10, 1), every(5, -60, 10), version="2.0", instance="b:80")
    reading = await told(engine, **STARTS)
    assert numbers(reading) == [("errors", "1.0", 0, 10), ("errors", "2.0", 10, 20)]


async def test_the_label_and_form_of_versions_are_what_the_region_says() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), version="", build="v1.0-R3")
    matchers = {"job": "{service}", "build": "v{version}-{region}"}
    assert numbers(await told(engine, matchers=matchers)) == [("errors", "1.0", 0, 10)]


async def test_versions_that_the_deployer_does_not_know_are_named() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), version="1.0+build7")
    reading = await told(engine)
    assert reading.samples == ()
    assert (
        "are of version 1.0+build7, and the deployer runs 1.0; compare the label 'version'"
        in (reading.problems[0])
    )


async def test_a_series_without_version_is_that_of_the_instance_at_its_address() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), version="")
    assert numbers(await told(engine)) == [("errors", "1.0", 0, 10)]


async def test_what_was_at_an_address_before_its_instance_started_is_of_another() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), [(-5, 500), (0, 505), (2, 506), (5, 2), (10, 7)], version="")
    reading = await told(engine, instances=(instance("2.0", started=3),))
    assert numbers(reading) == [("errors", "2.0", 0, 7)]


async def test_a_label_of_another_form_is_no_version_even_at_a_known_address() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), version="nightly")
    reading = await told(engine, matchers={"job": "{service}", "version": "v{version}"})
    assert reading.samples == ()
    assert "carry no version" in reading.problems[0]


async def test_a_series_without_version_at_an_unknown_address_does_not_count_and_is_named() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), version="", instance="c:80")
    reading = await told(engine)
    assert reading.samples == ()
    assert "carry no version in the label 'version'" in reading.problems[0]
    assert 'instance="c:80"' in reading.problems[0]


async def test_other_regions_of_the_same_answer_do_not_count() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10))
    counters(engine, every(5, -60, 10, 5), every(5, -60, 10), region="R1")
    assert numbers(await told(engine)) == [("errors", "1.0", 0, 10)]


async def test_the_start_of_a_process_in_another_region_with_the_same_address_says_nothing() -> None:
    engine = FakeEngine()
    counters(engine, [(-7, 0), (8, 0)], [(-7, 100), (8, 190)])
    engine.started(points=[-7, 8])
    engine.started(at=2, points=[8], region="R1")
    assert numbers(await told(engine)) == [("errors", "1.0", 0, 90)]


async def test_a_region_that_no_series_has_is_no_data_and_the_known_ones_are_named() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), region="apac")
    reading = await told(engine)
    assert reading.samples == ()
    assert 'no series of requests_total has {region="R3"}; there are {region="apac"}' in reading.problems[0]


async def test_series_of_another_service_never_count_whatever_the_engine_answers() -> None:
    engine, other = FakeEngine(), FakeEngine()
    counters(other, every(5, -60, 10, 0), every(5, -60, 10), job="payments")

    def lie(request: Any) -> Any:
        request.url = request.url.copy_set_param(
            "query", request.url.params["query"].replace('job="mail"', 'job="payments"')
        )
        return other.matrix(request)

    engine.answer = lie
    reading = await told(engine)
    assert reading.samples == ()
    assert 'Prometheus has no series of requests_total{job="mail"}' in reading.problems[0]


async def test_a_label_written_wrong_is_no_data_and_never_no_failures() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10))
    wrong = signal(bad={"metric": "requests_total", "where": {"status": "5.."}}, total="requests_total")
    reading = await told(engine, wrong)
    assert reading.samples == ()
    assert "requests_total has no label 'status', but: code, instance" in reading.problems[0]


async def test_a_metric_of_failures_that_does_not_exist_is_no_data() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10))
    reading = await told(engine, signal(bad="failures_total", total="requests_total"))
    assert reading.samples == ()
    assert "Prometheus has no series of failures_total" in reading.problems[0]


async def test_a_segment_reads_only_its_labels() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 1), every(5, -60, 10), horizon="far")
    counters(engine, every(5, -60, 10, 3), every(5, -60, 10), horizon="near")
    far = Signal(
        name="errors{segment=far}",
        kind=SignalKind.RATIO,
        title="errors",
        sources=ERRORS.sources,
        segment={"horizon": "f.r"},
    )
    assert numbers(await told(engine, far)) == [("errors{segment=far}", "1.0", 10, 20)]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(-7, 1), (8, math.inf)], "is inf, which is not a count"),
        ([(-7, 1), (8, -3)], "is -3, which is not a count"),
        ([(-7, 1), (8, 2.0**54)], "is beyond 2**53"),
        ([(-7, 1), (8, 2), (8, 2)], "two points of one time, or out of order"),
        ([(8, 1), (-7, 2)], "two points of one time, or out of order"),
    ],
)
async def test_a_process_with_one_broken_series_does_not_count_and_the_others_do(
    points: list[tuple[float, float]], said: str
) -> None:
    engine = FakeEngine()
    counters(engine, points, every(5, -60, 10))
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10), instance="b:80")
    reading = await told(engine)
    assert numbers(reading) == [("errors", "1.0", 0, 10)]
    assert "mail/a:80 does not count: requests_total" in reading.problems[0]
    assert said in reading.problems[0]


async def test_a_lag_of_the_engine_is_said_with_the_knob_that_mends_it() -> None:
    engine = FakeEngine()
    counters(engine, every(5, -100, -60, 0), every(5, -100, -60))
    reading = await told(engine)
    assert reading.samples == ()
    assert (
        "its newest scrape is 70 s older than the time that was read, and scrapes come every 5 s"
        in (reading.problems[0])
    )
    assert "raise settle_s" in reading.problems[0]


# ------------------------------------------------------------------ other kinds


@pytest.mark.parametrize(("across", "value", "exposure"), [("max", 9, 0), ("sum", 12, 2), ("mean", 6, 0)])
async def test_a_gauge_is_the_level_across_its_series(across: str, value: float, exposure: float) -> None:
    engine = FakeEngine()
    engine.add("depth", [(-7, 1), (8, 9)])
    engine.add("depth", [(-7, 1), (8, 3)], instance="b:80")
    gauge = signal(SignalKind.GAUGE, "depth", value="depth", across=across)
    assert numbers(await told(engine, gauge)) == [("depth", "1.0", value, exposure)]


async def test_a_level_whose_next_scrape_is_on_its_way_still_counts_and_an_old_one_does_not() -> None:
    engine = FakeEngine()
    depth = signal(SignalKind.GAUGE, "depth", value="depth", across="sum")
    engine.add("depth", [(t, 1) for t in range(-60, 61, 15)])
    engine.add("depth", [(t, 10) for t in range(-61, 0, 15)], instance="b:80")  # the last one at -1
    assert numbers(await told(engine, depth, begin=10, at=31)) == [("depth", "1.0", 11, 2)]
    assert numbers(await told(engine, depth, begin=31, at=46)) == [("depth", "1.0", 1, 1)]


async def test_a_level_is_told_from_its_first_scrape_on() -> None:
    engine = FakeEngine()
    engine.add("oldest_seconds", [(3, 4)])
    assert numbers(await told(engine, AGE)) == [("age", "1.0", 4, 0)]


async def test_a_stale_mark_ends_a_level_at_once_and_a_counter_goes_on_after_it() -> None:
    engine = FakeEngine()
    depth = signal(SignalKind.GAUGE, "depth", value="depth", across="sum")
    engine.add("depth", [(-7, 1), (8, 1)])
    engine.add("depth", [(-7, 1), (3, 10), (8, "NaN")], instance="b:80")
    assert numbers(await told(engine, depth)) == [("depth", "1.0", 1, 1)]
    counters(engine, [(-7, 1), (2, "NaN"), (8, 3)], [(-7, 100), (2, "NaN"), (8, 110)])
    assert numbers(await told(engine)) == [("errors", "1.0", 2, 12)]


async def test_a_level_that_nobody_scraped_anew_is_not_told_again() -> None:
    engine = FakeEngine()
    engine.add("oldest_seconds", [(-15, 4), (0, 4)])
    assert numbers(await told(engine, AGE)) == []


def histogram(engine: FakeEngine, counts: dict[str, int], **labels: str) -> None:
    for edge, count in counts.items():
        engine.add("took_seconds_bucket", [(-7, 100), (8, 100 + count)], le=edge, **labels)


async def test_a_histogram_is_one_sample_a_bucket() -> None:
    engine = FakeEngine()
    histogram(engine, {"0.1": 5, "0.250": 7, "1.0": 9, "+Inf": 10})
    assert numbers(await told(engine, LATENCY)) == [
        ("latency{le=0.1}", "1.0", 5, 10),
        ("latency{le=0.25}", "1.0", 7, 10),
        ("latency{le=1}", "1.0", 9, 10),
    ]


async def test_an_edge_that_only_some_processes_of_a_version_have_is_left_out() -> None:
    engine = FakeEngine()
    histogram(engine, {"0.1": 5, "0.25": 7, "+Inf": 10})
    histogram(engine, {"0.25": 8, "+Inf": 10}, instance="b:80")
    assert numbers(await told(engine, LATENCY)) == [("latency{le=0.25}", "1.0", 15, 20)]


async def test_slower_than_an_edge_is_a_ratio() -> None:
    engine = FakeEngine()
    histogram(engine, {"0.1": 5, "0.25": 7, "+Inf": 10})
    assert numbers(await told(engine, SLOW)) == [("slow", "1.0", 3, 10)]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            {"0.1": 5, "0.5": 7, "+Inf": 10},
            "no bucket with the edge 0.25, such as mail/a:80; there are: 0.1, 0.5",
        ),
        ({"0.1": 5, "0.25": 7}, 'no bucket le="+Inf"'),
        ({"fast": 5, "+Inf": 7}, "has no numeric 'le'"),
    ],
)
async def test_a_histogram_that_cannot_tell_is_no_data(counts: dict[str, int], said: str) -> None:
    engine = FakeEngine()
    histogram(engine, counts)
    reading = await told(engine, SLOW)
    assert reading.samples == ()
    assert said in reading.problems[0]


async def test_restarts_are_later_starts_per_instance_hour_and_each_names_its_instance() -> None:
    engine = FakeEngine()
    start = T0.timestamp()
    # the same start is told a little differently each time, as some kernels do
    starts = [(t, start - 9000 if t < 5 else start + 5 + 0.1 * (t % 20)) for t in range(-60, 61, 10)]
    engine.add("process_start_time_seconds", starts)
    engine.started(points=range(-60, 61, 10), instance="b:80")
    reading = await told(engine, RESTARTS, at=60)
    assert [(one.value, one.exposure, one.instance) for one in reading.samples] == [
        (1, 120 / 3600, ""),
        (1, 0, "a:80"),
    ]


async def test_several_processes_behind_one_address_are_no_restarts() -> None:
    engine = FakeEngine()
    engine.add(
        "process_start_time_seconds",
        [(t, T0.timestamp() - (9000 if t % 20 else 8000)) for t in range(-60, 61, 10)],
    )
    counters(engine, every(10, -60, 60, 0), every(10, -60, 60))
    reading = await told(engine, RESTARTS, ERRORS, at=60)
    assert reading.samples == ()
    assert all("several processes seem to share its address" in problem for problem in reading.problems)
    assert len(reading.problems) == 2


async def test_a_counter_of_restarts_outlives_who_shows_it() -> None:
    engine = FakeEngine()
    engine.started(at=-3, points=[2, 8])
    counted = signal(SignalKind.RATE, "restarts", restarts="container_restarts_total", by="pod")
    engine.add("container_restarts_total", [(-7, 2), (2, 2), (8, 3)], pod="mail-1")
    engine.add("container_restarts_total", [(2, 7), (8, 7)], pod="mail-2")  # seen first: not seven at once
    reading = await told(engine, counted)
    assert [(one.value, round(one.exposure * 3600), one.instance) for one in reading.samples] == [
        (1, 21, ""),
        (1, 0, "mail-1"),
    ]


@pytest.mark.parametrize(("arrived", "exposure"), [({"arrived": "in_total"}, 12), ({}, 0)])
async def test_throughput_is_work_done_of_what_arrived(arrived: dict[str, str], exposure: float) -> None:
    engine = FakeEngine()
    engine.add("out_total", [(-7, 1), (8, 8)])
    engine.add("in_total", [(-7, 1), (8, 13)])
    work = signal(SignalKind.THROUGHPUT, "work", done="out_total", **arrived)
    assert numbers(await told(engine, work)) == [("work", "1.0", 7, exposure)]


# ------------------------------------------------------------------ what signals.yaml may say


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"bad": "b", "total": "t"}, "ratio"),
        ({"histogram": {"metric": "h", "where": {"path": "/send"}}, "slower_than": 0.25}, "ratio"),
        ({"histogram": "h"}, "distribution"),
        ({"starts": "s"}, "rate"),
        ({"restarts": "r", "by": "pod"}, "rate"),
        ({"value": "v", "across": "mean"}, "gauge"),
        ({"done": "d"}, "throughput"),
        ({"done": "d", "arrived": "a"}, "throughput"),
    ],
)
def test_each_form_is_of_one_kind(written: dict[str, Any], kind: str) -> None:
    spec = read_signal(signal(SignalKind(kind), **written))
    assert spec is not None
    assert spec.kind == kind


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"bad": "b"}, "says bad; must say"),
        ({"bad": "b", "total": "t", "value": "v"}, "says bad and total and value"),
        ({}, "says nothing"),
        ({"bad": "5xx", "total": "t"}, "signals.errors.prometheus.bad"),
        ({"bad": {"metric": "b", "where": {"code": "("}}, "total": "t"}, "where.code"),
        ({"value": "v", "across": "max"}, "is written for a gauge, but the signal is a ratio"),
    ],
)
def test_a_signal_written_wrong_is_refused_with_its_place(written: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_signal(signal(**written))
    assert said in str(refused.value)
    assert "signals.errors.prometheus" in str(refused.value)


async def test_a_signal_of_other_sources_is_said_to_be_unread() -> None:
    other = Signal(name="other", kind=SignalKind.RATIO, title="other", sources={"scrape": {}})
    engine = FakeEngine()
    counters(engine, every(5, -60, 10, 0), every(5, -60, 10))
    reading = await told(engine, ERRORS, other)
    assert numbers(reading) == [("errors", "1.0", 0, 10)]
    assert reading.problems == (
        (
            "Signal other is not read in R3: it does not say how 'prometheus' reads it. "
            "Add 'prometheus:' to it in policies/signals.yaml."
        ),
    )
