"""Regions and rollouts that share an engine ask it once for each metric and look, as the controller reads."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx

from rollout.core.model import Phase, Plugin, Region
from rollout.core.signals import Signal, SignalKind
from rollout.ports import MetricSource
from rollout.registry import SOURCES, Surroundings, load_plugins
from rollout.testing import ManualClock
from tests.scenarios.world import NAMES, World

FORMS: dict[str, dict[str, Any]] = {
    "errors": {"bad": {"metric": "requests_total", "where": {"code": "5.."}}, "total": "requests_total"},
    "restarts": {"starts": "process_start_time_seconds"},
}


class Engine:
    """Every version runs in every region, answers fifty requests a second, and is scraped every second."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.asked: Counter[tuple[float, str]] = Counter()  # by the time of the look, and the query

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query, until = request.url.params["query"], float(request.url.params["time"])
        self.asked[self._clock.now().timestamp(), query] += 1
        metric = query.partition("{")[0]
        start = metric.startswith("process")
        times = [until - back for back in range(60)][::-1]
        points = [[t, "1" if start else f"{t % 1e7 * 50:.0f}"] for t in times]
        result = [
            {
                "metric": {"__name__": metric, "job": "mail", "region": region, "version": version,
                           "instance": f"{version}:80", "code": "200"},
                "values": points,
            }
            for region in NAMES
            for version in ("1.0.0", "1.1.0", "1.2.0")
        ]  # fmt: skip
        data = {"resultType": "matrix", "result": result}
        body = json.dumps({"status": "success", "data": data})
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})


async def test_three_regions_under_many_rollouts_are_one_request_for_each_metric(world: World) -> None:
    engine = Engine(world.clock)
    share_an_engine(world, engine)
    rollout_id = await world.given_baking("1.1.0")
    for n in range(20):
        await world.start(f"1.2.{n}")  # each waits its turn, and is read as well
    await world.run(10)
    assert (await world.rollout(rollout_id)).phase not in (Phase.HELD, Phase.ROLLED_BACK)
    live = {key: count for key, count in engine.asked.items() if key[1].endswith("[60s]")}  # not of history
    assert len({query for _, query in live}) == 2
    assert set(live.values()) == {1}


def share_an_engine(world: World, engine: Engine) -> None:
    """Every region of the world reads by the source `prometheus` from now on."""
    load_plugins()
    http = httpx.AsyncClient(transport=httpx.MockTransport(engine))
    built: dict[str, MetricSource] = {}

    def source(region: Region) -> MetricSource:
        if region.name not in built:
            around = Surroundings(region=region.name, http=http, clock=world.clock, directory=None)  # type: ignore[arg-type]
            options = {"url": "http://engine.test", "settle_s": 0, "lookback_s": 30}
            built[region.name] = SOURCES.build("prometheus", options, around)
        return built[region.name]

    world.plugins.source = source  # type: ignore[method-assign]
    world.configuration = replace(
        world.configuration,
        regions={
            name: replace(region, source=Plugin(kind="prometheus"))
            for name, region in world.configuration.regions.items()
        },
        signals={
            name: Signal(name=name, kind=SignalKind(kind), title=name, sources={"prometheus": FORMS[name]})
            for name, kind in (("errors", "ratio"), ("restarts", "rate"))
        },
    )
    world.reconciler = world.another_controller()
