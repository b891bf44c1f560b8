"""What is old goes: ended rollouts as a whole, tokens and sessions; never what is owed or under way."""

from dataclasses import replace
from datetime import timedelta

from rollout.core.model import ActionState, Phase
from rollout.ports import Change, Keep, Token
from rollout.store import SqlStore
from tests.store.builders import SERVICE, T0, action, at, plan, rollout, transition
from tests.store.test_bounds import rows

KEEP = Keep(rollout_days=30, token_days=30)
LATER = T0 + timedelta(days=31)
PARTS = ("actions", "transitions", "rollout_regions", "rollout_plans", "rollouts")


async def ended(store: SqlStore, rollout_id: str, **more: object) -> None:
    """A rollout that was rejected an hour after T0, with one ended action."""
    begun = rollout(rollout_id)
    await store.add(begun, plan(), transition(1, rollout_id))
    done = action(f"{rollout_id}/1/0", rollout_id=rollout_id, state=ActionState.SUCCEEDED, ended_at=at(5))
    given = {"phase": Phase.REJECTED, "finished_at": at(3600), "next_due_at": None, **more}
    row = transition(2, rollout_id, to_phase="rejected", trigger="reject")
    await store.commit(
        Change(rollout=replace(begun, **given), transitions=(row,), actions=(done,), rolled_back=True)  # type: ignore[arg-type]
    )


async def newer(store: SqlStore, *, now: object = LATER) -> None:
    """A rollout with an event that is newer than all before."""
    await store.add(rollout("ro_newer", created_at=now), plan(), transition(1, "ro_newer"))


async def whole(store: SqlStore, now: object, keep: Keep = KEEP) -> None:
    while await store.forget(now, keep):  # type: ignore[arg-type]
        pass


async def test_a_rollout_that_ended_long_ago_goes_with_all_its_parts(store: SqlStore) -> None:
    await ended(store, "ro_old")
    await newer(store)
    only = {name: rows(store, name) for name in PARTS}
    await whole(store, LATER)
    left = {"actions": 0, "transitions": 1, "rollout_regions": 3, "rollout_plans": 1, "rollouts": 1}
    assert only["transitions"] == 3
    assert {name: rows(store, name) for name in PARTS} == left


async def test_history_never_ends_before_what_was_noted_of_it(store: SqlStore) -> None:
    await ended(store, "ro_old")
    await ended(store, "ro_last")
    newest = await store.newest_sequence()
    await whole(store, LATER)
    assert rows(store, "rollouts") == 1
    assert await store.newest_sequence() == newest
    assert await store.distrust_if_old(LATER, newest) == ""


async def test_that_its_version_was_rolled_back_stays_known(store: SqlStore) -> None:
    await ended(store, "ro_old")
    await whole(store, LATER)
    assert await store.was_rolled_back(SERVICE, "2.5.0") == "ro_old"


async def test_one_that_ended_lately_stays(store: SqlStore) -> None:
    await ended(store, "ro_old", finished_at=LATER - timedelta(days=29))
    await newer(store)
    await whole(store, LATER)
    assert rows(store, "rollouts") == 2


async def test_one_that_goes_on_or_owes_something_stays_however_old(store: SqlStore) -> None:
    await store.add(rollout("ro_on"), plan(), transition(1, "ro_on"))
    await ended(store, "ro_owing", next_due_at=LATER + timedelta(days=1), phase=Phase.SUCCEEDED)
    await newer(store)
    await whole(store, LATER)
    assert rows(store, "rollouts") == 3


async def test_one_with_an_action_under_way_stays(store: SqlStore) -> None:
    await ended(store, "ro_old")
    await store.commit(
        Change(
            rollout=(await store.case("ro_old")).rollout, actions=(action("ro_old/2/0", rollout_id="ro_old"),)
        )
    )
    await newer(store)
    await whole(store, LATER)
    assert rows(store, "rollouts") == 2


async def test_a_step_deletes_a_bounded_number_and_says_that_more_is_to_do(store: SqlStore) -> None:
    for number in range(45):
        await ended(store, f"ro_{number:03}")
    await newer(store)
    left = []
    for _ in range(3):
        await store.forget(LATER, KEEP)
        left.append(rows(store, "rollouts"))
    assert left == [26, 6, 1]


async def test_events_keep_their_numbers_and_new_ones_follow_the_deleted(store: SqlStore) -> None:
    await ended(store, "ro_old")
    await newer(store)
    newest = (await store.events())[-1].sequence
    await whole(store, LATER)
    await store.add(rollout("ro_new"), plan(), transition(1, "ro_new"))
    assert [event.sequence for event in await store.events()] == [newest, newest + 1]


async def test_tokens_that_ended_long_ago_and_all_ended_sessions_go(store: SqlStore) -> None:
    for name, ends in (("old", T0), ("valid", LATER + timedelta(days=9))):
        token = Token(id=f"tk_{name}", name=name, role="viewer", created_at=T0, expires_at=ends)
        await store.add_token(token, f"hash-{name}")
        await store.add_session(f"session-{name}", token.id, "csrf", ends)
    await whole(store, LATER)
    assert [token.name for token in await store.tokens()] == ["valid"]
    assert rows(store, "sessions") == 1
