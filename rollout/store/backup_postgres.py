"""Backups of PostgreSQL: row by row, in one snapshot, into the same file that a backup of SQLite is.

So a backup is verified without a server, needs no program of the server, and goes back into either database.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, insert, select, text
from sqlalchemy.exc import DBAPIError

from rollout.core.errors import StoreError
from rollout.store import backup, tables
from rollout.store.backup import Backup
from rollout.store.columns import Json
from rollout.store.engine import open_database
from rollout.store.migrations import config_of, upgrade, versions
from rollout.store.postgres import PostgresDatabase, be_patient, open_postgres
from rollout.store.postgres_wire import SCHEMA
from rollout.store.sqlite import BUSY_S

ROWS = 2000  # that are read and written at once
_LEAVING = 30  # times that it is asked whether other controllers are gone
_LEAVING_S = 0.1
_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'rollout' AND pid <> pg_backend_pid()"
)
_TABLES = f"SELECT count(*) FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace"  # noqa: S608  # ours
_NUMBERED = (  # a table that never had a row there has no number yet
    text("UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = :name"),
    text(
        "INSERT INTO sqlite_sequence (name, seq) SELECT :name, :last "
        "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :name)"
    ),
)
_LAST = "SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = "


def back_up(url: str, target: Path, files: Mapping[str, Path], now: datetime) -> Backup:
    """Copy the database of `url`, also while controllers use it, with `files` by name, into `target`.

    The copy is the database at one moment. Raises StoreError.
    """
    with closing(open_postgres(url, busy_s=BUSY_S)) as database:
        present, newest = versions(database)
        if present != newest:
            raise StoreError(
                f"The schema of '{database.name}' is {present or 'none'}, and this program copies {newest}; "
                "use the program of that schema, or first: rollout db upgrade"
            )
        return backup.publish(target, lambda part: _written(database, part), files, now)


def restore(file: Path, url: str, directory: Path, now: datetime) -> tuple[Backup, str | None]:
    """Put a backup in the place of the schema of `url`, which is renamed and kept.

    Returns what was restored, and the name of the old schema. It is one transaction: raises StoreError, and
    then nothing was changed.
    """
    found = backup.verify_backup(file)
    if found.newer:
        raise backup.refused(found)
    with TemporaryDirectory() as place, closing(open_postgres(url, busy_s=BUSY_S)) as database:
        copied = Path(place) / "copy.db"
        with backup.errors_of(file):
            backup.copy(file, copied)
        aside = _replaced(database, copied, found.taken_at, now)
        backup.keep_files(copied, directory)
    return found, aside


# ---------------------------------------------------------------------- there


def _written(database: PostgresDatabase, part: Path) -> None:
    part.unlink(missing_ok=True)
    with closing(open_database(f"sqlite:///{part}")) as copy:
        upgrade(copy)
        try:
            with database.read.connect() as read, read.begin(), copy.write.begin() as write:
                be_patient(read)
                _move_all(read, write)
                for table, column in _numbered():
                    last = read.execute(text(f"{_LAST}{_sequence(table, column)}")).scalar_one_or_none() or 0
                    for statement in _NUMBERED:
                        write.execute(statement, {"last": last, "name": table.name})
        except DBAPIError as error:
            raise database.explained(error) from error
    backup.be_one_file(part)


# ---------------------------------------------------------------------- and back


def _replaced(database: PostgresDatabase, copied: Path, taken_at: str, now: datetime) -> str | None:
    with closing(open_database(f"sqlite:///{copied}")) as copy:
        upgrade(copy)
        try:
            with database.migrating() as write, copy.read.begin() as read:
                _refuse_in_use(write)
                aside = _aside(write, now)
                command.upgrade(config_of(write), "head")
                _move_all(read, write)
                for table, column in _numbered():
                    _go_on_after(read, write, table, column)
                _mark(read, write, taken_at)
        except DBAPIError as error:
            raise database.explained(error) from error
    return aside


def _refuse_in_use(conn: Connection) -> None:
    """Whoever has just ended may be seen for a moment longer."""
    for _ in range(_LEAVING):
        others = conn.exec_driver_sql(_OTHERS).scalar_one()
        if not others:
            return
        time.sleep(_LEAVING_S)
    raise StoreError(
        f"{others} connections of controllers are open to this database, so nothing was changed. Stop every "
        "replica, and restore again."
    )


def _aside(conn: Connection, now: datetime) -> str | None:
    if not conn.exec_driver_sql(_TABLES).scalar_one():
        return None
    name = f"{SCHEMA}_before_{now:%Y%m%dt%H%M%S}"
    conn.exec_driver_sql(f"ALTER SCHEMA {SCHEMA} RENAME TO {name}")
    conn.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
    return name


def _go_on_after(read: Connection, write: Connection, table: Table, column: str) -> None:
    """No number is used twice, also none of rows that were deleted before the backup."""
    asked = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    last = read.execute(asked, {"name": table.name}).scalar_one_or_none() or 0
    if last:
        write.execute(text(f"SELECT setval({_sequence(table, column)}, {int(last)})"))


def _mark(read: Connection, write: Connection, taken_at: str) -> None:
    """From this the next controller sees that it was put back (doubt.py)."""
    body = read.execute(text(f"SELECT body FROM {backup.INFO}")).scalar_one()  # noqa: S608  # our own name
    assert taken_at in body, "what was verified is what is restored"
    write.exec_driver_sql(f"CREATE TABLE {backup.INFO} (body TEXT NOT NULL)")
    write.execute(text(f"INSERT INTO {backup.INFO} VALUES (:body)"), {"body": body})  # noqa: S608  # as above


# ---------------------------------------------------------------------- rows


def _move_all(read: Connection, write: Connection) -> None:
    """Every row of every table, in the order of their references; what migrations put there goes first."""
    for table in reversed(tables.metadata.sorted_tables):
        write.execute(delete(table))
    for table in map(_plain, tables.metadata.sorted_tables):
        rows = read.execution_options(yield_per=ROWS).execute(select(table))
        for some in rows.mappings().partitions():
            write.execute(insert(table), [dict(row) for row in some])


def _plain(table: Table) -> Table:
    """The same columns; JSON stays the text that it is."""
    columns = [Column(c.name, Text() if isinstance(c.type, Json) else c.type) for c in table.columns]
    return Table(table.name, MetaData(), *columns)


def _numbered() -> list[tuple[Table, str]]:
    """Tables whose rows are numbered by the database, and by which column."""
    found = [t for t in tables.metadata.sorted_tables if t.dialect_options["sqlite"]["autoincrement"]]
    return [(table, next(iter(table.primary_key)).name) for table in found]


def _sequence(table: Table, column: str) -> str:
    return f"pg_get_serial_sequence('{SCHEMA}.{table.name}', '{column}')"
