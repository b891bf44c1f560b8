"""What the source `http_json` asks, tells and refuses; no network."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_json_lab import (
    COUNTERS,
    ERRORS,
    START,
    T0,
    ask,
    counted,
    numbers,
    row,
    rows,
    signal,
    since,
    source_of,
)

from rollout.core.errors import InvalidInput, OutsideError, PermanentError, TransientError
from rollout.core.signals import SignalKind
from rollout.ports import Reading
from rollout.sources.http_json_path import nodes, steps

HEADERS = {"content-type": "application/json"}


def replying(*answers: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    """Gives these answers, the last one for ever, and keeps the requests."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        answer.asked.append(request)  # type: ignore[attr-defined]
        return left.pop(0) if len(left) > 1 else left[0]

    answer.asked = []  # type: ignore[attr-defined]
    return answer


async def told(*answers: httpx.Response, at: float = 10, **asking: Any) -> Reading:
    asking.setdefault("cursor", since(0))
    return await source_of(replying(*answers)).collect(ask(at=at, **asking))


# ------------------------------------------------------------------ what is asked


async def test_fields_are_quoted_so_that_no_value_becomes_another_path() -> None:
    answer = replying(rows(row("1.0+a/b ?c")))
    source = source_of(
        answer, url="http://n.test/{service}/{version}?r={region}&s={signal}&f={start}&t={end}"
    )
    one = signal(bad="bad", total="all", version=None)
    await source.collect(ask([one], 10, since(0, one), versions=("1.0+a/b ?c",)))
    asked = answer.asked[0].url  # type: ignore[attr-defined]
    assert asked.raw_path == (
        b"/mail/1.0%2Ba%2Fb%20%3Fc?r=R3&s=errors&f=" + f"{START:.0f}&t={START + 10:.0f}".encode()
    )


async def test_a_body_is_sent_with_its_fields_as_json_strings() -> None:
    answer = replying(rows(row('"1"')))
    one = signal(bad="bad", total="all", version=None)
    options = {"url": "http://n.test/search", "method": "POST", "times": "iso"}
    body = '{"v": "{version}", "range": ["{start}", "{end}"], "size": {}}'
    await source_of(answer, body=body, **options).collect(ask([one], 10, since(0, one), versions=('"1"',)))
    request = answer.asked[0]  # type: ignore[attr-defined]
    assert request.method == "POST"
    assert json.loads(request.content) == {
        "v": '"1"',
        "range": ["2026-03-02T10:00:00Z", "2026-03-02T10:00:10Z"],
        "size": {},
    }


async def test_secrets_come_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("first\n")
    monkeypatch.setenv("APP_KEY", "k1")
    answer = replying(rows(row()))
    source = source_of(answer, tmp_path, token_file="secret", header_env={"X-App-Key": "APP_KEY"})
    await source.collect(ask(at=10, cursor=since(0)))
    (tmp_path / "secret").write_text("second")
    await source.collect(ask(at=20, cursor=since(0)))
    sent = [request.headers for request in answer.asked]  # type: ignore[attr-defined]
    assert [one["authorization"] for one in sent] == ["Bearer first", "Bearer second"]
    assert {one["x-app-key"] for one in sent} == {"k1"}


async def test_a_header_whose_variable_is_not_set_is_an_error_that_names_it() -> None:
    source = source_of(replying(rows(row())), header_env={"X-App-Key": "NOT_SET_ANYWHERE"})
    with pytest.raises(PermanentError, match="X-App-Key needs the environment variable NOT_SET_ANYWHERE"):
        await source.collect(ask(at=10, cursor=since(0)))


