"""Judging begins on the whole history of a region, and reading it holds up nobody else."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.errors import StoreError, TransientError
from rollout.core.judge import begin
from rollout.core.model import Phase, RegionPhase, Service
from rollout.core.signals import Sample
from rollout.ports import Ask, Past, Reading
from rollout.reconciling.history import DAYS, TRIES
from rollout.testing import ScriptedSource
from tests.scenarios.world import ADMIN, FAILING, NAMES, QUICK, World

MakeWorld = Callable[[Mapping[str, object]], World]


class Keeping:
    """A source that has a history of its own, which a test gives when it likes."""

    def __init__(self, source: ScriptedSource, samples: Sequence[Sample] = ()) -> None:
        self._source, self._samples = source, samples
        self.asked: list[Past] = []
        self.given = asyncio.Event()
        self.fails = False

    async def collect(self, ask: Ask) -> Reading:
        return await self._source.collect(ask)

    async def history(self, past: Past) -> tuple[Sample, ...]:
        self.asked.append(past)
        if self.fails:
            raise TransientError("Prometheus answers 503.")
        await self.given.wait()
        return tuple(self._samples)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every evidence was begun with."""
    calls = []

    def noted(plan: Any, **given: Any) -> Any:
        calls.append(given)
        return begin(plan, **given)

    monkeypatch.setattr("rollout.reconciling.history.begin", noted)
    return calls


def keep_history(world: World, region: str, *samples: Sample) -> Keeping:
    """From now on the source of `region` has a history."""
    world.plugins.source(world.configuration.regions[region])
    source = Keeping(world.plugins.sources[region], samples)
    world.plugins.sources[region] = source  # type: ignore[assignment]
    return source


async def looks(world: World, seconds: int) -> None:
    """Time passes without waiting for what is being read."""
    for _ in range(seconds):
        await world.reconciler.tick()
        for task in world.reconciler._effects.under_way:
            await task
        world.clock.advance(1)


def sample(world: World, version: str) -> Sample:
    return Sample(
        time=world.clock.now(),
        region="R3",
        version=version,
        signal="errors",
        value=1,
        exposure=50,
        duration_s=1,
    )


async def test_nothing_is_judged_or_promoted_before_the_history_was_read(
    world: World, begun: list[dict[str, Any]]
) -> None:
    await world.given_known_good()
    source = keep_history(world, "R3", sample(world, "1.0.0"), sample(world, "0.9.0"))
    rollout_id = await world.start("1.1.0")
    await looks(world, 30)
    case = await world.case(rollout_id)
    assert case.rollout.region("R3").phase is RegionPhase.BAKING
    assert case.rollout.region("R3").weight == 25, "a bake that nobody judged does not end"
    assert case.evidence == {}
    (past,) = source.asked
    touched = case.rollout.region("R3").touched_at
    assert touched is not None
    assert (past.since, past.until) == (touched - timedelta(days=DAYS), touched)
    assert {signal.name for signal in past.signals} == {"errors", "restarts"}
    source.given.set()
    await world.until(rollout_id, Phase.SUCCEEDED)
    r3 = next(given for given in begun if given["region"] == "R3")
    assert {s.version for s in r3["history"] if s.region == "R3"} == {"1.0.0"}, "known-good versions only"


async def test_a_history_that_does_not_come_is_held_and_said(world: World) -> None:
    await world.given_known_good()
    keep_history(world, "R3")
    rollout_id = await world.start("1.1.0")
    await looks(world, 60)
    view = await world.view(rollout_id)
    assert (view.phase, view.reason.code) == (Phase.HELD, "bake.unjudged")
    assert view.sentence == "mail 1.1.0 is held by controller: nothing was judged in R3."


async def test_a_source_that_cannot_be_asked_is_held_also_while_its_history_is_read(world: World) -> None:
    await world.given_known_good()
    source = keep_history(world, "R3")
    rollout_id = await world.start("1.1.0")
    await looks(world, 10)

    def down(_: Ask) -> TransientError:
        return TransientError("Prometheus answers 503.")

    source._source._line = down
    await looks(world, 25)
    view = await world.view(rollout_id)
    assert (view.phase, view.reason.code) == (Phase.HELD, "source.error")


