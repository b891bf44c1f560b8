"""Reads beside the controllers, on a connection that is kept, and made anew when the server was killed."""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pg8000.dbapi

from tests.store.postgres_lab import Server, shut

Ask = Callable[[str], list[Any]]
PATIENCE_S = 40.0


class AsksPostgres:
    """One statement after the other, from any thread; `server` may be exchanged after a failover."""

    def __init__(self, server: Server, database: str) -> None:
        self.server, self.database = server, database
        self._lock, self._conn = threading.Lock(), None
        self._sock = socket.socket(socket.AF_UNIX)

    def __call__(self, statement: str) -> list[Any]:
        ends = time.monotonic() + PATIENCE_S
        with self._lock:
            while True:
                try:
                    return self._once(statement)
                except (pg8000.dbapi.InterfaceError, OSError, pg8000.dbapi.OperationalError):
                    self._drop()
                except pg8000.dbapi.DatabaseError as error:
                    if not str(error.args[0]).count("57P0"):  # stopping, starting
                        raise
                    self._drop()
                assert time.monotonic() < ends, "the database never came back"
                time.sleep(0.05)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _once(self, statement: str) -> list[Any]:
        if self._conn is None:
            self._drop()
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.settimeout(5)
            self._sock.connect(f"{self.server.directory}/.s.PGSQL.{self.server.port}")
            self._conn = pg8000.dbapi.connect("postgres", database=self.database, sock=self._sock)
            self._conn.autocommit = True
            self._conn.cursor().execute("SET search_path = rollout")
        cursor = self._conn.cursor()
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()]

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(Exception):
                conn.close()
        shut(self._sock)  # the driver leaves it open where nobody hears goodbye


def asks_sqlite(file: Path) -> Ask:
    """Read the file of a controller that runs."""

    def ask(statement: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as conn:
            return conn.execute(statement).fetchall()

    return ask
