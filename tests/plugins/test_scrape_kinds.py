"""What the source `scrape` reads for each kind of signal, and for a segment of it."""

import difflib
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from scrape_world import EARLIER, ERRORS, LATENCY, World, exposed, numbers, the

from rollout.core.errors import InvalidInput
from rollout.core.signals import Direction, Signal, SignalKind, series_parts
from rollout.ports import Reading
from rollout.sources.exposition import Exposition, Series
from rollout.sources.scrape_series import MOST_EDGES


def signal(kind: SignalKind, written: dict[str, Any], name: str = "errors", **more: Any) -> Signal:
    return Signal(name=name, kind=kind, title=name, sources={"scrape": written}, **more)


def distribution(**more: Any) -> Signal:
    return signal(SignalKind.DISTRIBUTION, {"histogram": "wait_seconds"}, name="latency", **more)


def waits(upto: dict[str, int], count: int, labels: str = "") -> str:
    """A histogram with cumulative counts by edge."""
    more = f",{labels}" if labels else ""
    buckets = [
        f'wait_seconds_bucket{{le="{edge}"{more}}} {n}\n' for edge, n in {**upto, "+Inf": count}.items()
    ]
    return f"{''.join(buckets)}wait_seconds_count{{{labels}}} {count}\nwait_seconds_sum{{{labels}}} 9.5\n"


def typed(*histograms: str, start: float = EARLIER) -> str:
    return exposed(start=start, more="# TYPE wait_seconds histogram\n" + "".join(histograms))


def buckets(reading: Reading, version: str = "1.0") -> dict[str, tuple[float, float]]:
    return {s.signal: (s.value, s.exposure) for s in reading.samples if s.version == version}


@pytest.fixture
def world() -> World:
    return World()


# ------------------------------------------------------------------ distributions


async def test_a_histogram_is_a_sample_for_each_edge_with_the_events_up_to_it(world: World) -> None:
    for name in "ab":
        world.has(typed(waits({"0.1": 5, "0.25": 8, "1.0": 9}, 10)), name)
    assert (await world.read(distribution())).samples == ()
    world.has(typed(waits({"0.1": 15, "0.25": 28, "1.0": 38}, 40)), "a")
    world.has(typed(waits({"0.1": 5, "0.25": 9, "1.0": 10}, 12)), "b")
    reading = await world.read(distribution())
    assert reading.problems == ()
    assert buckets(reading) == {
        "latency{le=0.1}": (10, 32),
        "latency{le=0.25}": (21, 32),
        "latency{le=1}": (30, 32),
    }
    sample = the(reading, "latency{le=0.25}")
    assert (sample.time, sample.duration_s) == (world.clock.now(), 10)


async def test_edges_are_written_as_short_as_they_stay_exact(world: World) -> None:
    edges = {"1e-06": "1e-06", "0.1": "0.1", "0.30000000000000004": "0.30000000000000004", "2.50": "2.5"}
    large = {"10": "10", "1e3": "1000"}
    world.has(typed(waits(dict.fromkeys({**edges, **large}, 0), 0)))
    await world.read(distribution())
    reading = await world.read(distribution())
    assert [series_parts(s.signal)[1]["le"] for s in reading.samples] == [*edges.values(), *large.values()]


async def test_histograms_of_several_labels_add_up_and_where_chooses_among_them(world: World) -> None:
    chosen = signal(
        SignalKind.DISTRIBUTION,
        {"histogram": {"metric": "wait_seconds", "where": {"route": "/send|/fetch"}}},
        name="chosen",
    )
    for n in (0, 10):
        world.has(
            typed(
                *(
                    waits({"0.1": n, "1": 2 * n}, 3 * n, f'route="{route}"')
                    for route in ("/send", "/fetch", "/ui")
                )
            )
        )
        reading = await world.read(distribution(), chosen)
    assert buckets(reading) == {
        "latency{le=0.1}": (30, 90),
        "latency{le=1}": (60, 90),
        "chosen{le=0.1}": (20, 60),
        "chosen{le=1}": (40, 60),
    }


async def test_the_share_beyond_an_edge_can_be_read_of_chosen_series_too(world: World) -> None:
    written = {
        "histogram": {"metric": "wait_seconds", "where": {"route": "/send"}},
        "slower_than": 0.1,
    }
    for n in (0, 10):
        world.has(typed(*(waits({"0.1": n}, 3 * n, f'route="{route}"') for route in ("/send", "/ui"))))
        reading = await world.read(signal(SignalKind.RATIO, written))
    assert numbers(reading) == (20, 30)


