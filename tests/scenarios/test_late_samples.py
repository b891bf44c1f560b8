"""Samples that come late, as their source says: they are no silence, and no bake ends before them."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core.model import Outcome, Phase, RegionPhase
from rollout.core.signals import Sample
from rollout.ports import Ask, Reading
from rollout.testing import ScriptedSource
from tests.scenarios.world import FAILING, NAMES, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
LATE_S = 8  # longer than the `max_age` of 5 s


class Late(ScriptedSource):
    """What happened is told `LATE_S` later, as by an engine that waits until its points have settled."""

    def __init__(self, source: ScriptedSource) -> None:
        super().__init__(source._line)
        self._waiting: deque[Sample] = deque()

    async def collect(self, ask: Ask) -> Reading:
        reading = await super().collect(ask)
        self._waiting += reading.samples
        told = []
        while self._waiting and self._waiting[0].time <= ask.now - timedelta(seconds=LATE_S):
            told.append(self._waiting.popleft())
        return replace(reading, samples=tuple(told))


def late(world: World, *, said: bool = True) -> World:
    """Every source of the world tells late; `said`: the regions know by how much."""
    for name in NAMES:
        region = world.configuration.regions[name]
        source = world.plugins.source(region)
        assert isinstance(source, ScriptedSource)
        world.plugins.sources[name] = Late(source)
    regions = {
        name: replace(region, delay_s=float(LATE_S) if said else 0.0)
        for name, region in world.configuration.regions.items()
    }
    world.configuration = replace(world.configuration, regions=regions)
    return world


async def test_samples_that_are_as_late_as_their_source_says_promote(make_world: MakeWorld) -> None:
    world = late(make_world({**QUICK, "guards": {"silence": "5s"}}))
    rollout_id = await world.given_baking("1.1.0")
    assert (await world.until(rollout_id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED


async def test_the_same_samples_are_held_where_nobody_said_that_they_come_late(
    make_world: MakeWorld,
) -> None:
    world = late(make_world({**QUICK, "guards": {"silence": "10m"}}), said=False)
    rollout_id = await world.given_baking("1.1.0")
    assert (await world.until(rollout_id, Phase.HELD)).reason.code in ("check.no_data", "bake.too_little")


async def test_a_candidate_that_falls_silent_is_harm_only_after_the_delay_too(make_world: MakeWorld) -> None:
    world = late(make_world({"steps": [{"set_weight": 75}, {"bake": "60s"}], "guards": {"silence": "15s"}}))
    rollout_id = await world.given_baking("1.1.0")
    await world.run(LATE_S + 10)
    world.silent |= {("R3", "1.1.0")}
    fell = world.clock.now()
    view = await world.until(rollout_id, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert view.reason.code == "guard.silence"
    assert (world.clock.now() - fell).total_seconds() >= LATE_S + 15


@pytest.mark.parametrize("harmed_after_s", [5, 10])
async def test_harm_at_the_end_of_a_bake_is_seen_before_the_bake_ends(
    make_world: MakeWorld, harmed_after_s: int
) -> None:
    world = late(make_world({"steps": [{"set_weight": 75}, {"bake": "20s"}]}))
    rollout_id = await world.given_baking("1.1.0")
    await world.run(harmed_after_s)
    world.given_harm("R3", "1.1.0", FAILING)
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ROLLED_BACK
    assert world.effects("R1", "deploy") == []


async def test_a_bake_lasts_until_its_last_second_was_told(make_world: MakeWorld) -> None:
    world = late(make_world(QUICK))
    rollout_id = await world.given_baking("1.1.0")
    began = (await world.rollout(rollout_id)).region("R3").bake_started_at
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    passed = (await world.rollout(rollout_id)).region("R3").passed_at
    assert began is not None
    assert passed is not None
    assert (passed - began).total_seconds() >= 6 + LATE_S
