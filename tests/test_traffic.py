"""What samples say of the traffic of a region."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.judge.reach import Level, Stream
from rollout.core.signals import Direction, Sample, Signal, SignalKind
from rollout.foresight.traffic import Traffic, traffic

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
KINDS = {
    "errors": SignalKind.RATIO,
    "latency": SignalKind.DISTRIBUTION,
    "latency{segment=far}": SignalKind.DISTRIBUTION,
    "done": SignalKind.THROUGHPUT,
    "hits": SignalKind.RATIO,
    "age": SignalKind.GAUGE,
    "restarts": SignalKind.RATE,
}
SIGNALS = {
    name: Signal(
        name=name, kind=kind, title=name, direction=Direction.DOWN if name == "hits" else Direction.UP
    )
    for name, kind in KINDS.items()
}


def sample(minute: int, signal: str, value: float, exposure: float = 600.0, version: str = "1.0.0") -> Sample:
    return Sample(
        time=NOON + timedelta(minutes=minute),
        region="R3",
        version=version,
        signal=signal,
        value=value,
        exposure=exposure,
        duration_s=60.0,
    )


def carried(samples: Iterable[Sample], since: datetime | None = None) -> Traffic:
    return traffic(samples, SIGNALS, since=since)


def stream(found: Traffic, name: str) -> Stream:
    reach = found.reach(name, KINDS[name.partition("{le")[0]])
    assert isinstance(reach, Stream)
    return reach


def test_versions_side_by_side_are_one_region() -> None:
    old = [sample(minute, "errors", 3, 450) for minute in range(10)]
    new = [sample(minute, "errors", 1, 150, "1.1.0") for minute in range(10)]
    found = stream(carried([*old, *new]), "errors")
    assert (found.events, found.exposure, found.per_s) == (40, 6000, 10)


def test_the_pace_is_that_of_the_last_hour_and_the_rate_that_of_all() -> None:
    night = [sample(minute, "errors", 1, 60) for minute in range(60)]
    day = [sample(60 + minute, "errors", 10, 600) for minute in range(60)]
    found = stream(carried([*night, *day], since=NOON + timedelta(minutes=59)), "errors")
    assert found.per_s == 10
    assert found.rate == pytest.approx(1 / 60)


def test_where_nothing_came_in_the_last_hour_the_pace_is_that_of_before() -> None:
    found = stream(carried([sample(0, "errors", 1)], since=NOON + timedelta(hours=3)), "errors")
    assert found.per_s == 10


def test_what_was_not_read_has_no_requests_or_is_not_asked_for_is_nothing() -> None:
    found = carried([sample(0, "errors", 0, 0), sample(0, "unknown", 1), sample(0, "done", -1)])
    for name in ("latency", "errors", "done"):
        assert found.reach(name, KINDS[name]) is None
    assert "unknown" not in found.series


def test_a_distribution_is_counted_beyond_the_edges_that_it_is_judged_at() -> None:
    edges = [("0.1", 330), ("0.25", 545), ("0.5", 594), ("1", 599), ("+Inf", 600)]
    found = carried([sample(m, f"latency{{le={le}}}", count) for m in range(3) for le, count in edges])
    assert list(found.edges["latency"]) == [0.1, 0.25, 0.5]
    assert stream(found, "latency{le=0.5}").rate == pytest.approx(0.01)


def test_edges_of_a_segment_are_not_those_of_the_whole() -> None:
    found = carried([sample(0, "latency{le=0.1}", 590), sample(0, "latency{segment=far,le=0.5}", 590)])
    assert list(found.edges["latency"]) == [0.1]
    assert found.edges["latency{segment=far}"] == {0.5: "latency{segment=far,le=0.5}"}


@pytest.mark.parametrize("name", ["done", "hits"])
def test_where_less_is_harm_what_is_missing_is_counted(name: str) -> None:
    assert stream(carried([sample(m, name, 570) for m in range(5)]), name).rate == pytest.approx(0.05)


def test_work_that_nobody_counts_arriving_is_a_level() -> None:
    found = carried([sample(m, "done", 120, 0) for m in range(5)]).reach("done", KINDS["done"])
    assert isinstance(found, Level)
    assert found.mean == 2


def test_restarts_know_their_history_and_are_taken_as_independent() -> None:
    found = stream(carried([sample(m, "restarts", 0, 4 / 60) for m in range(60)]), "restarts")
    assert found.known == pytest.approx(4)
    assert found.noise.rho == 0


def test_a_gauge_has_the_spread_of_its_blocks_once_there_are_enough() -> None:
    swinging = carried([sample(m, "age", 10 + m * 7 % 5, 0) for m in range(40)]).reach("age", KINDS["age"])
    still = carried([sample(m, "age", 10, 0) for m in range(40)]).reach("age", KINDS["age"])
    assert isinstance(swinging, Level)
    assert isinstance(still, Level)
    assert swinging.spread > still.spread
