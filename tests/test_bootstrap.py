"""Wiring: one controller a data directory, and what it says when it cannot start."""

from pathlib import Path

import pytest

from rollout.bootstrap import controller, only_controller
from rollout.core.errors import InvalidInput, StoreError
from rollout.settings import load_settings

REPOSITORY = Path(__file__).parents[1]


async def test_everything_is_wired_from_the_shipped_files(tmp_path: Path) -> None:
    settings = load_settings(config=REPOSITORY, data=tmp_path / "var")
    async with controller(settings) as built:
        assert [region.name for region in built.queries.regions()] == ["R3", "R1", "R2"]
        await built.heartbeat.beat()
        assert built.heartbeat.alive()
        assert built.reconciler.changed == built.heartbeat.wake


async def test_a_second_controller_on_the_same_directory_is_refused_by_name(tmp_path: Path) -> None:
    settings = load_settings(config=REPOSITORY, data=tmp_path)
    with only_controller(settings), pytest.raises(StoreError, match=r"process \d+, works on .*ROLLOUT_DATA"):
        async with controller(settings):
            pass
    async with controller(settings):
        pass  # the first one has ended


async def test_a_configuration_that_cannot_be_used_names_its_place(tmp_path: Path) -> None:
    settings = load_settings(config=tmp_path, data=tmp_path / "var")
    with pytest.raises(InvalidInput, match=r"regions\.yaml"):
        async with controller(settings):
            pass
