"""The heartbeat: wakes the reconciler, reloads whole or not at all, and says when it is dead."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, JobEvent, JobExecutionEvent

from rollout.config import Configuration, ConfigurationFiles
from rollout.core.errors import InvalidInput, Problem, StoreError
from rollout.reconciler import Reconciler
from rollout.schedule import DEAD_AFTER_S, FAILING_AFTER_S, Heartbeat
from rollout.testing import ManualClock

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Ticks:
    """A reconciler that counts its ticks, and does what a test wants in each."""

    def __init__(self) -> None:
        self.count = 0
        self.during: Callable[[], Awaitable[None] | None] = lambda: None

    async def tick(self) -> None:
        self.count += 1
        waiting = self.during()
        if waiting is not None:
            await waiting


class Files:
    """Configuration files that change when a test says so."""

    def __init__(self) -> None:
        self.news: list[Configuration | InvalidInput | None] = []
        self.current = Configuration(
            directory=Path("nowhere"),
            regions={},
            policies={},
            signals={},
            digest="0",  # type: ignore[arg-type]
        )

    def changed(self) -> bool:
        return bool(self.news)

    def reload(self) -> Configuration | None:
        news = self.news.pop(0)
        if isinstance(news, InvalidInput):
            raise news
        return news

    def kept(self, error: InvalidInput) -> str:
        return f"configuration not reloaded: {error.problems[0]}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def heartbeat(ticks: Ticks, files: Files, clock: ManualClock) -> Heartbeat:
    return Heartbeat(cast(Reconciler, ticks), cast(ConfigurationFiles, files), clock, tick_s=1.0)


async def test_a_beat_is_one_tick_and_is_remembered(
    heartbeat: Heartbeat, ticks: Ticks, clock: ManualClock
) -> None:
    await heartbeat.beat()
    assert (ticks.count, heartbeat.last_tick) == (1, clock.now())


async def test_a_wake_during_a_beat_brings_exactly_one_more(heartbeat: Heartbeat, ticks: Ticks) -> None:
    def wake_twice_in_the_first() -> None:
        if ticks.count == 1:
            heartbeat.wake()
            heartbeat.wake()

    ticks.during = wake_twice_in_the_first
    await heartbeat.beat()
    assert ticks.count == 2


async def test_it_is_dead_when_no_tick_ended_for_fifteen_seconds(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    assert not heartbeat.alive()  # never started
    await heartbeat.beat()
    clock.advance(DEAD_AFTER_S)
    assert heartbeat.alive()
    clock.advance(1)
    assert not heartbeat.alive()


async def test_ticks_that_fail_do_not_count_as_life(
    heartbeat: Heartbeat, ticks: Ticks, clock: ManualClock
) -> None:
    await heartbeat.beat()

    def fail() -> None:
        raise StoreError("the disk is full")

    ticks.during = fail
    clock.advance(DEAD_AFTER_S + 1)
    with pytest.raises(StoreError):
        await heartbeat.beat()
    assert not heartbeat.alive()


async def test_ticks_that_all_fail_are_known_before_it_counts_as_dead(
    heartbeat: Heartbeat, ticks: Ticks, clock: ManualClock
) -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    ticks.during = fail
    with pytest.raises(StoreError):
        await heartbeat.beat()
    since = clock.now()
    clock.advance(FAILING_AFTER_S)
    assert heartbeat.failing_since is None, "one that fails is tried again"
    clock.advance(1)
    with pytest.raises(StoreError):
        await heartbeat.beat()
    assert heartbeat.failing_since == since
    ticks.during = lambda: None
    await heartbeat.beat()
    assert heartbeat.failing_since is None


async def test_an_outage_is_told_at_once_then_each_minute_with_its_count_and_when_it_is_over(
    heartbeat: Heartbeat, ticks: Ticks, clock: ManualClock
) -> None:
    await heartbeat.beat()

    def fail() -> None:
        raise StoreError("no server answers")

    ticks.during = fail
    with structlog.testing.capture_logs() as lines:
        for _ in range(303):
            with pytest.raises(StoreError) as failed:
                await heartbeat.beat()
            heartbeat._report(
                JobExecutionEvent(EVENT_JOB_ERROR, "tick", "default", START, None, failed.value)
            )
            clock.advance(1)
        ticks.during = lambda: None
        await heartbeat.beat()
    *missed, well = lines
    assert [line["beats"] for line in missed] == [1, 60, 60, 60, 60, 60]
    assert {(line["log_level"], line["error"], line["since"]) for line in missed} == {
        ("error", "no server answers", "12:00:00 UTC")
    }
    assert (well["log_level"], well["event"]) == ("info", "the database answers again after 5 min 3 s")


async def test_a_broken_configuration_is_said_once_and_the_beat_goes_on(
    heartbeat: Heartbeat, ticks: Ticks, files: Files
) -> None:
    files.news = [InvalidInput("bad", (Problem("policies/x.yaml:12: stages.1.bake", "never ends"),))]
    await heartbeat.beat()
    assert "policies/x.yaml:12" in heartbeat.reload_error
    assert ticks.count == 1
    files.news = [files.current]
    await heartbeat.beat()
    assert heartbeat.reload_error == ""


async def test_a_configuration_that_is_whole_again_is_said_so_that_the_log_does_not_end_in_its_error(
    heartbeat: Heartbeat, files: Files
) -> None:
    files.news = [InvalidInput("bad", (Problem("policies/x.yaml:12: stages.1.bake", "never ends"),))]
    with structlog.testing.capture_logs() as lines:
        await heartbeat.beat()
        files.news = [files.current]
        await heartbeat.beat()
        files.news = [None]
        await heartbeat.beat()
    assert [line["log_level"] for line in lines] == ["error", "info"]
    assert lines[-1]["event"] == "configuration is whole again, unchanged"
    assert heartbeat.reload_error == ""


async def test_a_new_configuration_is_said_with_its_digest(heartbeat: Heartbeat, files: Files) -> None:
    fresh = replace(files.current, digest="f" * 64)

    def reload() -> Configuration:
        files.news.clear()
        files.current = fresh
        return fresh

    files.news, files.reload = [fresh], reload  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as lines:
        await heartbeat.beat()
    assert [(line["event"], line["digest"]) for line in lines] == [("configuration reloaded", "f" * 12)]


async def test_a_slow_first_look_is_told_once_and_is_no_error(files: Files) -> None:
    """It opens everything; the scheduler finds it still under way when the next one is due."""
    first, later = await _slow_beats(files)
    assert [(line["log_level"], line["event"]) for line in first] == [
        ("info", "the first look took 5.0 s, more than a tick")
    ]
    assert [(line["log_level"], line["event"]) for line in later] == [("error", "heartbeat missed a beat")]


async def _slow_beats(files: Files) -> list[list[structlog.typing.EventDict]]:
    """What is logged of two looks of 5 s in a loop whose time is ours, with a tick of 1 s."""
    ticks, told, loop, at = Ticks(), [], asyncio.get_running_loop(), [0.0]
    heartbeat = Heartbeat(
        cast(Reconciler, ticks), cast(ConfigurationFiles, files), ManualClock(START), tick_s=1.0
    )

    def slow() -> None:
        heartbeat._report(JobEvent(EVENT_JOB_MAX_INSTANCES, "tick", "default"))
        at[0] += 5.0

    ticks.during = slow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: at[0])
        for _ in range(2):
            with structlog.testing.capture_logs() as lines:
                await heartbeat.beat()
            told.append(list(lines))
    return told


@pytest.mark.real
async def test_the_scheduler_beats_at_once_and_a_wake_does_not_wait_for_the_next_beat(files: Files) -> None:
    from rollout.clock import SystemClock

    ticks, beaten = Ticks(), asyncio.Event()
    ticks.during = beaten.set
    heartbeat = Heartbeat(
        cast(Reconciler, ticks), cast(ConfigurationFiles, files), SystemClock(), tick_s=60.0
    )
    await heartbeat.start()
    try:
        await asyncio.wait_for(beaten.wait(), 30)
        beaten.clear()
        while ticks.count < 2:
            heartbeat.wake()
            await asyncio.sleep(0.01)
        assert heartbeat.alive()
    finally:
        await heartbeat.stop()


@pytest.mark.real
async def test_a_beat_belongs_to_no_request_whoever_woke_it(files: Files) -> None:
    """Else each later line of the log, and each act, would name whoever woke it."""
    from rollout.clock import SystemClock

    ticks, beaten, seen = Ticks(), asyncio.Event(), list[dict[str, object]]()

    def look() -> None:
        seen.append(structlog.contextvars.get_contextvars())
        beaten.set()

    ticks.during = look
    heartbeat = Heartbeat(
        cast(Reconciler, ticks), cast(ConfigurationFiles, files), SystemClock(), tick_s=60.0
    )
    await heartbeat.start()
    try:
        await asyncio.wait_for(beaten.wait(), 30)
        await asyncio.sleep(0)
        with structlog.contextvars.bound_contextvars(actor="ann", trace_id="t1"):
            while ticks.count < 2:
                heartbeat.wake()
                await asyncio.sleep(0.01)
    finally:
        await heartbeat.stop()
    assert seen[1] == {}
