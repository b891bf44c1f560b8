"""A service of instances whose answers a test writes line by line, and the source `scrape`; no network."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from rollout.core.model import Instance
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Ask, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.scrape import ScrapeSource
from rollout.testing import ManualClock

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
EARLIER = (T0 - timedelta(hours=5)).timestamp()

ERRORS = Signal(
    name="errors",
    kind=SignalKind.RATIO,
    title="failed requests",
    sources={
        "scrape": {
            "bad": {"metric": "http_requests_total", "where": {"status": "5.."}},
            "total": {"metric": "http_requests_total"},
        }
    },
)
LATENCY = Signal(
    name="latency",
    kind=SignalKind.RATIO,
    title="slow requests",
    sources={"scrape": {"slower_than": 0.25, "histogram": "http_request_seconds"}},
)
RESTARTS = Signal(
    name="restarts",
    kind=SignalKind.RATE,
    title="restarts",
    sources={"scrape": {"starts": "process_start_time_seconds"}},
)
AGE = Signal(
    name="work_age",
    kind=SignalKind.GAUGE,
    title="age of the oldest item",
    unit="s",
    sources={"scrape": {"value": {"metric": "oldest_item_seconds"}, "across": "max"}},
)

Answer = str | bytes | httpx.Response | Exception


def exposed(
    ok: Any = 0, bad: Any = 0, *, version: str = "1.0", start: float = EARLIER, more: str = ""
) -> str:
    return (
        "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n"
        f'http_requests_total{{status="200",version="{version}"}} {ok}\n'
        f'http_requests_total{{status="503",version="{version}"}} {bad}\n'
        "# TYPE process_start_time_seconds gauge\n"
        f"process_start_time_seconds {start}\n"
        # every Python process says this, and means another version
        '# TYPE python_info gauge\npython_info{implementation="CPython",version="3.11.9"} 1.0\n' + more
    )


def histogram(within: int, count: int, edges: tuple[str, ...] = ("0.1", "0.25", "1.0", "+Inf")) -> str:
    lines = [f'http_request_seconds_bucket{{le="{edge}",version="1.0"}} {within}\n' for edge in edges[:-1]]
    return (
        "# TYPE http_request_seconds histogram\n"
        + "".join(lines)
        + f'http_request_seconds_bucket{{le="+Inf",version="1.0"}} {count}\n'
        f'http_request_seconds_count{{version="1.0"}} {count}\n'
        'http_request_seconds_sum{version="1.0"} 1.5\n'
    )


def an_instance(name: str = "a", version: str = "1.0", restarts: int = 0, url: str | None = None) -> Instance:
    return Instance(
        id=name,
        version=version,
        url=f"http://{name}.test" if url is None else url,
        started_at=T0 - timedelta(hours=5),
        healthy=True,
        restarts=restarts,
    )


class World:
    """Instances with their next answers, the source, and a cursor that goes through JSON every time."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(T0)
        self.answers: dict[str, Answer] = {}
        self.instances: dict[str, Instance] = {}
        self.cursor: dict[str, Any] = {}
        self.requests: list[httpx.Request] = []
        self.handler: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]] = self._answer
        self.options = options
        self.source = self.a_new_controller()

    def a_new_controller(self) -> ScrapeSource:
        async def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            found = self.handler(request)
            return found if isinstance(found, httpx.Response) else await found

        around = Surroundings(
            region="R3",
            http=httpx.AsyncClient(transport=httpx.MockTransport(handle)),
            clock=self.clock,
            directory=Path(),
        )
        source = SOURCES.build("scrape", self.options, around)
        assert isinstance(source, ScrapeSource)
        self.source = source
        return source

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[request.url.host.partition(".")[0]]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, content=answer, headers={"content-type": "text/plain; version=0.0.4"})

    def has(self, answer: Answer, name: str = "a", version: str = "1.0", restarts: int = 0) -> None:
        self.answers[name] = answer
        self.instances[name] = an_instance(name, version, restarts)

    async def read(self, *signals: Signal, after_s: float = 10) -> Reading:
        self.clock.advance(after_s)
        ask = Ask(
            service="mail",
            region="R3",
            signals=signals or (ERRORS,),
            instances=tuple(self.instances.values()),
            cursor=self.cursor,
            now=self.clock.now(),
        )
        reading = await self.source.collect(ask)
        self.cursor = json.loads(json.dumps(reading.cursor, allow_nan=False))
        return reading

    @property
    def now(self) -> float:
        return self.clock.now().timestamp()


def the(reading: Reading, signal: str = "errors", version: str = "1.0", instance: str = "") -> Sample:
    (found,) = [
        s for s in reading.samples if (s.signal, s.version, s.instance) == (signal, version, instance)
    ]
    return found


def numbers(reading: Reading, signal: str = "errors", version: str = "1.0") -> tuple[float, float]:
    sample = the(reading, signal, version)
    return sample.value, sample.exposure
