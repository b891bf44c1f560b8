"""After a backup was put back: what was done since is not done again, and nothing is ordered on a guess."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from rollout.core.errors import Conflict
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.store import inline, open_store
from rollout.store.backup import back_up, restore
from tests.scenarios.world import ADMIN, NAMES, World


def taken(world: World, path: Path) -> Path:
    """A backup of the world's database as it is now."""
    back_up(world.store.database.path, path, {}, world.clock.now())  # type: ignore[attr-defined]
    return path


async def put_back(world: World, backup: Path, at: datetime) -> World:
    """The same regions, with a new controller on the database of the backup."""
    target = backup.parent / "again" / "rollout.db"
    restore(backup, target, backup.parent, at)
    store = open_store(f"sqlite:///{target}", run=inline)
    await store.distrust_if_old(at, 0)
    again = World(store)
    again.clock, again.plugins, again.health = world.clock, world.plugins, world.health
    again.commands._clock = again.queries._clock = world.clock
    again.reconciler = again.another_controller()
    return again


def changes(world: World) -> list[tuple[str, str, str]]:
    """What was ordered and took effect, region by region."""
    kinds = (Kind.DEPLOY, Kind.RESTORE, Kind.RESUME_WORK)
    return [
        (name, effect.action.kind, effect.action.version)
        for name in NAMES
        for effect in world.plugins.fake_deployer(name).effects
        if effect.action.kind in kinds
    ]


def asked(world: World) -> int:
    """How often a change was ordered, also where the target had done it before, or refused it."""
    kinds = (Kind.DEPLOY, Kind.RESTORE, Kind.RESUME_WORK)
    return sum(
        action.kind in kinds for name in NAMES for _, action in world.plugins.fake_deployer(name).calls
    )


async def test_where_nothing_happened_since_it_goes_on_by_itself(world: World, tmp_path: Path) -> None:
    rollout_id = await world.given_baking("1.1.0")
    again = await put_back(world, taken(world, tmp_path / "copy"), world.clock.now())
    await again.run(2)
    assert await again.store.doubted() == ()
    await again.until(rollout_id, Phase.SUCCEEDED)
    assert [await again.running(name) for name in NAMES] == [{"1.0.0": 1, "1.1.0": 3}] * 3


async def test_orders_that_were_done_since_are_not_done_again(world: World, tmp_path: Path) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 3)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    backup = taken(world, tmp_path / "copy")  # in which the order is still to be done
    await world.until(rollout_id, Phase.SUCCEEDED)
    await world.run(40)  # the watch is met, and the holdback follows
    before, ran = asked(world), [await world.running(name) for name in NAMES]
    again = await put_back(world, backup, world.clock.now())
    await again.run(40)
    assert asked(again) == before
    assert [await again.running(name) for name in NAMES] == ran
    (page,) = [text for text in again.pages() if "in doubt" in text]
    assert page.startswith("mail in R1, R2, R3 is in doubt: the database was put back from the backup of 20")
    assert re.search(
        r"backup of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. R1: its target has seen generation", page
    )
    assert f'End what is under way there: rollout cancel {rollout_id} --reason "…".' in page
    assert 'rollout adopt mail --region R1 --region R2 --region R3 --reason "…"' in page


