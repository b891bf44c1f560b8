"""Requests with a key: one owner, one effect, one answer, whatever dies in between."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from sqlalchemy import event

from rollout.core.errors import Conflict, NotFound, StaleWrite
from rollout.once import Answer, Claim, under
from rollout.ports import Keep
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import T0, at, intent, plan, rollout, token, transition
from tests.store.places import Place

CLAIM = Claim(scope="to_1", key="deploy-7", fingerprint="abc", owner="first", at=T0)
SECOND = replace(CLAIM, owner="second", at=at(1))
LATE = replace(CLAIM, owner="late", at=at(61))
ANSWER = Answer(status=202, headers={"location": "/v1/rollouts/ro_01"}, body=b'{"id":"ro_01"}')


async def start(store: SqlStore, claim: Claim = CLAIM, rollout_id: str = "ro_01") -> None:
    """Take effect under a claim."""
    with under(claim):
        await store.add(rollout(rollout_id), plan(), transition(1, rollout_id))


async def test_the_first_copy_has_the_key_and_others_see_it_work(store: SqlStore) -> None:
    assert (await store.reserve(CLAIM)).owner == "first"
    seen = await store.reserve(SECOND)
    assert (seen.owner, seen.effect_at, seen.answer) == ("first", None, None)


async def test_the_same_key_of_another_token_is_another_request(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    assert (await store.reserve(replace(SECOND, scope="to_2"))).owner == "second"


async def test_an_effect_and_its_mark_are_one_transaction(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await start(store)
    kept = await store.reserve(SECOND)
    assert (kept.effect_at, kept.resource) == (T0, "rollout:ro_01")
    with pytest.raises(Conflict), under(CLAIM):
        await store.add(rollout(), plan(), transition(1))  # the id is taken, so nothing is written


async def test_an_effect_that_fails_leaves_no_mark(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    with pytest.raises(NotFound), under(CLAIM):
        await store.ask(intent(rollout_id="ro_NOWHERE"))
    assert (await store.reserve(SECOND)).effect_at is None


async def test_what_nobody_claims_is_written_without_a_mark(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await store.add(rollout(), plan(), transition(1))
    assert (await store.reserve(SECOND)).effect_at is None


async def test_a_task_that_was_started_by_a_request_writes_for_itself(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    with under(CLAIM):
        await asyncio.create_task(store.add(rollout(), plan(), transition(1)))
    assert (await store.reserve(SECOND)).effect_at is None


async def test_a_silent_copy_without_an_effect_is_taken_over_and_can_do_nothing_more(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    assert (await store.reserve(LATE)).owner == "late"
    with pytest.raises(Conflict, match="took over"):
        await start(store, CLAIM)
    with pytest.raises(NotFound):
        await store.case("ro_01")
    await start(store, LATE)
    assert (await store.case("ro_01")).rollout.id == "ro_01"


async def test_a_silent_copy_with_an_effect_is_never_taken_over(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await start(store)
    kept = await store.reserve(LATE)
    assert (kept.owner, kept.resource) == ("first", "rollout:ro_01")


async def test_another_body_does_not_take_a_silent_copy_over(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    assert (await store.reserve(replace(LATE, fingerprint="other"))).fingerprint == "abc"


async def test_the_first_answer_is_the_one_that_is_kept(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await start(store)
    assert await store.keep_answer(CLAIM, ANSWER) == ANSWER
    assert await store.keep_answer(CLAIM, Answer(status=500)) == ANSWER
    assert (await store.reserve(LATE)).answer == ANSWER


async def test_what_a_copy_says_that_was_taken_over_is_not_kept(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await store.reserve(LATE)
    refused = Answer(status=409, body=b"took over")
    assert await store.keep_answer(CLAIM, refused) == refused
    await start(store, LATE)
    assert await store.keep_answer(CLAIM, refused) == refused
    assert await store.keep_answer(LATE, ANSWER) == ANSWER
    assert (await store.reserve(replace(LATE, owner="again"))).answer == ANSWER


async def test_a_copy_that_ends_without_an_effect_frees_the_key(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await store.release(CLAIM)
    assert (await store.reserve(SECOND)).owner == "second"


async def test_a_copy_that_ends_after_its_effect_leaves_what_it_did(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await start(store)
    await store.release(CLAIM)
    kept = await store.reserve(SECOND)
    assert (kept.owner, kept.resource, kept.answer) == ("", "rollout:ro_01", None)


async def test_only_the_owner_releases(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    await store.release(SECOND)
    assert (await store.reserve(SECOND)).owner == "first"


async def test_the_secret_of_a_token_is_named_by_its_id_alone(store: SqlStore) -> None:
    await store.reserve(CLAIM)
    with under(CLAIM):
        await store.add_token(token(), "hash")
    assert (await store.reserve(SECOND)).resource == "token:to_1"


async def test_requests_are_forgotten_after_their_time_in_bounded_steps(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.store.keeping.BATCH", 2)
    for number in range(5):
        await store.reserve(replace(CLAIM, key=f"key-{number}", at=at(number)))
    keep = Keep(requests_s=86400)
    assert not await store.forget(at(86400), keep)
    steps = 0
    while await store.forget(at(86404), keep):
        steps += 1
    assert steps == 2
    assert (await store.reserve(replace(SECOND, key="key-4"))).owner == "first"
    assert (await store.reserve(replace(SECOND, key="key-0"))).owner == "second"


async def test_two_processes_on_one_database_share_the_keys(place: Place) -> None:
    url = place.empty()
    store, other = open_store(url, run=inline), open_store(url, run=inline)
    await store.reserve(CLAIM)
    assert (await other.reserve(SECOND)).owner == "first"
    await start(store)
    await store.keep_answer(CLAIM, ANSWER)
    assert (await other.reserve(SECOND)).answer == ANSWER
    store.close()
    other.close()


# ------------------------------------------------------------------ seen


async def test_what_was_asked_of_an_older_version_is_refused_in_the_transaction(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))
    await store.ask(intent("in_1", seen=1))
    with pytest.raises(StaleWrite, match='looked at version "0", and it is at "1" now'):
        await store.ask(intent("in_2", seen=0))
    assert [each.id for each in (await store.case("ro_01")).intents] == ["in_1"]


async def test_a_refused_intent_does_not_wake_the_rollout(store: SqlStore) -> None:
    await store.add(rollout(next_due_at=at(600)), plan(), transition(1))
    with pytest.raises(StaleWrite):
        await store.ask(intent(seen=7))
    assert await store.due(at(60), 10) == ()


# ------------------------------------------------------------------ crashes


def start_and_die(url: str, point: int) -> int:
    """Start under a claim in a process of its own that is killed at the given point. Returns how it ended."""
    child = os.fork()
    if child == 0:
        store = open_store(url, run=inline)
        asyncio.run(store.reserve(CLAIM))
        passed = 0

        def step(*_: object) -> None:
            nonlocal passed
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

        event.listen(store.database.write, "before_cursor_execute", step)
        event.listen(store.database.write, "commit", step)
        asyncio.run(start(store))
        step()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.real
def test_a_kill_at_any_statement_leaves_the_effect_with_its_mark_or_neither(place: Place) -> None:
    ended, effects, point = -signal.SIGKILL, [], 0
    while ended == -signal.SIGKILL:
        url = place.empty()
        ended = start_and_die(url, point)
        place.settle(url)
        with_effect = asyncio.run(_found(url))
        effects.append(with_effect)
        point += 1
    assert effects[0] is False
    assert effects[-1] is True
    assert len(effects) > 8, "the points of the transaction were not reached"


async def _found(url: str) -> bool:
    """Whether the rollout is there; its mark must say the same."""
    store = open_store(url, run=inline)
    there = bool(await store.rollouts())
    kept = await store.reserve(SECOND)
    store.close()
    assert (kept.effect_at is not None) is there
    assert kept.resource == ("rollout:ro_01" if there else None)
    return there
