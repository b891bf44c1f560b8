"""A pretend engine behind httpx.MockTransport: it answers range selectors from series that a test writes."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from rollout.core.model import Instance
from rollout.core.signals import Signal, SignalKind
from rollout.ports import Ask, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.prometheus import PrometheusSource
from rollout.testing import ManualClock

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
START = T0.timestamp()
OLD = START - 5 * 3600  # when a process started that runs for long
URL = "http://engine.test/prom"

Point = tuple[float, Any]  # seconds after T0, value

_QUERY = re.compile(r"([a-zA-Z_:]\w*)\{(.*)\}\[(\d+)s\]")
_MATCHER = re.compile(r'(\w+)="([^"]*)"')


def signal(kind: SignalKind = SignalKind.RATIO, name: str = "errors", **written: Any) -> Signal:
    return Signal(name=name, kind=kind, title=name, sources={"prometheus": written})


ERRORS = signal(bad={"metric": "requests_total", "where": {"code": "5.."}}, total="requests_total")


@dataclass
class FakeEngine:
    """What it holds, what it was asked, and what it answers instead, once, where a test says so."""

    series: list[tuple[dict[str, str], list[Point]]] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def add(self, metric: str, points: Sequence[Point], **labels: str) -> None:
        own = {"job": "mail", "region": "R3", "instance": "a:80", "version": "1.0", **labels}
        self.series.append(({"__name__": metric, **{k: v for k, v in own.items() if v}}, list(points)))

    def started(
        self, at: float = -18000, points: Sequence[float] = range(-600, 601, 10), **labels: str
    ) -> None:
        """The start of a process, seen at each of `points`."""
        self.add("process_start_time_seconds", [(t, START + at) for t in points], **labels)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        said = self.answer(request)
        return said if said is not None else self.matrix(request)

    def matrix(self, request: httpx.Request, **more: Any) -> httpx.Response:
        found = _QUERY.fullmatch(request.url.params["query"])
        assert found is not None, request.url
        metric, inside, window = found[1], dict(_MATCHER.findall(found[2])), int(found[3])
        until = float(request.url.params["time"]) - START
        result = [
            {"metric": labels, "values": values}
            for labels, points in self.series
            if labels["__name__"] == metric and inside.items() <= labels.items()
            if (values := [[START + t, str(v)] for t, v in points if until - window < t <= until])
        ]
        return success(result, **more)


def success(result: Any, **more: Any) -> httpx.Response:
    data = {"resultType": "matrix", "result": result}
    return httpx.Response(200, json={"status": "success", "data": data, **more})


def every(step: int, begin: int, end: int, rate: float = 1.0, base: float = 0.0) -> list[Point]:
    """Scrapes every `step` seconds of a counter that rises steadily from `base` at `begin`."""
    return [(float(t), base + rate * (t - begin)) for t in range(begin, end + 1, step)]


def source_of(
    engine: Callable[[httpx.Request], httpx.Response], clock: ManualClock, **options: Any
) -> PrometheusSource:
    http = httpx.AsyncClient(transport=httpx.MockTransport(engine))
    return source_with(http, clock, **options)


def source_with(
    http: httpx.AsyncClient, clock: ManualClock, region: str = "R3", directory: Path = Path(), **options: Any
) -> PrometheusSource:
    around = Surroundings(region=region, http=http, clock=clock, directory=directory)
    source = SOURCES.build("prometheus", {"url": URL, "settle_s": 0, **options}, around)
    assert isinstance(source, PrometheusSource)
    return source


def instance(version: str = "1.0", url: str = "http://a:80", started: float = -18000) -> Instance:
    at = T0 + timedelta(seconds=started)
    return Instance(id=f"slot-{version}", version=version, url=url, started_at=at, healthy=True)


def ask(
    signals: Sequence[Signal] = (ERRORS,),
    at: float = 0,
    cursor: Mapping[str, Any] | None = None,
    instances: Sequence[Instance] | None = None,
    region: str = "R3",
) -> Ask:
    return Ask(
        service="mail",
        region=region,
        signals=tuple(signals),
        instances=tuple((instance(),) if instances is None else instances),
        cursor=cursor or {},
        now=T0 + timedelta(seconds=at),
    )


def since(begin: float, *signals: Signal) -> dict[str, Any]:
    """The cursor of a controller that told `signals` until `begin` seconds after T0."""
    return {"signals": {one.name: {"at": START + begin} for one in signals or (ERRORS,)}}


def numbers(reading: Reading) -> list[tuple[str, str, float, float]]:
    return [(one.signal, one.version, one.value, one.exposure) for one in reading.samples]


class PrometheusService:
    """A service that the engine scrapes every 5 s; for the contract that all sources share."""

    def __init__(self) -> None:
        self.reachable = True
        self.used: list[tuple[float, str, int, int]] = []

    def source(self, clock: ManualClock) -> PrometheusSource:
        self.clock = clock
        return source_of(self._answer, clock)

    def use(self, version: str, bad: int, total: int) -> None:
        self.used.append((self.clock.now().timestamp() - START, version, bad, total))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("refused")
        engine = FakeEngine()
        for version in ("1.0", "2.0"):
            for name in ("bad_total", "all_total"):
                engine.add(
                    name, [(t, self._count(name, version, t)) for t in range(-600, 1201, 5)], version=version
                )
        return engine(request)

    def _count(self, name: str, version: str, until: float) -> int:
        counted = Counter({"bad_total": 0, "all_total": 0})
        for at, of, bad, total in self.used:
            if of == version and at < until:
                counted.update({"bad_total": bad, "all_total": total})
        return counted[name]
