"""Nothing is done, and nothing is said to be decided, that is not on the record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from rollout.core.errors import Fenced, StoreError, Unwritable
from rollout.core.machine import Trigger
from rollout.core.model import Phase
from tests.scenarios.world import NAMES, ONE, World, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = new_store(tmp_path)
    yield World(store, ONE)
    store.close()


async def test_nothing_is_ordered_before_its_decision_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    real, refused = world.store.commit, []

    async def full(change: Any, fence: Any) -> Any:
        if not change.actions:
            return await real(change, fence)
        refused.append(change)
        raise Unwritable("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "commit", full)
        for _ in range(3):
            with pytest.raises(StoreError):
                await world.tick()
            await world.reconciler.settle()
            world.clock.advance(1)
    assert refused
    assert [effect for name in NAMES for effect in world.plugins.fake_deployer(name).effects] == []
    assert [key for name in NAMES for key in _keys(world, name) if key.startswith(rollout_id)] == []
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_decision_that_was_fenced_is_not_said_to_be_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")

    async def fenced(*_: Any) -> Any:
        raise Fenced("Another replica holds the service.")

    monkeypatch.setattr(world.store, "commit", fenced)
    structlog.reset_defaults()  # else what is less than an error is not said
    with capture_logs() as said:
        await world.tick()
    assert "not decided here" in {line["event"] for line in said}
    assert Trigger.BEGIN not in {line["event"] for line in said}
    assert (await world.rollout(rollout_id)).phase is Phase.QUEUED


def _keys(world: World, name: str) -> list[str]:
    """What a region was asked."""
    return [key for key, _ in world.plugins.fake_deployer(name).calls]
