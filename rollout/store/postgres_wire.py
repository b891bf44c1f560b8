"""One connection to PostgreSQL: how it is made, what its session is told, and which server is taken.

The driver is pg8000 (pure Python). It is imported only where a URL asks for PostgreSQL.
"""

import contextlib
import importlib
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rollout.core.errors import StoreError
from rollout.store.postgres_faults import code_of, message_of, store_error
from rollout.store.postgres_url import Address, Host

OLDEST = 130000  # version 13
STATEMENT_S = 20  # that any statement may take
IDLE_S = 4  # that a transaction may do nothing: one who is frozen in it is given up before others fail
_ANSWER_S = STATEMENT_S + 10.0  # without a byte from the server, after which the connection is given up
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000))
SCHEMA = "rollout"  # other tables of the database are in other schemas, and are never touched
_SETTINGS = {
    "search_path": SCHEMA,
    "TimeZone": "UTC",
    "statement_timeout": f"{STATEMENT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "client_min_messages": "warning",
}
_TIMELINE = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
_LOOK = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
    "current_setting('transaction_read_only') = 'on', pg_is_in_recovery(), "
    f"CASE WHEN pg_is_in_recovery() THEN '' ELSE {_TIMELINE} END, "
    "concat_ws(' ', pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())"
)


@dataclass(frozen=True, slots=True)
class Server:
    """What a connection found. `timeline` is another one after a standby took over.

    `life` is another one after the server was started again, or lost its memory: statistics begin anew then.
    """

    version: str
    timeline: str
    life: str


_newest: dict[str, int] = {}  # the highest timeline that was seen, by address; a restart forgets it
_seeing = threading.Lock()


class Refused(Exception):
    """One server cannot be used; the text says why."""


def connect(address: Address, lock_s: float, **settings: str) -> Any:
    """Connect to the first server that can be written; `.server` of the connection says what it is.

    One that is left behind on an older timeline is not taken, though it can be written.
    Raises StoreError, which names every server that was tried.
    """
    given = {**_SETTINGS, "lock_timeout": f"{round(lock_s * 1000)}ms", **settings}
    refused = []
    for host in address.hosts:
        try:
            return _connect(address, host, given)
        except Refused as error:
            refused.append(str(error))
    raise StoreError("; ".join(refused))


def _connect(address: Address, host: Host, settings: dict[str, str]) -> Any:
    name = f"postgresql://{address.user}@{host}/{address.database}"
    connection = None
    try:
        connection = _open(address, host)
        connection.server = _looked(connection, name)
        if newer := left_behind(address, connection.server):
            raise Refused(_old(name, connection.server, newer))
        _tell(connection, settings)
    except (_driver().Error, OSError, Refused) as error:
        if connection is not None:
            with contextlib.suppress(_driver().Error, OSError):
                connection.close()
        raise error if isinstance(error, Refused) else Refused(_why(name, error)) from error
    return connection


def _open(address: Address, host: Host) -> Any:
    sock = _reach(host, address.connect_s)
    try:
        made = _wire()(
            address.user,
            host=host.name,
            database=address.database,
            password=address.password,
            sock=sock,
            timeout=address.connect_s,
            ssl_context=False if host.socket else address.tls(),
            application_name="rollout",
        )
    except BaseException:
        _shut(sock)
        raise
    _patience(made._usock, tcp=not host.socket)  # the driver has one timeout, for all that it does
    return made


def _reach(host: Host, patience_s: float) -> socket.socket:
    """A socket of ours: the driver leaves its own open where the server hangs up before the greeting."""
    if not host.socket:
        return socket.create_connection((host.name, host.port), patience_s)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(patience_s)
        sock.connect(host.socket)
    except BaseException:
        sock.close()
        raise
    return sock


def _shut(sock: socket.socket) -> None:
    """Close it at once, whoever still holds a file made of it (a frame of an error that is kept, say)."""
    if (number := sock.detach()) != -1:
        os.close(number)