async def test_sixty_four_geometric_edges_of_a_sketch_are_read_exactly(world: World) -> None:
    growth = 1.19  # 1 ms to 60 s: every event is known to about 9 %
    edges = [0.001 * growth**k for k in range(MOST_EDGES)]
    world.has(typed(waits({repr(edge): 0 for edge in edges}, 0)))
    await world.read(distribution())
    world.has(typed(waits({repr(edge): 3 * k for k, edge in enumerate(edges)}, 500)))
    reading = await world.read(distribution())
    assert reading.problems == ()
    read = {float(series_parts(s.signal)[1]["le"]): s.value for s in reading.samples}
    assert read == {edge: 3 * k for k, edge in enumerate(edges)}


@pytest.mark.parametrize("count", [0, MOST_EDGES + 1])
async def test_too_many_edges_and_none_are_refused_with_what_to_do(world: World, count: int) -> None:
    world.has(typed(waits({str(edge): 0 for edge in range(count)}, 0)))
    await world.read(distribution())
    reading = await world.read(distribution())
    assert reading.samples == ()
    assert f"exposes wait_seconds with {count} edges, and from 1 to 64 are read" in reading.problems[0]
    assert "'slower_than'" in reading.problems[0]


async def test_an_instance_with_other_edges_than_most_counts_nowhere_and_is_named(world: World) -> None:
    usual, other = {"0.1": 0, "1": 0}, {"0.1": 0, "5": 0}
    for name, edges in {"a": other, "b": usual, "c": usual}.items():
        world.has(typed(waits(edges, 0)), name)
    await world.read(distribution())
    for name, edges in {"a": other, "b": usual, "c": usual}.items():
        world.has(typed(waits(dict.fromkeys(edges, 4), 5)), name)
    reading = await world.read(distribution())
    assert buckets(reading) == {"latency{le=0.1}": (8, 10), "latency{le=1}": (8, 10)}
    (problem,) = reading.problems
    assert problem.startswith(
        "Signal latency of version 1.0: instance a has buckets up to 0.1, 5 (2), and those that are "
        "counted up to 0.1, 1 (2)"
    )


async def test_edges_that_change_in_a_running_process_never_tell_its_past_as_new(world: World) -> None:
    world.has(typed(waits({"0.1": 500, "1": 900}, 1000)))
    await world.read(distribution())
    world.has(typed(waits({"0.1": 501, "0.5": 800}, 1001)))
    assert (await world.read(distribution())).samples == ()
    world.has(typed(waits({"0.1": 502, "0.5": 805}, 1010)))
    assert buckets(await world.read(distribution())) == {
        "latency{le=0.1}": (1, 9),
        "latency{le=0.5}": (5, 9),
    }


async def test_a_histogram_without_a_series_yet_loses_nothing_of_its_first_one(world: World) -> None:
    world.has(typed())
    world.has(typed(waits({"0.1": 0}, 0)), "b")
    await world.read(distribution())
    reading = await world.read(distribution())
    assert (buckets(reading), reading.problems) == ({"latency{le=0.1}": (0, 0)}, ())
    world.has(typed(waits({"0.1": 3}, 4)))
    assert buckets(await world.read(distribution())) == {"latency{le=0.1}": (3, 4)}


async def test_a_histogram_that_vanishes_for_a_while_goes_on_where_it_was(world: World) -> None:
    world.has(typed(waits({"0.1": 500}, 1000)))
    await world.read(distribution())
    world.has(typed())
    assert (await world.read(distribution())).samples == ()
    world.has(typed(waits({"0.1": 501}, 1003)))
    assert buckets(await world.read(distribution())) == {"latency{le=0.1}": (1, 3)}


async def test_a_restarted_process_with_other_edges_counted_everything_since_its_start(world: World) -> None:
    world.has(typed(waits({"0.1": 500}, 1000)))
    await world.read(distribution())
    world.has(typed(waits({"0.2": 3}, 4), start=world.now + 3))
    assert buckets(await world.read(distribution())) == {"latency{le=0.2}": (3, 4)}


