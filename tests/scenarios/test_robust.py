"""Whatever one rollout, one region or one target does, the others go on, and people hear of it."""

import asyncio
from typing import Any

import pytest

from rollout import reconciler as shell
from rollout.core.errors import Conflict
from rollout.core.model import ObligationKind, ObligationState, Phase, RegionPhase, Service
from rollout.ports import Ask, Reading
from rollout.reconciling import observation
from tests.scenarios.world import ADMIN, DANA, FAILING, World


async def test_a_rollout_that_cannot_be_decided_stops_no_other_and_is_paged_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    poisoned = await world.start("1.1.0")
    await world.until_region(poisoned, "R3", RegionPhase.BAKING)
    await world.store.put_service(Service(name="other", policy="standard"))
    for name in ("R3", "R1", "R2"):
        world.plugins.fake_deployer(name).install("other", "1.0.0")
    await world.run(5)
    await world.commands.adopt("other", ADMIN, "it serves well")
    real = shell.decide

    def decide(rollout: Any, *arguments: Any) -> Any:
        if rollout.id == poisoned:
            raise ZeroDivisionError("a fault that nobody foresaw")
        return real(rollout, *arguments)

    monkeypatch.setattr(shell, "decide", decide)
    other = await world.start("2.0.0", service="other")
    await world.until_region(other, "R3", RegionPhase.BAKING)
    pages = [page for page in world.pages() if poisoned in page]
    assert len(pages) == 1
    assert "ZeroDivisionError" in pages[0]
    await world.run(60)
    seen = await world.view(poisoned)
    assert seen.blocked_by[0].startswith("nothing was decided on it for 1 min")
    assert seen.needs_person
    assert f"rollout rollback {poisoned}" in seen.next.what
    assert "rollout emergency restore mail --region R" in seen.next.what
    assert not (await world.view(other)).needs_person
    monkeypatch.undo()
    await world.until(poisoned, Phase.SUCCEEDED, within=700)


async def test_a_region_whose_deployer_breaks_unforeseen_stops_no_other(world: World) -> None:
    await world.given_known_good()

    async def broken(_: str) -> Any:
        raise IsADirectoryError("supervisor.lock")

    world.plugins.fake_deployer("R2").instances = broken  # type: ignore[method-assign]
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    (error,) = [o.error for o in await world.store.observed() if o.region == "R2"]
    assert "IsADirectoryError" in error


async def test_a_region_that_hangs_delays_no_tick_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    monkeypatch.setattr(observation, "OBSERVE_WAIT_S", 0.01)
    never = asyncio.Event()

    async def hang(_: Ask) -> Reading:
        await never.wait()
        raise AssertionError("nobody sets it")

    world.plugins.sources["R2"].collect = hang  # type: ignore[method-assign]
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    await world.reconciler.stop()


async def test_an_unforeseen_fault_of_a_target_is_retried_slowly_shown_and_ends_at_its_deadline(
    world: World,
) -> None:
    await world.given_known_good()
    deployer, calls = world.plugins.fake_deployer("R3"), 0
    real = deployer.apply

    async def full(key: str, action: Any) -> Any:
        nonlocal calls
        if action.kind == "deploy":
            calls += 1
            raise OSError(28, "No space left on device")
        return await real(key, action)

    deployer.apply = full  # type: ignore[method-assign]
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert "No space left on device" in view.reason.text
    assert calls < 12