def _patience(sock: socket.socket, *, tcp: bool) -> None:
    sock.settimeout(_ANSWER_S)
    if tcp:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, value in _KEEPALIVE:
            if hasattr(socket, option):  # as Linux has them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _looked(connection: Any, name: str) -> Server:
    connection.autocommit = True
    version, shown, read_only, standby, timeline, life = _row(connection, _LOOK)
    if version < OLDEST:
        raise Refused(f"The server of '{name}' is PostgreSQL {shown}. It must be 13 or newer.")
    if standby or read_only:
        what = "is a read-only standby" if standby else "may only be read by this user (read-only)"
        raise Refused(
            f"The server of '{name}' {what}. Name the primary too in ROLLOUT_DATABASE_URL (host1,host2); "
            "the one that can be written is chosen."
        )
    return Server(shown, timeline, life)


def left_behind(address: Address, server: Server) -> int:
    """The timeline on which a standby took over from this server, which may still be written; else 0.

    The highest that a connection to this address has found is remembered for as long as the process lives.
    """
    timeline = int(server.timeline, 16)
    with _seeing:
        newest = _newest[str(address)] = max(timeline, _newest.get(str(address), 0))
    return newest if timeline < newest else 0


def _old(name: str, server: Server, newer: int) -> str:
    return (
        f"The server of '{name}' is an old primary: it is on timeline {int(server.timeline, 16)}, and a "
        f"standby took over on timeline {newer}. Nothing is read or written there; what it was told since is "
        "lost to the others. Take its host out of ROLLOUT_DATABASE_URL, stop it, and rebuild it as a standby "
        "(pg_rewind, or pg_basebackup). Only where it is a new cluster into which a dump was restored: "
        "restart the controllers, which then forget the old timeline."
    )


def _tell(connection: Any, settings: dict[str, str]) -> None:
    """In one go, since each statement is a journey over the network."""
    parts = ", ".join("set_config(%s, %s, false)" for _ in settings)
    cursor = connection.cursor()
    cursor.execute(f"SELECT {parts}", [part for setting in settings.items() for part in setting])
    cursor.close()
    connection.autocommit = False


def _row(connection: Any, text: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(text)
    (row,) = cursor.fetchall()
    cursor.close()
    return row


def _why(name: str, error: BaseException) -> str:
    if isinstance(error, OSError) or "network error" in str(error):
        cause = error if isinstance(error, OSError) else (error.__cause__ or error)
        if isinstance(cause, ssl.SSLError):
            return (
                f"The server of '{name}' is not trusted: {getattr(cause, 'verify_message', '') or cause}. "
                "Name the certificate that vouches for it with sslrootcert in ROLLOUT_DATABASE_URL"
            )
        return (
            f"The database '{name}' cannot be reached: {cause}. "
            "See whether the server runs, and mend its host and port in ROLLOUT_DATABASE_URL"
        )
    if "refuses SSL" in str(error):
        return (
            f"The server of '{name}' does not encrypt. Switch that on there (ssl = on), or write "
            "sslmode=prefer in ROLLOUT_DATABASE_URL where nobody else can listen"
        )
    if "password" in str(error) and not isinstance(error.args[0], dict):
        return f"The database '{name}' asks for a password. Write it into ROLLOUT_DATABASE_URL."
    return str(store_error(name, error)) if message_of(error) else f"The database '{name}' cannot be used."


@lru_cache(maxsize=1)
def _driver() -> Any:
    try:
        return importlib.import_module("pg8000.dbapi")
    except ImportError as error:
        raise StoreError(
            "PostgreSQL needs a driver that is not installed. Install it with: "
            "pip install 'rollout-controller[postgres]'"
        ) from error


@lru_cache(maxsize=1)
def _wire() -> Any:
    driver = _driver()

    class Wire(driver.Connection):  # type: ignore[misc, name-defined]  # the driver has no types
        """Raises what SQLAlchemy expects: a lost socket, and a broken constraint, by name."""

        def handle_messages(self, context: Any) -> Any:
            try:
                return super().handle_messages(context)
            except (OSError, ValueError) as error:
                raise driver.InterfaceError("network error") from error
            except driver.DatabaseError as error:
                if code_of(error).startswith("23"):
                    raise driver.IntegrityError(*error.args) from error
                raise

        def close(self) -> None:
            sock = self._usock  # which the driver forgets, and does not close where goodbye is not heard
            with contextlib.suppress(driver.Error, OSError):
                super().close()
            if sock is not None:
                _shut(sock)

    return Wire