async def test_parts_of_an_answer_that_are_moments_apart_stay_in_order(world: World) -> None:
    world.has(typed(waits({"0.1": 10, "0.5": 12, "1": 15}, 20)))
    await world.read(distribution())
    world.has(typed(waits({"0.1": 15, "0.5": 16, "1": 23}, 26)))
    read = buckets(await world.read(distribution()))
    assert read == {"latency{le=0.1}": (5, 6), "latency{le=0.5}": (5, 6), "latency{le=1}": (6, 6)}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            waits({"0.1": 30, "0.5": 12}, 90),
            "with 30 events up to 0.1, and 12 up to 0.5; a bucket must count",
        ),
        (waits({"0.1": 30}, 12), "with 30 events up to 0.1, and 12 up to inf"),
        (waits({"0.1": 1, "x": 2}, 3), "exposes a bucket of wait_seconds without a numeric 'le'"),
        (waits({"0.1": 1, "NaN": 2}, 3), "without a numeric 'le'"),
        (
            waits({"0.1": 1, "0.10": 1}, 3),
            "exposes wait_seconds 1 times by its labels, and an edge at 0.1 2 times",
        ),
        (
            waits({"0.1": 1}, 3, 'a="1"') + waits({"0.1": 1, "0.2": 2}, 3, 'a="2"'),
            "exposes wait_seconds 2 times by its labels, and an edge at 0.2 1 times",
        ),
        (waits({"0.1": -1}, 3), "which is not a count"),
    ],
)
async def test_a_histogram_that_cannot_be_true_is_no_evidence(world: World, answer: str, said: str) -> None:
    world.has(typed(answer))
    await world.read(distribution())
    reading = await world.read(distribution())
    assert reading.samples == ()
    (problem,) = reading.problems
    assert said in problem


async def test_a_summary_is_refused_because_quantiles_cannot_be_put_together(world: World) -> None:
    world.has(
        exposed(
            more="# TYPE wait_seconds summary\n"
            'wait_seconds{quantile="0.99"} 0.4\nwait_seconds_sum 12\nwait_seconds_count 40\n'
        )
    )
    reading = await world.read(distribution())
    assert reading.samples == ()
    assert "exposes wait_seconds as a summary; the quantiles of several instances" in reading.problems[0]
    assert "expose a histogram" in reading.problems[0]


# ------------------------------------------------------------------ throughput and ratios


def work(done: int, arrived: int) -> str:
    return exposed(
        more=f"# TYPE sent counter\nsent_total {done}\n# TYPE taken counter\ntaken_total {arrived}\n"
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [({"done": "sent_total", "arrived": "taken_total"}, (16, 10)), ({"done": "sent_total"}, (16, 0))],
)
async def test_throughput_is_the_work_done_beside_the_work_that_arrived(
    world: World, written: dict[str, Any], expected: tuple[float, float]
) -> None:
    flow = signal(SignalKind.THROUGHPUT, written, direction=Direction.DOWN)
    world.has(work(100, 200))
    world.has(work(0, 0), "b")
    await world.read(flow)
    world.has(work(107, 205))
    world.has(work(9, 5), "b")
    assert numbers(await world.read(flow)) == expected


async def test_a_ratio_of_good_events_has_the_others_as_its_value(world: World) -> None:
    good = {
        "good": {"metric": "http_requests_total", "where": {"status": "2.."}},
        "total": "http_requests_total",
    }
    world.has(exposed(100, 7))
    await world.read(signal(SignalKind.RATIO, good))
    world.has(exposed(190, 9))
    assert numbers(await world.read(signal(SignalKind.RATIO, good))) == (2, 92)


async def test_good_events_of_another_metric_than_the_total_count_too(world: World) -> None:
    good = signal(SignalKind.RATIO, {"good": "sent_total", "total": "taken_total"})
    world.has(work(10, 20))
    await world.read(good)
    world.has(work(17, 30))
    assert numbers(await world.read(good)) == (3, 10)


async def test_a_fall_of_what_was_not_good_is_never_read_as_harm(world: World) -> None:
    good = {"good": "sent_total", "total": "taken_total"}
    turned = signal(SignalKind.RATIO, good, name="turned", direction=Direction.DOWN)
    world.has(work(10, 20))
    await world.read(turned, ERRORS)
    reading = await world.read(turned, ERRORS)
    assert [s.signal for s in reading.samples] == ["errors"]
    (problem,) = reading.problems
    assert problem.startswith("Signal turned is not read in R3: its value is what was not good")


