"""What every metric source promises, asked of the real one and of the fake in the same words."""

import copy
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from http_json_lab import COUNTERS, JsonCounters, JsonService
from prometheus_lab import PrometheusService

from rollout.core.errors import OutsideError, TransientError
from rollout.core.model import Instance
from rollout.core.signals import Signal, SignalKind
from rollout.ports import Ask, MetricSource, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.scrape import ScrapeSource
from rollout.testing import Line, ManualClock, ScriptedSource

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ERRORS = Signal(
    name="errors",
    kind=SignalKind.RATIO,
    title="failed requests",
    sources={
        kind: {"bad": {"metric": "bad_total"}, "total": {"metric": "all_total"}}
        for kind in ("scrape", "prometheus")
    }
    | {"http_json": {"rows": "rows[*]", "version": "version", "bad": "bad", "total": "all"}},
)


class Service(Protocol):
    """A service that a source can read: how it is used, and whether it can be asked at all."""

    reachable: bool

    def source(self, clock: ManualClock) -> MetricSource: ...

    def use(self, version: str, bad: int, total: int) -> None: ...


class ScrapedService:
    """One instance per version, with counters that rise as it is used."""

    def __init__(self) -> None:
        self.reachable = True
        self.bad: Counter[str] = Counter()
        self.all: Counter[str] = Counter()

    def source(self, clock: ManualClock) -> ScrapeSource:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        around = Surroundings(region="R3", http=http, clock=clock, directory=Path())
        source = SOURCES.build("scrape", {}, around)
        assert isinstance(source, ScrapeSource)
        return source

    def use(self, version: str, bad: int, total: int) -> None:
        self.bad[version] += bad
        self.all[version] += total

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("refused")
        version = request.url.host.removesuffix(".test").replace("-", ".")
        label = f'{{version="{version}"}}'
        return httpx.Response(
            200, text=f"bad_total{label} {self.bad[version]}\nall_total{label} {self.all[version]}\n"
        )


class ScriptedService:
    """Tells the script what happened since the last line of it."""

    def __init__(self) -> None:
        self.reachable = True
        self.since: dict[str, tuple[float, float]] = {}

    def source(self, clock: ManualClock) -> ScriptedSource:
        return ScriptedSource(self._line)

    def use(self, version: str, bad: int, total: int) -> None:
        before = self.since.get(version, (0.0, 0.0))
        self.since[version] = (before[0] + bad, before[1] + total)

    def _line(self, ask: Ask) -> Line:
        if not self.reachable:
            return TransientError("refused")
        told, self.since = self.since, {}
        return {version: {"errors": numbers} for version, numbers in told.items()}


class Caller:
    """The reconciler's part: keeps the cursor as JSON between readings."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.signal = COUNTERS if isinstance(service, JsonCounters) else ERRORS
        self.clock = ManualClock(T0)
        self.source = service.source(self.clock)
        self.cursor: dict[str, Any] = {}
        self.versions: tuple[str, ...] = ("1.0", "2.0")

    def ask(self) -> Ask:
        instances = tuple(
            Instance(
                id=f"slot-{version}",
                version=version,
                url=f"http://{version.replace('.', '-')}.test",
                started_at=T0 - timedelta(hours=1),
                healthy=True,
            )
            for version in self.versions
        )
        return Ask(
            service="mail",
            region="R3",
            signals=(self.signal,),
            instances=instances,
            cursor=self.cursor,
            now=self.clock.now(),
        )

    async def read(self, after_s: float = 10) -> Reading:
        self.clock.advance(after_s)
        reading = await self.source.collect(self.ask())
        self.cursor = json.loads(json.dumps(reading.cursor, allow_nan=False))
        return reading

    async def totals(self, after_s: float = 10) -> dict[str, tuple[float, float]]:
        reading = await self.read(after_s)
        return {s.version: (s.value, s.exposure) for s in reading.samples if s.exposure}


@pytest.fixture(params=[ScrapedService, PrometheusService, JsonService, JsonCounters, ScriptedService])
async def caller(request: pytest.FixtureRequest) -> Caller:
    """A caller that has read once, so that the past is known."""
    caller = Caller(request.param())
    await caller.read()
    return caller


async def test_what_happened_since_the_last_reading_is_told_by_version(caller: Caller) -> None:
    caller.service.use("1.0", 2, 90)
    caller.service.use("2.0", 1, 10)
    assert await caller.totals() == {"1.0": (2, 90), "2.0": (1, 10)}


async def test_nothing_is_told_twice_and_nothing_is_lost(caller: Caller) -> None:
    seen: Counter[str] = Counter()
    for used in (5, 0, 7, 0):
        caller.service.use("1.0", 0, used)
        for version, (_, total) in (await caller.totals()).items():
            seen[version] += int(total)
    assert seen == {"1.0": 12}


async def test_a_sample_ends_now_and_says_how_long_its_interval_was(caller: Caller) -> None:
    caller.service.use("1.0", 2, 90)
    reading = await caller.read(after_s=25)
    sample = next(s for s in reading.samples if s.version == "1.0")
    assert (sample.time, sample.duration_s) == (caller.clock.now(), 25)
    assert (sample.region, sample.signal, sample.instance) == ("R3", "errors", "")


async def test_only_versions_that_have_an_instance_are_told(caller: Caller) -> None:
    caller.versions = ("1.0",)
    caller.service.use("1.0", 0, 5)
    caller.service.use("2.0", 5, 5)
    assert await caller.totals() == {"1.0": (0, 5)}


async def test_a_new_source_goes_on_from_the_stored_cursor(caller: Caller) -> None:
    caller.service.use("1.0", 2, 90)
    caller.source = caller.service.source(caller.clock)
    assert await caller.totals(after_s=600) == {"1.0": (2, 90)}


async def test_being_unable_to_ask_is_an_error_and_loses_nothing(caller: Caller) -> None:
    caller.service.use("1.0", 2, 90)
    caller.service.reachable = False
    with pytest.raises(OutsideError):
        await caller.read()
    caller.service.reachable = True
    assert await caller.totals() == {"1.0": (2, 90)}


async def test_no_instance_is_an_error_that_names_service_and_region(caller: Caller) -> None:
    caller.versions = ()
    with pytest.raises(TransientError, match="The deployer reports no instance of mail in R3"):
        await caller.read()


@pytest.mark.parametrize("after_s", [0, -30])
async def test_time_that_does_not_pass_gives_no_samples_and_a_sentence(
    caller: Caller, after_s: float
) -> None:
    caller.service.use("1.0", 2, 90)
    cursor = copy.deepcopy(caller.cursor)
    reading = await caller.read(after_s=after_s)
    assert reading.samples == ()
    assert len(reading.problems) == 1
    assert caller.cursor == cursor


async def test_what_was_asked_is_not_changed(caller: Caller) -> None:
    caller.service.use("1.0", 2, 90)
    caller.clock.advance(10)
    ask = caller.ask()
    before = copy.deepcopy(ask)
    await caller.source.collect(ask)
    assert ask == before
