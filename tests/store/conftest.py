"""The tests of the store run on both databases, unless a module (DATABASES) or a test (`only`) names some."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.store import SqlStore, inline, open_store
from tests.store import postgres_lab
from tests.store.places import Place, PostgresPlace, SqlitePlace, databases_of, postgres_template
from tests.store.postgres_lab import Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that needs a place runs once on every database of its module."""
    if "place" in metafunc.fixturenames:
        kinds = databases_of(metafunc.module, metafunc.function)
        metafunc.parametrize("place", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with postgres_lab.server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """The name of a database of PostgreSQL to be copied."""
    return postgres_template(postgres)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the newest schema with nothing in it, to be copied: migrating takes long."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    open_store(f"sqlite:///{path}", run=inline).close()
    return path


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the databases of this test are."""
    found: Place
    if request.param == "sqlite":
        found = SqlitePlace(tmp_path, request.getfixturevalue("empty"))
    else:
        found = PostgresPlace(request.getfixturevalue("postgres"), request.getfixturevalue("migrated"))
    yield found
    found.close()


@pytest.fixture
def url(place: Place) -> str:
    """A database with nothing in it."""
    return place.new()


@pytest.fixture
def store(place: Place) -> Iterator[SqlStore]:
    """A store on a database of its own that works in place, so that a test can interleave every call."""
    opened = open_store(place.empty(), run=inline)
    yield opened
    opened.close()
