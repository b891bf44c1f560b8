"""Insert, also if missing, or replace, or increase, by primary key, the same on SQLite and PostgreSQL."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, insert

from rollout.store.dialects import Dialect, dialect_of
from rollout.store.mapping import Values


def add(conn: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows; they must have the same columns."""
    if rows:
        conn.execute(_insert(table), list(rows))


@lru_cache(maxsize=64)  # one entry per table
def _insert(table: Table) -> Any:
    return insert(table)


def add_in_turn(conn: Connection, table: Table, rows: Sequence[Values], service: str = "") -> None:
    """Insert events, or samples of a service: readers see their numbers in order.

    It comes last in a transaction, which then waits for nothing more while others wait for it. Other replicas
    are told of events.
    """
    if rows:
        dialect_of(conn).turn(conn, service)
        add(conn, table, rows)
        if not service:
            dialect_of(conn).tell(conn, False)


def add_missing(conn: Connection, table: Table, row: Values) -> None:
    """Insert a row unless there is one with its primary key."""
    statement = dialect_of(conn).insert(table).on_conflict_do_nothing()
    conn.execute(statement, [row])


def put(conn: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows, or replace the named columns of those that exist."""
    if rows:
        conn.execute(_upsert(table, dialect_of(conn), tuple(rows[0])), list(rows))


@lru_cache(maxsize=64)  # one entry per table and set of columns
def _upsert(table: Table, dialect: Dialect, columns: tuple[str, ...]) -> Any:
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=new)


def increase(conn: Connection, table: Table, rows: Sequence[Values], column: str) -> None:
    """Insert rows, or add the numbers in `column` to those that exist."""
    if rows:
        conn.execute(_increase(table, dialect_of(conn), column), list(rows))


@lru_cache(maxsize=64)  # one entry per table
def _increase(table: Table, dialect: Dialect, column: str) -> Any:
    statement = dialect.insert(table)
    more = table.c[column] + statement.excluded[column]
    keys = [key.name for key in table.primary_key]
    return statement.on_conflict_do_update(index_elements=keys, set_={column: more})
