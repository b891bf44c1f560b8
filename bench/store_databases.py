"""The databases that `bench.store` measures on: fresh ones, copies, a plain connection, what is in them."""

import itertools
import shutil
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Table

from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import connect
from rollout.store.sqlite import sqlite_module
from tests.store.postgres_lab import Server


class Databases(Protocol):
    """One server, or one directory."""

    begin: str | None  # what a plain transaction starts with; None: the driver does it

    def url(self, like: str | None = None) -> str:
        """Of a fresh database, or of a copy of the one with the URL `like`."""
        ...

    def plain(self, url: str) -> Any:
        """A connection of the plain driver, with the store's own settings."""
        ...

    def rows(self, url: str, table: Table) -> object:
        """All rows of a table, in order."""
        ...


class Sqlite:
    """Files in a directory."""

    begin: str | None = "BEGIN IMMEDIATE"

    def __init__(self, directory: Path) -> None:
        self._directory, self._numbers = directory, itertools.count()

    def url(self, like: str | None = None) -> str:
        """A fresh file."""
        path = self._directory / f"{next(self._numbers)}.db"
        if like:
            shutil.copyfile(_path(like), path)
        return f"sqlite:///{path}"

    def plain(self, url: str) -> Any:
        """sqlite3, as durable as the store."""
        connection = sqlite_module().connect(_path(url), isolation_level=None)
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def rows(self, url: str, table: Table) -> object:
        """All rows."""
        connection = sqlite_module().connect(_path(url))
        found = connection.execute(f"SELECT * FROM {table.name} {_order(table)}").fetchall()
        connection.close()
        return found


class Postgres:
    """Databases of a server of the tests, with fsync on."""

    begin: str | None = None

    def __init__(self, server: Server) -> None:
        self._server, self._names = server, dict[str, str]()

    def url(self, like: str | None = None) -> str:
        """A fresh database."""
        name = self._server.database(*([self._names[like]] if like else []))
        url = self._server.url(name)
        self._names[url] = name
        return url

    def plain(self, url: str) -> Any:
        """The driver, SERIALIZABLE as the store."""
        return connect(read_url(url), 5.0, default_transaction_isolation="serializable")

    def rows(self, url: str, table: Table) -> object:
        """All rows."""
        return self._server.ask(f"SELECT * FROM rollout.{table.name} {_order(table)}", self._names[url])


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _order(table: Table) -> str:
    return "ORDER BY " + ", ".join(column.name for column in table.columns)
