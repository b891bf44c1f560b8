"""A pretend server of JSON behind httpx.MockTransport, and services for the shared contract."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from rollout.core.model import Instance
from rollout.core.signals import Signal, SignalKind
from rollout.ports import Ask, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.http_json import HttpJsonSource
from rollout.testing import ManualClock

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
START = T0.timestamp()
URL = "http://numbers.test/{service}/{region}?from={start}&to={end}"


def signal(kind: SignalKind = SignalKind.RATIO, name: str = "errors", **written: Any) -> Signal:
    own = {"rows": "rows[*]", "version": "version", **written}
    return Signal(
        name=name,
        kind=kind,
        title=name,
        sources={"http_json": {key: value for key, value in own.items() if value is not None}},
    )


ERRORS = signal(bad="bad", total="all")
COUNTERS = signal(bad="bad", total="all", counts="total")


def source_of(
    answer: Callable[[httpx.Request], httpx.Response], directory: Path = Path(), **options: Any
) -> HttpJsonSource:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    around = Surroundings(region="R3", http=http, clock=ManualClock(T0), directory=directory)
    source = SOURCES.build("http_json", {"url": URL, **options}, around)
    assert isinstance(source, HttpJsonSource)
    return source


def instance(version: str = "1.0") -> Instance:
    at = T0 - timedelta(hours=5)
    return Instance(id=f"slot-{version}", version=version, url="http://a:80", started_at=at, healthy=True)


def ask(
    signals: Sequence[Signal] = (ERRORS,),
    at: float = 0,
    cursor: Mapping[str, Any] | None = None,
    versions: Sequence[str] = ("1.0",),
) -> Ask:
    return Ask(
        service="mail",
        region="R3",
        signals=tuple(signals),
        instances=tuple(map(instance, versions)),
        cursor=cursor or {},
        now=T0 + timedelta(seconds=at),
    )


def since(begin: float, *signals: Signal) -> dict[str, Any]:
    """The cursor of a controller that told `signals` until `begin` seconds after T0."""
    return {"signals": {one.name: {"at": START + begin} for one in signals or (ERRORS,)}}


def counted(begin: float, **numbers: float) -> dict[str, Any]:
    """The cursor of one that read these counters of version 1.0 at `begin` seconds after T0."""
    known = {"": {"at": START + begin, "numbers": numbers}}
    return {"signals": {"errors": {"at": START + begin, "counted": {"1.0": known}}}}


def rows(*written: Any, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"rows": list(written), **more})


def row(version: str = "1.0", bad: Any = 1, total: Any = 10, **more: Any) -> dict[str, Any]:
    return {"version": version, "bad": bad, "all": total, **more}


def numbers(reading: Reading) -> list[tuple[str, str, float, float]]:
    return [(one.signal, one.version, one.value, one.exposure) for one in reading.samples]


class JsonService:
    """Numbers of intervals, or counters, for the contract that all sources share."""

    counters = False

    def __init__(self) -> None:
        self.reachable = True
        self.used: list[tuple[float, str, int, int]] = []

    def source(self, clock: ManualClock) -> HttpJsonSource:
        self.clock = clock
        return source_of(self._answer)

    def use(self, version: str, bad: int, total: int) -> None:
        self.used.append((self.clock.now().timestamp(), version, bad, total))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("refused")
        begin, end = (float(request.url.params[name]) for name in ("from", "to"))
        if self.counters:
            begin = 0.0
        found = []
        for version in ("1.0", "2.0"):
            some = [use for use in self.used if use[1] == version and begin <= use[0] < end]
            found.append(row(version, sum(use[2] for use in some), sum(use[3] for use in some)))
        return rows(*found)


class JsonCounters(JsonService):
    """The same as counters that only rise."""

    counters = True
