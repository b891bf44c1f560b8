"""A bounded number of seeds in every run of the tests, those that once failed, and that a seed is one run.

The long runs are `make simulate SEEDS=0:5000`.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.knobs import draw
from tests.simulation.loop import Process, Stuck, VirtualLoop
from tests.simulation.run import run

SEEDS, TOGETHER = 40, 4
KEPT = Path(__file__).with_name("seeds.txt")
ROOT = Path(__file__).parents[2]


def kept() -> list[int]:
    """The seeds that failed once, and must not again."""
    lines = (line.partition("#")[0].strip() for line in KEPT.read_text(encoding="utf-8").splitlines())
    return [int(line) for line in lines if line]


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_no_promise_is_broken_in_the_first_seeds(first: int) -> None:
    for seed in range(first, first + TOGETHER):
        assert not [str(violation) for violation in run(seed).violations], (
            f"python -m tests.simulation {seed}"
        )


def test_every_seed_that_failed_once_passes() -> None:
    for seed in kept():
        assert not [str(violation) for violation in run(seed).violations], (
            f"python -m tests.simulation {seed}"
        )


def test_a_seed_is_the_same_run_in_every_process() -> None:
    digests = set()
    for hashing in ("1", "2"):
        code = "from tests.simulation.run import run; print(*(run(seed).digest for seed in (1, 17, 1)))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashing},
            capture_output=True,
            text=True,
            check=True,
        )
        first, _, again = done.stdout.split()
        assert first == again
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_same_seed_draws_the_same_knobs_and_another_seed_draws_others() -> None:
    assert draw(11) == draw(11)
    assert draw(11) != draw(12)


# ------------------------------------------------------------------ the loop


def test_time_jumps_to_the_next_timer() -> None:
    loop = VirtualLoop()

    async def sleep() -> float:
        await asyncio.sleep(3600.0)
        return loop.time()

    assert loop.run_until_complete(sleep()) == pytest.approx(3600.0)
    loop.close()


def test_a_killed_process_never_gets_another_turn_and_its_finally_does_not_run() -> None:
    loop, seen = VirtualLoop(), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append("after")
        finally:
            seen.append("finally")

    async def world() -> None:
        process = Process("one")
        process.begin(work())
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(5.0)
        assert seen == []
        process.bury()
        await asyncio.gather(*process.tasks, return_exceptions=True)

    loop.run_until_complete(world())
    loop.close()
    assert seen == ["finally"]


def test_a_stopped_process_goes_on_where_it_was_and_its_timers_are_late() -> None:
    loop, seen = VirtualLoop(), list[float]()

    async def work() -> None:
        await asyncio.sleep(1.0)
        seen.append(loop.time())

    async def world() -> None:
        process = Process("one")
        process.begin(work())
        await asyncio.sleep(0.5)
        process.stop()
        await asyncio.sleep(9.5)
        process.go_on()
        await asyncio.sleep(0.1)

    loop.run_until_complete(world())
    loop.close()
    assert seen == [pytest.approx(10.0)]


def test_a_loop_in_which_nothing_can_happen_any_more_says_so() -> None:
    loop = VirtualLoop()
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.create_future())
    loop.close()
