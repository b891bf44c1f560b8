"""Whatever hangs, what goes back begins at once: lanes share no room, nor do regions, nor channels."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rollout.core.actions import Action, ActionRecord, Lane
from rollout.core.model import Kind, RegionPhase, Service
from rollout.ports import Change
from rollout.reconciling import effects, observation
from rollout.reconciling.lanes import AT_ONCE
from tests.scenarios.world import ADMIN, DANA, NAMES, World

NEVER = "a test that ends before this does"


@pytest.fixture
async def stopped(world: World) -> AsyncIterator[None]:
    """Whatever hangs is left when the test is over."""
    yield
    await world.reconciler.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings that hang are waited for less; actions that no decision wrote may begin all the same."""
    monkeypatch.setattr(observation, "OBSERVE_WAIT_S", 0.01)
    monkeypatch.setattr(effects, "may_begin", lambda *_: "")


async def hang(*_: Any) -> Any:
    await asyncio.Event().wait()
    raise AssertionError(NEVER)


async def look(world: World) -> None:
    """One look; whatever answers has answered, and a second passes."""
    await world.reconciler.tick()
    for _ in range(100):
        await asyncio.sleep(0)
    world.clock.advance(1)


async def given_another_service(world: World, *hanging: str) -> str:
    """A rollout of the service `bulk`, held before it touches anything; its targets hang in some regions."""
    for name in NAMES:
        deployer = world.plugins.fake_deployer(name)
        deployer.install("bulk", "1.0.0")
        if name in hanging:
            deployer.apply = hanging_for_bulk(deployer.apply)  # type: ignore[method-assign]
    await world.store.put_service(Service(name="bulk", policy="standard"))
    await world.run(5)
    await world.commands.adopt("bulk", ADMIN, "it serves well")
    rollout_id = await world.start("2.0.0", service="bulk")
    await world.commands.hold(rollout_id, DANA, "only its outbox is of interest")
    return rollout_id


def hanging_for_bulk(apply: Any) -> Any:
    async def chosen(key: str, action: Action) -> Any:
        return await (hang() if action.service == "bulk" else apply(key, action))

    return chosen


async def given_due(world: World, rollout_id: str, kind: Kind, count: int, *regions: str | None) -> None:
    """As many actions of a rollout, due since long ago, of regions in turn."""
    now = world.clock.now()
    details = {"text": "something happened", "urgent": False} if kind is Kind.NOTIFY else {}
    records = tuple(
        ActionRecord(
            key=f"{rollout_id}/9{index // 1000}/{index}",
            rollout_id=rollout_id,
            action=Action(
                kind=kind,
                region=regions[index % len(regions)],
                service="bulk",
                version="2.0.0",
                details=details,
            ),
            recorded_at=now,
            due_at=now,
        )
        for index in range(count)
    )
    await world.store.commit(Change(rollout=(await world.case(rollout_id)).rollout, actions=records))
    world.clock.advance(1)


async def test_a_restore_begins_in_the_next_tick_whatever_hangs(world: World, stopped: None) -> None:
    rollout_id = await world.given_baking("1.1.0")
    bulk = await given_another_service(world, *NAMES)
    await given_due(world, bulk, Kind.DEPLOY, 300, *NAMES)
    for name in NAMES:
        world.plugins.sources[name].collect = hang  # type: ignore[method-assign]
    world.plugins.notifier.send = hang  # type: ignore[method-assign]
    await look(world)
    assert len(world.reconciler._effects.under_way) >= 3 * AT_ONCE[Lane.FORWARD]
    await world.commands.rollback(rollout_id, DANA, "now")
    await look(world)
    await look(world)
    assert world.effects("R3", "restore") == ["1.0.0"]


async def test_a_dead_target_that_fills_its_lane_delays_no_other_regions_restore(
    world: World, stopped: None
) -> None:
    rollout_id = await world.given_baking("1.1.0", "R1")
    bulk = await given_another_service(world, "R3")
    await given_due(world, bulk, Kind.RESTORE, AT_ONCE[Lane.BACK] + 250, "R3")
    await look(world)
    await world.commands.rollback(rollout_id, DANA, "now")
    await look(world)
    await look(world)
    assert world.effects("R1", "restore") == ["1.0.0"]


