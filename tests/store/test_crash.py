"""SIGKILL before every statement of a decision, and before and after its COMMIT: all of it or nothing."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from sqlalchemy import event

from rollout.core.model import Phase
from rollout.ports import Change
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import (
    action,
    evidence,
    intent,
    known_good,
    obligation,
    plan,
    rollout,
    service,
    transition,
)
from tests.store.places import Place

KILLED = -signal.SIGKILL


def decision(found: object) -> Change:
    """A change that writes everything that a change can write."""
    return Change(
        rollout=replace(found, phase=Phase.ROLLING_BACK, note="after"),  # type: ignore[type-var]
        transitions=(transition(2), transition(3)),
        actions=(action("ro_01/3/0"), action("ro_01/3/1", after="ro_01/3/0")),
        drop_actions=("ro_01/1/0",),
        intents_done=("in_1",),
        intents_new=(intent("in_2", "ro_02"),),
        obligations=(obligation(),),
        evidence={name: evidence(name) for name in ("R3", "R1", "R2")},
        claim=("R3",),
        generations={"R3": 2},
        known_good=(known_good("2.4.0"),),
        rolled_back=True,
    )


async def before(store: SqlStore) -> None:
    await store.put_service(service())
    await store.add(rollout(), plan(), transition(1))
    await store.add(rollout("ro_02", next_due_at=None), plan(), transition(1, "ro_02"))
    await store.ask(intent("in_1"))
    found = (await store.case("ro_01")).rollout
    await store.commit(Change(rollout=found, actions=(action("ro_01/1/0"),)))


async def picture(store: SqlStore) -> tuple[object, ...]:
    """Everything that a decision changes, to be compared."""
    stopped = (await store.service("mail-sender")).stopped_by
    regions = await store.service_regions("mail-sender")
    cases = (await store.case("ro_01"), await store.case("ro_02"))
    with store.database.read.begin() as conn:
        claimed = conn.exec_driver_sql("SELECT count(*) FROM rollout_regions WHERE claimed").scalar_one()
    rolled_back = await store.was_rolled_back("mail-sender", "2.5.0")
    history = [event.transition for event in await store.events()]  # numbers may have gaps
    return (*cases, history, regions, stopped, rolled_back, claimed)


def commit_and_die(url: str, point: int) -> int:
    """Commit in a process of its own that is killed at the given point. Returns how it ended."""
    child = os.fork()
    if child == 0:
        store = open_store(url, run=inline)
        found = asyncio.run(store.case("ro_01")).rollout
        passed = 0

        def step(*_: object) -> None:
            nonlocal passed
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

        engine = store.database.write
        event.listen(engine, "before_cursor_execute", step)
        event.listen(engine, "commit", step)
        asyncio.run(store.commit(decision(found)))
        step()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.real
def test_a_crash_at_any_point_of_a_commit_leaves_all_of_it_or_nothing(place: Place) -> None:
    prepared = place.empty()
    store = open_store(prepared, run=inline)
    asyncio.run(before(store))
    nothing = asyncio.run(picture(store))
    store.close()
    outcomes = []
    for point in range(200):
        url = place.copy(prepared)
        ended = commit_and_die(url, point)
        place.settle(url)
        store = open_store(url, run=inline)
        found = asyncio.run(picture(store))
        if found == nothing:
            asyncio.run(store.commit(decision(asyncio.run(store.case("ro_01")).rollout)))
            outcomes.append("nothing")
            everything = asyncio.run(picture(store))
        else:
            outcomes.append("all")
            assert found == everything, f"killed at point {point}: neither all nor nothing"
        store.close()
        if ended == 0:
            break
        assert ended == KILLED
    assert ended == 0, "the commit never came to its end"
    assert outcomes[-2:] == ["all", "all"], "killed after COMMIT, and not at all"
    assert set(outcomes[:-2]) == {"nothing"}
    assert len(outcomes) > 12
