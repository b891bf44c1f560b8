"""Clocks of instances that are not ours, timestamps that repeat, and answers that come late."""

import asyncio

import httpx
import pytest
from scrape_world import AGE, ERRORS, RESTARTS, T0, World, exposed, numbers, the

MINUTE_S = 60


@pytest.fixture
def world() -> World:
    return World()


def stamped(value: float, at: float) -> str:
    return exposed(more=f"oldest_item_seconds {value} {int(at * 1000)}\n")


def counted(ok: int, at: float) -> str:
    return f'# TYPE http_requests_total counter\nhttp_requests_total{{status="200"}} {ok} {int(at * 1000)}\n'


# ------------------------------------------------------------------ when a process started


@pytest.mark.parametrize("skew_s", [-MINUTE_S, MINUTE_S])
async def test_restarts_and_counts_are_right_where_an_instance_is_a_minute_off(
    world: World, skew_s: float
) -> None:
    start = T0.timestamp() - 3600 + skew_s
    world.has(exposed(1000, 7, start=start))
    await world.read(ERRORS, RESTARTS)
    world.has(exposed(1010, 8, start=start))
    reading = await world.read(ERRORS, RESTARTS)
    assert numbers(reading) == (1, 11)
    assert the(reading, "restarts").value == 0
    world.has(exposed(5, 2, start=world.now + 4 + skew_s))
    reading = await world.read(ERRORS, RESTARTS)
    assert numbers(reading) == (2, 7)
    assert the(reading, "restarts").value == 1
    assert reading.problems == ()


@pytest.mark.parametrize(("skew_s", "told"), [(-MINUTE_S, None), (MINUTE_S, (2, 7))])
async def test_a_new_instance_a_minute_behind_only_loses_its_first_interval(
    world: World, skew_s: float, told: tuple[float, float] | None
) -> None:
    world.has(exposed(1000, 7))
    await world.read()
    world.has(exposed(5, 2, version="2.0", start=world.now + 3 + skew_s), "b", "2.0")
    reading = await world.read()
    assert [(s.value, s.exposure) for s in reading.samples if s.version == "2.0"] == ([told] if told else [])
    world.has(exposed(8, 3, version="2.0", start=world.now - 7 + skew_s), "b", "2.0")
    assert numbers(await world.read(), version="2.0") == (1, 4)


async def test_a_clock_that_is_set_is_no_restart_and_never_tells_the_past_as_new(world: World) -> None:
    start = T0.timestamp() - 7200
    world.has(exposed(1_000_000, 7, start=start))
    await world.read(ERRORS, RESTARTS)
    world.has(exposed(1_000_010, 8, start=start + MINUTE_S))
    reading = await world.read(ERRORS, RESTARTS)
    assert [(s.signal, s.value) for s in reading.samples] == [("restarts", 0)]
    (problem,) = reading.problems
    assert "says that it started 60 s later than it said before" in problem
    world.has(exposed(1_000_020, 9, start=start + MINUTE_S))
    reading = await world.read(ERRORS, RESTARTS)
    assert numbers(reading) == (1, 11)
    assert reading.problems == ()


async def test_a_process_that_took_long_to_answer_for_the_first_time_is_a_restart(world: World) -> None:
    world.has(exposed(1000, 7))
    world.has(exposed(10, 0), "b")
    await world.read(ERRORS, RESTARTS)
    start = world.now + 5
    world.has(httpx.Response(503))
    for _ in range(3):
        await world.read(ERRORS, RESTARTS, after_s=600)
    world.has(exposed(4, 1, start=start))
    reading = await world.read(ERRORS, RESTARTS)
    assert numbers(reading) == (1, 5)
    assert the(reading, "restarts", instance="a").value == 1


# ------------------------------------------------------------------ series with a time of their own


@pytest.mark.parametrize("skew_s", [-MINUTE_S, 0, MINUTE_S])
async def test_a_level_with_a_time_of_its_own_is_taken_as_long_as_that_goes_on(
    world: World, skew_s: float
) -> None:
    for value in (3, 4, 5):
        world.has(stamped(value, world.now + 10 + skew_s))
        reading = await world.read(AGE)
        assert reading.problems == ()
        assert the(reading, "work_age").value == value
        assert the(reading, "work_age").time == world.clock.now()


@pytest.mark.parametrize("back_s", [0, 5])
async def test_a_time_that_repeats_or_goes_back_is_stale(world: World, back_s: float) -> None:
    at = world.now
    world.has(stamped(3, at))
    assert the(await world.read(AGE), "work_age").value == 3
    world.has(stamped(99, at - back_s))
    reading = await world.read(AGE)
    assert reading.samples == ()
    assert "as of the same time as before, or earlier: stale" in reading.problems[0]
    world.has(stamped(4, at + 15))
    assert the(await world.read(AGE), "work_age").value == 4


@pytest.mark.parametrize(("off_s", "said"), [(-400, "as of 400 s ago"), (400, "as of 400 s ahead")])
async def test_a_time_further_off_than_clocks_differ_is_refused_and_spoils_no_later_one(
    world: World, off_s: float, said: str
) -> None:
    world.has(stamped(3, world.now + 10 + off_s))
    reading = await world.read(AGE)
    assert reading.samples == ()
    assert said in reading.problems[0]
    world.has(stamped(4, world.now + 10))
    assert the(await world.read(AGE), "work_age").value == 4


async def test_a_counter_whose_time_stands_still_is_no_interval_without_traffic(world: World) -> None:
    at = world.now
    world.has(counted(100, at))
    await world.read()
    world.has(counted(100, at))
    reading = await world.read()
    assert reading.samples == ()
    assert "stale" in reading.problems[0]
    world.has(counted(130, at + 20))
    assert numbers(await world.read()) == (0, 30)


async def test_times_are_remembered_across_a_restart_of_the_controller(world: World) -> None:
    world.has(stamped(3, world.now))
    await world.read(AGE)
    world.a_new_controller()
    assert (await world.read(AGE)).samples == ()


# ------------------------------------------------------------------ late answers


async def test_an_answer_that_comes_too_late_is_made_up_for_by_the_next_one() -> None:
    world = World(timeout_s=0.02)
    world.has(exposed(100, 0))
    world.has(exposed(10, 0), "b")
    await world.read()
    never = asyncio.Event()

    async def late(request: httpx.Request) -> httpx.Response:
        if request.url.host == "a.test":
            await never.wait()
        return world._answer(request)

    prompt, world.handler = world.handler, late
    world.has(exposed(150, 5))
    world.has(exposed(11, 0), "b")
    assert numbers(await world.read()) == (0, 1)
    world.handler = prompt
    assert numbers(await world.read()) == (5, 55)
