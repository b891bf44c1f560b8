"""How soon a way back begins in a busy controller, and what an idle one costs.

`busy`: many services, each with a rollout under way, are read and judged as their policy says. Then releases
turn bad, one at a time, and the time from the stored verdict to the first restore request is measured, and
from the first bad sample to that. `idle`: what a tick costs with many rollouts that sleep.
Real store, judge and reconciler; regions and sources in memory; real time.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from rollout.clock import SteadyClock
from rollout.commands import Commands, StartRequest
from rollout.core.actions import Action
from rollout.core.model import Kind, Phase, Region, Release, Service
from rollout.ports import Ask, Change, Deployer, Reply
from rollout.reconciler import Reconciler
from rollout.store import SqlStore, open_store
from rollout.telemetry.onlooker import Decided, Onlooker
from rollout.testing import FakePlugins
from tests.scenarios.world import ADMIN, DEPLOYER, FAILING, HEALTHY, NAMES, POLICY, configuration
from tests.store.builders import plan, release, rollout, transition

INTERVAL_S = 15.0  # between two judgements, as the peers' examples have it
BAKE = {
    "steps": [{"set_weight": 75}, {"bake": "1h"}],
    "judging": {"interval": "15s", "block": "15s", "warmup": "15s", "max_age": "60s", "min_requests": 50},
    "guards": {"success": {"below": 85, "for": "15s"}},
}


class Watched(Onlooker):
    """When each decision to go back was stored."""

    def __init__(self) -> None:
        self.decided_at: dict[str, float] = {}
        self.decisions = 0

    def decided(self, what: Decided) -> None:
        """Note it."""
        self.decisions += 1
        change: Change = what.change
        if any(record.action.kind is Kind.RESTORE for record in change.actions):
            self.decided_at.setdefault(change.rollout.release.service, time.perf_counter())


class Busy:
    """One controller with many rollouts under way."""

    def __init__(self, store: SqlStore, policy: dict[str, Any], collect_s: float = 3600.0) -> None:
        self.store, self.clock = store, SteadyClock()
        self.bad: set[str] = set()
        self.restored_at: dict[str, float] = {}
        self.plugins = FakePlugins(self.clock, lambda _: self._numbers)
        found = configuration({**POLICY, **policy})
        self.configuration = lambda: found
        self.onlooker = Watched()
        self.commands = Commands(store, self.clock, self.configuration)
        self.reconciler = Reconciler(
            store=store,
            clock=self.clock,
            configuration=self.configuration,
            deployer=self._deployer,
            source=self.plugins.source,
            notifier=self.plugins.notifier,
            collect_s=collect_s,
            onlooker=self.onlooker,
        )
        self.ticks: list[float] = []

    def _numbers(self, ask: Ask) -> dict[str, Any]:
        versions = {instance.version for instance in ask.instances}
        return {v: FAILING if v == "1.1.0" and ask.service in self.bad else HEALTHY for v in versions}

    def _deployer(self, region: Region) -> Deployer:
        return _Noting(self.plugins.deployer(region), self.restored_at)

    async def begin(self, count: int) -> None:
        """Declare services that run 1.0.0, and start a rollout of 1.1.0 of each."""
        for number in range(count):
            name = f"s{number:05}"
            for region in NAMES:
                self.plugins.fake_deployer(region).install(name, "1.0.0")
            await self.store.put_service(Service(name=name, policy="standard"))
        for _ in range(3):
            await self.tick()
        for number in range(count):
            name = f"s{number:05}"
            await self.commands.adopt(name, ADMIN, "it serves well")
            await self.commands.start(
                StartRequest(release=Release(service=name, version="1.1.0", author="ana")), DEPLOYER
            )

    async def tick(self) -> None:
        """One look, as the heartbeat does."""
        began = time.perf_counter()
        await self.reconciler.tick()
        self.ticks.append(time.perf_counter() - began)

    async def run(self, seconds: float) -> None:
        """A look each second, or as soon as the one before has ended."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            await self.tick()
            await asyncio.sleep(max(0.0, now + 1.0 - time.perf_counter()))