async def test_signals_that_want_the_same_share_one_request() -> None:
    answer = replying(rows(row()))
    more = signal(name="more", bad="bad", total="all")
    await source_of(answer).collect(ask((ERRORS, more), 10, since(0, ERRORS, more)))
    assert len(answer.asked) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "ftp://n.test/"}, "url"),
        ({"url": "http://{service}.test/"}, "has a field in its host"),
        ({"url": "http://n.test/{servis}"}, "may have {service}"),
        ({"body": "{}"}, "a GET has none"),
        ({"username": "a"}, "basic auth needs username and one of"),
        ({"token_env": "A", "token_file": "b"}, "one secret is enough"),
        ({"token_env": "A", "headers": {"Authorization": "Basic x"}}, "leave one out"),
        ({"headers": {"X": "a\nb"}}, "headers"),
        ({"fail_if": ["a..b"]}, "is no path at"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_options_written_wrong_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        source_of(replying(rows()), **options)


# ------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [{"a": [{"n": 1}, {"n": 2}], "b": {"x y": 3}}]),
        ("a[*].n", [1, 2]),
        ("a[0].n", [1]),
        ("a[-1]", [{"n": 2}]),
        ("a[7]", []),
        ('b["x y"]', [3]),
        ("$.b[*]", [3]),
        ("b.c.d", []),
        ("a.n", []),
    ],
)
def test_a_path_leads_to_names_places_and_all_of_a_list(path: str, found: list[Any]) -> None:
    assert nodes(path, {"a": [{"n": 1}, {"n": 2}], "b": {"x y": 3}}) == found


@pytest.mark.parametrize("path", ["a..b", "a[", "a[x]", "a b", "__import__('os')", "a[?(@.b)]", ".", "a."])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path at"):
        steps(path)


# ------------------------------------------------------------------ what is told


async def test_numbers_of_an_interval_are_told_as_they_are() -> None:
    reading = await told(rows(row(bad=2, total="40"), row("2.0", 0, 9)), versions=("1.0", "2.0"))
    assert numbers(reading) == [("errors", "1.0", 2, 40), ("errors", "2.0", 0, 9)]
    assert [(one.time, one.duration_s) for one in reading.samples] == [(T0 + timedelta(seconds=10), 10)] * 2
    assert reading.problems == ()


async def test_rows_with_times_are_told_at_theirs_and_each_once() -> None:
    timed = signal(bad="bad", total="all", time="t")
    written = rows(*(row(total=n, t=START + n) for n in (10, 20, 30, 40)))
    source = source_of(replying(written))
    first = await source.collect(ask([timed], 25, since(10, timed)))
    assert [(one.exposure, one.duration_s) for one in first.samples] == [(20, 10)]
    later = await source.collect(ask([timed], 45, json.loads(json.dumps(first.cursor))))
    assert [(one.exposure, one.duration_s) for one in later.samples] == [(30, 10), (40, 10)]


@pytest.mark.parametrize(
    "written", [START + 5, (START + 5) * 1000, "2026-03-02T10:00:05Z", f"{START + 5:.0f}"]
)
async def test_times_may_be_seconds_milliseconds_or_iso(written: Any) -> None:
    timed = signal(bad="bad", total="all", time="t")
    reading = await told(rows(row(t=written)), signals=[timed])
    assert [one.time for one in reading.samples] == [T0 + timedelta(seconds=5)]


async def test_a_long_time_is_asked_for_in_minutes_and_caught_up() -> None:
    answer = replying(rows(row()))
    source = source_of(answer)
    cursor, ends = since(0), []
    for _ in range(3):
        reading = await source.collect(ask(at=630, cursor=cursor))
        cursor = dict(reading.cursor)
        ends += [(one.time - T0).total_seconds() for one in reading.samples]
    assert ends == [60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 630]


async def test_only_what_has_settled_is_asked_for() -> None:
    answer = replying(rows(row()))
    reading = await source_of(answer, settle_s=30).collect(ask(at=60, cursor=since(0)))
    assert answer.asked[0].url.params["to"] == f"{START + 30:.0f}"  # type: ignore[attr-defined]
    assert [one.time for one in reading.samples] == [T0 + timedelta(seconds=30)]


