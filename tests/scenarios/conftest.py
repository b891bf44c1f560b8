"""A fresh world for every scenario."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from tests.scenarios.world import World, new_store


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The log repeats what the history says; thousands of lines would hide the one that matters."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three regions, one controller, real store."""
    store = new_store(tmp_path)
    yield World(store)
    store.close()


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[Mapping[str, object]], World]]:
    """A world whose standard policy differs in the given keys."""
    store = new_store(tmp_path)
    yield lambda policy: World(store, policy)
    store.close()
