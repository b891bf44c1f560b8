"""Every write that several replicas may make, made by all at the same time: nothing is lost or doubled."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.errors import Conflict, NotFound, StaleWrite
from rollout.core.model import ActionState
from rollout.once import under
from rollout.ports import Change, Observed
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import (
    SERVICE,
    action,
    at,
    intent,
    known_good,
    plan,
    rollout,
    service,
    token,
    transition,
)
from tests.store.test_bounds import check_accounts
from tests.store.test_concurrency import together
from tests.store.test_history import KEEP, samples
from tests.store.test_requests import ANSWER, CLAIM

WORKERS, EACH = 4, 12

Part = Callable[[SqlStore, int, int], Awaitable[None]]


@pytest.fixture
def stores(place: Any) -> Iterator[list[SqlStore]]:
    """Two replicas, which two threads each work with, and a rollout with pending actions."""
    url = place.empty()
    opened = [open_store(url, run=inline) for _ in range(2)]
    asyncio.run(_prepare(opened[0]))
    yield opened
    for store in opened:
        store.close()


async def _prepare(store: SqlStore) -> None:
    await store.put_service(service())
    await store.add(rollout(), plan(), transition(1))
    found = (await store.case("ro_01")).rollout
    await store.commit(Change(rollout=found, actions=tuple(action(f"ro_01/1/{n}") for n in range(EACH))))


async def until_stored(work: Callable[[], Awaitable[object]]) -> None:
    """What was decided on facts that had changed is decided again."""
    while True:
        try:
            await work()
        except StaleWrite:
            continue
        return


async def decide(store: SqlStore, _worker: int, _round: int) -> None:
    async def once() -> None:
        found = (await store.case("ro_01")).rollout
        change = Change(
            rollout=replace(found, stage=found.stage + 1), transitions=(transition(found.transitions + 1),)
        )
        await store.commit(change)

    await until_stored(once)


async def ask(store: SqlStore, worker: int, number: int) -> None:
    await store.ask(intent(f"in_{worker}_{number}"))


async def declare(store: SqlStore, _worker: int, _round: int) -> None:
    async def once() -> None:
        await store.put_service(await store.service(SERVICE))

    await until_stored(once)


async def adopt(store: SqlStore, worker: int, number: int) -> None:
    await store.adopt([known_good(f"2.4.{worker}{number}")])


async def read(store: SqlStore, worker: int, number: int) -> None:
    """Each replica reads a region of its own, and all of them one that changed hands."""
    for name in ("R2", f"R{worker + 4}"):
        seen = Observed(
            service=SERVICE, region=name, collected_at=at(number * WORKERS + worker), cursor={"at": number}
        )
        found = [replace(each, region=name) for each in samples(at(10 * number), 1)[:3]]
        await store.save_reading(seen, found, {"2.5.0": worker + 1})


async def start(store: SqlStore, worker: int, number: int) -> None:
    name = f"ro_{worker}_{number}"
    await store.add(rollout(name), plan(), transition(1, name))


PARTS: tuple[Part, ...] = (decide, ask, declare, adopt, read, start)


@pytest.mark.real
def test_replicas_that_write_everything_at_once_lose_and_double_nothing(stores: list[SqlStore]) -> None:
    ended: list[str] = []

    async def one(store: SqlStore, worker: int) -> None:
        for number in range(EACH):
            for turn in range(len(PARTS)):
                await PARTS[(turn + worker) % len(PARTS)](store, worker, number)
            done = replace(
                action(f"ro_01/1/{number}"),
                state=ActionState.SUCCEEDED,
                ended_at=at(9),
            )
            if await store.save_action(done):
                ended.append(done.key)

    together(lambda worker: asyncio.run(one(stores[worker % 2], worker)), WORKERS)
    times = WORKERS * EACH
    case = asyncio.run(stores[1].case("ro_01"))
    assert (case.rollout.stage, case.rollout.transitions) == (times, times + 1)
    assert len({each.id for each in case.intents}) == times
    assert sorted(ended) == sorted(f"ro_01/1/{number}" for number in range(EACH)), "each ended exactly once"
    assert case.rollout.wakes == times + EACH, "each intent and each end woke it once"
    assert asyncio.run(stores[0].service(SERVICE)).version == 1 + times
    pairs = {pair.region: pair for pair in asyncio.run(stores[0].service_regions(SERVICE))}
    assert pairs["R3"].generation == times
    assert pairs["R2"].running_at == at((EACH - 1) * WORKERS + WORKERS - 1), "the newest reading stays"
    assert pairs["R2"].running == {"2.5.0": WORKERS}
    taken = asyncio.run(stores[0].samples(SERVICE, ["R2", *(f"R{n + 4}" for n in range(WORKERS))]))
    assert len(taken) == len({number for number, _ in taken}) == 2 * 3 * times
    check_accounts(stores[0])
    events = asyncio.run(stores[0].events(limit=1000))
    counted = Counter(each.transition.rollout_id for each in events)
    assert counted.pop("ro_01") == times + 1
    assert set(counted.values()) == {1}
    assert len(counted) == times


def outcomes(workers: int, work: Callable[[int], Awaitable[object]]) -> Counter[str]:
    """How often each thing came of the same work by all at once."""
    found: list[str] = []

    def one(number: int) -> None:
        try:
            found.append(str(asyncio.run(work(number))))  # type: ignore[arg-type]
        except (Conflict, StaleWrite, NotFound) as error:
            found.append(type(error).__name__)

    together(one, workers)
    return Counter(found)


@pytest.mark.real
def test_of_copies_of_one_request_one_has_the_key_one_has_the_effect_and_all_have_one_answer(
    stores: list[SqlStore],
) -> None:
    copies = [replace(CLAIM, owner=f"copy {number}") for number in range(WORKERS)]

    async def reserve(number: int) -> str:
        return (await stores[number % 2].reserve(copies[number])).owner

    (owner,) = outcomes(WORKERS, reserve)

    async def work(number: int) -> str:
        with under(copies[number]):
            await stores[number % 2].add(rollout("ro_02"), plan(), transition(1, "ro_02"))
        return "added"

    assert outcomes(WORKERS, work) == {"added": 1, "Conflict": WORKERS - 1}

    async def answer(number: int) -> bytes:
        own = replace(ANSWER, body=owner.encode()) if copies[number].owner == owner else ANSWER
        return (await stores[number % 2].keep_answer(copies[number], own)).body

    asyncio.run(answer([copy.owner for copy in copies].index(owner)))
    assert outcomes(WORKERS, answer) == {str(owner.encode()): WORKERS}


@pytest.mark.real
def test_a_rollout_and_the_name_of_a_token_are_given_once(stores: list[SqlStore]) -> None:
    async def add(number: int) -> str:
        await stores[number % 2].add(rollout("ro_02"), plan(), transition(1, "ro_02"))
        return "added"

    async def name(number: int) -> str:
        await stores[number % 2].add_token(token(f"to_{number}"), f"hash-{number}")
        return "named"

    assert outcomes(WORKERS, add) == {"added": 1, "Conflict": WORKERS - 1}
    assert outcomes(WORKERS, name) == {"named": 1, "Conflict": WORKERS - 1}


@pytest.mark.real
def test_a_doubt_that_is_settled_and_ended_at_once_has_ended(stores: list[SqlStore]) -> None:
    asyncio.run(stores[0].adopt([known_good()]))
    for times in range(EACH):
        assert asyncio.run(stores[0].distrust_if_old(at(0), 10**6))
        (pair,) = asyncio.run(stores[0].doubted())
        doubt = replace(pair.doubt, seen=7 * (times + 1))  # type: ignore[type-var]
        before = pair.generation

        def work(number: int, doubt: Any = doubt) -> None:
            store = stores[number]
            asyncio.run(store.settle_doubt(SERVICE, "R3", doubt) if number else store.adopt([known_good()]))

        together(work, 2)
        (pair,) = asyncio.run(stores[1].service_regions(SERVICE))
        assert pair.doubt is None
        assert pair.generation in (before + 1, max(before, doubt.seen) + 1)


@pytest.mark.real
def test_replicas_that_forget_at_once_keep_true_accounts(stores: list[SqlStore]) -> None:
    many = samples(at(0), 200)
    asyncio.run(stores[0].save_reading(Observed(service=SERVICE, region="R3"), many, None))

    def forget(number: int) -> None:
        for hour in range(1, 30):
            later = at(0) + timedelta(hours=hour)
            asyncio.run(stores[number % 2].forget(later, replace(KEEP, raw_s=3600)))

    together(forget, WORKERS)
    check_accounts(stores[0])
    assert asyncio.run(stores[0].samples(SERVICE, ["R3", "R1"])) == ()
