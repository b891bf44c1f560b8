"""docs/invariants.md names every promise once, and everything that it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (S\d+) \|(.*)\|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`((?:rollout|tests|api)/[\w/]+\.py(?:::\w+)?)`", PAGE)))


def test_every_promise_has_one_row() -> None:
    assert [number for number, _ in ROWS] == [f"S{n}" for n in range(1, 17)]


@pytest.mark.parametrize(("number", "row"), ROWS)
def test_every_row_says_where_it_is_kept_and_what_shows_it(number: str, row: str) -> None:
    sentence, kept, shown = (cell.strip() for cell in row.split("|"))
    assert sentence.endswith("."), number
    assert re.search(r"`rollout/\S+\.py", kept), f"{number} is kept nowhere"
    assert re.search(r"`tests/\S+\.py", shown), f"{number} is shown nowhere"


@pytest.mark.parametrize("named", NAMED)
def test_what_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    known = rf'^(async def|def|class) {name}\b|^{name}\b|"{name}"'
    assert not name or re.search(known, text, re.MULTILINE), f"{path} has no {name}"


def test_every_assertion_is_named_or_belongs_to_one_that_is() -> None:
    files = [
        ROOT / "rollout" / "core" / "invariants" / f"{name}.py" for name in ("in_turn", "orders", "record")
    ]
    found = {number for file in files for number in re.findall(r'"(S\d+)"', file.read_text(encoding="utf-8"))}
    assert found == {f"S{n}" for n in range(1, 16)}