class _Noting:
    """A deployer that notes when the first restore of a service came."""

    def __init__(self, deployer: Deployer, restored_at: dict[str, float]) -> None:
        self._deployer, self._restored_at = deployer, restored_at
        self.supports, self.fences, self.instances = deployer.supports, deployer.fences, deployer.instances

    async def apply(self, key: str, action: Action) -> Reply:
        """As the deployer does."""
        if action.kind is Kind.RESTORE:
            self._restored_at.setdefault(action.service, time.perf_counter())
        return await self._deployer.apply(key, action)


async def busy(url: str, count: int, harmed: int) -> dict[str, Any]:
    """Seconds from verdict to request, and from the first bad sample to it, with `count` rollouts."""
    with opened(url) as store:
        world = Busy(store, BAKE, INTERVAL_S)
        await world.begin(count)
        await world.run(3 * INTERVAL_S)
        before, world.ticks, began = world.onlooker.decisions, [], time.perf_counter()
        await world.run(2 * INTERVAL_S)
        rate = (world.onlooker.decisions - before) / (time.perf_counter() - began)
        steady = list(world.ticks)
        turned: dict[str, float] = {}
        for number in range(harmed):
            name = f"s{number * count // harmed:05}"
            world.bad.add(name)
            turned[name] = time.perf_counter()
            await world.run(1.0)
        await world.run(4 * INTERVAL_S)
        await world.reconciler.stop()
    back = {name: at for name, at in world.restored_at.items() if name in turned}
    waits = [back[name] - world.onlooker.decided_at[name] for name in back]
    whole = [back[name] - turned[name] for name in back]
    return {
        "rollouts": count,
        "harmed": harmed,
        "went_back": len(back),
        "wrongly": len(world.restored_at) - len(back),
        "decisions_per_s": round(rate, 1),
        "tick_s": _spread(steady),
        "verdict_to_request_s": _spread(waits),
        "bad_sample_to_request_s": _spread(whole),
    }


async def idle(url: str, count: int) -> dict[str, Any]:
    """What a tick costs with `count` rollouts that wait for people, beside one with 10."""
    with opened(url) as store:
        world = Busy(store, {})
        await _sleepers(world, range(10))
        few = await _cost(world)
        await _sleepers(world, range(10, count))
        many = await _cost(world)
        await world.reconciler.stop()
    return {"sleeping": count, "tick_ms": many, "with_10_ms": few, "ratio": round(many / few, 2)}


async def _sleepers(world: Busy, numbers: range) -> None:
    """Rollouts that wait for people until tomorrow, 100 of each service."""
    later = world.clock.now() + timedelta(days=1)
    for number in numbers:
        name = f"s{number // 100:05}"
        if number % 100 == 0:
            await world.store.put_service(Service(name=name, policy="standard"))
        made = rollout(f"ro_{number:06}", release=release(service=name), next_due_at=later)
        waits = replace(made, phase=Phase.AWAITING_APPROVAL)
        await world.store.add(waits, plan(), transition(1, waits.id))


async def _cost(world: Busy) -> float:
    """Median milliseconds of processor time of a tick that finds nothing to do."""
    used = []
    await world.tick()
    for _ in range(50):
        before = resource.getrusage(resource.RUSAGE_SELF)
        await world.reconciler.tick()
        after = resource.getrusage(resource.RUSAGE_SELF)
        used.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return round(statistics.median(used), 2)


@contextlib.contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    """A store on a new database."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(url or f"sqlite:///{Path(directory) / 'rollout.db'}")
        try:
            yield store
        finally:
            store.close()


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    found = sorted(seconds)
    if not found:
        return {}
    at = lambda share: round(found[min(len(found) - 1, int(share * len(found)))], 3)  # noqa: E731
    return {"p50": at(0.5), "p99": at(0.99), "max": round(found[-1], 3)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--harmed", type=int, default=30)
    parser.add_argument("--sleeping", type=int, default=10_000)
    parser.add_argument("--url", default="", help="of an empty PostgreSQL database; else SQLite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures = {"idle": asyncio.run(idle(options.url, options.sleeping))} if options.sleeping else {}
    if options.rollouts:
        figures["busy"] = asyncio.run(busy(options.url, options.rollouts, options.harmed))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
