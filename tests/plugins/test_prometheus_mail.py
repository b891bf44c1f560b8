"""The sample service as it runs, scraped by real engines, read by the shipped signals, judged."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine_lab import ENGINES, end, ready, scraping
from prometheus_lab import source_with

from rollout import http as web
from rollout.clock import SystemClock
from rollout.config import load_configuration
from rollout.core.judge import begin, judge, update
from rollout.core.model import Instance, Plugin, Region
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Sample, Signal, SignalKind, VerdictKind
from rollout.ports import Ask, LookingSource
from rollout.registry import SOURCES, Surroundings
from rollout.supervisor.life import free_port

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SIGNALS = load_configuration(ROOT).signals
SETTLE_S = 1.5
OLD, NEW = "1.0.0", "1.1.0"
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 450ms}}
scrape_configs:
  - job_name: mail
    static_configs:
      - targets: {targets}
        labels: {{region: R3}}
"""
POLICY = {
    "apiVersion": "rollout/v1",
    "name": "quick",
    "holdback": 50,
    "steps": [{"set_weight": 50}, {"bake": "20s"}],
    "stages": [{"regions": ["R3"]}],
    "checks": [{"signal": "errors"}, {"signal": "work_age", "weight": 9}],
    "false_rollback_budget": 10,
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "5s", "min_requests": 20},
}


@dataclass
class Mail:
    """One real process of the sample service. What counts as late is the only harm that it may do."""

    version: str
    slot: str
    directory: Path
    late_after_s: float
    port: int = field(default_factory=free_port)
    started: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        given = {"version": self.version, "port": self.port, "slot": self.slot, "directory": self.directory}
        given["late-after"] = self.late_after_s
        return [sys.executable, "-m", "rollout.demo.mail", *(f"--{k}={v}" for k, v in given.items())]

    def instance(self) -> Instance:
        return Instance(
            id=self.slot, version=self.version, url=self.url, started_at=self.started, healthy=True
        )

    def counted(self) -> Counter[str]:
        """What it says of itself, with the edges of its histogram, and without its other labels."""
        found: Counter[str] = Counter()
        for line in httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines():
            if match := re.fullmatch(r'(\w+)\{[^}]*?(?:le="([^"]+)")?[^}]*\} (\S+)', line):
                edge = re.search(r'le="([^"]+)"', line)
                found[match[1] + (f" {float(edge[1]):g}" if edge else "")] += float(match[3])
        return found

    def load(self, until: threading.Event) -> None:
        """Sends one after the other, as a user does."""
        with httpx.Client(trust_env=False) as client:
            while not until.wait(0.03):
                client.post(f"{self.url}/send", json={"to": "a@b.test", "subject": "hello"})


