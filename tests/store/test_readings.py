import math

from rollout.ports import Observed
from rollout.store import SqlStore
from tests.store.builders import at, sample, token


def seen(**more: object) -> Observed:
    return Observed(service="mail-sender", region="R3", **more)  # type: ignore[arg-type]


async def test_a_reading_is_stored_whole(store: SqlStore) -> None:
    wanted = seen(
        cursor={"series": {"a": 3.5}}, collected_at=at(10), error="down", error_since=at(1), problems=("one",)
    )
    await store.save_reading(wanted, [sample(10), sample(20, instance="i-1")], {"2.5.0": 2})
    assert await store.observed() == (wanted,)
    assert [found for _, found in await store.samples("mail-sender", "R3")] == [
        sample(10),
        sample(20, instance="i-1"),
    ]
    (pair,) = await store.service_regions("mail-sender")
    assert (pair.running, pair.running_at, pair.generation) == ({"2.5.0": 2}, at(10), 0)


async def test_a_later_reading_replaces_the_cursor_and_what_runs(store: SqlStore) -> None:
    await store.save_reading(seen(cursor={"n": 1}, collected_at=at(10)), [], {"2.4.1": 2})
    await store.save_reading(seen(cursor={"n": 2}, collected_at=at(20)), [], {})
    assert [found.cursor for found in await store.observed()] == [{"n": 2}]
    (pair,) = await store.service_regions("mail-sender")
    assert (pair.running, pair.running_at) == ({}, at(20))


async def test_a_reading_without_instances_leaves_what_runs(store: SqlStore) -> None:
    await store.save_reading(seen(collected_at=at(10)), [], {"2.4.1": 2})
    await store.save_reading(seen(collected_at=at(20), error="down"), [], None)
    (pair,) = await store.service_regions("mail-sender")
    assert (pair.running, pair.running_at) == ({"2.4.1": 2}, at(10))


async def test_samples_are_read_on_from_a_sequence_number(store: SqlStore) -> None:
    await store.save_reading(seen(), [sample(n) for n in range(5)], None)
    every = await store.samples("mail-sender", "R3")
    assert [number for number, _ in every] == sorted({number for number, _ in every})
    assert await store.samples("mail-sender", "R3", after=every[1][0]) == every[2:]
    assert await store.samples("mail-sender", "R3", since=at(3)) == every[3:]
    assert await store.samples("mail-sender", "R3", limit=2) == every[:2]
    assert await store.samples("mail-sender", "R1") == ()


async def test_what_is_not_a_number_comes_back_as_that(store: SqlStore) -> None:
    await store.save_reading(seen(), [sample(1, value=math.nan), sample(2, value=math.inf)], None)
    values = [found.value for _, found in await store.samples("mail-sender", "R3")]
    assert math.isnan(values[0])
    assert values[1] == math.inf


async def test_forgotten_samples_are_gone_and_their_numbers_never_used_again(store: SqlStore) -> None:
    await store.save_reading(seen(), [sample(1), sample(2), sample(3)], None)
    last = (await store.samples("mail-sender", "R3"))[-1][0]
    assert await store.forget_samples(at(3)) == 2
    assert await store.forget_samples(at(4)) == 1
    await store.save_reading(seen(), [sample(5)], None)
    ((number, _),) = await store.samples("mail-sender", "R3")
    assert number > last


async def test_forgetting_takes_ended_sessions_too(store: SqlStore) -> None:
    await store.add_token(token(), "hash")
    await store.add_session("old", "to_1", "csrf", at(10))
    await store.add_session("new", "to_1", "csrf", at(30))
    await store.forget_samples(at(20))
    assert await store.session("old", at(0)) is None
    assert await store.session("new", at(0)) is not None
