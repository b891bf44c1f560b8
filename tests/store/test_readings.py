import math
from dataclasses import replace

from rollout.core.signals import Sample
from rollout.ports import Keep, Observed
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
    assert [found for _, found in await store.samples("mail-sender", ["R3"])] == [
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
    every = await store.samples("mail-sender", ["R3"])
    assert [number for number, _ in every] == sorted({number for number, _ in every})
    assert await store.samples("mail-sender", ["R3"], after=every[1][0]) == every[2:]
    assert await store.samples("mail-sender", ["R3"], since=at(3)) == every[3:]
    assert await store.samples("mail-sender", ["R3"], limit=2) == every[:2]
    assert await store.samples("mail-sender", ["R1"]) == ()


async def test_what_is_not_a_number_comes_back_as_that(store: SqlStore) -> None:
    await store.save_reading(seen(), [sample(1, value=math.nan), sample(2, value=math.inf)], None)
    values = [found.value for _, found in await store.samples("mail-sender", ["R3"])]
    assert math.isnan(values[0])
    assert values[1] == math.inf


async def test_samples_of_several_regions_come_in_one_order(store: SqlStore) -> None:
    for n, name in enumerate(("R3", "R1", "R2", "R1", "R3", "R2")):
        more = [replace(sample(n), region=name), replace(sample(n - 100), region=name)]
        await store.save_reading(replace(seen(), region=name), more, None)
        await store.save_reading(Observed(service="another", region=name), more, None)
    every = await store.samples("mail-sender", ["R1", "R2", "R3"])
    assert [found.region for _, found in every] == [
        n for n in ("R3", "R1", "R2", "R1", "R3", "R2") for _ in "12"
    ]
    two = tuple(pair for pair in every if pair[1].region != "R1")
    assert await store.samples("mail-sender", ["R3", "R2"]) == two
    paged: list[tuple[int, Sample]] = []
    while page := await store.samples(
        "mail-sender", ["R3", "R2"], after=paged[-1][0] if paged else 0, limit=3
    ):
        assert len(page) <= 3
        paged += page
    assert tuple(paged) == two
    since = await store.samples("mail-sender", ["R3", "R2"], since=at(2))
    assert since == tuple(pair for pair in two if pair[1].time >= at(2))
    assert await store.samples("mail-sender", ["R3", "R2"], since=at(2), after=since[0][0]) == since[1:]
    assert await store.samples("mail-sender", ["R3", "R2"], since=at(99)) == ()


async def test_forgotten_samples_are_gone_and_their_numbers_never_used_again(store: SqlStore) -> None:
    await store.save_reading(seen(), [sample(1), sample(2), sample(3)], None)
    last = (await store.samples("mail-sender", ["R3"]))[-1][0]
    keep = Keep(raw_s=7200)
    assert not await store.forget(at(7202), keep)
    assert [found.time for _, found in await store.samples("mail-sender", ["R3"])] == [at(3)]
    assert not await store.forget(at(7203), keep)
    await store.save_reading(seen(), [sample(5)], None)
    ((number, _),) = await store.samples("mail-sender", ["R3"])
    assert number > last


async def test_forgetting_takes_ended_sessions_too(store: SqlStore) -> None:
    await store.add_token(token(), "hash")
    await store.add_session("old", "to_1", "csrf", at(10))
    await store.add_session("new", "to_1", "csrf", at(30))
    await store.forget(at(86420), Keep())
    assert await store.session("old", at(0)) is None
    assert await store.session("new", at(0)) is not None
