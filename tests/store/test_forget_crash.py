"""SIGKILL before every statement of a step of forgetting, and around its COMMIT: every count stays one."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from sqlalchemy import event

from rollout.core.signals import Sample
from rollout.ports import Keep
from rollout.store import SqlStore, inline, open_store
from tests.store.places import Place
from tests.store.test_bounds import BEGIN, DAY, check_accounts
from tests.store.test_crash import KILLED
from tests.store.test_history import HOUR, KEEP, expected, forget, read, samples, save, told

STEPS = {
    "samples become history": (KEEP, BEGIN + 3 * HOUR),
    "settled samples go": (replace(KEEP, raw_s=3600), BEGIN + 3 * HOUR),
    "an old day is thinned": (KEEP, BEGIN + 17 * DAY),
    "a large day is thinned": (replace(KEEP, day_bytes=2000), BEGIN + 2 * DAY),
}


def forget_and_die(url: str, keep: Keep, step_at: str, point: int) -> int:
    """One step in a process of its own that is killed at the given point. Returns how it ended."""
    child = os.fork()
    if child == 0:
        store = open_store(url, run=inline)
        passed = 0

        def step(*_: object) -> None:
            nonlocal passed
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

        event.listen(store.database.write, "before_cursor_execute", step)
        event.listen(store.database.write, "commit", step)
        asyncio.run(store.forget(STEPS[step_at][1], keep))
        step()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def counts(found: list[Sample]) -> dict[tuple[object, ...], tuple[float, float]]:
    return {key: both for key, both in expected(found, 3600).items() if key[3] != "queue"}


def remembered(store: SqlStore) -> dict[tuple[object, ...], tuple[float, float]]:
    given = asyncio.run(read(store, BEGIN, BEGIN + DAY, block_s=3600.0))
    return {key: both for key, both in told(given).items() if key[3] != "queue"}


@pytest.mark.real
@pytest.mark.parametrize("name", STEPS)
def test_a_crash_at_any_point_of_forgetting_neither_loses_nor_doubles(place: Place, name: str) -> None:
    keep, now = STEPS[name]
    prepared = place.empty()
    store = open_store(prepared, run=inline)
    found = samples(BEGIN, 72, every_s=50.0)
    asyncio.run(save(store, found))
    if "thinned" in name:
        asyncio.run(forget(store, BEGIN + 2 * DAY))
    store.close()
    stride = 6 if place.kind == "sqlite" else 14  # of its points; one database is faster
    for point in range(0, 200, stride):
        url = place.copy(prepared)
        ended = forget_and_die(url, keep, name, point)
        place.settle(url)
        store = open_store(url, run=inline)
        assert remembered(store) == counts(found), f"killed at point {point}"
        check_accounts(store)
        asyncio.run(forget(store, now, keep))
        assert remembered(store) == counts(found), f"killed at point {point}, and gone on"
        check_accounts(store)
        store.close()
        if ended == 0:
            break
        assert ended == KILLED
    assert ended == 0, "the step never came to its end"
    assert point > 8
