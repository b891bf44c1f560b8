"""What a person is told who copies the database, tries the copy, or puts one back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.bootstrap import only_controller
from rollout.settings import load_settings

Run = Callable[..., Any]
pytestmark = pytest.mark.real


def refused(run: Run, *words: str) -> tuple[str, str]:
    """What was said, and what to try."""
    done = run(*words)
    assert done.code == 2
    said, _, then = done.err.partition("\n  try: ")
    return said, then.strip()


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """A backup of an empty database of this machine."""
    assert run("db", "upgrade").code == 0
    assert run("db", "backup", str(tmp_path / "copy.db")).code == 0
    return tmp_path / "copy.db"


def test_a_backup_goes_over_no_file_and_a_name_that_is_free_is_offered(run: Run, copy: Path) -> None:
    said, then = refused(run, "db", "backup", str(copy))
    assert said == f"✖ '{copy}' is there already, and is never written over."
    assert then.startswith(f"rollout db backup {copy.parent}/copy-20")
    assert run(*then.split()[1:]).code == 0


def test_a_damaged_file_leads_to_another_one_whichever_verb_found_it(run: Run, copy: Path) -> None:
    os.truncate(copy, 20_000)
    for verb in ("verify", "restore"):
        said, then = refused(run, "db", verb, str(copy))
        assert said.startswith(f"✖ '{copy}' is damaged: ")
        assert then == "rollout db verify ANOTHER_FILE"


def test_a_name_that_is_empty_is_said_to_be_no_file(run: Run) -> None:
    said, then = refused(run, "db", "restore", "")
    assert said == "✖ '.' is a directory; name a file."
    assert then == "rollout db verify ANOTHER_FILE"


def test_while_a_controller_runs_it_is_to_be_stopped_and_the_same_restore_is_offered(
    run: Run, copy: Path, tmp_path: Path
) -> None:
    with only_controller(load_settings(data=tmp_path)):
        said, then = refused(run, "db", "restore", str(copy))
    assert said.endswith("Nothing was changed. Stop it, and every other replica, first.")
    assert f"process {os.getpid()}, works on {tmp_path}" in said
    assert then == f"mend that, then: rollout db restore {copy}"
    assert run("db", "restore", str(copy)).code == 0