# ------------------------------------------------------------------ segments


def by_kind(near: tuple[int, int], far: tuple[int, int]) -> str:
    lines = "".join(
        f'late_total{{kind="{kind}"}} {late}\nsends_total{{kind="{kind}"}} {all_}\n'
        + waits({"0.1": all_ - late}, all_, f'kind="{kind}"')
        + f'depth{{kind="{kind}"}} {late}\n'
        for kind, (late, all_) in {"near": near, "far": far}.items()
    )
    return exposed(more=lines)


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (signal(SignalKind.RATIO, {"bad": "late_total", "total": "sends_total"}), {"": (5, 20)}),
        (signal(SignalKind.RATIO, {"histogram": "wait_seconds", "slower_than": 0.1}), {"": (5, 20)}),
        (signal(SignalKind.DISTRIBUTION, {"histogram": "wait_seconds"}), {"le=0.1": (15, 20)}),
        (signal(SignalKind.THROUGHPUT, {"done": "late_total", "arrived": "sends_total"}), {"": (5, 20)}),
        (signal(SignalKind.GAUGE, {"value": "depth", "across": "sum"}), {"": (6, 1)}),
    ],
    ids=["ratio", "slower", "distribution", "throughput", "gauge"],
)
async def test_a_segment_narrows_every_selector_of_a_signal(
    world: World, whole: Signal, expected: dict[str, tuple[float, float]]
) -> None:
    far = signal(
        whole.kind, dict(whole.sources["scrape"]), name="errors{segment=far}", segment={"kind": "f.r"}
    )
    world.has(by_kind((1, 10), (1, 100)))
    await world.read(far)
    world.has(by_kind((2, 90), (6, 120)))
    reading = await world.read(far)
    assert reading.problems == ()
    told = {
        s.signal.removeprefix("errors{segment=far").strip(",}"): (s.value, s.exposure)
        for s in reading.samples
    }
    assert told == expected


@pytest.mark.parametrize(("where", "segment"), [("far|near", "far|other"), ("far|other", "far|near")])
async def test_a_segment_and_a_where_on_one_label_must_both_match(
    world: World, where: str, segment: str
) -> None:
    written = {"value": {"metric": "depth", "where": {"kind": where}}, "across": "sum"}
    world.has(by_kind((2, 9), (6, 9)))
    reading = await world.read(signal(SignalKind.GAUGE, written, segment={"kind": segment}))
    assert numbers(reading) == (6, 1)


async def test_a_segment_by_a_label_that_no_series_has_is_never_no_failures(world: World) -> None:
    part = signal(SignalKind.RATIO, {"bad": "late_total", "total": "sends_total"}, segment={"tier": "x"})
    world.has(by_kind((1, 10), (1, 100)))
    await world.read(part)
    reading = await world.read(part)
    assert reading.samples == ()
    assert "exposes late_total without the label 'tier', but: kind" in reading.problems[0]


async def test_restarts_have_no_segments_and_it_is_said(world: World) -> None:
    part = signal(
        SignalKind.RATE,
        {"starts": "process_start_time_seconds"},
        name="restarts{segment=far}",
        segment={"kind": "far"},
    )
    world.has(exposed())
    await world.read(part, ERRORS)
    reading = await world.read(part, ERRORS)
    assert [s.signal for s in reading.samples] == ["errors"]
    assert "a process restarts as a whole and has no segments. Check 'restarts'" in reading.problems[0]


async def test_a_segment_that_is_no_regular_expression_is_named_with_its_place(world: World) -> None:
    part = signal(SignalKind.RATIO, {"bad": "late_total", "total": "sends_total"}, segment={"kind": "("})
    world.has(exposed())
    with pytest.raises(InvalidInput, match=r"signals\.errors\.segment\.kind"):
        await world.read(part)


# ------------------------------------------------------------------ what is remembered


async def test_two_signals_that_are_read_alike_both_get_their_numbers(world: World) -> None:
    twin = signal(SignalKind.RATIO, dict(ERRORS.sources["scrape"]), name="twin")
    world.has(exposed(100, 1))
    await world.read(ERRORS, twin)
    world.has(exposed(110, 3))
    reading = await world.read(ERRORS, twin)
    assert numbers(reading, "errors") == numbers(reading, "twin") == (2, 12)


