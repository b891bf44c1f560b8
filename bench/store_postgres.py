"""How many decisions a second the store commits to PostgreSQL, beside the same writes by the plain driver.

The server is the tests' own, with fsync on. As in bench/store.py the writing statements are recorded first;
the plain side executes them SERIALIZABLE on another copy of the database, and both must hold the same rows.
"""

import argparse
import asyncio
import json
import logging
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import event

from bench.store import Decider, Figures, Statement, _bytes, _said, _timed
from rollout.store import open_store
from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import connect
from rollout.store.tables import metadata
from tests.store.postgres_lab import Server, server

ROUNDS = 20


def measure(own: Server, seconds: float) -> Figures:
    """Take about `seconds` for each side."""
    base = own.database()
    store = open_store(own.url(base))
    asyncio.run(Decider(store).fill())
    store.close()
    warm = open_store(own.url(own.database(base)))
    decider = Decider(warm)
    asyncio.run(decider.decide(50))
    each = max(10, round(100 / _timed(lambda: asyncio.run(decider.decide(100))) * seconds / ROUNDS))
    warm.close()
    recorded = _record(own.url(own.database(base)), each * ROUNDS)
    ours, theirs = own.database(base), own.database(base)
    store = open_store(own.url(ours))
    plain = connect(read_url(own.url(theirs)), 5.0, default_transaction_isolation="serializable")
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
    _same(own, ours, theirs)
    ratios = sorted(took["plain"] / took["store"] for took in times)
    return Figures(
        decisions_per_s=statistics.median(each / took["store"] for took in times),
        plain_per_s=statistics.median(each / took["plain"] for took in times),
        ratio=statistics.median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
        decisions=each * ROUNDS,
        rounds=ROUNDS,
        rows_per_decision=statistics.mean(_written(one) for one in recorded),
        bytes_per_decision=statistics.mean(_bytes(one) for one in recorded),
        database=store.database.about,
    )


def _record(url: str, times: int) -> list[list[Statement]]:
    """Commit the decisions once, and keep what each of them wrote."""
    store = open_store(url)
    found: list[list[Statement]] = []

    def begin(_conn: Any) -> None:
        found.append([])

    def keep(_conn: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        if not text.startswith("SELECT"):
            found[-1].append((text, parameters, many and isinstance(parameters, list)))  # else many at once

    event.listen(store.database.write, "begin", begin)
    event.listen(store.database.write, "before_cursor_execute", keep)
    asyncio.run(Decider(store).decide(times))
    store.close()
    assert len(found) == times
    return found


def _replay(connection: Any, transactions: Sequence[Sequence[Statement]]) -> None:
    cursor = connection.cursor()
    for statements in transactions:
        for text, parameters, many in statements:
            (cursor.executemany if many else cursor.execute)(text, parameters)
        connection.commit()


def _written(statements: Sequence[Statement]) -> int:
    """Rows: of one statement there may be many."""
    return sum(len(parameters) if many else text.count("), (") + 1 for text, parameters, many in statements)


def _same(own: Server, ours: str, theirs: str) -> None:
    """Both sides wrote the same; anything else would compare different work."""
    for name in metadata.tables:
        query = f'SELECT * FROM rollout."{name}" ORDER BY 1, 2'
        assert own.ask(query, ours) == own.ask(query, theirs), f"the two sides differ in {name}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.store_postgres", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each side (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with server(fsync="on") as own:
        found = measure(own, options.seconds)
    print(json.dumps(vars(found)) if options.json else _said(found))


if __name__ == "__main__":
    main()
