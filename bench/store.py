"""How many decisions a second the store commits, beside the same writes made by the plain sqlite3 module.

Both sides do the same: the store commits decisions on one copy of a database while every writing statement
was recorded before; the plain side executes those statements with those parameters on another copy, with the
same SQLite and settings. The rounds alternate, and at the end both files must hold the same rows and bytes.
"""

import argparse
import asyncio
import json
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import event

from rollout.ports import Change
from rollout.store import SqlStore, open_store
from rollout.store.sqlite import sqlite_module
from rollout.store.tables import metadata
from tests.store.builders import REGIONS, action, at, evidence, plan, rollout, transition

ROLLOUTS = 50  # under way at the same time
ROUNDS = 40
Statement = tuple[str, Any, bool]  # text, parameters, whether there are many sets of them


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Rates are transactions a second; they and `ratio` are medians over the rounds."""

    decisions_per_s: float
    plain_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    decisions: int
    rounds: int
    rows_per_decision: float
    bytes_per_decision: float
    database: str


class Decider:
    """Makes one decision after the other: a transition, the evidence of 3 regions × 4 checks, 2 actions."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self._rollouts = [rollout(f"ro_{n:04}") for n in range(ROLLOUTS)]
        self._made = 0

    async def fill(self) -> None:
        """Add the rollouts."""
        for one in self._rollouts:
            await self.store.add(one, plan(), transition(1, one.id))

    async def decide(self, times: int) -> None:
        """Commit so many decisions, over all rollouts in turn."""
        for _ in range(times):
            place = self._made % ROLLOUTS
            self._rollouts[place] = await self.store.commit(self._change(place))
            self._made += 1

    def _change(self, place: int) -> Change:
        found = self._rollouts[place]
        number = found.transitions + 1
        prefix = f"{found.id}/{number}"
        first = action(f"{prefix}/0", rollout_id=found.id)
        second = action(f"{prefix}/1", rollout_id=found.id, after=first.key)
        return Change(
            rollout=replace(found, next_due_at=at(number * 15)),
            transitions=(transition(number, found.id),),
            actions=(first, second),
            evidence={name: evidence(name, seen=number) for name in REGIONS},
        )


def measure(directory: Path, seconds: float) -> Figures:
    """Take about `seconds` for each side."""
    base = directory / "base.db"
    store = open_store(f"sqlite:///{base}")
    asyncio.run(Decider(store).fill())
    store.close()
    each = max(10, round(_rate(base, directory) * seconds / ROUNDS))
    recorded = _record(_copy(base, directory / "recorded.db"), each * ROUNDS)
    ours, theirs = _copy(base, directory / "store.db"), _copy(base, directory / "plain.db")
    store, plain = open_store(f"sqlite:///{ours}"), _plain(theirs)
    decider, times = Decider(store), []
    for number in range(ROUNDS):
        part = recorded[number * each : (number + 1) * each]
        sides = [
            ("store", partial(asyncio.run, decider.decide(each))),
            ("plain", partial(_replay, plain, part)),
        ]
        times.append({name: _timed(work) for name, work in (sides if number % 2 else reversed(sides))})
    store.close()
    plain.close()
    _same(ours, theirs)
    ratios = sorted(took["plain"] / took["store"] for took in times)
    return Figures(
        decisions_per_s=statistics.median(each / took["store"] for took in times),
        plain_per_s=statistics.median(each / took["plain"] for took in times),
        ratio=statistics.median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
        decisions=each * ROUNDS,
        rounds=ROUNDS,
        rows_per_decision=statistics.mean(_rows(one) for one in recorded),
        bytes_per_decision=statistics.mean(_bytes(one) for one in recorded),
        database=store.database.about,
    )


def _rate(base: Path, directory: Path) -> float:
    store = open_store(f"sqlite:///{_copy(base, directory / 'warm.db')}")
    decider = Decider(store)
    asyncio.run(decider.decide(100))
    took = _timed(lambda: asyncio.run(decider.decide(200)))
    store.close()
    return 200 / took


def _record(path: Path, times: int) -> list[list[Statement]]:
    """Commit the decisions once, and keep what each of them wrote."""
    store = open_store(f"sqlite:///{path}")
    found: list[list[Statement]] = []

    def keep(_conn: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        if text.startswith("BEGIN"):
            found.append([])
        elif not text.startswith("SELECT"):
            found[-1].append((text, parameters, many))

    event.listen(store.database.write, "before_cursor_execute", keep)
    asyncio.run(Decider(store).decide(times))
    store.close()
    assert len(found) == times
    return found


def _plain(path: Path) -> Any:
    connection = sqlite_module().connect(str(path), isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _replay(connection: Any, transactions: Sequence[Sequence[Statement]]) -> None:
    for statements in transactions:
        connection.execute("BEGIN IMMEDIATE")
        for text, parameters, many in statements:
            if many:
                connection.executemany(text, parameters)
            else:
                connection.execute(text, parameters)
        connection.execute("COMMIT")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _copy(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    return target


def _rows(statements: Sequence[Statement]) -> int:
    return sum(len(parameters) if many else 1 for _, parameters, many in statements)


def _bytes(statements: Sequence[Statement]) -> int:
    """Of the values written, as text."""
    sets = [one for _, parameters, many in statements for one in (parameters if many else [parameters])]
    return sum(len(str(value).encode()) for one in sets for value in one if value is not None)


def _same(ours: Path, theirs: Path) -> None:
    """Both sides wrote the same; anything else would compare different work."""
    for name in metadata.tables:
        query = f'SELECT * FROM "{name}" ORDER BY 1, 2'
        found = [sqlite_module().connect(str(path)) for path in (ours, theirs)]
        rows = [connection.execute(query).fetchall() for connection in found]
        for connection in found:
            connection.close()
        assert rows[0] == rows[1], f"the two sides differ in {name}"


def _said(found: Figures) -> str:
    return (
        f"{found.database}, {found.rounds} alternating rounds, {found.decisions} decisions\n"
        f"one decision         {found.rows_per_decision:.0f} rows, {found.bytes_per_decision:,.0f} bytes\n"
        f"store                {found.decisions_per_s:,.0f} decisions/s\n"
        f"plain transactions   {found.plain_per_s:,.0f} transactions/s\n"
        f"ratio                {found.ratio:.3f} (rounds: {found.ratio_low:.3f} to {found.ratio_high:.3f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each side (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--directory", help="where the files lie, to measure another disk")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        found = measure(Path(directory), options.seconds)
    print(json.dumps(vars(found)) if options.json else _said(found))


if __name__ == "__main__":
    main()
