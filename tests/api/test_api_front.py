"""The front page: what still has business is never pushed out by what is newer."""

from typing import Any

import pytest
from api_world import OURS, T0, THEIRS, World

from api.reads import Reads
from rollout.core.model import Obligation, ObligationKind, ObligationState, Phase
from rollout.ports import Change
from rollout.queries import ENDED_MOST
from rollout.showing.views import Fleet

NEWER = ENDED_MOST + 5


async def settled(world: World, count: int = NEWER, service: str = OURS) -> None:
    """Rollouts that ended and owe nothing."""
    for number in range(count):
        await world.put(f"ro_z{service[0]}{number:02}", service, phase=Phase.SUCCEEDED, next_due_at=None)


async def overdue(world: World, rollout_id: str, **more: Any) -> None:
    """A rollout that was rolled back, and whose recovery is overdue."""
    rollout = await world.put(rollout_id, phase=Phase.ROLLED_BACK, **more)
    recovery = Obligation(
        id=f"{rollout_id}/recovery",
        rollout_id=rollout_id,
        service=rollout.release.service,
        region="R3",
        kind=ObligationKind.RECOVERY,
        state=ObligationState.OVERDUE,
        since=T0,
        until=T0,
    )
    await world.store.commit(Change(rollout=rollout, obligations=(recovery,)))


def ids(fleet: Fleet) -> tuple[list[str], list[str], int]:
    return (
        [view.id for view in fleet.needs_person],
        [view.id for view in fleet.moving],
        len(fleet.recent),
    )


async def test_the_oldest_trouble_stays_on_the_front_page(world: World) -> None:
    await world.put_awaiting("ro_a")
    await overdue(world, "ro_b")
    await world.put("ro_c", phase=Phase.PROGRESSING)
    await settled(world)
    assert ids(await world.controller.queries.fleet()) == (["ro_b", "ro_a"], ["ro_c"], ENDED_MOST)


async def test_what_is_watched_and_ended_lately_is_shown_once(world: World) -> None:
    await world.put("ro_a", phase=Phase.SUCCEEDED)
    fleet = await world.controller.queries.fleet()
    assert (ids(fleet), fleet.recent[0].id) == (([], [], 1), "ro_a")


async def test_a_narrowed_token_keeps_its_oldest_trouble_and_sees_no_other(world: World) -> None:
    await world.put_awaiting("ro_a")
    await world.put_awaiting("ro_b", service=THEIRS)
    await settled(world, 3)
    await settled(world, NEWER, THEIRS)
    token, _ = await world.token("viewer", services=[OURS])
    fleet = await Reads(world.controller.queries, token).fleet()
    assert ids(fleet) == (["ro_a"], [], 3)
    assert [service.name for service in fleet.services] == [OURS]
    both, _ = await world.token("viewer", "both", services=[OURS, THEIRS])
    fleet = await Reads(world.controller.queries, both).fleet()
    assert ids(fleet) == (["ro_b", "ro_a"], [], ENDED_MOST)


@pytest.mark.parametrize("limit", [1, 20])
async def test_who_asks_what_needs_them_is_not_sent_through_what_ended(world: World, limit: int) -> None:
    await world.put_awaiting("ro_a")
    await settled(world)
    async with await world.client("viewer") as client:
        answer = (await client.get("/v1/rollouts", params={"needs": "me", "limit": limit})).json()
    assert ([item["id"] for item in answer["items"]], answer["next_cursor"]) == (["ro_a"], None)
