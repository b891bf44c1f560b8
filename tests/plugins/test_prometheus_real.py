"""Our differences against the truth, with engines that really scrape: Prometheus and VictoriaMetrics."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine_lab import ENGINES, scraping
from prometheus_lab import instance, signal, source_with

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Ask, Past
from rollout.sources.prometheus import PrometheusSource
from rollout.supervisor.life import free_port

pytestmark = pytest.mark.real

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs:
  - job_name: mail
    static_configs:
      - targets: {targets}
        labels: {{region: R3}}
"""
SETTLE_S = 4.0
EDGES = (0.1, 0.25, 1.0)

ERRORS = signal(bad={"metric": "requests_total", "where": {"code": "5.."}}, total="requests_total")
RESTARTS = signal(SignalKind.RATE, "restarts", starts="process_start_time_seconds")
LATENCY = signal(SignalKind.DISTRIBUTION, "latency", histogram="took_seconds")
SLOW = signal(SignalKind.RATIO, "slow", histogram="took_seconds", slower_than=0.25)
BACKLOG = signal(SignalKind.GAUGE, "backlog", value="queue_depth", across="sum")
WORK = signal(SignalKind.THROUGHPUT, "work", done="done_total", arrived="requests_total")
SIGNALS = (ERRORS, RESTARTS, LATENCY, SLOW, BACKLOG, WORK)


def now_s() -> float:
    return SystemClock().now().timestamp()


class Exporter:
    """A process that is scraped. Series appear with their first count, as in client libraries."""

    def __init__(self, version: str, port: int, started: float) -> None:
        self.version, self.port, self.started = version, port, started
        self.counts: Counter[str] = Counter()
        self.depth = 0
        self._scrapes = 0
        self._state = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    def serve(self) -> None:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def text(self) -> str:
        with self._state:
            self._scrapes += 1
            self._state.notify_all()
            lines = [f"{key} {count}" for key, count in sorted(self.counts.items())]
            own = f'{{version="{self.version}"}}'
            lines += [f"process_start_time_seconds{own} {self.started}", f"queue_depth{own} {self.depth}"]
            return "\n".join(lines) + "\n"

    def answer(self, code: int, seconds: float, times: int) -> None:
        """Requests that were answered with `code`; an answer below 500 is work done."""
        with self._state:
            self.counts[f'requests_total{{version="{self.version}",code="{code}"}}'] += times
            self.counts[f'done_total{{version="{self.version}"}}'] += times if code < 500 else 0
            for edge in (*EDGES, float("inf")):
                le = "+Inf" if edge == float("inf") else f"{edge:g}"
                key = f'took_seconds_bucket{{version="{self.version}",le="{le}"}}'
                self.counts[key] += times if seconds <= edge else 0

    def restart(self) -> None:
        with self._state:
            self.counts.clear()
            self.started = now_s()

    def scraped(self) -> None:
        """Wait until everything up to now was seen by two scrapes, so that one of them is stored."""
        with self._state:
            wanted = self._scrapes + 2
            assert self._state.wait_for(lambda: self._scrapes >= wanted, timeout=20), "it was not scraped"


