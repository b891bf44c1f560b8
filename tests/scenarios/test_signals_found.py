"""What the sources find of a service's signals, region by region; one that hangs or fails hides no other."""

import pytest

from rollout.core.errors import NotFound, TransientError
from rollout.core.model import Region
from rollout.looking import Looking
from rollout.ports import Ask, Found, MetricSource, Reading
from tests.scenarios.world import World


class Seeing:
    """A source that finds one series of the first signal and nothing of the second."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def collect(self, ask: Ask) -> Reading:
        raise NotImplementedError

    async def found(self, ask: Ask) -> tuple[Found, ...]:
        if self._error:
            raise self._error
        first, second = ask.signals
        return (
            Found(signal=first.name, series=1, versions={"1.0.0": len(ask.instances)}, newest=ask.now),
            Found(signal=second.name, said="no series; nearest: restarts_total"),
        )


def looking(world: World) -> Looking:
    def source(region: Region) -> MetricSource:
        if region.name == "R2":
            return world.plugins.source(region)
        return Seeing(TransientError("the engine is away") if region.name == "R1" else None)

    return Looking(world.store, world.clock, lambda: world.configuration, world.plugins.deployer, source)


async def test_each_signal_of_each_region_is_told_in_the_order_of_promotion(world: World) -> None:
    await world.given_known_good()
    found = await looking(world).signals("mail")
    assert [(one.region, one.signal, one.series, one.age_s, one.said) for one in found] == [
        ("R3", "errors", 1, 0, ""),
        ("R3", "restarts", 0, None, "no series; nearest: restarts_total"),
        ("R1", "errors", 0, None, "the engine is away"),
        ("R1", "restarts", 0, None, "the engine is away"),
        ("R2", "errors", 0, None, "the source 'scripted' cannot say what it finds"),
        ("R2", "restarts", 0, None, "the source 'scripted' cannot say what it finds"),
    ]
    assert found[0].versions == {"1.0.0": 4}


async def test_a_service_that_nobody_declared_is_not_looked_at(world: World) -> None:
    with pytest.raises(NotFound):
        await looking(world).signals("nobody")
