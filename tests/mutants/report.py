"""What is printed of the mutants, and the page docs/mutants.md. Nothing is run here."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from tests.mutants.planted import SIMULATION, Mutant

PAGE = "docs/mutants.md"
_TITLES = {
    "1_claims": "Claims and fences",
    "2_outbox": "The outbox",
    "3_store": "The database, and requests with a key",
    "4_forward": "Going forward",
    "5_approvals": "Approvals",
    "6_back": "Going back, recovery and drift",
    "7_judge": "The judge",
    "8_targets": "Targets and sources",
    "9_doors": "The doors, and emergencies",
    "9_invariants": "Promises that production asserts",
}
_HEAD = """\
# Planted bugs

Each line is a bug that we put into a copy of the product, and the test that fails then. `make mutants` plants
them one after the other. It runs the named test on the clean copy, where it must pass, and on the copy with
the bug, where it must fail, and not because the copy is no program. It prints who noticed what, and ends with
1 when one survives. Where a range of seeds of the simulation is named, they are played too, up to the first
that breaks a promise. `S` and `L` are the promises of docs/reliability.md, `F` the kinds of faults there.

To add one, write it into the file of its layer in tests/mutants: the text that is replaced, which occurs once
in the product, the text in its place, and the test that must notice. Then `python -m tests.mutants --page`
makes this page anew; `make mutants ARGS="--only NAME"` plants some alone.
"""


def page(mutants: Sequence[Mutant]) -> str:
    """The page: one table for each layer."""
    parts = [_HEAD]
    for layer, those in groupby(mutants, key=lambda mutant: mutant.layer):
        rows = [f"| {one.says} | {one.breaks} | {', '.join(map(_linked, one.killers))} |" for one in those]
        parts.append(f"## {_TITLES[layer]}\n\n| what is wrong | breaks | noticed by |\n|---|---|---|\n")
        parts[-1] += "\n".join(rows) + "\n"
    return "\n".join(parts)


def short(killer: str) -> str:
    """A killer without its folder and parameters, as people say it."""
    return killer if killer.startswith(SIMULATION) else killer.removeprefix("tests/").partition("[")[0]


def said(killer: str, words: str) -> str:
    """Who noticed; of a simulation also in which seed, and which of its checks."""
    return f"{killer} ({words})" if killer.startswith(SIMULATION) else short(killer)


def listed(mutants: Iterable[Mutant]) -> str:
    """One line for each, for `--list`."""
    return "\n".join(f"{one.name:34} {one.breaks:10} {one.says}" for one in mutants)


def _linked(killer: str) -> str:
    if killer.startswith(SIMULATION):
        return f"simulation, seeds {killer.removeprefix(SIMULATION)}"
    file, _, name = killer.partition("::")
    words = name.removeprefix("test_").partition("[")[0].replace("_", " ")
    return f"[{words}](../{file})"
