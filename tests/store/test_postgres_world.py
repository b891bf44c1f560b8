"""The main job on PostgreSQL: a good release travels, a bad one comes back, and a new controller goes on."""

from pathlib import Path
from typing import Any

from rollout.core.model import Phase
from tests.scenarios.world import QUICK, World, new_store

DATABASES = ("postgresql",)


async def test_a_good_release_travels_and_a_bad_one_comes_back(place: Any, tmp_path: Path) -> None:
    world = World(new_store(tmp_path, place.empty()), QUICK)
    try:
        await world.given_succeeded("1.1.0")
        world.given_harm("R3", "1.2.0")
        bad = await world.start("1.2.0")
        await world.until(bad, Phase.ROLLED_BACK)
        assert set(await world.running("R3")) == {"1.1.0"}
    finally:
        world.store.close()  # type: ignore[attr-defined]


async def test_another_controller_goes_on_from_the_database_after_every_tick(
    place: Any, tmp_path: Path
) -> None:
    world = World(new_store(tmp_path, place.empty()), QUICK)
    try:
        await world.given_known_good()
        rollout_id = await world.start("1.1.0")
        for _ in range(200):
            world.reconciler = world.another_controller()
            await world.tick()
            if (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED:
                break
        assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED
        assert world.effects("R3", "deploy").count("1.1.0") == 1
    finally:
        world.store.close()  # type: ignore[attr-defined]
