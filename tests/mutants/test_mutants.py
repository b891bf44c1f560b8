"""No planted bug rots, and one of them is really noticed. All of them: `make mutants`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants import report
from tests.mutants.__main__ import main
from tests.mutants.planted import ROOT, SIMULATION, Edit, planted
from tests.mutants.workshop import Workshop, refuse_no_program

MUTANTS = planted()
SAMPLE = next(one for one in MUTANTS if one.name == "back-to-the-failing-one")
LEAST = 40


def test_every_planted_bug_still_fits_the_product_and_names_tests_that_exist() -> None:
    assert [problem for mutant in MUTANTS for problem in mutant.problems(ROOT)] == []
    assert len(MUTANTS) >= LEAST


def test_no_name_is_used_twice_and_each_says_what_it_breaks() -> None:
    assert [name for name, count in Counter(one.name for one in MUTANTS).items() if count > 1] == []
    assert [one.name for one in MUTANTS if not one.breaks or not one.says.endswith(".")] == []


def test_the_page_is_that_of_the_planted_bugs() -> None:
    assert (ROOT / report.PAGE).read_text("utf-8") == report.page(MUTANTS), "python -m tests.mutants --page"


def test_text_that_is_gone_or_stands_there_twice_is_a_problem() -> None:
    edit = SAMPLE.edits[0]
    assert not edit.problem(ROOT)
    assert "0 times" in replace(edit, old="what nobody wrote").problem(ROOT)
    assert "times in" in replace(edit, old="region").problem(ROOT)
    assert "not there" in Edit(file="rollout/gone.py", old="a", new="b").problem(ROOT)
    assert replace(SAMPLE, killers=("tests/core/test_draft.py::test_gone",)).problems(ROOT)


@pytest.mark.parametrize("text", ["def broken(:\n", "def fine() -> int:\n    return nowhere_defined\n"])
def test_what_is_no_program_is_refused_and_not_taken_for_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="no program"):
        refuse_no_program("rollout/some.py", text)


def test_a_mutant_that_is_not_known_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nobody"]) == 1
    assert "There is no mutant nobody" in capsys.readouterr().out


@pytest.mark.real
def test_the_simulation_notices_a_bug_and_says_in_which_seed(tmp_path: Path) -> None:
    (mutant,) = (one for one in MUTANTS if one.name == "act-before-record")
    seeds = [killer for killer in mutant.killers if killer.startswith(SIMULATION)]
    shop = Workshop(tmp_path)
    try:
        assert shop.ask(seeds).failed == {}
        with shop.planted(mutant):
            noticed = shop.ask(seeds)
    finally:
        shop.close()
    assert not noticed.trouble
    (killer, words), *_ = noticed.failed.items()
    assert "S2" in report.said(killer, words)
    assert report.said(killer, words).startswith(f"{killer} (seed 0: ")


@pytest.mark.real
def test_a_bug_is_noticed_in_the_copy_and_the_work_tree_is_left_as_it_was(tmp_path: Path) -> None:
    (file,) = {edit.file for edit in SAMPLE.edits}
    before = (ROOT / file).read_bytes()
    shop = Workshop(tmp_path)
    try:
        assert shop.ask(SAMPLE.killers).failed == {}
        with shop.planted(SAMPLE):
            noticed = shop.ask(SAMPLE.killers)
        assert shop.ask(SAMPLE.killers).failed == {}
    finally:
        shop.close()
    assert list(noticed.failed) == list(SAMPLE.killers)
    assert not noticed.trouble
    assert (ROOT / file).read_bytes() == before
