"""Doubts on both databases: how a database that lacks events is seen, and what a doubt does to claims."""

import pytest

from rollout.core.errors import Fenced
from rollout.ports import Fence, Replica
from rollout.store import SqlStore
from tests.store.builders import SERVICE, at, service
from tests.store.test_backup import filled


async def test_another_event_under_the_number_that_was_noted_is_seen_too(store: SqlStore) -> None:
    await filled(store)
    number, event = await store.newest_event()
    assert number == await store.newest_sequence() == 3
    assert await store.distrust_if_old(at(5), number, event) == ""
    assert "lacks event 3" in await store.distrust_if_old(at(5), number, event.replace("2026", "2025"))
    assert "lacks event 2" in await store.distrust_if_old(at(5), 2, event)


async def test_a_doubt_takes_every_claim_away_and_one_that_is_there_stays_as_it_is(store: SqlStore) -> None:
    await filled(store)
    await store.put_service(service())
    held = await store.hold(Replica(id="ann", incarnation="ann-1"), began=None)
    fence = Fence(service=SERVICE, owner="ann", epoch=held.claims[SERVICE])
    await store.distrust_if_old(at(5), 9)
    first = await store.doubted()
    with pytest.raises(Fenced, match="held by 'nobody'"):
        await store.settle_doubt(SERVICE, "R3", None, fence)
    again = await store.hold(Replica(id="ann", incarnation="ann-1"), began=held.now)
    assert again.claims[SERVICE] > fence.epoch + 100  # also beyond those that the database has lost
    assert await store.distrust_if_old(at(6), 99)
    assert await store.doubted() == first
