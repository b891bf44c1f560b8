"""How a rollout ends before its time: canceled, superseded, refused; and who waits for whom."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import Conflict, NotFound, PermanentError
from rollout.core.model import Kind, Outcome, Phase, RegionPhase, Release
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, NAMES, ONE, POLICY, QUICK, World, configuration

MakeWorld = Callable[[dict[str, object]], World]
OLD = {"1.0.0": 4}


async def test_cancel_before_a_region_is_touched(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R2").slow("rehearse", 5)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.PREFLIGHT)
    await world.commands.cancel(rollout_id, DEPLOYER, "wrong version")
    view = await world.until(rollout_id, Phase.CANCELED)
    assert view.outcome is Outcome.CANCELED
    await world.run(10)
    assert [world.effects(name, "deploy") for name in NAMES] == [[]] * 3


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.PREFLIGHT])
async def test_rollback_before_a_region_is_touched_cancels(world: World, phase: Phase) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R2").slow("rehearse", 5)
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, phase)
    await world.commands.rollback(rollout_id, DEPLOYER, "stop it")
    assert (await world.until(rollout_id, Phase.CANCELED, within=5)).outcome is Outcome.CANCELED


async def test_cancel_after_a_region_is_touched_names_rollback(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    with pytest.raises(Conflict, match=r"R3 runs 1\.1\.0 already.*use rollback"):
        await world.commands.cancel(rollout_id, DEPLOYER, "wrong version")


async def test_what_cannot_go_back_and_was_adopted_can_be_canceled_and_a_fix_goes_forward(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").fail_next(Kind.RESTORE, PermanentError("the schema was migrated"))
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    world.plugins.fake_deployer("R3").install("mail", "1.1.0")
    await world.run(20)
    assert "cancel" not in (await world.view(rollout_id)).possible
    with pytest.raises(Conflict, match="use rollback"):
        await world.commands.cancel(rollout_id, DANA, "we fix forward")
    await world.commands.adopt("mail", ADMIN, "no way back", ["R3"], "we fix forward")
    assert "cancel" in (await world.view(rollout_id)).possible
    fix = await world.start("1.2.0")
    await world.run(5)
    assert (await world.rollout(fix)).phase is Phase.QUEUED
    await world.commands.cancel(rollout_id, DANA, "we fix forward")
    view = await world.until(rollout_id, Phase.CANCELED)
    assert "It stays in R3, where it was adopted (" in view.reason.text
    await world.until(fix, Phase.SUCCEEDED)


async def test_a_person_rolls_back_and_it_ends_as_aborted(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    await world.commands.rollback(rollout_id, DANA, "users complain")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ABORTED
    assert view.reason.text == "dana asked to roll back: users complain"
    assert [await world.running(name) for name in NAMES] == [OLD] * 3


async def test_a_second_rollout_queues_behind_the_first_and_names_it(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    first = await world.given_baking("1.1.0")
    second = await world.start("1.2.0")
    await world.run(3)
    view = await world.view(second)
    assert view.phase is Phase.QUEUED
    assert view.blocked_by == (f"{first} (1.1.0) is moving",)
    await world.until(second, Phase.SUCCEEDED)
    begun = [e.transition for e in await world.store.events(rollout_id=second)][1]
    assert begun.at >= ((await world.rollout(first)).finished_at or begun.at)


async def test_supersede_ends_an_untouched_rollout(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "concurrency": "supersede"})
    await world.given_known_good()
    world.plugins.fake_deployer("R3").slow("rehearse", 5)
    first = await world.start("1.1.0")
    await world.until(first, Phase.PREFLIGHT)
    second = await world.start("1.2.0")
    assert (await world.until(first, Phase.SUPERSEDED)).outcome is Outcome.SUPERSEDED
    await world.until(second, Phase.SUCCEEDED)
    assert world.effects("R3", "deploy")[:1] == ["1.2.0"]


async def test_supersede_takes_a_touched_rollout_back_before_the_newer_begins(
    make_world: MakeWorld,
) -> None:
    world = make_world({**ONE, "concurrency": "supersede"})
    first = await world.given_baking("1.1.0")
    second = await world.start("1.2.0")
    view = await world.until(first, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.SUPERSEDED
    assert (await world.rollout(second)).phase in (Phase.QUEUED, Phase.PREFLIGHT)
    await world.until(second, Phase.SUCCEEDED)
    changes = [e.action for e in world.plugins.fake_deployer("R3").effects]
    order = [(a.kind, a.version) for a in changes if a.kind in ("deploy", "restore")]
    assert order[:3] == [("deploy", "1.1.0"), ("restore", "1.0.0"), ("deploy", "1.2.0")]


async def test_reject_refuses_a_second_rollout(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "concurrency": "reject"})
    first = await world.given_baking("1.1.0")
    with pytest.raises(Conflict, match=f"{first}.*allows one at a time"):
        await world.start("1.2.0")


async def test_when_two_controllers_race_the_database_lets_one_in(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    first = await world.start("1.1.0")
    world.clock.advance(1)
    second = await world.start("1.2.0")
    active = world.store.active

    async def blind(service: str) -> tuple[object, ...]:
        """As a controller that read before the other one wrote."""
        return ()

    world.store.active = blind  # type: ignore[method-assign, assignment]
    await world.run(5)
    world.store.active = active  # type: ignore[method-assign]
    phases = {(await world.rollout(name)).phase for name in (first, second)}
    assert phases == {Phase.QUEUED, Phase.PROGRESSING}
    view = await world.view(second)
    assert any(first in line for line in view.blocked_by)
    await world.until(first, Phase.SUCCEEDED)
    await world.until(second, Phase.SUCCEEDED)


async def test_rollouts_that_share_no_region_do_not_wait(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    elsewhere = {**POLICY, **QUICK, "name": "elsewhere", "stages": [{"regions": ["R1"]}]}
    world.configuration = configuration({**POLICY, **ONE}, elsewhere)
    first, second = await world.start("1.1.0"), await world.start("1.1.1", policy="elsewhere")
    await world.until_region(first, "R3", RegionPhase.BAKING)
    assert (await world.rollout(second)).region("R1").phase is RegionPhase.BAKING


async def test_a_rollout_that_waits_too_long_in_the_queue_is_held(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "deadlines": {"queue": "20s"}})
    first = await world.given_baking("1.1.0")
    await world.commands.hold(first, DANA, "wait")
    second = await world.start("1.2.0")
    view = await world.until(second, Phase.HELD)
    assert view.reason.code == "queue.expired"
    assert first in view.reason.text
    await world.commands.resume(second, DANA, "wait longer")
    await world.run(10)
    assert (await world.rollout(second)).phase is Phase.QUEUED


async def test_a_version_that_runs_already_is_refused(world: World) -> None:
    await world.given_known_good()
    with pytest.raises(Conflict, match="already runs, as known good, in R3, R1, R2"):
        await world.start("1.0.0")


async def test_a_service_that_was_never_declared_is_refused(world: World) -> None:
    release = Release(service="fax", version="1.0.0")
    with pytest.raises(NotFound, match="There is no service 'fax'"):
        await world.commands.start(StartRequest(release=release), DEPLOYER)


async def test_a_policy_file_that_changes_changes_nothing_under_way(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    world.configuration = replace(
        configuration({**POLICY, "stages": [{"regions": ["R3"]}, {"regions": ["R2"]}]}), signals={}
    )
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert [stage.name for stage in view.stages] == ["R3"]
    assert world.effects("R2", "deploy") == []
