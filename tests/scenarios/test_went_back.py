"""The database goes back while controllers run: a standby without the last commits takes over."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from rollout.core.errors import StoreError
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.highwater import HighWater
from rollout.reconciler import Reconciler
from rollout.store import inline, open_store
from rollout.store.backup import copy
from tests.scenarios.test_put_back import asked
from tests.scenarios.test_replicas import ANN, BOB
from tests.scenarios.world import DANA, NAMES, ONE, World, new_store


@pytest.fixture
def world(tmp_path: Path) -> Any:
    store = new_store(tmp_path)
    found = World(store, ONE)
    store.database.clock = found.clock.now
    found.reconciler = replica(found, ANN, tmp_path / "ann")
    yield found
    found.store.close()  # type: ignore[attr-defined]


def replica(world: World, who: Any, noted: Path) -> Reconciler:
    """One that keeps how far history came in a file of its own."""
    made = world.another_controller(who)
    made._newest = HighWater(noted, world.store, world.clock.now).look  # type: ignore[arg-type]
    return made


def standby(world: World, directory: Path) -> Path:
    """What has reached the standby by now."""
    copy(world.store.database.path, directory / "standby.db")  # type: ignore[attr-defined]
    return directory / "standby.db"


def fail_over(world: World, path: Path) -> None:
    """From now on every controller works on the standby, and notices nothing else."""
    store, other = world.store, open_store(f"sqlite:///{path}", run=inline)
    other.database.clock = world.clock.now
    store.database.close()  # type: ignore[attr-defined]
    store.database, store._runs = other.database, other._runs  # type: ignore[attr-defined]


async def order_to_be_done_in_the_standby(world: World, tmp_path: Path) -> Path:
    """A standby in which an order is pending that was done since."""
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 3)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    path = standby(world, tmp_path)
    await world.until(rollout_id, Phase.SUCCEEDED)
    return path


async def doubts(world: World) -> list[str]:
    return [pair.region for pair in await world.store.doubted()]


def answering(world: World, so: bool) -> None:
    """Whether any target answers, so that a doubt can be settled."""
    for name in NAMES:
        world.plugins.fake_deployer(name).unreachable = not so


async def test_a_standby_without_the_last_commits_redoes_nothing(world: World, tmp_path: Path) -> None:
    rollout_id = await world.given_baking("1.1.0")
    path = standby(world, tmp_path)
    await world.commands.rollback(rollout_id, DANA, "it loses mails")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    fixed = await world.start("1.2.0")
    await world.until(fixed, Phase.SUCCEEDED)
    await world.run(2)
    before, ran = asked(world), [await world.running(name) for name in NAMES]
    fail_over(world, path)
    await world.run(40)
    assert asked(world) == before
    assert [await world.running(name) for name in NAMES] == ran
    assert await doubts(world) == ["R3"]  # nothing happened in the others
    (page,) = [text for text in world.pages() if "in doubt" in text]
    assert "the database ends with event" in page
    assert f'rollout cancel {rollout_id} --reason "…"' in page


async def test_what_was_lost_is_missed_also_when_its_numbers_were_given_again(
    world: World, tmp_path: Path
) -> None:
    await world.given_known_good()
    path = standby(world, tmp_path)
    await world.start("1.1.0")
    await world.run(1)
    answering(world, False)
    fail_over(world, path)
    for version in ("1.2.0", "1.3.0", "1.4.0", "1.5.0"):
        await world.start(version)
    await world.tick()
    assert await doubts(world) == ["R1", "R2", "R3"]


async def test_where_nothing_was_lost_nothing_is_doubted(world: World, tmp_path: Path) -> None:
    rollout_id = await world.given_baking("1.1.0")
    fail_over(world, standby(world, tmp_path))
    await world.tick()
    assert await doubts(world) == []
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_what_is_noted_stays_until_the_doubts_are_stored(world: World, tmp_path: Path) -> None:
    await world.given_baking("1.1.0")
    path = standby(world, tmp_path)
    await world.start("1.2.0")
    await world.tick()
    noted = (tmp_path / "ann").read_text()
    answering(world, False)
    fail_over(world, path)
    real = world.store.distrust_if_old  # type: ignore[attr-defined]

    async def fails(*_: Any) -> str:
        raise StoreError("The database cannot be written.")

    world.store.distrust_if_old = fails  # type: ignore[attr-defined]
    with pytest.raises(StoreError):
        await world.tick()
    assert (tmp_path / "ann").read_text() == noted
    world.store.distrust_if_old = real  # type: ignore[attr-defined]
    await world.tick()
    assert await doubts(world) == ["R1", "R2", "R3"]


async def test_a_failover_in_the_middle_of_a_look_is_seen_before_anything_is_ordered(
    world: World, tmp_path: Path
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    before, real = asked(world), world.store.due

    async def due(*arguments: Any) -> Any:
        fail_over(world, path)
        world.store.due = real  # type: ignore[method-assign]
        return await real(*arguments)

    world.store.due = due  # type: ignore[method-assign]
    await world.tick()
    assert world.store.due == real
    assert asked(world) == before
    await world.run(30)
    assert asked(world) == before
    assert await doubts(world) == ["R3"]


async def test_nothing_is_ordered_while_nobody_could_read_which_regions_are_in_doubt(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    before, real = asked(world), world.store.doubted
    fail_over(world, path)

    async def lost_once() -> Any:
        monkeypatch.setattr(world.store, "doubted", real)
        raise StoreError("The connection was lost.")

    monkeypatch.setattr(world.store, "doubted", lost_once)
    with pytest.raises(StoreError):
        await world.tick()
    await world.run(3)
    assert asked(world) == before
    assert await doubts(world) == ["R3"]


async def test_every_change_is_forbidden_between_new_claims_and_the_read_of_the_doubts(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 3)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    before = asked(world)
    world.reconciler._doubts.forget()
    world.clock.advance(5)
    await world.reconciler._act()
    await world.reconciler.settle()
    assert asked(world) == before
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_read_of_the_doubts_that_a_newer_one_has_overtaken_is_not_taken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    before, real, go = asked(world), world.store.doubted, asyncio.Event()

    async def answered_late() -> Any:
        monkeypatch.setattr(world.store, "doubted", real)
        found = await real()
        await go.wait()
        return found

    monkeypatch.setattr(world.store, "doubted", answered_late)
    late = asyncio.create_task(world.reconciler._doubts.read())
    await asyncio.sleep(0)
    answering(world, False)
    fail_over(world, path)
    await world.tick()
    go.set()
    await late
    await world.run(3)
    assert asked(world) == before
    assert await doubts(world) == ["R1", "R2", "R3"]


async def test_the_same_old_state_that_comes_back_a_second_time_is_doubted_again(
    world: World, tmp_path: Path
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    shutil.copy(path, tmp_path / "again.db")
    before = asked(world)
    fail_over(world, path)
    await world.run(3)
    assert await doubts(world) == ["R3"]
    fail_over(world, tmp_path / "again.db")
    await world.run(15)
    assert asked(world) == before
    assert await doubts(world) == ["R3"]
    assert any("the epochs of its claims add up to 1, and " in text for text in world.pages())


async def test_a_reading_that_breaks_in_a_way_nobody_foresaw_is_told_as_any_other(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    fake = world.plugins.fake_deployer("R3")
    real = fake.apply

    async def broken(key: str, action: Any) -> Any:
        if action.kind is Kind.VERIFY:
            raise KeyError("instances")
        return await real(key, action)

    monkeypatch.setattr(fake, "apply", broken)
    fail_over(world, path)
    await world.run(3)
    assert await doubts(world) == ["R3"]
    (page,) = [text for text in world.pages() if "in doubt" in text]
    assert "R3: it could not be read back: KeyError: 'instances'" in page


async def test_a_region_that_was_read_before_the_last_loss_stays_in_doubt(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await order_to_be_done_in_the_standby(world, tmp_path)
    before, go = asked(world), asyncio.Event()
    fake = world.plugins.fake_deployer("R3")
    real = fake.apply

    async def answers_late(key: str, action: Any) -> Any:
        reply = await real(key, action)
        if action.kind is Kind.VERIFY:
            await go.wait()
        return reply

    monkeypatch.setattr(fake, "apply", answers_late)
    assert await world.store.distrust_if_old(world.clock.now(), 10**6)  # type: ignore[attr-defined]
    await world.reconciler.tick()  # nothing differs, and R3 has not said so yet
    await asyncio.sleep(0)
    fail_over(world, path)
    world.clock.advance(1)
    await world.reconciler.tick()
    go.set()
    await world.reconciler.settle()
    assert "R3" in await doubts(world)
    await world.run(3)
    assert asked(world) == before


async def test_who_holds_the_services_orders_nothing_where_another_replica_has_put_doubts_in(
    world: World, tmp_path: Path
) -> None:
    await world.given_known_good()
    await world.run(3)
    assert await world.store.distrust_if_old(world.clock.now(), 10**6)  # type: ignore[attr-defined]
    answering(world, False)
    await world.start("1.1.0")
    before = asked(world)
    await world.run(30)
    assert asked(world) == before
    answering(world, True)
    await world.run(15)
    assert await doubts(world) == []
    assert len([text for text in world.pages() if "in doubt" in text]) == 1


async def test_the_second_replica_that_finds_out_changes_no_doubt_and_pages_nobody_again(
    world: World, tmp_path: Path
) -> None:
    bob = replica(world, BOB, tmp_path / "bob")
    rollout_id = await world.given_baking("1.1.0")
    path = standby(world, tmp_path)
    await world.until(rollout_id, Phase.SUCCEEDED)
    await bob.tick()
    answering(world, False)
    fail_over(world, path)
    await world.tick()
    found = {pair.region: pair.doubt for pair in await world.store.doubted()}
    world.clock.advance(1)
    await bob.tick()
    await bob.settle()
    after = {pair.region: pair.doubt for pair in await world.store.doubted()}
    assert {*after} == {*NAMES}
    assert after == found
    for _ in range(30):
        await world.tick()
        await bob.tick()
        await bob.settle()
    assert len({text for text in world.pages() if "in doubt" in text}) == 1  # of one key, also from both
    await bob.stop()
