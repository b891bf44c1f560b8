"""Doubts on both databases: how a database that lacks events is seen, and what a doubt does to claims."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from rollout.core.errors import Fenced
from rollout.ports import Fence, Replica
from rollout.store import SqlStore, tables
from tests.store.builders import SERVICE, at, service
from tests.store.test_backup import filled

ANN = Replica(id="ann", incarnation="ann-1")


async def test_another_event_under_the_number_that_was_noted_is_seen_too(store: SqlStore) -> None:
    await filled(store)
    number, event, _ = await store.newest_event()
    assert number == await store.newest_sequence() == 3
    assert await store.distrust_if_old(at(5), number, event) == ""
    assert "lacks event 3" in await store.distrust_if_old(at(5), number, event.replace("2026", "2025"))
    assert "lacks event 2" in await store.distrust_if_old(at(5), 2, event)


async def test_fewer_epochs_than_were_noted_are_an_older_copy_also_where_no_event_is_missing(
    store: SqlStore,
) -> None:
    assert await store.newest_event() == (0, "", 0)
    for name in ("a", "b"):
        await store.put_service(service(name))
    await store.hold(ANN, instead_of=None)
    assert await store.newest_event() == (0, "", 2)
    await filled(store)
    mark = await store.newest_event()
    assert await store.distrust_if_old(at(5), *mark) == ""
    why = await store.distrust_if_old(at(5), *mark._replace(epochs=9))
    assert f"the epochs of its claims add up to {mark.epochs}, and 9 was recorded here" in why
    assert (await store.newest_event()).epochs > 2000


async def test_an_owner_is_never_given_the_same_epoch_twice_by_copies_of_the_same_state(
    store: SqlStore,
) -> None:
    await store.put_service(service("a"))
    given: set[int] = set()
    for _ in range(3):
        await store.distrust_if_old(at(5), 9)
        given.add((await store.hold(ANN, instead_of="")).claims["a"])
        with store.database.write.begin() as conn:  # the copy, for another time
            conn.execute(update(tables.claims).values(owner="", epoch=0))
    assert len(given) == 3


async def test_what_was_read_for_an_older_doubt_settles_no_newer_one(store: SqlStore) -> None:
    await filled(store)
    await store.distrust_if_old(at(5), 99)
    (pair,) = await store.doubted()
    older = pair.doubt
    assert older is not None
    await store.settle_doubt(SERVICE, "R3", replace(older, found="it runs 2 × 2.4.1"), of=older)
    await store.settle_doubt(SERVICE, "R3", None, of=older)  # what readings found makes no other doubt
    assert await store.doubted() == ()
    await store.distrust_if_old(at(6), 99)
    newer = await store.doubted()
    await store.settle_doubt(SERVICE, "R3", None, of=older)
    assert await store.doubted() == newer


async def test_a_doubt_takes_every_claim_away_and_one_that_is_there_stays_as_it_is(store: SqlStore) -> None:
    await filled(store)
    await store.put_service(service())
    held = await store.hold(ANN, instead_of=None)
    fence = Fence(service=SERVICE, owner="ann", epoch=held.claims[SERVICE])
    await store.distrust_if_old(at(5), 9)
    first = await store.doubted()
    with pytest.raises(Fenced, match="held by 'nobody'"):
        await store.settle_doubt(SERVICE, "R3", None, fence)
    again = await store.hold(ANN, instead_of=held.instead_of)
    assert again.claims[SERVICE] > fence.epoch + 100  # also beyond those that the database has lost
    assert await store.distrust_if_old(at(6), 99)
    assert await store.doubted() == first
