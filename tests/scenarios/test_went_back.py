"""The database goes back while controllers run: a standby without the last commits takes over."""

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
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 3)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    path = standby(world, tmp_path)  # in which the order is still to be done
    await world.until(rollout_id, Phase.SUCCEEDED)
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