async def test_a_backlog_for_the_channel_that_hangs_is_not_read_whole(
    world: World, stopped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    bulk = await given_another_service(world)
    await look(world)
    await given_due(world, bulk, Kind.NOTIFY, 1000, None)
    world.plugins.notifier.send = hang  # type: ignore[method-assign]
    stored, read = world.store.due_actions, list[int]()

    async def counted(*arguments: Any, **named: Any) -> tuple[ActionRecord, ...]:
        found = await stored(*arguments, **named)
        read.append(len(found) if named.get("lane") is Lane.TELL else 0)
        return found

    monkeypatch.setattr(world.store, "due_actions", counted)
    await look(world)
    assert sum(read) == effects.BATCH
    await look(world)
    assert sum(read) == effects.BATCH
    assert len(world.reconciler._effects.under_way) == AT_ONCE[Lane.TELL]


async def test_hanging_collects_of_a_region_delay_no_restore_there(world: World, stopped: None) -> None:
    rollout_id = await world.given_baking("1.1.0")
    bulk = await given_another_service(world, "R3")
    await given_due(world, bulk, Kind.COLLECT, 200, "R3")
    await look(world)
    await world.commands.rollback(rollout_id, DANA, "now")
    for _ in range(5):  # the collect finds no room; the restore waits for it for 3 s and no longer
        await look(world)
    assert world.effects("R3", "restore") == ["1.0.0"]


async def test_a_thousand_notices_that_nobody_takes_delay_nothing(world: World, stopped: None) -> None:
    await world.given_known_good()
    bulk = await given_another_service(world)
    world.plugins.notifier.send = hang  # type: ignore[method-assign]
    await given_due(world, bulk, Kind.NOTIFY, 1000, None)
    await world.start("1.1.0")
    for _ in range(8):
        await look(world)
    assert world.effects("R3", "deploy") == ["1.1.0"]
    held = [task for task in world.reconciler._effects.under_way if not task.done()]
    assert len(held) == AT_ONCE[Lane.TELL], "no more than this are tried at once"
    backlog = await world.store.backlog()
    assert backlog[Lane.TELL].pending >= 1000


async def test_what_may_not_begin_hides_nothing_behind_it(world: World, stopped: None) -> None:
    """Each in doubt is passed over, though all of them are due for longer and fill several pages."""
    rollout_id = await world.given_baking("1.1.0")
    bulk = await given_another_service(world)
    await given_due(world, bulk, Kind.RESTORE, 250, "R1")
    assert await world.store.distrust_if_old(world.clock.now(), 10**9)  # type: ignore[attr-defined]
    for name in NAMES:
        await world.store.settle_doubt("mail", name, None)
    world.plugins.fake_deployer("R1").unreachable = True
    await world.reconciler._doubts.read()
    await world.commands.rollback(rollout_id, DANA, "now")
    await look(world)
    await look(world)
    assert world.effects("R3", "restore") == ["1.0.0"]
    assert [pair.service for pair in await world.store.doubted()] == ["bulk"]
    assert [r.attempts for r in (await world.case(bulk)).actions if r.action.region == "R1"] == [0] * 250


async def test_room_that_was_full_is_used_again_at_once(world: World, stopped: None) -> None:
    await world.given_known_good()
    bulk = await given_another_service(world)
    await given_due(world, bulk, Kind.DEPLOY, AT_ONCE[Lane.FORWARD] + 5, "R3")
    woken: list[int] = []
    world.reconciler.changed = lambda: woken.append(1)
    world.plugins.fake_deployer("R3").unreachable = True
    await look(world)
    assert woken, "an attempt that ended without an answer gives its room away"


async def test_a_reading_of_what_goes_back_is_in_the_lane_of_going_back(world: World, stopped: None) -> None:
    rollout_id = await world.given_baking("1.1.0")
    bulk = await given_another_service(world, *NAMES)
    await given_due(world, bulk, Kind.DEPLOY, 300, *NAMES)
    await look(world)
    await world.commands.rollback(rollout_id, DANA, "now")
    for _ in range(6):
        await look(world)
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.RESTORED


async def test_an_action_keeps_its_place_in_every_lane(world: World) -> None:
    """A place that is full is left out by the database too, so that a dead region costs no reading."""
    await world.given_known_good()
    bulk = await given_another_service(world)
    await given_due(world, bulk, Kind.DEPLOY, 9, *NAMES)
    now = world.clock.now()
    found = await world.store.due_actions(now, 100, lane=Lane.FORWARD, full=["R3", 'R"1'])
    assert [record.place for record in found if record.action.service == "bulk"] == ["R1", "R2"] * 3
    left = await world.store.due_actions(now, 100, lane=Lane.FORWARD, besides=[found[0].key, "unknown"])
    assert next(record.key for record in left if record.action.service == "bulk") != found[0].key
    assert len(left) == 8