async def test_counters_are_told_by_what_they_rose() -> None:
    reading = await told(
        rows(row(bad=12, total=140)), signals=[COUNTERS], cursor=counted(0, bad=10, total=100)
    )
    assert numbers(reading) == [("errors", "1.0", 2, 40)]


async def test_counters_of_instances_are_differenced_each_by_itself() -> None:
    each = signal(bad="bad", total="all", counts="total", instance="i", started="s")
    source = source_of(
        replying(
            rows(row(bad=5, total=100, i="a", s=START - 900), row(bad=0, total=70, i="b", s=START - 900)),
            rows(
                row(bad=6, total=110, i="a", s=START - 900),
                row(bad=1, total=3, i="b", s=START + 15),  # restarted
                row(bad=0, total=4, i="c", s=START + 12),  # new
            ),
        )
    )
    first = await source.collect(ask([each], 10))
    assert first.samples == ()
    later = await source.collect(ask([each], 20, json.loads(json.dumps(first.cursor))))
    assert numbers(later) == [("errors", "1.0", 2, 17)]


async def test_other_kinds_are_told_as_the_signals_page_says() -> None:
    signals = [
        signal(SignalKind.RATE, "restarts", events="e", hours="h"),
        signal(SignalKind.GAUGE, "depth", value="d", instance="i"),
        signal(SignalKind.GAUGE, "level", value="d", rows="one"),
        signal(SignalKind.DISTRIBUTION, "latency", buckets="le"),
        signal(SignalKind.THROUGHPUT, "work", done="w", arrived="a"),
        signal(SignalKind.THROUGHPUT, "works", done="parts[*].w"),
    ]
    whole = {
        "version": "1.0",
        "e": 2,
        "h": 0.5,
        "d": 7,
        "i": "a",
        "w": 8,
        "a": 9,
        "parts": [{"w": 1}, {"w": 2}],
    }
    whole["le"] = {"+Inf": 10, "0.25": 9, "0.1": 4}
    reading = await told(rows(whole, one=whole), signals=signals, cursor=since(0, *signals))
    assert numbers(reading) == [
        ("restarts", "1.0", 2, 0.5),
        ("depth", "1.0", 7, 1),
        ("level", "1.0", 7, 0),
        ("latency{le=0.1}", "1.0", 4, 10),
        ("latency{le=0.25}", "1.0", 9, 10),
        ("work", "1.0", 8, 9),
        ("works", "1.0", 3, 0),
    ]


# ------------------------------------------------------------------ what is wrong inside

