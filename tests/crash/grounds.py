"""Where the database of a campaign is, and how it is put back after each death.

A ground keeps one moment: the files of its directory, and on PostgreSQL every row beside its own table.
"""

import hashlib
import time
from pathlib import Path
from typing import Any, Protocol

import pg8000.native

from rollout.store import tables
from rollout.store.sqlite import sqlite_module
from tests.store.postgres_lab import Server

NAMES = sorted(tables.metadata.tables)
_ALIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_CLIENTS = f"{_ALIVE} AND backend_type = 'client backend'"


class Ground(Protocol):
    """One database and one directory; nobody else uses them while one of these is called."""

    kind: str
    directory: Path
    url: str  # empty: rollout.db in the directory
    lease_s: float

    def remember(self) -> None:
        """Keep this moment instead of the one that was kept before."""

    def put_back(self) -> None:
        """Let everything be as it was at that moment."""

    def settle(self) -> None:
        """Wait until the database knows that a killed client is gone."""

    def fingerprint(self) -> str:
        """Equal for equal contents of the database and the directory."""

    def end_leases(self) -> None:
        """Let a lease pass by the clock of the database, if it has one of its own."""

    def close(self) -> None:
        """Take it away."""


class SqliteGround:
    """A file; its clock is the controller's."""

    kind, url, lease_s = "sqlite", "", 15.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._kept: dict[str, bytes] = {}

    def remember(self) -> None:
        self._kept = {file.name: file.read_bytes() for file in self.directory.iterdir()}

    def put_back(self) -> None:
        for file in self.directory.iterdir():
            file.unlink()
        for name, content in self._kept.items():
            (self.directory / name).write_bytes(content)

    def settle(self) -> None:
        """The locks of a file end with its process."""

    def fingerprint(self) -> str:
        conn = sqlite_module().connect(self.directory / "rollout.db")
        try:
            rows = [sorted(map(repr, conn.execute(f"SELECT * FROM {name}"))) for name in NAMES]
        finally:
            conn.close()
        return _digest(self.directory, repr(rows))

    def end_leases(self) -> None:
        """They have ended when the clock of the story says so."""

    def close(self) -> None:
        """The directory is the caller's."""


class PostgresGround:
    """A database of a server; one connection stays open beside those of the controllers."""

    kind = "postgresql"
    lease_s = 3600.0  # of the server's clock, which runs while thousands of controllers die

    def __init__(self, directory: Path, server: Server, template: str) -> None:
        self.directory, self._server = directory, server
        self._name = server.database(template)
        self.url = server.url(self._name)
        self._files = SqliteGround(directory)
        path = f"{server.directory}/.s.PGSQL.{server.port}"
        self._conn = pg8000.native.Connection("postgres", database=self._name, unix_sock=path, timeout=60)
        self._ask("SET search_path = rollout; SET session_replication_role = replica; CREATE SCHEMA kept")
        self._kept: dict[str, str] = {}
        self._numbers = ""  # the statement that sets every sequence

    def remember(self) -> None:
        self._files.remember()
        copies = [f"CREATE TABLE kept.{n} AS TABLE {n}" for n in NAMES]
        self._ask("; ".join(["DROP SCHEMA kept CASCADE", "CREATE SCHEMA kept", *copies]))
        self._kept = self._digests()
        found = self._ask("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'rollout'")
        sets = [f"setval('{name}', {value or 1}, {value is not None})" for name, value in found]
        self._numbers = f"SELECT {', '.join(sets)}"

    def put_back(self) -> None:
        self._files.put_back()
        found = self._digests()
        other = [name for name in NAMES if found[name] != self._kept[name]]
        rows = [f"DELETE FROM {name}; INSERT INTO {name} SELECT * FROM kept.{name}" for name in other]
        self._ask("; ".join([*rows, self._numbers]))

    def settle(self) -> None:
        for _ in range(5000):
            if not self._ask(_CLIENTS)[0][0]:
                return
            time.sleep(0.002)
        raise AssertionError(f"somebody still uses {self._name}")

    def fingerprint(self) -> str:
        rows = {name: digest for name, digest in self._digests().items() if name != "replicas"}
        return _digest(self.directory, repr(rows))  # when a lease ends is not the same time twice

    def end_leases(self) -> None:
        self._ask(f"UPDATE replicas SET until = until - interval '{self.lease_s} seconds'")

    def close(self) -> None:
        self._conn.close()
        self._server.drop(self._name)

    def _digests(self) -> dict[str, str]:
        each = (
            f"SELECT '{name}', md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {name} t"
            for name in NAMES
        )
        return dict(self._ask(" UNION ALL ".join(each)))

    def _ask(self, text: str) -> Any:
        return self._conn.run(text)


def _digest(directory: Path, rows: str) -> str:
    made = hashlib.sha256(rows.encode())
    for file in sorted(directory.iterdir()):
        if not file.name.startswith((".", "rollout.db")) and file.suffix != ".part":
            made.update(file.read_bytes())
    return made.hexdigest()
