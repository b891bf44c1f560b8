"""`make mutants`: plant every bug, one at a time, and say who notices. Ends with 1 when nobody does."""

import argparse
import queue
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants import report
from tests.mutants.planted import ROOT, SIMULATION, Mutant, planted
from tests.mutants.workshop import Workshop

CLEAN_S = 1200.0  # for all killers of one worker on the copy without a bug


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one mutant."""

    mutant: Mutant
    killed_by: Mapping[str, str] = field(default_factory=dict)  # killer → what it said
    took_s: float = 0.0
    trouble: str = ""

    def __str__(self) -> str:
        head = f"{'killed' if self.killed_by else 'SURVIVED':8} {self.mutant.name:34} {self.mutant.breaks:10}"
        if self.killed_by:
            by = ", ".join(dict.fromkeys(report.said(*each) for each in self.killed_by.items()))
            seeds = [one for one in self.mutant.killers if one.startswith(SIMULATION)]
            missed = "".join(f"; not by {one}" for one in seeds if one not in self.killed_by)
            return f"{head} {self.took_s:5.1f} s  {by}{missed}"
        why = self.trouble or f"passed: {', '.join(map(report.short, self.mutant.killers))}"
        return f"{head} {self.took_s:5.1f} s  {self.mutant.says}\n         {why}"


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 all killed, 1 some survived, or something could not be run."""
    asked = _asked(arguments)
    mutants = planted()
    if asked.page:
        (ROOT / report.PAGE).write_text(report.page(mutants), "utf-8")
        return 0
    chosen = [one for one in mutants if not asked.only or one.name in asked.only or one.layer in asked.only]
    if asked.list:
        sys.stdout.write(report.listed(chosen) + "\n")
        return 0
    problems = [problem for one in chosen for problem in one.problems(ROOT)]
    unknown = set(asked.only) - {name for one in mutants for name in (one.name, one.layer)}
    problems += [f"There is no mutant {name}; see --list." for name in sorted(unknown)]
    if problems:
        sys.stdout.write("\n".join(problems) + "\n")
        return 1
    return _run(chosen, asked.jobs)


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these mutants or layers alone")
    parser.add_argument("--list", action="store_true", help="name them, and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are worked on at once")
    parser.add_argument("--page", action="store_true", help=f"write {report.PAGE}, and run nothing")
    return parser.parse_args(arguments)


def _run(mutants: Sequence[Mutant], jobs: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        shops = list(pool.map(_opened, (Path(folder) / str(number) for number in range(jobs))))
        try:
            noise = _clean(mutants, shops, pool)
            outcomes = list(_all(mutants, shops, pool, noise))
        finally:
            for shop in shops:
                shop.close()
    killed = sum(bool(outcome.killed_by) for outcome in outcomes)
    took = (time.monotonic() - began) / 60
    sys.stdout.write(f"{killed} of {len(outcomes)} planted bugs killed in {took:.1f} min\n")
    return 0 if killed == len(outcomes) else 1


def _opened(directory: Path) -> Workshop:
    directory.mkdir()
    return Workshop(directory)


def _clean(mutants: Sequence[Mutant], shops: Sequence[Workshop], pool: ThreadPoolExecutor) -> dict[str, str]:
    """The killers that fail without any bug, or cannot be run, so that what they say means nothing."""
    killers = sorted({killer for mutant in mutants for killer in mutant.killers})
    sys.stdout.write(f"{len(mutants)} planted bugs; first their {len(killers)} killers on the clean copy\n")
    sys.stdout.flush()
    shares = [killers[number :: len(shops)] for number in range(len(shops))]
    answers = pool.map(lambda shop, share: shop.ask(share, CLEAN_S), shops, shares)
    found: dict[str, str] = {}
    for share, answer in zip(shares, answers, strict=True):
        found |= dict.fromkeys(share, answer.trouble) if answer.trouble else answer.failed
    for killer, said in found.items():
        sys.stdout.write(f"fails without a bug: {killer}: {said}\n")
    return found


def _all(
    mutants: Sequence[Mutant], shops: Sequence[Workshop], pool: ThreadPoolExecutor, noise: dict[str, str]
) -> list[Outcome]:
    free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
    for shop in shops:
        free.put(shop)

    def one(mutant: Mutant) -> Outcome:
        shop = free.get()
        try:
            outcome = _tried(mutant, shop, noise)
        finally:
            free.put(shop)
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
        return outcome

    return list(pool.map(one, mutants))


def _tried(mutant: Mutant, shop: Workshop, noise: dict[str, str]) -> Outcome:
    killers = [killer for killer in mutant.killers if killer not in noise]
    if not killers:
        return Outcome(mutant=mutant, trouble="its killers fail without a bug too")
    try:
        with shop.planted(mutant):
            answer = shop.ask(killers)
    except ValueError as error:
        return Outcome(mutant=mutant, trouble=str(error))
    return Outcome(mutant=mutant, killed_by=answer.failed, took_s=answer.took_s, trouble=answer.trouble)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
