"""Claims on both databases: who holds what, when it is free, and what a write of another's claim does."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, insert, select, update

from rollout.core.errors import Fenced, StaleWrite
from rollout.ports import Change, Fence, Held, Keep, Observed, Replica
from rollout.store import SqlStore, tables
from tests.store.builders import T0, action, at, plan, rollout, service, transition

ANN, BOB, CID = (Replica(id=name, incarnation=f"{name}-1") for name in ("ann", "bob", "cid"))


class _Time:
    """The database's own clock, as a test sets it."""

    def __init__(self, store: SqlStore) -> None:
        self.seconds = 0.0
        store.database.now = self._now  # type: ignore[method-assign]

    @property
    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)

    def _now(self, _conn: Connection, /) -> datetime:
        return self.now


@pytest.fixture
def time(store: SqlStore) -> _Time:
    return _Time(store)


async def _declare(store: SqlStore, *names: str) -> None:
    for name in names:
        await store.put_service(service(name))


async def _first(store: SqlStore, replica: Replica) -> Held:
    return replace(await store.hold(replica, instead_of=None), now=T0)


async def _again(store: SqlStore, replica: Replica, busy: tuple[str, ...] = ()) -> Held:
    return replace(await store.hold(replica, instead_of="", busy=busy), now=T0)


