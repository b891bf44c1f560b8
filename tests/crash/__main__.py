"""`make crash`: every point that matters, of every story, on both databases. Ends with 1 on anything bad."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from tests.crash.campaign import Campaign, Choice, Tally
from tests.crash.grounds import Ground, PostgresGround, SqliteGround
from tests.crash.points import writes
from tests.crash.stories import STORIES
from tests.store.places import postgres_template
from tests.store.postgres_lab import server

SHOWN = 20  # of what was bad in one story
_COLUMNS = ("points", 7), ("kills", 7), ("states", 7), ("late", 6), ("bad", 4), ("per s", 6)
_HEAD = f"{'story':40} {'database':10} " + " ".join(f"{name:>{width}}" for name, width in _COLUMNS)


def main() -> int:
    """Print a line for each story and database."""
    wanted = _wanted()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    names = [name for name in STORIES if wanted.only in name]
    print(_HEAD)
    chosen = _chosen(wanted.reads, wanted.every)
    tallies = [_run(name, chosen, make) for make in _grounds(wanted.databases) for name in names]
    print(_line("all", "", tallies))
    return 1 if any(tally.bad for tally in tallies) else 0


def _grounds(kinds: Sequence[str]) -> Iterator[Callable[[Path], Ground]]:
    """What makes a ground in a directory, for each database in turn."""
    if "sqlite" in kinds:
        yield SqliteGround
    if "postgresql" in kinds:
        with server() as running:
            template = postgres_template(running)
            yield lambda directory: PostgresGround(directory, running, template)


def _wanted() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--only", default="", help="stories whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="every n-th point")
    parser.add_argument("--reads", action="store_true", help="also around statements that only read")
    return parser.parse_args()


def _chosen(reads: bool, every: int) -> Choice:
    return lambda names: (range(len(names)) if reads else writes(names))[::every]


def _run(name: str, chosen: Choice, make: Callable[[Path], Ground]) -> Tally:
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a kill loses nothing that was written
    with tempfile.TemporaryDirectory(prefix="crash-", dir=memory) as directory:
        ground = make(Path(directory))
        try:
            tally = Campaign(STORIES[name], ground).run(chosen)
        finally:
            ground.close()
    print(_line(name, ground.kind, [tally]))
    for line in tally.bad[:SHOWN]:
        print(f"    {line[:1500]}")
    sys.stdout.flush()
    return tally


def _line(name: str, kind: str, tallies: Sequence[Tally]) -> str:
    points, kills, states = (sum(getattr(t, each) for t in tallies) for each in ("points", "kills", "states"))
    late, bad = max(t.late_s for t in tallies), sum(len(t.bad) for t in tallies)
    pace = kills / sum(t.seconds for t in tallies)
    return f"{name:40} {kind:10} {points:7} {kills:7} {states:7} {late:4} s {bad:4} {pace:6.1f}"


if __name__ == "__main__":
    sys.exit(main())
