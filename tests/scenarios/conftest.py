"""A fresh world for every scenario."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.world import World, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three regions, one controller, real store."""
    store = new_store(tmp_path)
    yield World(store)
    store.close()
