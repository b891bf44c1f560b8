from dataclasses import replace

from rollout.core.actions import ActionRecord, ActionResult
from rollout.core.model import ActionState, Kind
from rollout.ports import Change
from rollout.store import SqlStore
from tests.store.builders import action, at, plan, rollout, transition


async def recorded(store: SqlStore, *records: ActionRecord) -> None:
    await store.add(rollout(next_due_at=at(500)), plan(), transition(1))
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, actions=records))


async def due(store: SqlStore, seconds: float, limit: int = 50) -> list[str]:
    return [record.key for record in await store.due_actions(at(seconds), limit)]


async def test_going_back_comes_first_and_then_what_is_longest_due(store: SqlStore) -> None:
    await recorded(
        store,
        action("deploy", due_at=at(1)),
        action("notify", kind=Kind.NOTIFY, due_at=at(0)),
        action("restore", kind=Kind.RESTORE, due_at=at(3)),
        action("collect", kind=Kind.COLLECT, due_at=at(2)),
        action("later", kind=Kind.RESTORE, due_at=at(4)),
    )
    assert await due(store, 3) == ["collect", "restore", "notify", "deploy"]
    assert await due(store, 3, limit=1) == ["collect"]


async def test_a_due_action_comes_back_as_it_was_recorded(store: SqlStore) -> None:
    wanted = action(
        "a", deadline=at(60), attempts=2, unreachable_since=at(1), result=ActionResult(message="m")
    )
    await recorded(store, wanted)
    assert await store.due_actions(at(0), 1) == (wanted,)


async def test_an_action_waits_for_the_one_before_it_however_that_ends(store: SqlStore) -> None:
    await recorded(store, action("first"), action("second", after="first"))
    assert await due(store, 10_000) == ["first"]
    assert await store.save_action(action("first", state=ActionState.FAILED, ended_at=at(9)))
    assert await due(store, 9) == ["second"]


async def test_an_action_may_be_recorded_before_the_one_it_waits_for(store: SqlStore) -> None:
    await recorded(store, action("second", after="first"), action("first"))
    assert await due(store, 1) == ["first"]


async def test_waiting_ends_at_its_limit(store: SqlStore) -> None:
    await recorded(store, action("first"), action("second", after="first", wait_s=30))
    assert await due(store, 29) == ["first"]
    assert await due(store, 30) == ["first", "second"]


async def test_a_dropped_predecessor_is_not_waited_for(store: SqlStore) -> None:
    await recorded(store, action("first"), action("second", after="first"))
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, drop_actions=("first",)))
    assert await due(store, 1) == ["second"]


async def test_an_attempt_is_stored_and_the_action_stays_pending(store: SqlStore) -> None:
    await recorded(store, action("a"))
    tried = action("a", attempts=1, due_at=at(8), result=ActionResult(message="no answer"))
    assert await store.save_action(tried)
    assert await due(store, 7) == []
    assert await store.due_actions(at(8), 1) == (tried,)
    assert await store.due(at(499), 10) == (), "an attempt wakes nobody"


async def test_an_ended_action_wakes_its_rollout(store: SqlStore) -> None:
    await recorded(store, action("a"))
    done = action("a", attempts=1, state=ActionState.SUCCEEDED, ended_at=at(4))
    assert await store.save_action(done)
    assert await store.due(at(4), 10) == ("ro_01",)
    assert (await store.case("ro_01")).actions == (done,)


async def test_an_ended_action_never_changes_again(store: SqlStore) -> None:
    await recorded(store, action("a"))
    done = action("a", state=ActionState.SUCCEEDED, ended_at=at(4))
    assert await store.save_action(done)
    assert not await store.save_action(replace(done, state=ActionState.FAILED))
    assert not await store.save_action(action("a", attempts=9))
    assert (await store.case("ro_01")).actions == (done,)


async def test_an_unknown_action_is_not_saved(store: SqlStore) -> None:
    assert not await store.save_action(action("nothing"))


async def test_an_action_that_ends_while_deciding_is_looked_at_at_once(store: SqlStore) -> None:
    await recorded(store, action("a"))
    found = (await store.case("ro_01")).rollout
    await store.save_action(action("a", state=ActionState.SUCCEEDED, ended_at=at(4)))
    await store.commit(Change(rollout=replace(found, next_due_at=at(600))))
    assert await store.due(at(4), 10) == ("ro_01",)