async def test_the_only_replica_takes_every_service_also_one_that_is_declared_later(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a", "b")
    assert await store.free()
    assert await _first(store, ANN) == Held(claims={"a": 1, "b": 1}, replicas=1, now=T0)
    assert not await store.free()
    await _declare(store, "c")
    assert await store.free()
    assert (await _again(store, ANN)).claims == {"a": 1, "b": 1, "c": 1}


async def test_a_second_replica_is_given_its_share_and_never_what_is_busy(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a", "b", "c", "d")
    await _first(store, ANN)
    assert (await _first(store, BOB)).claims == {}
    assert (await _again(store, ANN, busy=("a", "b"))).claims == {"a": 1, "b": 1}
    assert await _again(store, BOB) == Held(claims={"c": 2, "d": 2}, replicas=2, now=T0)
    assert (await _again(store, ANN)).claims == {"a": 1, "b": 1}


async def test_what_is_busy_is_kept_beyond_the_share_until_it_is_idle(store: SqlStore, time: _Time) -> None:
    await _declare(store, "a", "b")
    await _first(store, ANN)
    await _first(store, BOB)
    assert (await _again(store, ANN, busy=("a", "b"))).claims == {"a": 1, "b": 1}
    assert (await _again(store, ANN, busy=("b",))).claims == {"b": 1}


async def test_a_lease_that_is_renewed_is_never_taken_and_one_that_is_not_is_taken_when_it_is_over(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a")
    await _first(store, ANN)
    time.seconds = 10
    await _again(store, ANN)
    time.seconds = 24.9
    assert (await _first(store, BOB)).claims == {}
    assert not await store.free()
    time.seconds = 25
    assert await store.free()
    assert await _again(store, BOB) == Held(claims={"a": 2}, replicas=1, now=T0)


async def test_who_was_late_and_finds_nobody_there_goes_on_with_the_same_epoch(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a")
    await _first(store, ANN)
    time.seconds = 1000
    assert (await _again(store, ANN)).claims == {"a": 1}


async def test_who_was_late_and_finds_another_there_has_lost_it(store: SqlStore, time: _Time) -> None:
    await _declare(store, "a")
    await _first(store, ANN)
    time.seconds = 20
    await _first(store, BOB)
    assert (await _again(store, ANN)).claims == {}


async def test_who_stops_in_order_is_followed_at_once(store: SqlStore, time: _Time) -> None:
    await _declare(store, "a")
    await _first(store, ANN)
    await store.leave(ANN)
    assert (await _first(store, BOB)).claims == {"a": 2}


async def test_a_new_process_of_the_same_replica_waits_for_no_lease_and_fences_the_old_one(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a")
    await _first(store, ANN)
    assert (await _first(store, replace(ANN, incarnation="ann-2"))).claims == {"a": 2}
    with pytest.raises(Fenced, match=r"'ann'.*ROLLOUT_DATA"):
        await _again(store, ANN)
    await store.leave(ANN)  # of a process that is not the newest: changes nothing
    assert not await store.free()


async def test_a_process_whose_own_start_was_lost_by_a_failover_goes_on(store: SqlStore, time: _Time) -> None:
    await _declare(store, "a")
    time.seconds = 12
    await _first(store, ANN)
    with store.database.write.begin() as conn:
        copied = conn.execute(select(tables.replicas)).mappings().all()
    time.seconds, new = 10, replace(ANN, incarnation="ann-2")  # by a clock that is behind the one before
    held = await _first(store, new)
    with store.database.write.begin() as conn:  # as in a standby that had not heard of it
        conn.execute(update(tables.replicas).values(**copied[0]))
        conn.execute(update(tables.claims).values(epoch=1))
    assert (await store.hold(new, instead_of=held.instead_of)).claims == {"a": 2}
    with pytest.raises(Fenced, match="Another process works as replica 'ann'"):
        await _again(store, ANN)


async def test_of_two_processes_of_one_replica_the_later_one_stays_also_by_a_clock_that_steps_back(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "a")
    time.seconds = 100
    await _first(store, ANN)
    time.seconds, new = 40, replace(ANN, incarnation="ann-2")  # a standby whose clock is behind took over
    held = await _first(store, new)
    assert held.instead_of == "ann-1"
    for _ in range(3):
        time.seconds += 1
        with pytest.raises(Fenced, match="Another process works as replica 'ann'"):
            await _again(store, ANN)
        assert (await store.hold(new, instead_of=held.instead_of)).claims == {"a": 2}


async def test_a_process_keeps_when_it_started_through_every_renewal(store: SqlStore, time: _Time) -> None:
    await _first(store, ANN)
    time.seconds = 10
    await _again(store, ANN)
    (seen,) = await store.replicas()
    assert seen.started_at == T0


async def test_more_services_than_a_statement_takes_parameters_are_held(store: SqlStore, time: _Time) -> None:
    rows = [{"service": f"s{number:06}", "owner": "", "epoch": 0} for number in range(70_000)]
    with store.database.write.begin() as conn:
        conn.execute(insert(tables.claims), rows)
    assert len((await _first(store, ANN)).claims) == len(rows)


@pytest.mark.parametrize("what", ["commit", "save_action", "save_reading", "settle_doubt"])
async def test_a_write_with_an_older_epoch_or_of_another_owner_changes_nothing_and_says_so(
    store: SqlStore, time: _Time, what: str
) -> None:
    await _declare(store, "mail-sender")
    await store.add(rollout(), plan(), transition(1))
    await store.commit(Change(rollout=rollout(), actions=(action("ro_01/1/0"),)))
    await _first(store, ANN)
    time.seconds = 20
    await _first(store, BOB)
    before = await store.case("ro_01"), await store.observed()
    present = Fence(service="mail-sender", owner="bob", epoch=2)
    older, anns = replace(present, epoch=1), replace(present, owner="ann")
    now = rollout(version=before[0].rollout.version)
    writes = {
        "commit": lambda fence: store.commit(Change(rollout=now), fence),
        "save_action": lambda fence: store.save_action(replace(action("ro_01/1/0"), attempts=1), fence),
        "save_reading": lambda fence: store.save_reading(
            Observed(service="mail-sender", region="R3", collected_at=at(1)), (), None, fence
        ),
        "settle_doubt": lambda fence: store.settle_doubt("mail-sender", "R3", None, fence),
    }
    with pytest.raises(Fenced, match=r"is not held by 'bob' with epoch 1 any more: .*'bob'.* epoch 2"):
        await writes[what](older)
    with pytest.raises(Fenced, match=r"is not held by 'ann' with epoch 2 any more: .*'bob'.* epoch 2"):
        await writes[what](anns)
    assert (await store.case("ro_01"), await store.observed()) == before
    await writes[what](present)


async def test_facts_that_are_old_are_said_to_be_old_while_the_claim_is_held(
    store: SqlStore, time: _Time
) -> None:
    await _declare(store, "mail-sender")
    await store.add(rollout(), plan(), transition(1))
    await _first(store, ANN)
    with pytest.raises(StaleWrite):
        await store.commit(
            Change(rollout=rollout(version=7)), Fence(service="mail-sender", owner="ann", epoch=1)
        )


async def test_only_what_a_replica_holds_is_due_for_it(store: SqlStore, time: _Time) -> None:
    await _declare(store, "mail-sender", "other")
    await store.add(rollout(), plan(), transition(1))
    await store.commit(Change(rollout=rollout(next_due_at=at(0)), actions=(action("ro_01/1/0"),)))
    await _first(store, ANN)
    assert await store.due(at(1), 10, "ann") == ("ro_01",)
    assert [one.key for one in await store.due_actions(at(1), 10, "ann")] == [action("ro_01/1/0").key]
    assert await store.due(at(1), 10, "bob") == ()
    assert await store.due_actions(at(1), 10, "bob") == ()


async def test_replicas_that_start_together_share_everything_and_nothing_twice(
    store: SqlStore, time: _Time
) -> None:
    names = [f"s{number}" for number in range(7)]
    await _declare(store, *names)
    for replica in (ANN, BOB, CID):
        await _first(store, replica)
    found = [await _again(store, replica) for _ in range(2) for replica in (ANN, BOB, CID)][-3:]
    held = [name for one in found for name in one.claims]
    assert sorted(held) == names
    assert sorted(len(one.claims) for one in found) == [1, 3, 3]


async def test_a_replica_that_is_gone_is_listed_for_a_day_and_then_forgotten(
    store: SqlStore, time: _Time
) -> None:
    await _first(store, ANN)
    time.seconds = ANN.lease_s + 86_400
    await _first(store, BOB)
    assert [(one.id, one.alive) for one in await store.replicas()] == [("ann", False), ("bob", True)]
    time.seconds += 1
    assert [one.id for one in await store.replicas()] == ["bob"]
    await store.forget(T0 + timedelta(seconds=time.seconds), Keep())
    time.seconds = 0  # the row itself is gone, and the only one that lives stays
    assert [one.id for one in await store.replicas()] == ["bob"]
