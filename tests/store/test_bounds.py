"""How many bytes samples and history take, and what gives when it is too many. Measured with real rows."""

from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog
from sqlalchemy import text

from rollout.core.signals import Sample
from rollout.ports import Keep
from rollout.store import SqlStore, accounts, disk, inline, open_store
from tests.store.builders import SERVICE, T0
from tests.store.places import Place, only
from tests.store.test_history import HOUR, KEEP, expected, forget, read, samples, save, told

BEGIN = T0.replace(hour=0, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
REALISTIC = [("R1", "R2", "R3"), ("2.4.1", "2.5.0"), [f"latency{{le={n / 10}}}" for n in range(8)]]
MORE = ["errors", "restarts", "backlog", "oldest_age"]


def realistic(end: datetime) -> list[Sample]:
    """One interval of a service of 3 regions, 2 versions and 12 series; a third of the numbers has no end."""
    regions, versions, buckets = REALISTIC
    seed = int(end.timestamp())
    return [
        Sample(
            time=end,
            region=region,
            version=version,
            signal=name,
            value=(seed * 7 + place * 13) % 997 / (3 if name in MORE else 1),
            exposure=0.0 if name == "backlog" else 1000.0 + seed % 37,
            duration_s=10.000123,
        )
        for region in regions
        for version in versions
        for place, name in enumerate([*buckets, *MORE])
    ]


def bytes_of(store: SqlStore) -> tuple[int, int]:
    """What the bounds count a block and a sample as."""
    with store.database.read.begin() as conn:
        return accounts.block_bytes(conn), accounts.sample_bytes(conn)


def taken(store: SqlStore, table: str) -> int:
    """The bytes of a table with its indexes, as the database itself has them."""
    with store.database.read.begin() as conn:
        if conn.dialect.name == "postgresql":
            return int(conn.scalar(text(f"SELECT pg_total_relation_size('{table}')")) or 0)
    raise AssertionError("SQLite does not say it of a table")


def used(store: SqlStore) -> int:
    with store.database.read.begin() as conn:
        return store.database.room(conn, 1).used


def rows(store: SqlStore, table: str) -> int:
    with store.database.read.begin() as conn:
        return int(conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def lengths(store: SqlStore, service: str = SERVICE) -> dict[int, set[int]]:
    """Which lengths of blocks a service has, by day since BEGIN, as the accounts say."""
    found: dict[int, set[int]] = {}
    with store.database.read.begin() as conn:
        query = "SELECT day, length_s FROM history_days WHERE blocks > 0 AND service = :service"
        for day, length_s in conn.execute(text(query), {"service": service}):
            found.setdefault(day - int(BEGIN.timestamp()) // 86400, set()).add(length_s)
    return found


def blocks_of_day(store: SqlStore, day: int) -> int:
    """How many blocks SERVICE has on a day since BEGIN."""
    begin = int((BEGIN + day * DAY).timestamp())
    with store.database.read.begin() as conn:
        query = (
            "SELECT count(*) FROM history h JOIN series s ON s.id = h.series "
            "WHERE s.service = :service AND start >= :at"
        )
        counts = [
            conn.execute(text(query), {"service": SERVICE, "at": at}).scalar_one()
            for at in (begin, begin + 86400)
        ]
    return int(counts[0] - counts[1])


def check_accounts(store: SqlStore) -> None:
    """What the accounts say is what there is."""
    with store.database.read.begin() as conn:
        counted = conn.exec_driver_sql(
            "SELECT s.service, h.start / 86400, h.length_s, count(*) FROM history h JOIN series s "
            "ON s.id = h.series GROUP BY 1, 2, 3"
        ).all()
        said = conn.exec_driver_sql(
            "SELECT service, day, length_s, blocks FROM history_days WHERE blocks <> 0"
        ).all()
        assert sorted(map(tuple, counted)) == sorted(map(tuple, said))
        counted = conn.exec_driver_sql("SELECT service, region, count(*) FROM samples GROUP BY 1, 2").all()
        said = conn.exec_driver_sql(
            "SELECT service, region, samples FROM history_marks WHERE samples <> 0"
        ).all()
        assert sorted(map(tuple, counted)) == sorted(map(tuple, said))


async def live(store: SqlStore, begin: datetime, end: datetime, keep: Keep = KEEP) -> None:
    """A realistic service as it goes: a reading each 10 s, and forgetting each 5 min."""
    now = begin
    while now < end:
        readings: list[Sample] = []
        for _ in range(30):
            now += timedelta(seconds=10)
            readings += realistic(now)
        await save(store, readings)
        await forget(store, now, keep)


async def spread(store: SqlStore, days: int, service: str = SERVICE, each: int = 48) -> list[Sample]:
    """So many samples a day of 8 series, over some days."""
    found = [s for day in range(days) for s in samples(BEGIN + day * DAY, each, every_s=86400 / each)]
    await save(store, found, service)
    return found


async def test_rows_take_the_bytes_that_the_bounds_count_with(store: SqlStore) -> None:
    empty = used(store)
    await live(store, BEGIN, BEGIN + 2 * HOUR)
    a_block, a_sample = bytes_of(store)
    blocks, stored = rows(store, "history"), rows(store, "samples")
    if store.database.write.dialect.name == "postgresql":
        block, sample = taken(store, "history") / blocks, taken(store, "samples") / stored
    else:
        full = used(store)
        with store.database.write.begin() as conn:
            conn.exec_driver_sql("DELETE FROM history")
        block, sample = (full - used(store)) / blocks, (used(store) - empty) / stored
    assert 0.6 * a_block < block <= a_block
    assert 0.6 * a_sample < sample <= a_sample
    assert blocks == 60 * 72
    assert KEEP.day_bytes > 1440 * 72 * 40, "the default holds a realistic day of SQLite in blocks of 60 s"
    assert 8640 * 72 * a_sample < KEEP.raw_bytes, "and its samples as they came"


async def test_a_day_that_is_too_large_is_thinned_and_its_sums_stay(store: SqlStore) -> None:
    found = await spread(store, 3)
    large = [s for s in samples(BEGIN + DAY, 1400, every_s=60.0) if s.signal == "errors"]
    large = [replace(s, signal=f"latency{{le={n}}}") for s in large for n in (1, 2)]
    await save(store, large)
    await save(store, samples(BEGIN + DAY, 48, every_s=1800.0), "another")
    day_bytes = 2500 * bytes_of(store)[0]
    await forget(store, BEGIN + 3 * DAY + HOUR, replace(KEEP, day_bytes=day_bytes))
    assert lengths(store) == {0: {60}, 1: {60, 600}, 2: {60}}, "it is thinned until it fits"
    assert blocks_of_day(store, 1) * bytes_of(store)[0] <= day_bytes
    assert lengths(store, "another") == {1: {60}}
    given = await read(store, BEGIN + DAY, BEGIN + 2 * DAY, block_s=600.0)
    same_day = [s for s in found if BEGIN + DAY < s.time <= BEGIN + 2 * DAY]
    assert told(given) == expected([*same_day, *large], 600)
    check_accounts(store)


async def test_a_day_may_be_thinned_while_it_fills(store: SqlStore) -> None:
    found = samples(BEGIN, 1440, every_s=20.0)
    for part in range(0, len(found), 736):  # 92 intervals, in the middle of a block of 10 minutes
        some = found[part : part + 736]
        await save(store, some)
        await forget(store, some[-1].time + HOUR, replace(KEEP, day_bytes=200 * bytes_of(store)[0]))
        check_accounts(store)
    await forget(store, BEGIN + DAY, replace(KEEP, day_bytes=200 * bytes_of(store)[0]))
    assert lengths(store) == {0: {3600}}
    given = await read(store, BEGIN, BEGIN + DAY, block_s=3600.0)
    counts = {key: both for key, both in expected(found, 3600).items() if key[3] != "queue"}
    assert {key: both for key, both in told(given).items() if key[3] != "queue"} == counts


async def test_a_service_that_is_too_large_in_all_loses_its_oldest_days_and_no_other_service_does(
    store: SqlStore,
) -> None:
    await spread(store, 4, each=24)
    await spread(store, 4, "another", each=1)
    blocks = 24 * 8  # a day, and longer blocks would not be fewer
    keep = replace(KEEP, days=4, day_bytes=bytes_of(store)[0] * blocks * 3 // 5)
    await forget(store, BEGIN + 4 * DAY + 2 * HOUR, keep)
    assert sorted(lengths(store)) == [2, 3]
    assert sorted(lengths(store, "another")) == [0, 1, 2, 3]
    check_accounts(store)


async def test_samples_of_a_service_that_has_too_many_go_early_and_stay_in_history(store: SqlStore) -> None:
    found = samples(BEGIN, 600)
    await save(store, found)
    await save(store, samples(BEGIN, 60), "another")
    now = BEGIN + timedelta(seconds=6000 + 1800)
    await forget(store, now, replace(KEEP, raw_bytes=1000 * bytes_of(store)[1]))
    left = await store.samples(SERVICE, ["R3", "R1"])
    assert len(left) == 8 * 180, (
        "what has not settled is never deleted, so the bound of 1000 rows is not held"
    )
    assert rows(store, "samples") == len(left) + 480
    await forget(store, now + HOUR, replace(KEEP, raw_bytes=1000 * bytes_of(store)[1]))
    assert len(await store.samples(SERVICE, ["R3", "R1"])) in range(960, 1001)
    given = await read(store, BEGIN, BEGIN + timedelta(seconds=6000))
    assert told(given) == expected(found, 60)
    check_accounts(store)


async def test_a_database_that_is_too_large_frees_the_largest_service_first(store: SqlStore) -> None:
    await spread(store, 6, each=400)
    await spread(store, 6, "another", each=24)
    now = BEGIN + 6 * DAY + 2 * HOUR
    keep = replace(KEEP, raw_s=3600)
    await forget(store, now, keep)
    before, small = used(store), lengths(store, "another")
    assert await store.forget(now, replace(keep, database_bytes=before - 1)), (
        "it did something, and asks for more"
    )
    less = 5000 * bytes_of(store)[0]
    await forget(store, now, replace(keep, database_bytes=before - less))
    assert used(store) <= before - less
    assert 0 not in lengths(store)
    assert 5 in lengths(store)
    assert lengths(store, "another") == small
    check_accounts(store)


async def test_the_size_on_the_disk_grows_with_what_is_stored(store: SqlStore) -> None:
    before = await store.size()
    await spread(store, 2, each=200)
    assert await store.size() > before + 2 * 200 * 20 > before > 10_000


async def test_a_bound_that_cannot_be_held_is_said_and_ends(store: SqlStore) -> None:
    await spread(store, 2, each=10)
    with structlog.testing.capture_logs() as logged:
        await forget(store, BEGIN + 3 * DAY, replace(KEEP, database_bytes=10))
    assert logged[-1]["event"] == "database is larger than allowed, and no history is left to free"
    assert (logged[-1]["allowed"], logged[-1]["log_level"]) == (10, "error")
    assert rows(store, "history") == rows(store, "samples") == 0
    assert not await store.forget(BEGIN + 3 * DAY, replace(KEEP, database_bytes=10))


@only("sqlite")
async def test_the_disk_bounds_the_database_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(place.empty(), run=inline)
    await spread(store, 6, each=200)
    path, size = store.database.path, used(store)  # nothing was deleted, so that is the whole file
    for free, allowed in ((10**12, 10**9), (0, 0.9 * size), (size, 1.8 * size)):
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with store.database.read.begin() as conn:
            assert disk.room(conn, path, 10**9).allowed == pytest.approx(allowed, rel=0.05)
    store.close()


@only("sqlite")
async def test_pages_that_were_freed_are_used_again(place: Place) -> None:
    """The file does not shrink, and does not grow either."""
    store = open_store(place.empty(), run=inline)
    await live(store, BEGIN, BEGIN + 2 * HOUR, replace(KEEP, raw_s=3600))
    size = store.database.path.stat().st_size
    await live(store, BEGIN + 2 * HOUR, BEGIN + 4 * HOUR, replace(KEEP, raw_s=3600))
    assert store.database.path.stat().st_size < 1.25 * size
    store.close()


async def test_no_step_is_long(store: SqlStore) -> None:
    await spread(store, 20, each=200)
    taken = []
    while True:
        before = [rows(store, name) for name in ("samples", "history")]
        more = await store.forget(BEGIN + 20 * DAY + 2 * HOUR, KEEP)
        taken.append(
            sum(
                abs(a - b)
                for a, b in zip(before, (rows(store, n) for n in ("samples", "history")), strict=True)
            )
        )
        if not more:
            break
    assert max(taken) < 2 * 5000 + 2000
    assert len(taken) > 5
