"""The product's own judge beside those of today's tools, on the same synthetic traffic, against its targets.

Every judge sees the same minutes of every run. Bounds are one-sided 95 % bounds (Clopper–Pearson for shares).
"""

import argparse
import os
import platform
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import scipy

from bench.judge_cells import MEASUREMENTS, Cell, Measurement, Notes
from bench.judge_figures import Figure, figures
from bench.judge_outcome import Judge
from bench.judge_product import Product
from bench.judge_report import as_json, label, summary, table
from bench.judge_speed import speed_figures
from bench.judge_traffic import HEAVY, NOISES
from rollout.clock import SystemClock

RESULTS = Path(__file__).parent / "results"
SPEED = "speed"
NAMES = (*(one.name for one in MEASUREMENTS), SPEED)
NOISE = {"standard": NOISES, "heavy": HEAVY, "all": (*NOISES, *HEAVY)}
SLOW_FULL, SLOW_QUICK = 100, 5  # runs of a cell that Kayenta sees: it re-ranks its whole window at each look


@dataclass(frozen=True)
class Options:
    """What to measure. `runs` overrides those of every cell; 0 leaves them."""

    seed: int
    quick: bool = False
    only: tuple[str, ...] = NAMES
    noise: str = "standard"
    runs: int = 0
    jobs: int = 1


@dataclass(frozen=True)
class Part:
    """Some of the runs of cells that are judged together, few enough for memory.

    `chances` seed the traffic of each cell: the base seed, the cell, the number of the part.
    """

    measurement: Measurement
    cells: tuple[Cell, ...]
    chances: tuple[tuple[int, int, int], ...]
    runs: int
    slow: int

    def measured(self, judge: Judge) -> list[Notes]:
        """Make the traffic, and let every judge see it; one entry for each cell."""
        chances = [np.random.default_rng(chance) for chance in self.chances]
        return self.measurement.work(chances, self.cells, self.runs, self.slow, judge)


def measure(options: Options, judge: Judge) -> list[Figure]:
    """Everything asked for, the speed last and alone on the machine."""
    found = [one for cell in _cells(options, judge) for one in cell]
    return found + (speed_figures(options.seed, judge) if SPEED in options.only else [])


def parts(options: Options) -> Iterator[list[Part]]:
    """Each group of cells as its parts."""
    for measurement in (one for one in MEASUREMENTS if one.name in options.only):
        runs = options.runs or (measurement.quick if options.quick else measurement.full)
        for cells in measurement.groups(NOISE[options.noise]):
            yield list(_parts(measurement, tuple(cells), options, runs))


def _parts(measurement: Measurement, cells: tuple[Cell, ...], options: Options, runs: int) -> Iterator[Part]:
    named = [zlib.crc32(f"{measurement.name} {label(cell)}".encode()) for cell in cells]
    slow = min(runs, SLOW_QUICK if options.quick else SLOW_FULL)
    for number, begins in enumerate(range(0, runs, measurement.at_once)):
        here = min(measurement.at_once, runs - begins)
        chances = tuple((options.seed, name, number) for name in named)
        yield Part(measurement, cells, chances, here, max(0, min(here, slow - begins)))


def merged(notes: Sequence[Notes]) -> Notes:
    """The parts of a cell behind each other."""
    return {
        judge: {what: np.concatenate([one[judge][what] for one in notes]) for what in noted}
        for judge, noted in notes[0].items()
    }


def _cells(options: Options, judge: Judge) -> Iterator[list[Figure]]:
    groups = list(parts(options))
    notes = iter(_all([part for group in groups for part in group], options.jobs, judge))
    for group in groups:
        by_cell = zip(*(next(notes) for _ in group), strict=True)
        for cell, noted in zip(group[0].cells, by_cell, strict=True):
            yield figures(group[0].measurement.name, cell, merged(noted))


def _all(every: Sequence[Part], jobs: int, judge: Judge) -> Iterable[list[Notes]]:
    """In the order of the parts; with one job in this process."""
    if jobs <= 1:
        return [part.measured(judge) for part in every]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(part.measured, judge) for part in reversed(every)]  # the longest come last
        for done, _ in enumerate(as_completed(waiting), start=1):
            if sys.stderr.isatty():
                print(f"\r{done} of {len(every)} parts", end="", file=sys.stderr, flush=True)
        return [one.result() for one in reversed(waiting)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the figures where asked."""
    given = _parser().parse_args(arguments)
    options = Options(
        seed=given.seeds,
        quick=given.quick,
        only=tuple(given.only.split(",")) if given.only else NAMES,
        noise=given.noise,
        runs=given.runs,
        jobs=given.jobs,
    )
    if unknown := set(options.only) - set(NAMES):
        sys.exit(f"--only knows {', '.join(NAMES)}; not {', '.join(sorted(unknown))}")
    now, began = SystemClock().now(), time.perf_counter()
    found = measure(options, Product())
    took = time.perf_counter() - began
    print(table(found, {one.name: one.title for one in MEASUREMENTS}))
    print(summary(found))
    print(
        f"\nseed {options.seed}, {'quick' if options.quick else 'full'}, {took:.0f} s on {options.jobs} cores"
    )
    meta = {
        "date": now.isoformat(timespec="seconds"),
        "seconds": round(took, 1),
        **vars(options),
        **_machine(),
    }
    paths = [Path(given.json)] if given.json else []
    if given.save:
        paths.append(RESULTS / f"judge-{now:%Y-%m-%d}-{options.seed}.json")
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(found, meta), "utf-8")


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "cores": os.cpu_count(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=1, help="base seed; every cell derives its own (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="few runs of every cell, under three minutes")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    parser.add_argument("--only", default="", help=f"measurements by comma: {', '.join(NAMES)}")
    parser.add_argument("--noise", choices=sorted(NOISE), default="standard", help="heavy: five other kinds")
    parser.add_argument("--runs", type=int, default=0, help="runs of every cell instead of the usual number")
    parser.add_argument("--json", default="", metavar="PATH", help="write the figures there as well")
    parser.add_argument("--save", action="store_true", help="keep the figures in bench/results/")
    return parser


if __name__ == "__main__":
    main()
