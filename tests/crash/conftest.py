"""Where the controllers of these tests die: on both databases."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.crash.grounds import Ground, PostgresGround, SqliteGround
from tests.store.conftest import migrated, postgres

__all__ = ["migrated", "postgres"]  # fixtures


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What a controller logs before it dies is not read by anybody."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """A database and a directory of this test."""
    found: Ground = SqliteGround(tmp_path)
    if request.param == "postgresql":
        server, template = (request.getfixturevalue(name) for name in ("postgres", "migrated"))
        found = PostgresGround(tmp_path, server, template)
    yield found
    found.close()
