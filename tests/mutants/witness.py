"""A pytest plugin that says which tests failed and how, and that the product under test is the copy at hand.

It runs in the process of the killer, told by environment variables; see workshop.py.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

REPORT = "MUTANTS_REPORT"  # variable with the path of the file that is written
_FAILURES: list[dict[str, str]] = []


def pytest_configure() -> None:
    """Refuse to test anything but the copy."""
    import api  # not before the paths are set
    import rollout

    for package in (rollout, api):
        found = Path(str(package.__file__)).resolve()
        if not found.is_relative_to(Path.cwd().resolve()):
            raise pytest.UsageError(f"{found} was imported, which is not in {Path.cwd()}")


def pytest_exception_interact(node: Any, call: Any) -> None:
    """Keep what a failure was."""
    kinds = sorted({type(error).__name__ for error in _leaves(call.excinfo.value)})
    first = next(iter(str(call.excinfo.value).splitlines()), "")[:300]
    _FAILURES.append({"test": getattr(node, "nodeid", ""), "kind": " ".join(kinds), "message": first})


def pytest_sessionfinish(exitstatus: int) -> None:
    """Write it down."""
    told = {"exit": int(exitstatus), "failures": _FAILURES}
    Path(os.environ[REPORT]).write_text(json.dumps(told), "utf-8")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
