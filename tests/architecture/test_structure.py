"""The shape of the code, held by tests, so that nobody has to remember it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from rollout.core import machine, model, signals
from tests.architecture.sizes import FILE_LINES, FUNCTION_LINES, ROOT, modules, name, too_long

PURE = {  # of the standard library and beyond: everything the core may import
    "collections.abc", "dataclasses", "datetime", "difflib", "enum", "functools", "itertools", "math", "re",
    "typing", "zoneinfo", "collections", "pydantic", "numpy",
}  # fmt: skip
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
VOCABULARY = ROOT / "docs" / "vocabulary.md"
WORDS = (
    "service", "release", "region", "policy", "plan", "rollout", "stage", "step", "signal", "check",
    "baseline", "candidate", "evidence", "verdict", "phase", "trigger", "transition", "action", "intent",
    "hold", "freeze", "obligation", "watch", "recovery", "promote", "cancel", "known good", "generation",
    "holdback", "incident",
)  # fmt: skip
ENUMS = [
    found
    for module in (model, signals, machine)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, model.StrEnum) and found is not model.StrEnum
]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("rollout", "api", include_external_packages=True, cache_dir=None)


def test_the_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_core_imports_nothing_but_values(graph: grimp.ImportGraph):
    core = {module for module in graph.modules if module.startswith("rollout.core")}
    assert core
    outside = {
        f"{module} imports {imported}"
        for module in core
        for imported in graph.find_modules_directly_imported_by(module)
        if not imported.startswith("rollout.core") and imported not in PURE
    }
    assert outside == set()


# What `scrape` reads; what targets answer to `webhook` and `command`; what services say of stalled work.
SHARED = ("exposition", "answer", "work")


@pytest.mark.parametrize("package", ["sources", "deployers", "notifiers"])
def test_a_plugin_imports_no_other_plugin(graph: grimp.ImportGraph, package: str):
    """Files of one plugin share the first word of their names."""
    place = f"rollout.{package}."
    files = {module for module in graph.modules if module.startswith(place)}
    assert files
    for module in files:
        for imported in graph.find_modules_directly_imported_by(module) & files:
            ours, theirs = (m.removeprefix(place).split("_")[0].split(".")[0] for m in (module, imported))
            assert theirs in {ours, *SHARED}, f"{module} imports {imported}"


def test_no_function_and_no_file_is_too_long():
    assert too_long() == [], f"limits: {FUNCTION_LINES} lines a function, {FILE_LINES} a file"


@pytest.mark.parametrize("path", list(modules()), ids=name)
def test_a_module_says_what_lives_in_it_and_is_named_for_it(path: Path):
    assert not BANNED_NAMES & set(path.stem.split("_")), "name it for what lives there"
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "begin with a docstring that says what lives here"


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_every_value_of_an_enum_is_in_the_vocabulary(enum: type[model.StrEnum]):
    written = set(re.findall(r"`([a-z_]+)`", VOCABULARY.read_text("utf-8")))
    assert {str(value) for value in enum} <= written


def test_every_public_word_has_its_line_in_the_vocabulary():
    text = VOCABULARY.read_text("utf-8")
    defined = {word.strip() for row in re.findall(r"^\| ([^|]+) \|", text, re.M) for word in row.split(",")}
    assert set(WORDS) <= defined


def test_every_noun_of_the_model_is_described():
    nouns = [v for v in vars(model).values() if isinstance(v, type) and v.__module__ == model.__name__]
    assert len(nouns) > 20
    assert [noun.__name__ for noun in nouns if not (noun.__doc__ or "").strip()] == []
