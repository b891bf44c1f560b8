from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.store import SqlStore, inline, open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'rollout.db'}"


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store on a file of its own that works in place, so that a test can interleave every call."""
    opened = open_store(url, run=inline)
    yield opened
    opened.close()
