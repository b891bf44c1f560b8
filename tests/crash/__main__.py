"""`make crash`: every point that matters, of every story, on both databases. Ends with 1 on anything bad."""

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import structlog

from tests.crash.campaign import Campaign, Tally
from tests.crash.grounds import Ground, PostgresGround, SqliteGround
from tests.crash.points import writes
from tests.crash.stories import STORIES
from tests.store.places import postgres_template
from tests.store.postgres_lab import server

SHOWN = 20  # of what was bad in one story
_COLUMNS = ("points", 7), ("kills", 7), ("states", 7), ("late", 6), ("bad", 4), ("per s", 6)
_HEAD = f"{'story':40} {'database':10} " + " ".join(f"{name:>{width}}" for name, width in _COLUMNS)


def main() -> int:
    """Print a line for each story and database, as it comes to its end."""
    wanted = _wanted()
    names = [name for name in STORIES if any(part in name for part in wanted.only)]
    print(_HEAD, flush=True)
    tallies = []
    with _workers(wanted.jobs) as workers:
        asked = [
            workers.submit(_run, kind, name, wanted.reads, wanted.every)
            for kind in wanted.databases
            for name in names
        ]
        for done in as_completed(asked):
            lines, tally = done.result()
            print("\n".join(lines), flush=True)
            tallies.append(tally)
    print(_line("all", "", tallies))
    return 1 if any(tally.bad for tally in tallies) else 0


def _wanted() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    kinds = ["sqlite", "postgresql"]
    parser.add_argument("--databases", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--only", nargs="+", default=[""], help="stories whose names contain one of these")
    parser.add_argument("--every", type=int, default=1, help="every n-th point")
    parser.add_argument("--reads", action="store_true", help="also around statements that only read")
    parser.add_argument("--jobs", type=int, default=len(_cores()), help="stories at once (default: cores)")
    return parser.parse_args()


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _workers(jobs: int) -> ProcessPoolExecutor:
    """Each stays on a core of its own: a controller and its server take turns, and wake each other faster."""
    forked = multiprocessing.get_context("fork")  # as the campaigns do
    cores, numbers = _cores(), forked.SimpleQueue()
    for number in range(jobs):
        numbers.put(cores[number % len(cores)])
    return ProcessPoolExecutor(jobs, mp_context=forked, initializer=_settle_on_a_core, initargs=(numbers,))


def _settle_on_a_core(numbers: "multiprocessing.SimpleQueue[int]") -> None:
    os.sched_setaffinity(0, {numbers.get()})
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _run(kind: str, name: str, reads: bool, every: int) -> tuple[list[str], Tally]:
    """What is printed of one story on one database, and what it was counted from."""

    def chosen(points: Sequence[str]) -> Sequence[int]:
        return (range(len(points)) if reads else writes(points))[::every]

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a kill loses nothing that was written
    with (
        tempfile.TemporaryDirectory(prefix="crash-", dir=memory) as directory,
        _ground(kind, Path(directory)) as ground,
    ):
        tally = Campaign(STORIES[name], ground).run(chosen)
    bad = [f"    {line[:1500]}" for line in tally.bad[:SHOWN]]
    return [_line(name, kind, [tally]), *bad], tally


@contextmanager
def _ground(kind: str, directory: Path) -> Iterator[Ground]:
    if kind == "sqlite":
        yield SqliteGround(directory)
        return
    with server() as running:
        ground = PostgresGround(directory, running, postgres_template(running))
        try:
            yield ground
        finally:
            ground.close()


def _line(name: str, kind: str, tallies: Sequence[Tally]) -> str:
    points, kills, states = (sum(getattr(t, each) for t in tallies) for each in ("points", "kills", "states"))
    late, bad = max(t.late_s for t in tallies), sum(len(t.bad) for t in tallies)
    pace = kills / sum(t.seconds for t in tallies)
    return f"{name:40} {kind:10} {points:7} {kills:7} {states:7} {late:4} s {bad:4} {pace:6.1f}"


if __name__ == "__main__":
    sys.exit(main())
