"""What differs between the two databases inside a transaction; the rest of the store asks only here.

How a database is opened, and what its errors say, is in sqlite.py and postgres.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

# One number for every advisory lock of this program: other programs may use the same database.
LOCKS = 0x524F4C4C  # "ROLL"
SCHEMA_LOCK, EVENTS_LOCK = 1, 2
_SAMPLES_LOCKS = LOCKS + 1

NEWS = "rollout news"  # of a connection, what its transaction tells other replicas: one of the next two
WROTE, ASKED = "wrote", "asked"  # history; also that somebody wants a look now


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """`insert` can also replace; bytes are what one row takes on the disk, indexes and gaps included.

    `turn` waits until nobody else numbers events, or samples of the named service, and keeps others waiting
    until this transaction ends: readers go on behind the highest number they saw, so numbers must become
    visible in their order.
    """

    insert: Any
    block_bytes: int
    sample_bytes: int
    turn: Callable[[Connection, str], None]
    tell: Callable[[Connection, bool], None]


def _no_turn(_conn: Connection, _service: str) -> None:
    """BEGIN IMMEDIATE has done it."""


def _take_turn(conn: Connection, service: str) -> None:
    key = (_SAMPLES_LOCKS, func.hashtext(service)) if service else (LOCKS, EVENTS_LOCK)
    conn.execute(select(func.pg_advisory_xact_lock(*key)))


def _no_others(_conn: Connection, _asked: bool) -> None:
    """Nobody shares a file."""


def _note_news(conn: Connection, asked: bool) -> None:
    """Said once, with the last statement before COMMIT (postgres.py)."""
    conn.info[NEWS] = ASKED if asked else conn.info.get(NEWS, WROTE)


# Bytes, rounded up. SQLite: measured with a service of 3 regions, 2 versions and 12 series, 30 and 172.
# PostgreSQL: the same, 151 and 199 (tests/store/test_bounds.py).
_DIALECTS = {
    "sqlite": Dialect(
        insert=sqlite.insert,
        block_bytes=40,
        sample_bytes=200,
        turn=_no_turn,
        tell=_no_others,
    ),
    "postgresql": Dialect(
        insert=postgresql.insert,
        block_bytes=160,
        sample_bytes=240,
        turn=_take_turn,
        tell=_note_news,
    ),
}


def dialect_of(conn: Connection) -> Dialect:
    """The one that a connection speaks."""
    return _DIALECTS[conn.dialect.name]
