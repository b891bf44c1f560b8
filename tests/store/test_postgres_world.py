"""The main job on PostgreSQL: a good release travels, a bad one comes back, and a new controller goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rollout.core.model import Phase
from rollout.ports import Ask, Reading
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


async def test_what_a_source_tells_stops_nobody_whatever_characters_it_has(
    place: Any, tmp_path: Path
) -> None:
    world = World(new_store(tmp_path, place.empty()), QUICK)
    try:
        await world.given_known_good()
        source: Any = world.plugins.sources["R3"]
        tells = source.collect

        async def told(ask: Ask) -> Reading:
            reading: Reading = await tells(ask)
            strange = tuple(replace(s, version="a\0b\ud800", instance="\0\udfff") for s in reading.samples)
            return replace(reading, samples=(*reading.samples, *strange), problems=("\0\ud800",))

        source.collect = told
        await world.until(await world.start("1.1.0"), Phase.SUCCEEDED)
    finally:
        world.store.close()  # type: ignore[attr-defined]