@dataclass
class World:
    """An engine, two versions that it scrapes, and what was read."""

    url: str
    mails: tuple[Mail, ...]
    cursor: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    clock: SystemClock = field(default_factory=SystemClock)

    def ask(self) -> Ask:
        return Ask(
            service="mail",
            region="R3",
            signals=tuple(SIGNALS.values()),
            instances=tuple(mail.instance() for mail in self.mails),
            cursor=self.cursor,
            now=self.clock.now(),
        )

    async def read(self, client: httpx.AsyncClient, seconds: float) -> None:
        """Readings for some time, as a controller makes them."""
        source = source_with(client, self.clock, url=self.url, settle_s=SETTLE_S)  # type: ignore[arg-type]
        stop = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < stop:
            reading = await source.collect(self.ask())
            self.cursor = dict(reading.cursor)
            self.samples += reading.samples
            self.problems += reading.problems
            await asyncio.sleep(1.02)

    async def read_until_told(self, client: httpx.AsyncClient) -> None:
        """Readings until every signal has series; an engine finds its targets only after some seconds."""
        for _ in range(25):
            self.problems.clear()
            await self.read(client, 0.5)
            if self.samples and not self.problems:
                return
        raise AssertionError(f"it was not scraped: {self.problems}")

    def drained(self) -> None:
        """Wait until every accepted send is delivered, so that nothing counts any more."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            counted = sum((mail.counted() for mail in self.mails), Counter())
            if counted["mail_sends_delivered_total"] == counted["mail_sends_accepted_total"]:
                return
            time.sleep(0.1)
        raise AssertionError("sends are left in the queue")

    def told(self, signal: str, version: str) -> tuple[float, float]:
        ours = [one for one in self.samples if (one.signal, one.version) == (signal, version)]
        return sum(one.value for one in ours), sum(one.exposure for one in ours)


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[list[World]]:
    """The same two processes, scraped by each engine at the same time."""
    mails = (Mail(OLD, "0", tmp_path, 60.0), Mail(NEW, "1", tmp_path, 0.001))
    with ExitStack() as stack:
        for mail in mails:
            log = stack.enter_context((tmp_path / f"mail-{mail.slot}.log").open("wb"))
            process = stack.enter_context(subprocess.Popen(mail.command(), stdout=log, stderr=log, cwd=ROOT))
            stack.callback(end, process)
            mail.started = SystemClock().now()
        for mail in mails:
            ready(f"{mail.url}/healthz")
        targets = [f"127.0.0.1:{mail.port}" for mail in mails]
        urls = []
        for kind in ENGINES:
            (tmp_path / kind).mkdir()
            config = CONFIG.format(targets=targets)
            urls.append(stack.enter_context(scraping(kind, config, tmp_path / kind)))
        yield [World(url, mails) for url in urls]


def plan() -> Plan:
    nowhere = Plugin(kind="none")
    region = Region(
        name="R3", title="APAC", time_zone="UTC", order=1, traffic_share=1.0, deployer=nowhere,
        source=Plugin(kind="prometheus"), delay_s=SETTLE_S,
    )  # fmt: skip
    return compile_plan(Policy.model_validate(POLICY), {"R3": region}, SIGNALS)


async def found_with_age_and_versions(world: World, client: httpx.AsyncClient) -> None:
    """Also without any traffic yet; both sources see the same processes."""
    engine = source_with(client, world.clock, url=world.url)  # type: ignore[arg-type]
    around = Surroundings(region="R3", http=client, clock=world.clock, directory=Path())
    for source in (engine, SOURCES.build("scrape", {}, around)):
        assert isinstance(source, LookingSource)
        for one in await source.found(world.ask()):
            assert (one.signal, dict(one.versions)) == (one.signal, {OLD: 1, NEW: 1})
            assert one.series >= 2
            assert one.newest is not None
            assert (world.clock.now() - one.newest).total_seconds() < 5


async def the_nearest_names_are_told(world: World, client: httpx.AsyncClient) -> None:
    wrong = {
        "metric": ({"bad": "mail_sends_late_total", "total": "mail_http_request_total"},
                   "mail_http_requests_total"),
        "label": ({"bad": {"metric": "mail_http_requests_total", "where": {"status": "5.."}},
                   "total": "mail_http_requests_total"}, "code"),
    }  # fmt: skip
    signals = tuple(
        Signal(name=name, kind=SignalKind.RATIO, title=name, sources={"prometheus": form, "scrape": form})
        for name, (form, _) in wrong.items()
    )
    around = Surroundings(region="R3", http=client, clock=world.clock, directory=Path())
    engine = source_with(client, world.clock, url=world.url)  # type: ignore[arg-type]
    for source in (engine, SOURCES.build("scrape", {}, around)):
        assert isinstance(source, LookingSource)
        for one in await source.found(replace(world.ask(), signals=signals)):
            assert one.series == 0
            assert wrong[one.signal][1] in one.said
    elsewhere = source_with(client, world.clock, url=world.url, matchers={"job": "{service}-er"})  # type: ignore[arg-type]
    (one, _) = await elsewhere.found(replace(world.ask(), signals=signals))
    assert one.said.endswith('nothing has {job="mail-er"}; values of job: mail')


async def test_what_the_service_counted_is_what_the_judge_is_told(worlds: list[World]) -> None:
    mails = worlds[0].mails
    async with web.client() as client:
        await asyncio.gather(*(world.read_until_told(client) for world in worlds))
        for world in worlds:
            world.samples.clear()
            await found_with_age_and_versions(world, client)
            await the_nearest_names_are_told(world, client)
        begun, stop = worlds[0].clock.now(), threading.Event()
        users = [threading.Thread(target=mail.load, args=(stop,)) for mail in mails]
        for user in users:
            user.start()
        await asyncio.gather(*(world.read(client, 6) for world in worlds))
        stop.set()
        for user in users:
            user.join()
        worlds[0].drained()
        await asyncio.gather(*(world.read(client, SETTLE_S + 3) for world in worlds))
    for world in worlds:
        told_what_was_counted(world)
        judged(world, begun)


def told_what_was_counted(world: World) -> None:
    for mail in world.mails:
        counted, sent = mail.counted(), mail.counted()["mail_http_requests_total"]
        assert sent > 50
        assert world.told("errors", mail.version) == (0, sent)
        assert world.told("work_done", mail.version) == (
            counted["mail_sends_delivered_total"],
            counted["mail_sends_accepted_total"],
        )
        for edge in ("0.005", "0.01", "0.25"):
            upto = counted[f"mail_http_request_duration_seconds_bucket {edge}"]
            assert world.told(f"latency{{le={edge}}}", mail.version) == (upto, sent)
        assert world.told("restarts", mail.version)[0] == 0
    assert world.told("work_age", OLD)[0] == 0
    assert {one.signal for one in world.samples} >= {"backlog", "oldest_age"}
    assert world.problems == []


def judged(world: World, begun: datetime) -> None:
    """Every send of the candidate is late; nothing else is wrong with it."""
    late, accepted = world.told("work_age", NEW)
    assert late > 0.5 * accepted
    made = plan()
    evidence = begin(made, region="R3", candidate=NEW, baseline=OLD, now=begun, history=())
    evidence = update(made, evidence, list(enumerate(world.samples, start=1)))
    verdicts = {one.signal: one for one in judge(made, {"R3": evidence}, world.clock.now()).of("R3")}
    assert verdicts["work_age"].kind is VerdictKind.FAIL
    assert verdicts["work_age"].exposed == accepted
    assert verdicts["errors"].kind in (VerdictKind.UNDECIDED, VerdictKind.PASS)
    assert verdicts["errors"].exposed == world.told("errors", NEW)[1]
