"""How many decisions a second the store commits, beside the same writes made by the plain driver.

Both sides do the same: the store commits decisions on one copy of a database, and every writing statement was
recorded before; the plain side executes those statements with those parameters on another copy, on the same
SQLite or PostgreSQL with the same settings. Rounds alternate; at the end both must hold the same rows.
"""

import argparse
import asyncio
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import event

from bench.store_databases import Databases, Postgres, Sqlite
from rollout.ports import Change
from rollout.store import SqlStore, open_store
from rollout.store.tables import metadata
from tests.store.builders import REGIONS, action, at, evidence, plan, rollout, transition
from tests.store.postgres_lab import server

ROLLOUTS = 50  # under way at the same time
ROUNDS = 20
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


def measure(on: Databases, seconds: float) -> Figures:
    """Take about `seconds` for each side."""
    base = on.url()
    with _opened(base) as store:
        asyncio.run(Decider(store).fill())
    each = max(10, round(_rate(on.url(base)) * seconds / ROUNDS))
    recorded = _record(on.url(base), each * ROUNDS)
    ours, theirs = on.url(base), on.url(base)
    plain, times = on.plain(theirs), []
    with _opened(ours) as store:
        decider, about = Decider(store), store.database.about
        for number in range(ROUNDS):
            part = recorded[number * each : (number + 1) * each]
            sides = [
                ("store", partial(asyncio.run, decider.decide(each))),
                ("plain", partial(_replay, plain, part, on.begin)),
            ]
            times.append({name: _timed(work) for name, work in (sides if number % 2 else reversed(sides))})
    plain.close()
    for table in metadata.sorted_tables:
        assert on.rows(ours, table) == on.rows(theirs, table), f"the two sides differ in {table.name}"
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
        database=about,
    )


@contextmanager
def _opened(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def _rate(url: str) -> float:
    with _opened(url) as store:
        decider = Decider(store)
        asyncio.run(decider.decide(100))
        return 100 / _timed(lambda: asyncio.run(decider.decide(100)))


def _record(url: str, times: int) -> list[list[Statement]]:
    """Commit the decisions once, and keep what each of them wrote."""
    found: list[list[Statement]] = []

    def begin(_conn: Any) -> None:
        found.append([])

    def keep(_conn: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        if not text.startswith(("BEGIN", "SELECT")):
            found[-1].append((text, parameters, many and isinstance(parameters, list)))  # else many at once

    with _opened(url) as store:
        event.listen(store.database.write, "begin", begin)
        event.listen(store.database.write, "before_cursor_execute", keep)
        asyncio.run(Decider(store).decide(times))
    assert len(found) == times
    return found


def _replay(connection: Any, transactions: Sequence[Sequence[Statement]], begin: str | None) -> None:
    cursor = connection.cursor()
    for statements in transactions:
        if begin:
            cursor.execute(begin)
        for text, parameters, many in statements:
            (cursor.executemany if many else cursor.execute)(text, parameters)
        connection.commit()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rows(statements: Sequence[Statement]) -> int:
    """Of one statement there may be many."""
    return sum(len(parameters) if many else text.count("), (") + 1 for text, parameters, many in statements)


def _bytes(statements: Sequence[Statement]) -> int:
    """Of the values written, as text."""
    sets = [one for _, parameters, many in statements for one in (parameters if many else [parameters])]
    return sum(len(str(value).encode()) for one in sets for value in one if value is not None)


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
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, a line a database")
    parser.add_argument("--directory", help="where SQLite's files lie, to measure another disk")
    parser.add_argument("--on", choices=("sqlite", "postgresql", "both"), default="both")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with ExitStack() as stack:
        sides: list[Databases] = []
        if options.on != "postgresql":
            sides.append(
                Sqlite(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory))))
            )
        if options.on != "sqlite":
            sides.append(Postgres(stack.enter_context(server(fsync="on"))))
        for side in sides:
            found = measure(side, options.seconds)
            print(json.dumps(vars(found)) if options.json else _said(found), flush=True)


if __name__ == "__main__":
    main()
