"""Where a test's databases are: files of SQLite, or databases of a PostgreSQL of the session."""

import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

from rollout.store import inline, open_store
from tests.store.postgres_lab import Server

BOTH = ("sqlite", "postgresql")
Test = TypeVar("Test")


def only(*kinds: str) -> Callable[[Test], Test]:
    """For a test that is about one kind of database: it is collected for no other."""

    def marked(test: Test) -> Test:
        test.databases = kinds  # type: ignore[attr-defined]
        return test

    return marked


def databases_of(module: object, test: object) -> tuple[str, ...]:
    """The kinds that a test runs on: its own, else those that its module names, else both."""
    found: tuple[str, ...] = getattr(test, "databases", getattr(module, "DATABASES", BOTH))
    return found


class Place(Protocol):
    """Makes databases for one test; what is copied must not be in use."""

    kind: str

    def new(self) -> str:
        """The URL of a database with nothing in it, not even tables."""

    def empty(self) -> str:
        """The URL of a database with the newest schema, which nobody has written to."""

    def copy(self, url: str) -> str:
        """The URL of a copy."""

    def settle(self, url: str) -> None:
        """Wait until the server knows that a killed client of `url` is gone."""

    def close(self) -> None:
        """Take everything away."""


class SqlitePlace:
    kind = "sqlite"

    def __init__(self, directory: Path, template: Path) -> None:
        self._directory, self._template, self._names = directory, template, count(2)

    def new(self) -> str:
        return f"sqlite:///{self._path()}"

    def empty(self) -> str:
        return f"sqlite:///{shutil.copyfile(self._template, self._path())}"

    def copy(self, url: str) -> str:
        return f"sqlite:///{shutil.copyfile(url.removeprefix('sqlite:///'), self._path())}"

    def settle(self, url: str) -> None:
        """Files know at once."""

    def close(self) -> None:
        """The directory is the test's."""

    def _path(self) -> Path:
        first = self._directory / "rollout.db"
        return first if not first.exists() else self._directory / f"{next(self._names)}.db"


class PostgresPlace:
    kind = "postgresql"

    def __init__(self, server: Server, template: str) -> None:
        self.server, self._template, self._names = server, template, list[str]()

    def new(self) -> str:
        return self._made("template0")

    def empty(self) -> str:
        return self._made(self._template)

    def copy(self, url: str) -> str:
        return self._made(name_of(url))

    def settle(self, url: str) -> None:
        self.server.wait_alone(name_of(url))

    def close(self) -> None:
        for name in self._names:
            self.server.drop(name)

    def _made(self, template: str) -> str:
        self._names.append(self.server.database(template))
        return self.server.url(self._names[-1])


def name_of(url: str) -> str:
    """The database of a URL of PostgreSQL."""
    found = re.search(r"@[^/]*/(\w+)", url)
    assert found is not None
    return found[1]


def postgres_template(server: Server) -> str:
    """The name of a database of the newest schema with nothing in it, to be copied: migrating takes long."""
    name = server.database()
    open_store(server.url(name), run=inline).close()
    return name
