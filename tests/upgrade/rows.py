"""Rows for every table of a schema, whichever it is, and every row of a database, to be compared."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    insert,
    select,
)

ROWS = 3  # in each table
T0 = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_JSON = ("body", "headers")
_OURS = ("alembic_version", "schema_floor")


def tables_of(conn: Connection) -> tuple[Table, ...]:
    """The tables of a database as they are, in the order of their references."""
    found = MetaData()
    found.reflect(conn)
    return tuple(table for table in found.sorted_tables if table.name not in _OURS)


def fill(conn: Connection) -> dict[str, int]:
    """Put rows into every table; how many each has then."""
    tables = tables_of(conn)
    for table in tables:
        rows = [{column.name: _value(column, n) for column in table.columns} for n in range(1, ROWS + 1)]
        conn.execute(insert(table), rows)
    return {table.name: ROWS for table in tables}


def rows_of(conn: Connection, tables: Iterable[Table]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of some tables, in some order that is always the same."""
    return {table.name: sorted(map(_plain, conn.execute(select(table))), key=repr) for table in tables}


def _plain(row: Any) -> tuple[Any, ...]:
    return tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row)


def _value(column: Column[Any], n: int) -> Any:
    for key in column.foreign_keys:
        return _value(key.column, n)
    kind = column.type
    if isinstance(kind, Boolean):
        return n == 1
    if isinstance(kind, Integer | Float):
        return n
    if isinstance(kind, DateTime):
        return T0 + timedelta(seconds=n)
    if isinstance(kind, LargeBinary):
        return bytes([n, 0, 255])
    return f'{{"n":{n},"name":"ä"}}' if column.name in _JSON else f"{column.name}-{n}"
