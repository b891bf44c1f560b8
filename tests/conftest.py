"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback


def _log_plainly() -> None:
    """As structlog does at the start, but for tracebacks: drawing those with their locals takes seconds."""
    structlog.reset_defaults()
    *others, _ = structlog.get_config()["processors"]
    renderer = ConsoleRenderer(colors=False, exception_formatter=plain_traceback)
    structlog.configure(processors=[*others, renderer])


_log_plainly()


@pytest.fixture(autouse=True)
def _log_as_at_the_start() -> Iterator[None]:
    """A test that configures the log, as the command line does, leaves none of it to the next."""
    yield
    _log_plainly()
