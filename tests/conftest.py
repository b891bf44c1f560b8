"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _log_as_at_the_start() -> Iterator[None]:
    """A test that configures the log, as the command line does, leaves none of it to the next."""
    yield
    structlog.reset_defaults()