async def test_a_rollback_of_the_backup_does_not_take_a_newer_release_back(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").slow(Kind.RESTORE, 5)
    await world.commands.rollback(rollout_id, ADMIN, "it smells")
    await world.until_region(rollout_id, "R3", RegionPhase.RESTORING)
    backup = taken(world, tmp_path / "copy")  # in which the order is still to be done
    await world.until(rollout_id, Phase.ROLLED_BACK)
    newer = await world.start("1.2.0")
    await world.until(newer, Phase.SUCCEEDED)
    before = asked(world)
    again = await put_back(world, backup, world.clock.now())
    await again.run(40)
    assert asked(again) == before
    assert (await again.running("R3"))["1.2.0"] == 3


async def test_a_target_that_tells_no_generation_is_compared_by_what_it_runs(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    backup = taken(world, tmp_path / "copy")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    before = changes(world)
    for name in NAMES:
        world.plugins.fake_deployer(name)._services["mail"].generation = 0
    again = await put_back(world, backup, world.clock.now())
    await again.run(30)
    assert [change for change in changes(again) if change[0] == "R3"] == [c for c in before if c[0] == "R3"]
    assert any("it runs 1 × 1.0.0 + 3 × 1.1.0, and the database believes" in text for text in again.pages())


async def test_a_person_ends_what_was_under_way_adopts_what_runs_and_releases_again(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    backup = taken(world, tmp_path / "copy")
    await world.until(rollout_id, Phase.SUCCEEDED)
    await world.run(40)
    again = await put_back(world, backup, world.clock.now())
    await again.run(20)
    assert "In doubt" in (await again.queries.running("mail"))[0].problems[0]
    waiting = await again.view(rollout_id)
    assert waiting.needs_person
    assert "cancel" in waiting.possible
    assert "In doubt, so nothing is ordered here" in waiting.blocked_by[0]
    assert waiting.next is not None
    assert waiting.next.what.startswith("Cancel it, then: rollout adopt mail --region R3")
    await again.commands.cancel(rollout_id, ADMIN, "it has long ended")
    await again.run(3)
    view = await again.view(rollout_id)
    assert "was canceled without acting; it had touched R3" in view.sentence
    assert not view.needs_person
    assert (view.phase, view.outcome) == (Phase.CANCELED, "canceled")
    assert "without acting" in view.reason.text
    await again.commands.adopt("mail", ADMIN, "1.1.0 serves well")
    await again.run(20)
    assert await again.store.doubted() == ()
    newer = await again.start("1.2.0")
    await again.until(newer, Phase.SUCCEEDED)
    assert [(await again.running(name))["1.2.0"] for name in NAMES] == [3, 3, 3]


async def test_a_rollout_that_waits_before_a_region_in_doubt_says_so_and_goes_on_when_it_is_adopted(
    world: World, tmp_path: Path
) -> None:
    await world.given_known_good()
    backup = taken(world, tmp_path / "copy")
    world.plugins.fake_deployer("R2").install("mail", "1.0.1", 4)  # since then, and as good
    again = await put_back(world, backup, world.clock.now())
    await again.run(15)
    rollout_id = await again.start("1.1.0")
    await again.run(30)
    view = await again.view(rollout_id)
    assert view.phase is Phase.PREFLIGHT
    assert view.needs_person
    assert view.blocked_by[0].startswith(
        "R2: In doubt, so nothing is ordered here: the database was put back"
    )
    assert "cancel" in view.possible, "since nothing is touched"
    assert view.next is not None
    assert view.next.what == 'It goes on by itself after: rollout adopt mail --region R2 --reason "…"'
    await again.commands.adopt("mail", ADMIN, "1.0.1 serves well", ["R2"])
    await again.until(rollout_id, Phase.SUCCEEDED)


async def test_where_two_versions_run_in_doubt_what_helps_is_named_instead_of_adopting(
    world: World, tmp_path: Path
) -> None:
    rollout_id = await world.given_baking("1.1.0", "R1")
    backup = taken(world, tmp_path / "copy")
    await world.until(rollout_id, Phase.SUCCEEDED)  # with one instance held back in each region
    again = await put_back(world, backup, world.clock.now())
    await again.run(20)
    restore = 'rollout emergency restore mail --region R1 --even-so --reason "…"'
    (page,) = [text for text in again.pages() if "in doubt" in text]
    assert f"Where two versions run, that is refused; put one there instead: {restore}" in page
    view = await again.view(rollout_id)
    assert view.next is not None
    assert restore in view.next.what
    with pytest.raises(Conflict, match="As it is in doubt, this puts one version there: rollout emergency"):
        await again.commands.adopt("mail", ADMIN, "it serves well", ["R1"])


async def test_without_doubt_what_has_touched_a_region_cannot_be_canceled(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    with pytest.raises(Conflict, match="use rollback"):
        await world.commands.cancel(rollout_id, ADMIN, "enough")


async def test_a_region_that_does_not_answer_stays_in_doubt_until_it_does(
    world: World, tmp_path: Path
) -> None:
    await world.given_baking("1.1.0")
    backup = taken(world, tmp_path / "copy")
    world.plugins.fake_deployer("R3").unreachable = True
    again = await put_back(world, backup, world.clock.now())
    await again.run(25)
    assert [pair.region for pair in await again.store.doubted()] == ["R3"]
    world.plugins.fake_deployer("R3").unreachable = False
    await again.run(25)
    assert await again.store.doubted() == ()
