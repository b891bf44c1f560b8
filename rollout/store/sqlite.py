"""SQLite: which of them, which settings, and whether the file is ours.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database that two connections write or checkpoint (the WAL-reset
bug), so WAL is used only with a newer one.
"""

import importlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from rollout.core.errors import StoreError
from rollout.store.database import Database
from rollout.store.disk import Room, room
from rollout.store.running import Threads
from rollout.store.sqlite_faults import code_of, is_busy_code, store_error

APPLICATION_ID = 0x524F4C4C  # "ROLL"; SQLite keeps it in the file's header
BUSY_S = 5.0  # how long a statement waits for another connection's lock
FIXED = (3, 51, 3)  # the first SQLite without the WAL-reset bug
_TRIES = 10

log = structlog.get_logger(__name__)


class SqliteDatabase(Database):
    """A file that one process at a time writes: BEGIN IMMEDIATE makes the others wait for the writer."""

    pauses_s = (0.05, 0.1, 0.2)  # SQLite's own waiting is not fair

    def __init__(self, path: Path, module: ModuleType, busy_s: float, journal: str) -> None:
        super().__init__()
        self.path, self.journal, self.sqlite_version = path, journal, str(module.sqlite_version)
        self.name, self.about = str(path), f"SQLite {module.sqlite_version}, journal {journal}"
        self.write = _engine(path, module, busy_s, "BEGIN IMMEDIATE")
        self.read = _engine(path, module, busy_s, "BEGIN")

    def threads(self) -> tuple[Threads, Threads]:
        """One for both, in the order of asking: SQLite has one writer anyway."""
        one = Threads(1)
        return one, one

    def again(self, error: DBAPIError) -> bool:
        """Whether another connection holds the lock."""
        return is_busy_code(code_of(error.orig or error))

    def said(self, error: BaseException) -> StoreError:
        """Name the file, and what mends it."""
        return store_error(self.path, error)

    def room(self, conn: Connection, bound: int) -> Room:
        """Never more than nine tenths of what the disk could give the file."""
        return room(conn, self.path, bound)

    def size(self, _conn: Connection) -> int:
        """The file and its write-ahead log."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(one.stat().st_size for one in files if one.exists())

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Hold the writer's lock; a second process waits here."""
        with self.write.begin() as conn:
            yield conn
            conn.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")

    def prove_writable(self) -> None:
        """Write a table and take it back."""
        try:
            with self.write.connect() as conn, conn.begin() as transaction:
                conn.exec_driver_sql("PRAGMA cache_size=8")  # pages: what is more goes to the disk at once
                conn.exec_driver_sql("CREATE TABLE written_to_try (content BLOB)")
                conn.exec_driver_sql("INSERT INTO written_to_try VALUES (zeroblob(262144))")
                transaction.rollback()
        except DBAPIError as error:
            raise self.said(error.orig or error) from error


def open_sqlite(url: str, *, busy_s: float = BUSY_S, module: ModuleType | None = None) -> SqliteDatabase:
    """Open `sqlite:///path`, making the file with mode 0600 when there is none.

    Raises StoreError when the URL is of another kind, or the file cannot be used or is not ours.
    """
    path = _path(url)
    chosen = module or sqlite_module()
    _make(path)
    with _refusing(path, chosen):
        journal = _prepare(path, chosen, busy_s)
    log.info("database opened", path=str(path), sqlite=chosen.sqlite_version, journal=journal)
    return SqliteDatabase(path, chosen, busy_s, journal)


def sqlite_module() -> ModuleType:
    """The standard module, or pysqlite3 when only that has an SQLite new enough for WAL."""
    if not _safe(sqlite3):
        try:
            other = importlib.import_module("pysqlite3")
        except ImportError:
            return sqlite3
        if _safe(other):
            return other
    return sqlite3


def _safe(module: ModuleType) -> bool:
    return tuple(module.sqlite_version_info) >= FIXED


def _path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(_wrong(url)) from None  # whose text is the URL
    if parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:") or parsed.query:
        raise StoreError(_wrong(url))
    return Path(str(parsed.database))


def _wrong(url: str) -> str:
    """What is wrong with a URL, of which nothing is repeated: a password may be anywhere in it."""
    if url != url.strip():
        why = "begins or ends with a blank"
    elif url[:1] in "'\"":
        why = "begins with a quote, which an env file does not take away"
    elif url.startswith("sqlite:"):
        why = "names no file of SQLite, or more than a file"
    else:
        why = "is of no known kind"
    return (
        f"The database URL {why}; it is not repeated here, since a password may be in it. In "
        "ROLLOUT_DATABASE_URL, write sqlite:///path/to/file, or postgresql://user:password@host/database."
    )


def _make(path: Path) -> None:
    """Make the directory and the file; take rights away from others when the file had more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"'{path}' is not a file. Name a file in the database URL.")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"The database '{path}' cannot be opened: {error.strerror}. "
            "Check that this user may read and write it."
        ) from error


@contextmanager
def _refusing(path: Path, module: ModuleType) -> Iterator[None]:
    try:
        yield
    except module.Error as error:
        raise store_error(path, error) from error


def _prepare(path: Path, module: ModuleType, busy_s: float) -> str:
    """See that the file is ours and set its journal, which the file remembers. Returns the journal in use."""
    wanted = "wal" if _safe(module) else "delete"
    connection = module.connect(str(path), timeout=busy_s, isolation_level=None)
    try:
        _check_ours(path, connection)
        path.chmod(0o600)  # only now: it is ours; SQLite gives its side files the same mode
        if wanted == "delete":
            log.warning(
                "this SQLite may corrupt WAL databases; using the slower rollback journal",
                sqlite=module.sqlite_version,
                mend="install pysqlite3 with SQLite 3.51.3 or newer",
            )
        return _patiently(module, lambda: _set_journal(connection, wanted))
    finally:
        connection.close()


def _check_ours(path: Path, connection: Any) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner == APPLICATION_ID or (owner == 0 and tables == 0):
        return
    raise StoreError(
        f"The database '{path}' belongs to another program (application id {owner}, {tables} tables and "
        "indexes). It was not touched; name another file in the database URL."
    )


def _set_journal(connection: Any, wanted: str) -> str:
    (journal,) = connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    return str(journal)


def _patiently(module: ModuleType, work: Callable[[], str]) -> str:
    """Two processes that start together may meet here, where SQLite does not wait by itself."""
    for _ in range(_TRIES):
        try:
            return work()
        except module.OperationalError as error:
            if not is_busy_code(code_of(error)):
                raise
            time.sleep(0.05)
    return work()


def _engine(path: Path, module: ModuleType, busy_s: float, begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", module=module, connect_args={"timeout": busy_s}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # else the driver begins by itself, and reads stay outside
        connection.execute("PRAGMA synchronous=EXTRA")  # FULL, and waits until a rollback journal is gone
        connection.execute("PRAGMA foreign_keys=ON")

    def _begin(connection: Any) -> None:
        connection.execute(begin)

    engine.dialect.do_begin = _begin  # type: ignore[assignment]  # a listener makes each statement slower
    return engine