async def test_a_version_rolled_back_meanwhile_is_not_begun_by_resuming_it(world: World) -> None:
    await world.given_known_good()
    first = await world.start("1.1.0")
    await world.until_region(first, "R3", RegionPhase.BAKING)
    second = await world.start("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(first, Phase.ROLLED_BACK)
    await world.until(second, Phase.HELD)
    await world.commands.resume(second, DANA, "let us try")
    await world.run(10)
    view = await world.queries.rollout(second)
    assert view.phase is Phase.HELD
    assert "an admin" in view.reason.text
    assert world.effects("R3", "deploy") == ["1.1.0"]


async def test_where_a_rollback_failed_a_person_may_adopt_what_they_brought(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    deployer = world.plugins.fake_deployer("R3")
    deployer.fail_next("restore", "the artifact is gone")  # type: ignore[arg-type]
    world.given_harm("R3", "1.1.0", FAILING)
    await world.until(rollout_id, Phase.ROLLBACK_FAILED)
    deployer.install("mail", "0.9.0")
    await world.run(5)
    await world.commands.adopt("mail", ADMIN, "brought by hand", ["R3"])
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.regions[0].back_to == "0.9.0"


async def test_what_does_not_answer_or_is_not_healthy_cannot_be_adopted(world: World) -> None:
    for name in ("R3", "R1", "R2"):
        deployer = world.plugins.fake_deployer(name)
        deployer.install("mail", "1.0.0")
        for index in range(4):
            deployer.crash("mail", index, healthy=False)
    await world.store.put_service(Service(name="mail", policy="standard"))
    await world.run(3)
    with pytest.raises(Conflict, match="nothing"):
        await world.commands.adopt("mail", ADMIN, "looks fine from here")
    for name in ("R3", "R1", "R2"):
        world.plugins.fake_deployer(name).install("mail", "1.0.0")
    await world.run(3)
    world.plugins.fake_deployer("R1").unreachable = True
    await world.run(3)
    with pytest.raises(Conflict, match="R1"):
        await world.commands.adopt("mail", ADMIN, "looks fine from here")


async def test_adopting_names_each_region_that_was_not_read_back_and_adopts_none(world: World) -> None:
    for name in ("R3", "R1", "R2"):
        world.plugins.fake_deployer(name).install("mail", "1.0.0")
    world.plugins.fake_deployer("R2").unreachable = True
    await world.store.put_service(Service(name="mail", policy="standard"))
    await world.run(3)
    with pytest.raises(Conflict, match=r"adopted: R2 does not answer \(.*name the others alone: R"):
        await world.commands.adopt("mail", ADMIN, "it serves well")
    assert not any(known.known_good for known in await world.store.service_regions("mail"))
    await world.commands.adopt("mail", ADMIN, "it serves well", ["R3", "R1"])
    world.plugins.fake_deployer("R2").unreachable = False
    await world.run(3)
    assert len(await world.commands.adopt("mail", ADMIN, "it serves well")) == 3


async def test_what_was_read_back_long_ago_is_not_adopted(world: World) -> None:
    await world.given_known_good()
    world.clock.advance(61)  # nobody reads meanwhile
    with pytest.raises(Conflict, match=r"R3 was last read back 6\d s ago, more than 60 s"):
        await world.commands.adopt("mail", ADMIN, "it served well")
    await world.run(3)
    assert len(await world.commands.adopt("mail", ADMIN, "it serves well")) == 3


async def test_a_watch_rests_under_a_newer_release_and_goes_on_when_that_is_taken_back(
    world: World,
) -> None:
    await world.given_known_good()
    first = await world.start("1.1.0")
    await world.until(first, Phase.SUCCEEDED)
    second = await world.start("1.2.0")
    await world.until_region(second, "R3", RegionPhase.BAKING)
    await world.commands.rollback(second, DANA, "not this one")
    await world.until(second, Phase.ROLLED_BACK)
    watches = {
        o.region: o.state for o in (await world.case(first)).obligations if o.kind is ObligationKind.WATCH
    }
    assert watches["R3"] is not ObligationState.TAKEN_OVER
    assert await world.running("R3") == {"1.1.0": 4}


async def test_a_region_with_one_instance_is_refused_before_it_is_touched(world: World) -> None:
    for name in ("R3", "R1", "R2"):
        world.plugins.fake_deployer(name).install("mail", "1.0.0", 1)
    await world.store.put_service(Service(name="mail", policy="standard"))
    await world.run(5)
    await world.commands.adopt("mail", ADMIN, "it serves well")
    view = await world.until(await world.start("1.1.0"), Phase.HELD)
    assert "no room for the release beside its baseline" in view.reason.text
    assert world.effects("R3", "deploy") == []


async def test_a_reading_that_cannot_be_stored_is_an_error_of_its_region_and_stops_nobody_else(
    world: World,
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    real = world.store.save_reading

    async def poisoned(seen: Any, samples: Any, running: Any, fence: Any = None) -> None:
        if seen.region == "R2" and samples:
            raise UnicodeEncodeError("utf-8", "a\ud800b", 1, 2, "surrogates not allowed")
        await real(seen, samples, running, fence)

    world.store.save_reading = poisoned  # type: ignore[method-assign]
    stood = (await world.rollout(rollout_id)).version
    await world.run(3)
    assert (await world.rollout(rollout_id)).version > stood
    errors = {seen.region: seen.error for seen in await world.store.observed()}
    assert "surrogates not allowed" in errors["R2"]
    assert not errors["R3"]
