"""A copy of the product in which one bug at a time is planted, and the killers that run on it.

The work tree is never written. What must not live here: which bugs there are.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.nursery import LATE
from tests.mutants.planted import ROOT, SIMULATION, Mutant
from tests.mutants.witness import REPORT

LEFT_OUT = (
    ".git",
    ".venv",
    "var",
    "build",
    "dist",
    "data",
    "*_cache",
    ".hypothesis",
    "__pycache__",
    "screens",
)
NO_PROGRAM = {"SyntaxError", "IndentationError", "ImportError", "ModuleNotFoundError", "NameError"}
"""Failures that say that the mutant is no program, and nothing of the test."""
OPTIONS = (
    *("--tb=no", "-p", "no:cacheprovider", "-p", "tests.mutants.witness"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the nursery has imported much already
    *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"),  # no others: each takes its time to load
)
HARMLESS_EXITS = (0, 1)  # of pytest: all passed, some failed
LONGEST_S = 180.0  # of one kill


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one killer, or several, said: who failed and how; `trouble` when they could say nothing."""

    failed: dict[str, str]  # test or seeds → what it said
    took_s: float
    trouble: str = ""


class Workshop:
    """One copy, used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._root, self._report, self._output = (directory / name for name in ("copy", "report", "output"))
        shutil.copytree(ROOT, self._root, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        environment = {**os.environ, "PYTHONPATH": str(self._root), REPORT: str(self._report)}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""}
        command, names = [sys.executable, "tests/mutants/nursery.py"], directory / "names"
        found = subprocess.run(command, cwd=self._root, env=environment, check=True, capture_output=True)
        names.write_bytes(found.stdout)
        self._nursery = subprocess.Popen(
            [*command, str(names)],
            cwd=self._root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Nothing more is asked."""
        self._nursery.communicate()

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        """Let the copy have the bug. Raises ValueError when it is no program."""
        before = {edit.file: (self._root / edit.file).read_text("utf-8") for edit in mutant.edits}
        after = dict(before)
        for edit in mutant.edits:
            after[edit.file] = edit.made(after[edit.file])
        try:
            for file, text in after.items():
                refuse_no_program(file, text)
                self._write(file, text)
            yield
        finally:
            for file, text in before.items():
                self._write(file, text)

    def ask(self, killers: Sequence[str], within_s: float = LONGEST_S) -> Answer:
        """Run the killers on the copy as it is."""
        began, trouble = time.monotonic(), ""
        failed: dict[str, str] = {}
        tests = [killer for killer in killers if not killer.startswith(SIMULATION)]
        seeds = [killer for killer in killers if killer.startswith(SIMULATION)]
        try:
            if tests:
                failed |= self._tests(tests, within_s)
            for some in seeds:
                failed |= self._seeds(some, within_s)
        except ValueError as error:
            trouble = str(error)[:2000]
        return Answer(failed=failed, took_s=time.monotonic() - began, trouble=trouble)

    def _tests(self, tests: Sequence[str], within_s: float) -> dict[str, str]:
        self._report.unlink(missing_ok=True)
        said = self._run("pytest", *OPTIONS, *tests, within_s=within_s)[1]
        if not self._report.is_file():
            raise ValueError(f"pytest did not run: {said[-1500:]}")
        told = json.loads(self._report.read_text("utf-8"))
        failed = {one["test"]: f"{one['kind']}: {one['message']}" for one in told["failures"]}
        if told["exit"] not in HARMLESS_EXITS or (told["exit"] == 1) != bool(failed):
            raise ValueError(f"pytest ended with {told['exit']}: {said[-1500:]}")
        return _heard(failed)

    def _seeds(self, killer: str, within_s: float) -> dict[str, str]:
        seeds = killer.removeprefix(SIMULATION)
        code, said = self._run("tests.simulation", seeds, "--first", "--jobs", "1", within_s=within_s)
        if code == 0:
            return {}
        first = next((line for line in said.splitlines() if line.startswith("seed ")), "")
        if not first:
            raise ValueError(f"the simulation did not run: {said[-1500:]}")
        return {killer: first[:300]}

    def _run(self, *argv: str, within_s: float) -> tuple[int, str]:
        """Run a module; its exit code, and what it said. Raises ValueError when it takes too long."""
        nursery = self._nursery
        assert nursery.stdin is not None, "it was started with a pipe"
        assert nursery.stdout is not None, "it was started with a pipe"
        asked = {"argv": argv, "within_s": within_s, "output": str(self._output)}
        nursery.stdin.write(json.dumps(asked) + "\n")
        nursery.stdin.flush()
        code = json.loads(nursery.stdout.readline())["exit"]
        said = self._output.read_text("utf-8", errors="replace")
        if code == LATE:
            raise ValueError(f"no answer within {within_s:.0f} s: {said[-500:]}")
        return int(code), said

    def _write(self, file: str, text: str) -> None:
        """Compiled forms go too: they are told from their source by its size and second alone."""
        path = self._root / file
        path.write_text(text, "utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()


def refuse_no_program(file: str, text: str) -> None:
    """Raise ValueError for what does not compile, or uses a name that is nowhere defined."""
    if not file.endswith(".py"):
        return
    rules = ["check", "--isolated", "--quiet", "--select", "E9,F821,F822,F823", "--output-format", "concise"]
    program = Path(sys.executable).with_name("ruff")
    checked = subprocess.run(
        [program, *rules, "--stdin-filename", file, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode:
        raise ValueError(f"the mutant is no program: {checked.stdout[:500]}{checked.stderr[:300]}")


def _heard(failed: dict[str, str]) -> dict[str, str]:
    """Without those that failed because the mutant is no program."""
    return {who: said for who, said in failed.items() if not NO_PROGRAM & set(said.partition(":")[0].split())}
