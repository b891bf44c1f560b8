"""Two who ask at the same moment: each is answered by what the other has changed."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from rollout.core.errors import Conflict, StaleWrite
from rollout.core.model import KnownGood, Phase, ServiceRegion
from tests.scenarios.world import DANA, ONE, World

MakeWorld = Callable[[dict[str, object]], World]


@pytest.mark.parametrize("other", ["1.1.0", "1.2.0"])
async def test_where_one_at_a_time_is_allowed_one_is_started(make_world: MakeWorld, other: str) -> None:
    world = make_world({**ONE, "concurrency": "reject"})
    await world.given_known_good()
    found = await asyncio.gather(world.start("1.1.0"), world.start(other), return_exceptions=True)
    (refused,) = [one for one in found if isinstance(one, BaseException)]
    (active,) = await world.store.active("mail")
    assert active.id in found
    assert isinstance(refused, Conflict)
    assert f"{active.id} (mail 1.1.0) is queued, and policy standard allows one at a time" in str(refused)


async def test_where_the_newer_supersedes_one_takes_the_place_of_the_other(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "concurrency": "supersede"})
    await world.given_known_good()
    started = await asyncio.gather(world.start("1.1.0"), world.start("1.2.0"))
    await world.run(3)
    phases = [(await world.rollout(rollout_id)).phase for rollout_id in started]
    assert phases.count(Phase.SUPERSEDED) == 1


async def test_a_start_that_others_come_before_again_and_again_says_to_start_again(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world({**ONE, "concurrency": "supersede"})
    await world.given_known_good()

    async def stale(*_: object) -> None:
        raise StaleWrite("ro_2 was started at the same moment.")

    monkeypatch.setattr(world.store, "add", stale)
    with pytest.raises(Conflict, match="mail came first, 5 times in a row") as refused:
        await world.start("1.1.0")
    assert refused.value.code == "rollout-active"


async def test_what_is_rolled_back_while_it_is_adopted_is_not_known_good(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_succeeded()
    await world.run(50)  # the watch is met, and the slice that was held back has followed
    real = world.store.adopt

    async def adopt(goods: Sequence[KnownGood], looked_at: Sequence[ServiceRegion]) -> None:
        await world.commands.rollback(rollout_id, DANA, "it loses mails")
        await world.tick()
        await real(goods, looked_at)

    monkeypatch.setattr(world.store, "adopt", adopt)
    with pytest.raises(StaleWrite, match="Nothing was adopted: something was decided about mail in R3"):
        await world.commands.adopt("mail", DANA, "it serves well", ["R3"])
    await world.until(rollout_id, Phase.ROLLED_BACK)
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert [good.release.version for good in pair.known_good] == ["1.0.0"]
