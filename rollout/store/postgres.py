"""PostgreSQL: a pool of bounded sessions, whether the schema is ours, and what a lost COMMIT did.

Writes are SERIALIZABLE and reads REPEATABLE READ READ ONLY; why is in docs/decisions/0015.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, DisconnectionError

from rollout.core.errors import OutcomeUnknown, StoreError
from rollout.store import postgres_faults as faults
from rollout.store.accounts import sizes
from rollout.store.database import Database
from rollout.store.dialects import LOCKS, NEWS, SCHEMA_LOCK
from rollout.store.disk import Room
from rollout.store.floor import FLOOR, refuse_below
from rollout.store.postgres_listen import CHANNEL, Listener
from rollout.store.postgres_url import Address, read_url
from rollout.store.postgres_wire import SCHEMA, Server, connect, left_behind
from rollout.store.running import Threads

T = TypeVar("T")
MARK = "rollout controller"  # the comment on alembic_version, by which we know what is ours
THREADS = 4  # that write, and as many that read: the most connections that a replica has is twice that
_ROWS = 250  # of one statement
_MIGRATING_S = 300  # that a process waits for another one to migrate
_ASKED, _ASK_S = 100, 0.15  # how often, and each how long, it is asked what became of a COMMIT

_OURS = (
    "SELECT (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid), obj_description((SELECT c.oid "
    "FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'alembic_version'), 'pg_class') "
    "FROM pg_namespace n WHERE n.nspname = 'rollout'"
)
_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n "
    "ON n.oid = c.relnamespace WHERE n.nspname = 'rollout' AND c.relkind = 'r'"
)
_OTHER_BYTES = f"{_BYTES} AND c.relname NOT IN ('samples', 'history')"
_WROTE = f"SELECT pg_current_xact_id_if_assigned()::text, {FLOOR}"
_WROTE_AND_TELL = text(f"{_WROTE}, pg_notify('{CHANNEL}', :said)").bindparams(bindparam("said"))
_BECAME = text("SELECT pg_xact_status(CAST(:xid AS xid8))").bindparams(bindparam("xid"))

log = structlog.get_logger(__name__)


class PostgresDatabase(Database):
    """A database that several replicas share."""

    pauses_s = (0.005, 0.01, 0.02, 0.05, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5)

    def __init__(self, address: Address, version: str, lock_s: float) -> None:
        super().__init__()
        self._address, self._lock_s, self._sender = address, lock_s, token_hex(8)
        self.name, self.about = str(address), f"PostgreSQL {version}"
        self.write = _engine(address, lock_s, default_transaction_isolation="serializable")
        self.read = _engine(
            address,
            lock_s,
            default_transaction_isolation="repeatable read",
            default_transaction_read_only="on",
        )

    def run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """Do it in one transaction; when the answer to its COMMIT is lost, ask the server what became of it.

        Raises what `work` raises, DBAPIError, and OutcomeUnknown when nobody can tell whether it was written.
        """
        with engine.connect() as conn:
            conn.info.pop(NEWS, None)  # of a transaction that failed
            conn.begin()
            result = work(conn)
            xid = self._last_words(conn) if engine is self.write else None
            server = _server(conn)
            try:
                conn.commit()
            except DBAPIError as error:
                if not (xid and error.connection_invalidated) or not self._landed(xid, server):
                    raise
            return result

    def _last_words(self, conn: Connection) -> str | None:
        """Wake other replicas when there is news. The number of the transaction, if it has written."""
        news = conn.info.pop(NEWS, None)
        if news is None:
            found = conn.exec_driver_sql(_WROTE)
        else:
            found = conn.execute(_WROTE_AND_TELL, {"said": f"{self._sender} {news}"})
        number, floor = found.one()[:2]
        refuse_below(self.name, floor)
        return None if number is None else str(number)

    def now(self, conn: Connection, /) -> datetime:
        """The server's clock, not that of a replica."""
        at: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        return at.astimezone(UTC)

    def threads(self) -> tuple[Threads, Threads]:
        """Apart, so that reading waits for no long write."""
        return Threads(THREADS), Threads(THREADS)

    def again(self, error: DBAPIError) -> bool:
        """Whether others were faster, or the connection was lost before COMMIT: nothing was changed."""
        return faults.is_transient(error.orig)

    def said(self, error: BaseException) -> StoreError:
        """Name the database, and what mends it."""
        return faults.store_error(self.name, error)

    def short(self, error: Any) -> str:
        """Only the sentence, for the details hold values."""
        return faults.message_of(error)

    def room(self, conn: Connection, bound: int) -> Room:
        """What was deleted counts no more, since it is used again; the server's disk cannot be seen."""
        other = int(conn.exec_driver_sql(_OTHER_BYTES).scalar_one())
        return Room(used=other + sum(sizes(conn).values()), allowed=bound)

    def size(self, conn: Connection) -> int:
        """Our tables with their indexes, and the space in them that is free for what comes."""
        return int(conn.exec_driver_sql(_BYTES).scalar_one())

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Hold a lock of our own; a second process waits for it, and then sees what the first has done."""
        with self.write.begin() as conn:
            conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MIGRATING_S}s'")
            be_patient(conn)
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCKS}, {SCHEMA_LOCK})")
            if conn.exec_driver_sql(_OURS).first() is None:
                conn.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
            yield conn
            conn.exec_driver_sql(f"COMMENT ON TABLE {SCHEMA}.alembic_version IS '{MARK}'")

    def prove_writable(self) -> None:
        """Write a temporary table and take it back."""
        try:
            with self.write.connect() as conn, conn.begin() as transaction:
                conn.exec_driver_sql("CREATE TEMPORARY TABLE written_to_try (content text)")
                conn.exec_driver_sql("INSERT INTO written_to_try VALUES (repeat('x', 262144))")
                transaction.rollback()
        except DBAPIError as error:
            raise self.said(error.orig or error) from error

    def listening(
        self, *, wrote: Callable[[], object], asked: Callable[[], object]
    ) -> AbstractContextManager[object]:
        """A connection and a thread more, for as long as it is open."""
        connecting = partial(connect, self._address, self._lock_s)
        return closing(Listener(connecting, self._sender, wrote=wrote, asked=asked))

    def _landed(self, xid: str, before: Server) -> bool:
        """Whether a transaction was committed. Raises OutcomeUnknown when no server can tell."""
        for _ in range(_ASKED):
            try:
                with self.read.connect() as conn:
                    if _server(conn).timeline != before.timeline:
                        break  # a standby took over: its transactions have numbers of their own
                    became = _became(conn, xid, before)
            except (DBAPIError, StoreError):
                became = "in progress"  # as far as anybody knows
            if became == "unknown":
                break
            if became != "in progress":
                log.warning("the answer to a COMMIT was lost; the server was asked", became=became)
                return bool(became == "committed")
            time.sleep(_ASK_S)
        raise OutcomeUnknown(
            f"The connection to the database '{self.name}' was lost during a COMMIT, and no server can tell "
            "what became of it. Read again before deciding again."
        )


def be_patient(conn: Connection) -> None:
    """Let this transaction take long: it moves the whole database, or its schema."""
    conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
    conn.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{_MIGRATING_S}s'")


def open_postgres(url: str, *, busy_s: float) -> PostgresDatabase:
    """Open `postgresql://…`; nothing is written yet.

    Raises StoreError when no server can be reached and written, or the schema belongs to another program.
    """
    address = read_url(url)
    connection = connect(address, busy_s)
    try:
        _check_ours(address, connection)
        version = connection.server.version
    finally:
        connection.close()
    log.info("database opened", url=str(address), postgresql=version)
    return PostgresDatabase(address, version, busy_s)


def _check_ours(address: Address, connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(_OURS)
    for count, comment in cursor.fetchall():
        if count and comment != MARK:
            raise StoreError(
                f"The schema '{SCHEMA}' of the database '{address}' belongs to another program: it has "
                f"{count} tables and indexes, and not our mark. It was not touched; name another database."
            )
    cursor.close()


def _engine(address: Address, lock_s: float, **settings: str) -> Engine:
    engine = create_engine(
        "postgresql+pg8000://",
        creator=lambda: connect(address, lock_s, **settings),
        hide_parameters=True,
        insertmanyvalues_page_size=_ROWS,
        pool_size=THREADS,
        max_overflow=0,
        pool_timeout=30,
        pool_use_lifo=True,
    )

    engine.dialect.use_insertmanyvalues_wo_returning = True  # many rows in one journey over the network

    @event.listens_for(engine, "checkout")
    def _left(connection: Any, _record: Any, _proxy: Any) -> None:
        if left_behind(address, connection.server):
            raise DisconnectionError("a standby took over")  # another one is then made in its place

    @event.listens_for(engine, "handle_error")
    def _lost(context: Any) -> None:
        if faults.is_lost(context.original_exception):
            context.is_disconnect = True  # every connection of the pool is then made anew

    return engine


def _server(conn: Connection) -> Server:
    driver: Any = conn.connection.dbapi_connection
    found: Server = driver.server
    return found


def _became(conn: Connection, xid: str, before: Server) -> str:
    """What became of a transaction, as the server says of its number.

    A server that crashed forgets the numbers whose log it had not written, and gives them again. So what it
    calls committed may be another transaction since then, and what it calls in progress is another one.
    """
    try:
        became = str(conn.execute(_BECAME, {"xid": xid}).scalar_one())
    except DBAPIError as error:
        if faults.code_of(error.orig) != faults.FUTURE:
            raise
        return "aborted"  # never to be seen again
    if _server(conn).life == before.life:
        return became
    return "unknown" if became == "committed" else "aborted"
