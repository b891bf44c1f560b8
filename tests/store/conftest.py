import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.store import SqlStore, inline, open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'rollout.db'}"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the newest schema with nothing in it, to be copied: migrating takes long."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    open_store(f"sqlite:///{path}", run=inline).close()
    return path


@pytest.fixture
def store(url: str, tmp_path: Path, empty: Path) -> Iterator[SqlStore]:
    """A store on a file of its own that works in place, so that a test can interleave every call."""
    shutil.copyfile(empty, tmp_path / "rollout.db")
    opened = open_store(url, run=inline)
    yield opened
    opened.close()