@dataclass
class World:
    """An engine, two versions that it scrapes, and a controller that keeps its cursor as JSON."""

    url: str
    old: Exporter
    new: Exporter
    http: httpx.AsyncClient
    clock: SystemClock = field(default_factory=SystemClock)
    cursor: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def source(self) -> PrometheusSource:
        return source_with(self.http, self.clock, url=self.url, settle_s=SETTLE_S)  # type: ignore[arg-type]

    async def read(self) -> None:
        """One reading by a controller that has just started again."""
        reading = await self.source().collect(
            Ask(
                service="mail",
                region="R3",
                signals=SIGNALS,
                instances=(instance("1.0", ""), instance("2.0", "")),
                cursor=self.cursor,
                now=self.clock.now(),
            )
        )
        self.cursor = json.loads(json.dumps(reading.cursor, allow_nan=False))
        self.samples += reading.samples
        self.problems += reading.problems

    async def read_until(self, then: datetime) -> None:
        while self.clock.now() < then + timedelta(seconds=SETTLE_S + 1.5):
            await self.read()
            await asyncio.sleep(1.1)

    async def history(self, since: datetime, *signals: Signal) -> tuple[Sample, ...]:
        return await self.source().history(
            Past(
                service="mail",
                region="R3",
                signals=signals,
                since=since,
                until=self.clock.now(),
                interval_s=2.0,
            )
        )


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Exporter, Exporter]]:
    """The real engine in a directory of its own, scraping two processes every second."""
    old = Exporter("1.0", free_port(), now_s() - 7200)
    new = Exporter("2.0", free_port(), now_s())
    config = CONFIG.format(targets=[f"127.0.0.1:{one.port}" for one in (old, new)])
    with scraping(request.param, config, tmp_path) as url:
        yield url, old, new
    old.stop()
    new.stop()


def sums(samples: Sequence[Sample], name: str) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for one in samples:
        if one.signal == name and not one.instance:
            cell = found.setdefault(one.version, [0.0, 0.0])
            cell[0] += one.value
            cell[1] += one.exposure
    return {version: (value, exposure) for version, (value, exposure) in sorted(found.items())}


async def test_what_is_told_adds_up_to_the_truth_over_a_restart_and_new_series(
    engine: tuple[str, Exporter, Exporter],
) -> None:
    url, old, new = engine
    async with web.client() as client:
        world = World(url=url, old=old, new=new, http=client)
        old.answer(200, 0.05, 1000)  # long before anybody looked
        old.serve()
        old.scraped()
        before = world.clock.now()
        while world.clock.now() < before + timedelta(seconds=SETTLE_S + 2):
            await world.read()  # so that the past is told
            await asyncio.sleep(1.1)
        world.samples.clear()
        world.problems.clear()
        begun = world.clock.now()

        old.answer(200, 0.05, 40)
        old.answer(503, 2.0, 3)  # its first failure is a new series of an old process
        new.started = now_s()
        new.answer(200, 0.05, 20)  # and every series of a new process is new
        new.answer(500, 0.5, 7)
        new.depth = 5
        new.serve()
        old.scraped()
        new.scraped()
        await world.read()
        new.restart()
        new.answer(200, 0.05, 90)  # above where it was: no fall tells of the restart
        new.answer(500, 0.2, 1)
        old.answer(200, 0.2, 10)
        new.scraped()
        old.scraped()
        await world.read_until(world.clock.now())
        kept = await world.history(begun, *SIGNALS)

    for samples in (world.samples, kept):
        assert sums(samples, "errors") == {"1.0": (3, 53), "2.0": (8, 118)}
        assert sums(samples, "work") == {"1.0": (50, 53), "2.0": (110, 118)}
        assert sums(samples, "slow") == {"1.0": (3, 53), "2.0": (7, 118)}
        assert sums(samples, "latency{le=0.1}") == {"1.0": (40, 53), "2.0": (110, 118)}
        assert sums(samples, "latency{le=0.25}") == {"1.0": (50, 53), "2.0": (111, 118)}
        assert sums(samples, "latency{le=1}") == {"1.0": (50, 53), "2.0": (118, 118)}
        restarts = sums(samples, "restarts")
        assert {version: events for version, (events, _) in restarts.items()} == {"1.0": 0, "2.0": 1}
        assert all(0 < hours * 3600 < 60 for _, hours in restarts.values())
        single = [(one.version, one.value, one.instance) for one in samples if one.instance]
        assert single == [("2.0", 1.0, f"127.0.0.1:{new.port}")]
        assert {one.value for one in samples if (one.signal, one.version) == ("backlog", "2.0")} == {5}
    assert [problem for problem in world.problems if "not count" in problem] == []
