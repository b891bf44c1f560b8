"""After a rollback nothing is promoted by itself, and what was harmful stays out."""

from collections.abc import Callable

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import Conflict, NotAllowed
from rollout.core.model import Outcome, Phase, RegionPhase, Release
from tests.scenarios.test_drift import by_hand
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, HEALTHY, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]
ONE = {"stages": [{"regions": ["R3"], "steps": [{"set_weight": 75}, {"bake": "15s"}]}]}
WATCHED: dict[str, object] = {"steps": [{"set_weight": 75}, {"bake": "30s"}], "watch": "10m"}


async def given_rolled_back(world: World) -> tuple[str, str]:
    """1.1.0 came back while 1.2.0 waited in the queue; their ids."""
    first = await world.given_baking("1.1.0")
    waiting = await world.start("1.2.0")
    await world.run(1)
    world.given_harm("R3", "1.1.0")
    await world.until(first, Phase.ROLLED_BACK)
    return first, waiting


async def test_what_waited_in_the_queue_is_held(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    first, waiting = await given_rolled_back(world)
    view = await world.until(waiting, Phase.HELD, within=10)
    assert view.reason.code == "queue.stopped"
    assert first in view.reason.text
    await world.run(30)
    assert world.effects("R3", "deploy") == ["1.1.0"]
    await world.commands.resume(waiting, DANA, "1.2.0 has the fix")
    await world.until(waiting, Phase.SUCCEEDED)


async def test_a_new_start_goes_past_what_is_held(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    _, waiting = await given_rolled_back(world)
    await world.until(waiting, Phase.HELD, within=10)
    fix = await world.start("1.3.0")
    assert (await world.until(fix, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED
    assert (await world.rollout(waiting)).phase is Phase.HELD


async def test_what_is_resumed_while_a_newer_one_moves_waits_for_it_by_name(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    _, waiting = await given_rolled_back(world)
    await world.until(waiting, Phase.HELD, within=10)
    fix = await world.start("1.3.0")
    await world.until(fix, Phase.PROGRESSING)
    await world.commands.resume(waiting, DANA, "1.2.0 too")
    await world.run(3)
    view = await world.view(waiting)
    assert view.phase is Phase.QUEUED
    assert any(fix in line for line in view.blocked_by)
    await world.until(fix, Phase.SUCCEEDED)
    await world.until(waiting, Phase.SUCCEEDED)


async def test_a_version_that_was_rolled_back_needs_an_override_by_an_admin(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    first, waiting = await given_rolled_back(world)
    await world.until(waiting, Phase.HELD, within=10)
    await world.commands.cancel(waiting, DEPLOYER, "not needed")
    with pytest.raises(Conflict, match=rf"1\.1\.0 was rolled back by {first}"):
        await world.start("1.1.0")
    again = StartRequest(
        release=Release(service="mail", version="1.1.0", author="ana"), override="it was the network"
    )
    with pytest.raises(NotAllowed, match="needs the role admin"):
        await world.commands.start(again, DEPLOYER)
    world.given_harm("R3", "1.1.0", HEALTHY)
    rollout = await world.commands.start(again, ADMIN)
    assert (await world.until(rollout.id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED


async def given_taken_back(world: World) -> str:
    """1.1.0 was taken back from R3 and R1, and its recovery has ended; its id."""
    first = await world.given_baking("1.1.0", "R1")
    await world.commands.rollback(first, DANA, "users complain")
    await world.until(first, Phase.ROLLED_BACK)
    await world.run(8)
    return first


async def then_taken_back_again_beside_the_fix(world: World, first: str) -> None:
    """1.1.0 comes to R1 again, and a person takes it back there, while 1.2.0 keeps R3."""
    by_hand(world, "R1", *["1.1.0"] * 4)
    await world.run(10)
    await world.commands.rollback(first, DANA, "it is there again")
    await world.until(first, Phase.ROLLING_BACK)
    await world.until(first, Phase.ROLLED_BACK)
    assert await world.running("R1") == {"1.0.0": 4}
    assert await world.running("R3") == {"1.2.0": 3, "1.0.0": 1}
    assert not [page for page in world.pages() if "rollback failed" in page]


async def test_what_came_again_is_taken_back_beside_a_fix_that_bakes(make_world: MakeWorld) -> None:
    world = make_world(WATCHED)
    first = await given_taken_back(world)
    fix = await world.start("1.2.0")
    await world.until_region(fix, "R3", RegionPhase.BAKING)
    await then_taken_back_again_beside_the_fix(world, first)
    await world.until(fix, Phase.SUCCEEDED)


async def test_what_came_again_is_taken_back_beside_a_fix_that_succeeded(make_world: MakeWorld) -> None:
    world = make_world(WATCHED)
    with_policies(world, WATCHED, {**ONE, "name": "one", "watch": "10m"})
    first = await given_taken_back(world)
    fix = await world.start("1.2.0", policy="one")
    await world.until(fix, Phase.SUCCEEDED)
    await then_taken_back_again_beside_the_fix(world, first)
