"""The answer to a COMMIT is lost on its way: each write is there once, and its caller is told the truth."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog

from rollout.core.model import ActionState, Service
from rollout.ports import Case, Observed
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import SERVICE, action, at, intent, known_good, plan, rollout, transition
from tests.store.places import PostgresPlace, name_of
from tests.store.postgres_front import front
from tests.store.postgres_lab import Server
from tests.store.test_crash import before, decision, picture
from tests.store.test_history import samples

DATABASES = ("postgresql",)


@dataclass(frozen=True)
class Facts:
    """What a write rests on, read before."""

    case: Case
    service: Service


async def add(store: SqlStore, _facts: Facts) -> None:
    await store.add(rollout("ro_03"), plan(), transition(1, "ro_03"))


async def ask(store: SqlStore, _facts: Facts) -> None:
    await store.ask(intent("in_7"))


async def commit(store: SqlStore, facts: Facts) -> None:
    assert (await store.commit(decision(facts.case.rollout))).version == 2


async def save_action(store: SqlStore, _facts: Facts) -> None:
    ended = replace(action("ro_01/1/0"), state=ActionState.SUCCEEDED, ended_at=at(9))
    assert await store.save_action(ended), "it is this one that ended it, however often that was tried"


async def save_reading(store: SqlStore, _facts: Facts) -> None:
    seen = Observed(service=SERVICE, region="R3", collected_at=at(9), cursor={"at": 9})
    await store.save_reading(seen, samples(at(0), 1), {"2.5.0": 3})


async def put_service(store: SqlStore, facts: Facts) -> None:
    assert (await store.put_service(facts.service)).version == 2


async def adopt(store: SqlStore, _facts: Facts) -> None:
    await store.adopt([known_good()])


WRITES = (add, ask, commit, save_action, save_reading, put_service, adopt)


async def everything(store: SqlStore) -> tuple[object, ...]:
    taken = [each for _, each in await store.samples(SERVICE, ["R3", "R1"])]
    return (*await picture(store), taken, await store.observed(), await store.services())


@pytest.fixture
def prepared(place: Any) -> tuple[str, Facts]:
    url: str = place.empty()
    store = open_store(url, run=inline)
    asyncio.run(before(store))
    facts = Facts(asyncio.run(store.case("ro_01")), asyncio.run(store.service(SERVICE)))
    store.close()
    return url, facts


@pytest.mark.real
@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_is_lost_is_there_once_and_its_caller_knows(
    place: PostgresPlace,
    postgres: Server,
    prepared: tuple[str, Facts],
    write: Callable[[SqlStore, Facts], Awaitable[None]],
    landed: bool,
) -> None:
    url, facts = prepared
    twin = open_store(place.copy(url), run=inline)
    asyncio.run(write(twin, facts))
    wanted = asyncio.run(everything(twin))
    twin.close()
    with front(postgres) as between:
        store = open_store(
            postgres.tcp(name_of(url)).replace(f":{postgres.port}/", f":{between.port}/"), run=inline
        )
        between.cut(**({"answered": b"COMMIT\0"} if landed else {"asked": b"commit\0"}))
        with structlog.testing.capture_logs() as logged:
            asyncio.run(write(store, facts))
        found = asyncio.run(everything(store))
        store.close()
    became = [each["became"] for each in logged if "became" in each]
    assert (between.cuts, became) == (1, ["committed" if landed else "aborted"])
    assert found == wanted