async def test_a_signal_that_nobody_asked_for_a_while_does_not_tell_that_while_as_one_interval(
    world: World,
) -> None:
    other = distribution()
    world.has(typed(waits({"0.1": 10}, 20)))
    await world.read(ERRORS, other)
    world.has(typed(waits({"0.1": 5000}, 9000)))
    await world.read(ERRORS, after_s=3000)
    assert [s.signal for s in (await world.read(ERRORS, other)).samples] == ["errors"]
    world.has(typed(waits({"0.1": 5001}, 9002)))
    assert buckets(await world.read(other)) == {"latency{le=0.1}": (1, 2)}


async def test_memory_does_not_grow_when_signals_and_edges_change_all_the_time(world: World) -> None:
    sizes = []
    for n in range(20):
        world.has(typed(waits({str(n + 1): n}, n)))
        await world.read(distribution(segment={}), signal(SignalKind.RATIO, LATENCY_OF[n % 2], name=f"s{n}"))
        sizes.append(len(str(world.cursor)))
    assert max(sizes[2:]) < 1.1 * min(sizes[2:])


LATENCY_OF = (
    {"bad": "wait_seconds_count", "total": "wait_seconds_count"},
    {"good": "wait_seconds_count", "total": "wait_seconds_count"},
)


# ------------------------------------------------------------------ names written wrong


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            {"bad": "http_request_total", "total": "http_requests_total"},
            "exposes no metric http_request_total; the nearest names there: http_requests_total",
        ),
        (
            {"histogram": "wait_second", "slower_than": 1},
            "exposes no histogram wait_second; the nearest names",
        ),
        ({"bad": "zzz", "total": "http_requests_total"}, "exposes no metric zzz; compare its answer."),
    ],
)
async def test_a_metric_that_does_not_exist_is_named_with_the_nearest_that_do(
    world: World, written: dict[str, Any], said: str
) -> None:
    world.has(typed(waits({"0.1": 1}, 2)))
    reading = await world.read(signal(SignalKind.RATIO, written))
    assert said in reading.problems[0]


async def test_a_name_can_be_near_although_no_signal_reads_it(world: World) -> None:
    world.has(typed(waits({"0.1": 1}, 2)))
    reading = await world.read(signal(SignalKind.DISTRIBUTION, {"histogram": "waits_seconds"}))
    assert "wait_seconds_bucket" in reading.problems[0]


def test_of_very_many_names_only_a_few_are_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    whole = difflib.get_close_matches

    def watched(word: str, words: Sequence[str], n: int) -> list[str]:
        compared.append(len(words))
        return whole(word, words, n)

    monkeypatch.setattr(difflib, "get_close_matches", watched)
    names = [f"queue_{n}_depth_of_{n}" for n in range(4000)] + ["mail_requests_total"]
    assert Exposition({}, names).near("mail_request_total").endswith("mail_requests_total")
    assert compared == [20]


def test_a_key_is_written_as_people_write_series() -> None:
    assert Series(name="x", labels={"b": "2", "a": "1"}, value=1).key == 'x{a="1",b="2"}'


async def test_a_latency_ratio_and_a_distribution_of_one_histogram_agree(world: World) -> None:
    both = (distribution(), signal(SignalKind.RATIO, {"histogram": "wait_seconds", "slower_than": 0.1}))
    world.has(typed(waits({"0.1": 10}, 20)))
    await world.read(*both, LATENCY)
    world.has(typed(waits({"0.1": 17}, 30)))
    reading = await world.read(*both)
    assert numbers(reading, "latency{le=0.1}") == (7, 10)
    assert numbers(reading) == (3, 10)


async def test_what_the_client_library_of_python_writes_is_read_as_it_was_observed(world: World) -> None:
    registry = CollectorRegistry()
    wait = Histogram("wait_seconds", "Waiting.", ["route"], buckets=(0.1, 1, 10), registry=registry)
    for route in ("/send", "/fetch"):
        wait.labels(route)
    world.has(generate_latest(registry))
    await world.read(distribution())
    for seconds in (0.05, 0.1, 0.5, 5, 50):
        wait.labels("/send").observe(seconds)
    wait.labels("/fetch").observe(0.2)
    world.has(generate_latest(registry))
    assert buckets(await world.read(distribution())) == {
        "latency{le=0.1}": (2, 6),
        "latency{le=1}": (4, 6),
        "latency{le=10}": (5, 6),
    }
