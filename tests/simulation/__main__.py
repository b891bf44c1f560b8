"""`python -m tests.simulation 0:5000` plays many seeds on every core, `… 17 --trace` one before your eyes.

Exit 1 on any violation. What must not live here: what a seed does (play.py) or what is wrong (checkers/).
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.simulation import trace
from tests.simulation.given import scratch
from tests.simulation.knobs import draw
from tests.simulation.run import Result, run

EVERY = 100  # seeds between two lines of progress


def main(arguments: list[str] | None = None) -> int:
    """Play what was asked for. 1: something was violated."""
    asked = _parser().parse_args(arguments)
    seeds = range(*asked.seeds)
    with scratch():
        return _traced(seeds) if asked.trace else _played(seeds, asked)


def _played(seeds: Iterable[int], asked: argparse.Namespace) -> int:
    total = _Total(jobs=asked.jobs)
    for result in _results(seeds, asked.jobs):
        total.take(result)
        if asked.first and total.violated:
            break
    print("\n".join(total.lines()))
    return 1 if total.violated else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", type=_seeds, help="one seed, or first:end")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser


def _seeds(text: str) -> tuple[int, int]:
    first, _, end = text.partition(":")
    return int(first), int(end) if end else int(first) + 1


def _traced(seeds: Iterable[int]) -> int:
    violated = 0
    for seed in seeds:
        print(f"seed {seed}", *draw(seed).lines(), sep="\n  ")
        result = run(seed, keep=True)
        assert result.history is not None, "it was asked for"
        wrong = {violation.n: violation for violation in result.violations}
        for n, line in enumerate(trace.lines(result.history)):
            print(line)
            if n in wrong:
                print(f"      !!! {wrong[n]}")
        print(f"{len(result.violations)} violations", *result.violations, sep="\n  ")
        violated += len(result.violations)
    return 1 if violated else 0


def _results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=5)


class _Total:
    """What came of many seeds."""

    def __init__(self, jobs: int) -> None:
        self._began, self._jobs = time.perf_counter(), jobs
        self._seeds, self._virtual_s = 0, 0.0
        self._reached: Counter[str] = Counter()  # in how many seeds
        self._kinds: Counter[str] = Counter()
        self.violated: list[Result] = []

    def take(self, result: Result) -> None:
        """One more; a violation is shown at once."""
        self._seeds += 1
        self._virtual_s += result.seconds
        self._reached.update(set(result.reached))
        if self._seeds % EVERY == 0:
            took = time.perf_counter() - self._began
            print(f"{self._seeds} seeds in {took:.0f} s, {len(self.violated)} violated", flush=True)
        if result.violations:
            self.violated.append(result)
            self._kinds.update({violation.check for violation in result.violations})
            first = result.violations[0]
            print(f"seed {result.seed}: {len(result.violations)} violations, first {first}", flush=True)

    def lines(self) -> Iterator[str]:
        """The summary."""
        took = time.perf_counter() - self._began
        yield "states reached, in how many seeds:"
        for name, count in sorted(self._reached.items(), key=lambda item: (-item[1], item[0])):
            yield f"  {count:6}  {name}"
        rate = self._seeds / max(took, 1e-9)
        yield (
            f"{self._seeds} seeds in {took:.0f} s on {self._jobs} processes: {rate / self._jobs:.2f} seeds/s "
            f"each, {self._virtual_s / max(took, 1e-9):.0f} × real time"
        )
        kinds = ", ".join(f"{kind} in {count}" for kind, count in sorted(self._kinds.items()))
        yield f"violations: {len(self.violated)} seeds{': ' + kinds if kinds else ''}"
        if self.violated:
            seeds = sorted(result.seed for result in self.violated)
            yield f"replay with: python -m tests.simulation {seeds[0]} --trace   (all: {seeds[:40]})"


if __name__ == "__main__":
    sys.exit(main())
