"""What the simulation found, each as a test of its own that shows it without chance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.model import Rollout
from rollout.ports import Replica
from tests.scenarios.world import ONE, World, new_store
from tests.simulation.knobs import GOOD, REGIONS, Disk, Knobs, Manner, Network, draw
from tests.simulation.run import run

PLAIN = Manner(fences=True, dedupes=True, slow_s=0.0, partial=False, forgets_at=())


def quiet(seed: int, **more: Any) -> Knobs:
    """A seed in which nothing goes wrong but what a test says."""
    nothing: dict[str, Any] = {
        "machines": 1,
        "services": 1,
        "lease_s": 15.0,
        "tick_s": 1.0,
        "latency_s": 0.0005,
        "policy": "short",
        "release": GOOD,
        "newer_at": None,
        "helped": True,
        "true_times": True,
        "skews": (0.0,),
        "jumps": (),
        "strikes": (),
        "acts": (),
        "manners": (PLAIN,) * len(REGIONS),
        "network": Network(),
        "disk": Disk(),
        "episodes": (),
        "wakes_lost": 0.0,
        "untold": 0.0,
    }
    return replace(draw(seed), **{**nothing, **more})


@pytest.fixture
def world(tmp_path: Path) -> Any:
    store = new_store(tmp_path)
    found = World(store, ONE)
    store.database.clock = found.clock.now
    found.reconciler = found.another_controller(Replica(id="ann", incarnation="1", lease_s=15.0))
    yield found
    store.close()


async def test_a_replica_that_stood_still_after_it_found_an_action_due_sends_nothing(world: World) -> None:
    await world.given_known_good()
    await world.start("1.1.0")
    sent, real = len(world.plugins.fake_deployer("R3").calls), world.store.rollout

    async def and_stand_still(rollout_id: str) -> Rollout:
        found = await real(rollout_id)
        world.clock.advance(20)  # longer than the lease
        return found

    world.store.rollout = and_stand_still  # type: ignore[method-assign]
    await world.reconciler.tick()
    await world.reconciler.settle()
    assert len(world.plugins.fake_deployer("R3").calls) == sent


def test_where_nothing_goes_wrong_a_release_is_promoted() -> None:
    found = run(1, knobs=quiet(1, chaos_s=5.5))
    assert not found.violations
    assert found.reached["outcome promoted"] == 1


def test_a_clock_that_is_set_forward_while_a_controller_restarts_ends_no_bake_early() -> None:
    assert not run(1, knobs=quiet(1, skews=(-60.0,), chaos_s=5.5)).violations
