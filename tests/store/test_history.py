"""What history says of samples: the same sums, each once, wherever they are kept by now."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from sqlalchemy import event

from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Keep, Observed
from rollout.store import SqlStore
from tests.store.builders import SERVICE, T0

KEEP = Keep()
SIGNALS = (
    Signal(name="errors", kind=SignalKind.RATIO, title="failed"),
    Signal(name="queue", kind=SignalKind.GAUGE, title="queued"),
    Signal(name="latency", kind=SignalKind.DISTRIBUTION, title="slow"),
)
NAMES = ("errors", "queue", "latency{le=0.25}", "latency{le=+Inf}")
HOUR = timedelta(hours=1)


def samples(start: datetime, count: int, every_s: float = 10.0, **more: object) -> list[Sample]:
    """So many intervals of all series in R3 and R1, with numbers that differ."""
    found = []
    for n in range(1, count + 1):
        for place, region in enumerate(("R3", "R1")):
            for kind, name in enumerate(NAMES):
                found.append(
                    Sample(
                        time=start + timedelta(seconds=every_s * n),
                        region=region,
                        version="2.4.1",
                        signal=name,
                        value=float((n * 7 + kind * 3 + place) % 23),
                        exposure=4.0 if name == "queue" else float(100 + n % 5),
                        duration_s=every_s,
                    )
                )
    return [replace(sample, **more) for sample in found] if more else found


async def save(store: SqlStore, found: Sequence[Sample], service: str = SERVICE) -> None:
    by_region = defaultdict(list)
    for sample in found:
        by_region[sample.region].append(sample)
    for region, part in by_region.items():
        await store.save_reading(Observed(service=service, region=region), part, None)


async def forget(store: SqlStore, now: datetime, keep: Keep = KEEP) -> int:
    """Until nothing more is to do. Returns after how many steps."""
    steps = 1
    while await store.forget(now, keep):
        steps += 1
        assert steps < 1000, "it never ends"
    return steps


async def read(store: SqlStore, since: datetime, until: datetime, **more: object) -> tuple[Sample, ...]:
    wanted: dict[str, object] = {
        "signals": SIGNALS,
        "versions": ("2.4.1",),
        "since": since,
        "until": until,
        "block_s": 60.0,
    }
    return await store.history(SERVICE, ("R3", "R1"), **{**wanted, **more})  # type: ignore[arg-type]


def expected(found: Sequence[Sample], block_s: int) -> dict[tuple[object, ...], tuple[float, float]]:
    """Blocks of samples, made in the plainest way; the level of a long one is the median of its minutes'."""
    cells = defaultdict(list)
    if block_s > 60:
        minutes = expected([s for s in found if s.signal == "queue"], 60)
        found = [s for s in found if s.signal != "queue"] + [
            replace(
                found[0],
                time=datetime.fromtimestamp(end, UTC),
                region=region,
                signal=name,
                value=v,
                exposure=n,
            )  # type: ignore[arg-type]
            for (end, region, _, name), (v, n) in minutes.items()
        ]
    for sample in found:
        end = math.ceil(sample.time.timestamp() / block_s) * block_s
        cells[end, sample.region, sample.version, sample.signal].append(sample)
    return {
        key: (
            median(s.value for s in cell) if key[3] == "queue" else sum(s.value for s in cell),
            sum(s.exposure for s in cell) / (len(cell) if key[3] == "queue" else 1),
        )
        for key, cell in cells.items()
    }


def told(found: Sequence[Sample]) -> dict[tuple[object, ...], tuple[float, float]]:
    keys = [(s.time.timestamp(), s.region, s.version, s.signal) for s in found]
    assert len(keys) == len(set(keys)), "a block was given twice"
    return {key: (s.value, s.exposure) for key, s in zip(keys, found, strict=True)}


@pytest.mark.parametrize("block_s", [60, 600])
@pytest.mark.parametrize("hours_later", [0.0, 0.9, 1.02, 1.6, 3.0, 30.0])
async def test_blocks_have_the_sums_of_their_samples_wherever_these_are_by_now(
    store: SqlStore, block_s: int, hours_later: float
) -> None:
    begin, end = T0.replace(minute=0, second=0, microsecond=0), T0.replace(minute=50, second=0, microsecond=0)
    found = samples(begin, 300)
    await save(store, found)
    await forget(store, begin + hours_later * HOUR)
    given = await read(store, begin, end, block_s=float(block_s))
    assert told(given) == expected(found, block_s)
    assert {sample.duration_s for sample in given} == {float(block_s)}
    assert [s.time for s in given] == sorted(s.time for s in given)


async def test_samples_in_part_behind_the_mark_and_in_part_before_it_make_one_block(store: SqlStore) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    found = samples(begin, 60)
    await save(store, found)
    await forget(store, begin + HOUR + timedelta(minutes=3))  # three of the ten blocks of 60 s
    given = await read(store, begin, begin + timedelta(minutes=10), block_s=600.0)
    assert told(given) == expected(found, 600)


async def test_thinned_days_keep_every_sum(store: SqlStore) -> None:
    begin = T0.replace(hour=0, minute=0, second=0, microsecond=0)
    found = samples(begin, 288, every_s=300.0)  # a day
    await save(store, found)
    await forget(store, begin + timedelta(days=2))
    fine = await read(store, begin, begin + timedelta(days=1))
    await forget(store, begin + timedelta(days=17))
    given = await read(store, begin, begin + timedelta(days=1))
    assert {s.duration_s for s in fine} == {60.0}
    assert {s.duration_s for s in given} == {600.0}
    assert told(given) == expected(found, 600)


