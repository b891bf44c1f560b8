import asyncio
from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Thread

from rollout.core.errors import Conflict, StaleWrite
from rollout.ports import Change
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import intent, plan, rollout, service, transition

WORKERS, EACH = 4, 110


def together(work: Callable[[int], None], workers: int) -> None:
    """Run `work(0)` … in threads that begin at the same time; raises what they raise."""
    ready, failed = Barrier(workers), []

    def start(number: int) -> None:
        ready.wait()
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=start, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


async def increment(store: SqlStore) -> int:
    """One more stage, however often somebody else is faster. Returns how often that was."""
    lost = 0
    while True:
        found = (await store.case("ro_01")).rollout
        number = found.transitions + 1
        change = Change(
            rollout=replace(found, stage=found.stage + 1),
            transitions=(transition(number),),
            generations={"R3": number},
        )
        try:
            await store.commit(change)
        except StaleWrite:
            lost += 1
        else:
            return lost


def test_no_update_is_lost_between_threads_and_engines(url: str) -> None:
    stores = [open_store(url, run=inline) for _ in range(2)]
    asyncio.run(stores[0].add(rollout(), plan(), transition(1)))
    races = []

    async def many(store: SqlStore) -> None:
        for _ in range(EACH):
            races.append(await increment(store))

    together(lambda number: asyncio.run(many(stores[number % 2])), WORKERS)
    found = asyncio.run(stores[0].case("ro_01")).rollout
    done = WORKERS * EACH
    assert (found.stage, found.version, found.transitions) == (done, done, done + 1)
    events = asyncio.run(stores[1].events(limit=1000))
    assert [event.transition.number for event in events] == list(range(1, done + 2))
    assert sum(races) > 0, "the threads never met, so nothing was tested"
    for store in stores:
        store.close()


def test_of_many_that_claim_a_region_at_once_exactly_one_gets_it(url: str) -> None:
    stores = [open_store(url, run=inline) for _ in range(WORKERS)]
    for number, store in enumerate(stores):
        name = f"ro_{number}"
        asyncio.run(store.add(rollout(name), plan(), transition(1, name)))
    for region in ("R3", "R1", "R2"):
        claimed, refused = [], []

        def claim(number: int, region: str = region, won: list = claimed, lost: list = refused) -> None:  # type: ignore[type-arg]
            found = asyncio.run(stores[number].case(f"ro_{number}")).rollout
            try:
                asyncio.run(stores[number].commit(Change(rollout=found, claim=(region,))))
                won.append(found.id)
            except Conflict as error:
                lost.append((error.code, str(error)))

        together(claim, WORKERS)
        assert len(claimed) == 1
        assert {code for code, _ in refused} == {"region-busy"}
        assert all(claimed[0] in text for _, text in refused)
    for store in stores:
        store.close()


async def test_two_decisions_on_the_same_facts_interleaved_in_one_loop(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))

    async def decide(note: str) -> str:
        found = (await store.case("ro_01")).rollout
        try:
            return (await store.commit(Change(rollout=replace(found, note=note)))).note
        except StaleWrite:
            return "stale"

    results = await asyncio.gather(decide("a"), decide("b"))
    assert sorted(results)[-1] == "stale", "both read before either wrote, so one must lose"
    assert (await store.case("ro_01")).rollout.version == 1


async def test_an_intent_between_reading_and_writing_survives(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))
    found = (await store.case("ro_01")).rollout
    await asyncio.gather(store.ask(intent()), store.commit(Change(rollout=replace(found, next_due_at=None))))
    case = await store.case("ro_01")
    assert [asked.id for asked in case.intents] == ["in_1"]
    assert case.rollout.next_due_at is not None


def test_of_two_declarations_at_once_one_is_refused(url: str) -> None:
    stores = [open_store(url, run=inline) for _ in range(2)]
    results = []

    def declare(number: int) -> None:
        try:
            asyncio.run(stores[number].put_service(service(policy=f"p{number}")))
            results.append("stored")
        except StaleWrite:
            results.append("stale")

    together(declare, 2)
    assert sorted(results) == ["stale", "stored"]
    for store in stores:
        store.close()
