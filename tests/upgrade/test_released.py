"""From every schema that was released, with rows in all tables, to the newest, on both databases."""

import ast
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from rollout.store import inline, migrations, open_store
from rollout.store.engine import open_database
from rollout.store.floor import KNOWN
from tests.store.places import Place
from tests.upgrade.rows import fill, rows_of, tables_of
from tests.upgrade.schemas import RELEASED, at_revision, kept, look

VERSIONS = Path(migrations.__file__).parent / "versions"


@pytest.mark.parametrize("revision", RELEASED)
def test_a_released_migration_makes_what_it_made_when_it_was_released(place: Place, revision: str) -> None:
    url, file = place.new(), kept(place.kind, revision)
    at_revision(url, revision)
    assert file.exists(), f"write it: python -m tests.upgrade.schemas ({file})"
    assert look(url) == file.read_text()


@pytest.mark.parametrize("revision", RELEASED)
def test_every_row_of_every_table_outlives_the_way_to_the_newest_schema(place: Place, revision: str) -> None:
    url = place.new()
    at_revision(url, revision)
    with closing(open_database(url)) as database, database.write.begin() as conn:
        fill(conn)
        tables = tables_of(conn)
        before = rows_of(conn, tables)
    with closing(open_store(url, run=inline)) as opened, opened.database.read.connect() as conn:
        after = rows_of(conn, tables)
    assert len(before) >= 15
    for name, rows in before.items():
        assert not Counter(rows) - Counter(after[name]), name


@pytest.mark.parametrize("revision", [revision for revision in RELEASED if revision >= "0006"])
def test_each_migration_says_whether_it_expands_or_contracts(revision: str) -> None:
    (file,) = VERSIONS.glob(f"{revision}_*.py")
    named = {
        target.id: node.value.value
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert named["kind"] in ("expand", "contract")
    raises = "raise_floor(" in file.read_text()
    assert raises == (named["kind"] == "contract"), "only what contracts raises the floor"


def test_this_program_knows_the_newest_migration() -> None:
    assert RELEASED[-1] == KNOWN == max(path.name[:4] for path in VERSIONS.glob("0*.py"))