async def test_what_came_while_the_history_was_read_is_judged_then(world: World) -> None:
    await world.given_known_good()
    source = keep_history(world, "R3")
    world.given_harm("R3", "1.1.0", FAILING)
    rollout_id = await world.start("1.1.0")
    await looks(world, 40)
    assert (await world.rollout(rollout_id)).phase is Phase.PROGRESSING
    source.given.set()
    await world.run(3)
    assert (await world.rollout(rollout_id)).phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)


async def test_other_rollouts_go_on_while_a_history_is_read(world: World) -> None:
    for name in NAMES:
        world.plugins.fake_deployer(name).install("billing", "7.0.0")
    await world.store.put_service(Service(name="billing", policy="standard"))
    await world.given_known_good()
    await world.commands.adopt("billing", ADMIN, "it bills well")
    slow = await world.start("1.1.0")
    keep_history(world, "R3")
    await looks(world, 8)
    world.plugins.sources["R3"] = world.plugins.sources["R3"]._source  # type: ignore[attr-defined]
    quick = await world.start("7.1.0", service="billing")
    for _ in range(300):
        await looks(world, 1)
        if (await world.rollout(quick)).phase is Phase.SUCCEEDED:
            break
    assert (await world.rollout(quick)).phase is Phase.SUCCEEDED
    assert (await world.rollout(slow)).region("R3").weight == 25


async def test_a_source_that_gives_no_history_is_done_without(
    world: World, begun: list[dict[str, Any]]
) -> None:
    await world.given_known_good()
    source = keep_history(world, "R3")
    source.fails = True
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert len(source.asked) == TRIES
    assert begun[0]["history"], "what the controller kept itself"


async def test_a_store_that_gives_no_history_either_is_done_without(
    world: World, begun: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> tuple[Sample, ...]:
        raise RuntimeError("a fault of ours")

    await world.given_known_good()
    monkeypatch.setattr(world.store, "history", broken)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert {len(given["history"]) for given in begun} == {0}


async def test_a_controller_that_died_while_reading_reads_again_up_to_the_same_moment(world: World) -> None:
    await world.given_known_good()
    source = keep_history(world, "R3")
    rollout_id = await world.start("1.1.0")
    await looks(world, 10)
    await world.reconciler.stop()
    world.reconciler = world.another_controller()
    source.given.set()
    await world.until(rollout_id, Phase.SUCCEEDED)
    first, second = source.asked
    assert first == replace(second)


async def test_what_one_controller_has_read_the_next_one_judges_on(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    source = keep_history(world, "R3")
    source.given.set()
    rollout_id = await world.start("1.1.0")
    for _ in range(200):
        world.reconciler = world.another_controller()
        await world.tick()
        if (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED:
            break
    assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED
    assert len(source.asked) == 1


async def test_evidence_that_cannot_be_stored_when_it_was_read_is_stored_with_a_decision(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise StoreError("The disk is full.")

    world = make_world(QUICK)
    await world.given_known_good()
    source = keep_history(world, "R3")
    source.given.set()
    monkeypatch.setattr(world.store, "begin_evidence", refused)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert len(source.asked) == 1
    assert set((await world.case(rollout_id)).evidence) == set(NAMES)


async def test_a_reading_that_nobody_waits_for_is_given_up(world: World) -> None:
    await world.given_known_good()
    keep_history(world, "R3")
    rollout_id = await world.start("1.1.0")
    await looks(world, 10)
    assert world.reconciler._histories.under_way
    await world.commands.rollback(rollout_id, ADMIN, "users complain")
    await looks(world, 2)
    assert not world.reconciler._histories.under_way


async def test_a_region_that_is_touched_is_no_peer_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = world.store.samples, []

    async def samples(service: str, regions: Sequence[str], **more: Any) -> Any:
        asked.append(tuple(regions))
        return await real(service, regions, **more)

    def begun_with_peers(plan: Any, *, region: str, **given: Any) -> Any:
        return replace(begin(plan, region=region, **given), peers=plan.peers(region))

    monkeypatch.setattr("rollout.reconciling.history.begin", begun_with_peers)
    monkeypatch.setattr(world.store, "samples", samples)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    await world.run(5)
    assert ("R3", "R1", "R2") in asked
    await world.until_region(rollout_id, "R1", RegionPhase.BAKING)
    asked.clear()
    await world.run(3)
    assert {places for places in asked if "R3" in places} == {("R3", "R2")}
    assert {places for places in asked if places[0] == "R1"} == {("R1", "R2")}
    assert (await world.case(rollout_id)).evidence["R3"].peers == ("R2",)
