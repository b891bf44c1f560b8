"""Real faults, real processes, bounded: two replicas on one PostgreSQL, regions that outlive them all.

`make faults` runs the same cases for longer. Each test ends in the same check (facts.py).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import grounds, networks, replicas
from tests.faults.databases import database_killed, standby_promoted
from tests.faults.figures import Figures
from tests.faults.grounds import Ground

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with grounds.on_postgres() as found:
        yield found


def _concluded(ground: Ground, *found: Figures) -> None:
    ground.world.conclude(found[-1])
    for figures in found:
        print(figures)
    assert [line for figures in found for line in figures.wrong] == []


def test_a_replica_that_was_frozen_past_its_lease_or_killed_does_nothing_twice(ground: Ground) -> None:
    frozen = replicas.frozen(ground.world, 3)
    killed = replicas.killed_at_the_verdict(ground.world, 1)
    _concluded(ground, frozen, killed)


def test_every_effect_survives_every_fault_of_the_network_and_a_region_that_is_cut_off(
    ground: Ground,
) -> None:
    with ThreadPoolExecutor(1) as at_the_same_time:
        eight = at_the_same_time.submit(networks.eight_faults, ground.world, 1, "one")
        cut = networks.cut_off(ground.world, 1, away_s=3)
    _concluded(ground, eight.result(), cut)


def test_a_clock_that_jumps_ends_no_bake_and_no_lease(ground: Ground) -> None:
    _concluded(ground, replicas.clocks(ground.world, 1, (3600, -3600, 0)))


def test_a_database_that_is_killed_or_replaced_loses_nothing_that_was_acknowledged(ground: Ground) -> None:
    killed = database_killed(ground.world, ground.servers.primary, 2)
    _concluded(ground, killed, standby_promoted(ground.world, ground.ask, ground.servers, 1))
    assert ground.world.acknowledged.notes