async def test_history_ends_after_its_days(store: SqlStore) -> None:
    begin = T0.replace(hour=0, minute=0, second=0, microsecond=0)
    await save(store, samples(begin, 6))
    await forget(store, begin + timedelta(days=35, hours=23))
    assert await read(store, begin, begin + HOUR)
    await forget(store, begin + timedelta(days=36))
    assert await read(store, begin, begin + HOUR) == ()
    with store.database.read.begin() as conn:
        left = {
            name: conn.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in ("history", "history_days", "series", "samples")
        }
    assert set(left.values()) == {0}


async def test_only_whole_blocks_between_the_two_times_are_given(store: SqlStore) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    await save(store, samples(begin, 60))
    given = await read(store, begin + timedelta(seconds=61), begin + timedelta(seconds=299))
    assert sorted({s.time - begin for s in given}) == [timedelta(seconds=n) for n in (180, 240)]
    assert await read(store, begin + HOUR, begin) == ()


async def test_only_the_named_signals_versions_and_regions_are_given(store: SqlStore) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    await save(store, samples(begin, 6))
    await save(store, samples(begin, 6, version="2.5.0"))
    await save(store, samples(begin, 6), service="another")
    for hours in (0, 2):
        await forget(store, begin + hours * HOUR)
        given = await read(store, begin, begin + HOUR)
        assert {(s.version, s.region) for s in given} == {("2.4.1", "R3"), ("2.4.1", "R1")}
        assert {s.signal for s in given} == set(NAMES)
        assert {s.signal for s in await read(store, begin, begin + HOUR, signals=SIGNALS[:1])} == {"errors"}
        assert await read(store, begin, begin + HOUR, versions=()) == ()
        one = await store.history(
            SERVICE,
            ["R1"],
            signals=SIGNALS,
            versions=["2.4.1"],
            since=begin,
            until=begin + HOUR,
            block_s=60.0,
        )
        assert {s.region for s in one} == {"R1"}


@pytest.mark.parametrize("hours_later", [0, 2])
async def test_junk_repeats_and_single_instances_are_in_no_block(store: SqlStore, hours_later: int) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    good = samples(begin, 6)
    first = good[0]
    junk = [
        replace(first, time=begin + timedelta(seconds=33), **wrong)
        for wrong in (
            {"value": math.nan},
            {"value": -1.0},
            {"value": math.inf},
            {"exposure": math.nan},
            {"exposure": 2.0**54},
            {"duration_s": -1.0},
            {"instance": "i-1"},
        )
    ]
    await save(store, [*good, *junk, replace(first, value=first.value + 5)])
    await forget(store, begin + hours_later * HOUR)
    assert told(await read(store, begin, begin + HOUR)) == expected(good, 60)


async def test_a_sample_behind_the_mark_of_its_region_is_too_late_for_history(store: SqlStore) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    found = samples(begin, 12)
    await save(store, found)
    await forget(store, begin + 2 * HOUR)
    late = replace(found[0], time=begin + timedelta(seconds=5), value=9.0)
    await save(store, [late])
    for hours in (2, 3, 30):
        await forget(store, begin + hours * HOUR)
        assert told(await read(store, begin, begin + HOUR)) == expected(found, 60)
    assert await store.samples(SERVICE, ["R3"]) == ()


async def test_a_region_that_was_silent_may_bring_its_samples_later(store: SqlStore) -> None:
    begin = T0.replace(minute=0, second=0, microsecond=0)
    found = samples(begin, 12)
    await save(store, [s for s in found if s.region == "R3"])
    await forget(store, begin + 9 * HOUR)
    await save(store, [s for s in found if s.region == "R1"])
    await forget(store, begin + 10 * HOUR)
    assert told(await read(store, begin, begin + HOUR)) == expected(found, 60)


async def test_blocks_of_any_length_have_all_that_was_counted(store: SqlStore) -> None:
    begin = T0.replace(hour=0, minute=0, second=0, microsecond=0)
    found = samples(begin, 90, every_s=1400.0)
    await save(store, found)
    await forget(store, begin + timedelta(hours=20))
    wanted = sum(s.value for s in found if s.signal == "errors")
    for block_s in (1.0, 7.0, 45.0, 60.0, 90.0, 100.0, 3600.0, 86400.0):
        given = await read(store, begin, begin + timedelta(days=3), block_s=block_s)
        assert sum(s.value for s in given if s.signal == "errors") == wanted, block_s


async def test_a_level_has_the_middle_of_its_values_however_it_was_kept(store: SqlStore) -> None:
    begin = T0.replace(hour=0, minute=0, second=0, microsecond=0)
    values = (5.0, 5.0, 900.0, 5.0, 5.0, 5.0)
    found = [s for s in samples(begin, 6) if (s.signal, s.region) == ("queue", "R3")]
    await save(store, [replace(s, value=value) for s, value in zip(found, values, strict=True)])
    for later in (timedelta(), timedelta(hours=3), timedelta(days=20)):
        await forget(store, begin + later)
        (given,) = await read(store, begin, begin + HOUR, block_s=600.0)
        assert (given.value, given.exposure) == (5.0, 4.0)


async def test_weeks_of_which_nothing_is_stored_are_not_asked_for(store: SqlStore) -> None:
    asked = []
    found = samples(T0, 60)
    await save(store, found)
    event.listen(store.database.read, "before_cursor_execute", lambda *about: asked.append(about[2]))
    given = told(await read(store, T0 - timedelta(days=15), T0 + HOUR))
    assert given == expected(found, 60)
    assert len([text for text in asked if "FROM samples" in text]) <= 2 * 3, (
        "to find the first, and two pages"
    )