INSIDE: dict[str, tuple[httpx.Response, str]] = {
    "no rows": (rows(), r"the list at rows\[\*\] is empty"),
    "another name": (httpx.Response(200, json={"data": []}), r"nothing is at rows\[\*\]; .* has: data"),
    "a row that is null": (rows(None), "version names nothing; the row has: null"),
    "no version": (rows({"bad": 1, "all": 2}), "version names nothing; the row has: bad, all"),
    "an empty version": (rows(row("")), "version names nothing"),
    "a list as version": (rows(row(version=[1])), "version names nothing"),  # type: ignore[arg-type]
    "another version": (rows(row("3.0")), r"its rows are of version 3\.0, and the deployer runs 1\.0"),
    "no number": (rows({"version": "1.0", "bad": 1}), "nothing is at all; the row has: version, bad"),
    "null as a number": (rows(row(bad=None)), "bad is no number but null"),
    "a word as a number": (rows(row(bad="many")), 'bad is no number but "many"'),
    "NaN as a word": (rows(row(bad="NaN")), 'bad is no number but "NaN"'),
    "a truth as a number": (rows(row(bad=True)), "bad is no number but true"),
    "an object as a number": (rows(row(bad={})), "bad is no number but {}"),
    "NaN": (httpx.Response(200, text='{"rows":[{"bad":NaN}]}', headers=HEADERS), "NaN is no number"),
    "an infinity": (httpx.Response(200, text='{"rows":[{"bad":-Infinity}]}', headers=HEADERS), "-Infinity"),
    "too large": (rows(row(total=2**60)), r"all is beyond 2\*\*53"),
    "endless": (httpx.Response(200, text='{"rows":[{"version":"1.0","bad":1e999,"all":1}]}', headers=HEADERS),
                r"bad is beyond 2\*\*53"),
    "below zero": (rows(row(bad=-1)), "bad is -1, and counts are not negative"),
    "more bad than all": (rows(row(bad=11, total=10)), "bad is 11 of a total of 10"),
    "a row twice": (rows(row(), row()), r"several rows are of version 1\.0; add 'instance:'"),
    "too many rows": (rows(*[row(str(n)) for n in range(10_001)]), "more than 10000 entries"),
    "an error inside": (rows(row(), error="no such index"), 'the answer says error: "no such index"'),
    "it timed out": (rows(row(), timed_out=True), "the answer says timed_out: true"),
    "it is partial": (rows(row(), warnings=["shard 2 failed"]), "the answer says warnings: .*shard 2 failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", INSIDE)
async def test_what_is_wrong_inside_an_answer_is_said_and_is_no_sample(case: str) -> None:
    answer, said = INSIDE[case]
    await refused(answer, said)


async def refused(answer: httpx.Response, said: str, **asking: Any) -> None:
    """No sample, and `said` in an error or a problem."""
    try:
        reading = await told(answer, **asking)
    except OutsideError as error:
        assert_says(str(error), said)
        return
    assert reading.samples == ()
    assert_says(" ".join(reading.problems), said)


def assert_says(text: str, said: str) -> None:
    with pytest.raises(TransientError, match=said):
        raise TransientError(text)


TIMED = signal(bad="bad", total="all", time="t")
CLOCKED = signal(bad="bad", total="all", counts="total", time="t")
OF_MANY = signal(bad="bad", total="all", counts="total", instance="i")


@pytest.mark.parametrize(
    ("one", "cursor", "written", "said"),
    [
        (TIMED, since(0, TIMED), [row(t=START + 900)], r"890 s in the future and does not count"),
        (TIMED, since(0, TIMED), [row(t=START - 50)], "its newest row is 60 s old, and was read already or"),
        (TIMED, since(0, TIMED), [row(t="soon")], "t is no time but 'soon'"),
        (TIMED, since(0, TIMED), [row(t=None)], "t is no number but null"),
        (TIMED, since(0, TIMED), [row(t=START + 5), row(t=START + 5)], "several rows are of version"),
        (COUNTERS, counted(0, bad=5, total=90), [row(bad=5, total=80)], "fell without a later start"),
        (COUNTERS, counted(0, bad=5, total=90), [row(bad=4, total=95)], "fell without a later start"),
        (COUNTERS, counted(0, bad=5, total=90), [row(bad=9, total=91)], r"has 4 bad of 1 in all"),
        (COUNTERS, counted(0, bad=5, total=90), [row("2.0")], r"its rows are of version 2\.0"),
        (CLOCKED, counted(0, bad=5, total=90), [row(bad=6, total=99, t=START)], "no newer than those read"),
        (OF_MANY, counted(0, bad=5, total=90), [row(i="b", bad=6, total=99)], "its row is missing from"),
    ],
)
async def test_times_and_counters_that_cannot_be_are_said_and_are_no_sample(
    one: Any, cursor: dict[str, Any], written: list[Any], said: str
) -> None:
    await refused(rows(*written), said, signals=[one], cursor=cursor)


@pytest.mark.parametrize(
    ("buckets", "said"),
    [
        ({"0.1": 1}, "has no '\\+Inf'"),
        ({"0.1": 5, "+Inf": 4}, "must rise along 1 to 64 edges"),
        ({"+Inf": 4}, "must rise along 1 to 64 edges"),
        ({str(n): 1 for n in range(70)} | {"+Inf": 1}, "must rise along 1 to 64 edges"),
        ({"fast": 1, "+Inf": 4}, "has the edge 'fast', which is no number"),
        ({"NaN": 1, "+Inf": 4}, "has no '\\+Inf'"),
        ([1, 2], "is no object of edges and counts"),
    ],
)
async def test_buckets_that_cannot_be_are_said_and_are_no_sample(buckets: Any, said: str) -> None:
    latency = signal(SignalKind.DISTRIBUTION, "latency", buckets="le")
    written = rows({"version": "1.0", "le": buckets})
    await refused(written, said, signals=[latency], cursor=since(0, latency))


async def test_one_wrong_row_holds_up_no_other_version() -> None:
    reading = await told(rows(row(bad="x"), row("2.0", 1, 9)), versions=("1.0", "2.0"))
    assert numbers(reading) == [("errors", "2.0", 1, 9)]
    assert reading.problems == ('Signal errors in R3: bad is no number but "x".',)


async def test_one_signal_without_an_answer_holds_up_no_other_and_catches_up() -> None:
    other = signal(name="other", bad="bad", total="all", url="http://other.test/?f={start}&t={end}")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if request.url.host == "other.test" and failing else rows(row())

    failing, source = True, source_of(answer)
    reading = await source.collect(ask((ERRORS, other), 10, since(0, ERRORS, other)))
    assert numbers(reading) == [("errors", "1.0", 1, 10)]
    assert "Signal other is not read this time: The metrics server at http://other" in reading.problems[0]
    failing = False
    later = await source.collect(ask((ERRORS, other), 20, dict(reading.cursor)))
    assert [(one.signal, one.duration_s) for one in later.samples] == [("errors", 10), ("other", 20)]


@pytest.mark.parametrize(
    ("one", "url", "said"),
    [
        (
            signal(bad="bad", total="all", version=None),
            "http://n.test/?f={start}&t={end}",
            "tells the version",
        ),
        (ERRORS, "http://n.test/", "Nothing tells which time the numbers of signal errors are of"),
    ],
)
async def test_numbers_of_nobody_or_of_no_time_are_refused(one: Any, url: str, said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        await source_of(replying(rows(row())), url=url).collect(ask([one], 10, since(0)))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"bad": "bad"}, "says bad; must say"),
        ({"bad": "b", "total": "a", "value": "v"}, "says bad and total and value; must say"),
        ({"bad": "a..b", "total": "all"}, "is no path at"),
        ({"bad": "b", "total": "a", "started": "s"}, "'started' is for counters"),
        ({"bad": "b", "total": "a", "where": {}}, "where"),
        ({"value": "v"}, "is written for a gauge, but the signal is a ratio"),
    ],
)
async def test_a_signal_written_wrong_is_refused_with_its_place(written: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await told(rows(row()), signals=[signal(**written)])


async def test_a_cursor_of_another_source_is_left_behind_with_a_sentence() -> None:
    reading = await told(rows(row()), cursor={"at": None, "instances": {}})
    assert reading.samples == ()
    assert reading.problems == ("What was remembered of R3 is not of 'http_json'; reading begins anew.",)


async def test_what_there_is_can_be_looked_at_without_a_cursor() -> None:
    timed = signal(name="timed", bad="bad", total="all", time="t")
    source = source_of(replying(rows(row(t=START + 5), row("2.0", t=START + 8))))
    missing = signal(name="lost", bad="bda", total="all")
    found = await source.found(ask((ERRORS, timed, missing), 10))
    assert [(one.signal, one.series, dict(one.versions)) for one in found] == [
        ("errors", 2, {"1.0": 1, "2.0": 1}),
        ("timed", 2, {"1.0": 1, "2.0": 1}),
        ("lost", 0, {}),
    ]
    assert found[1].newest == T0 + timedelta(seconds=8)
    assert found[2].said == "nothing is at bda; the row has: version, bad, all, t"
