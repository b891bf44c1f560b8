"""All replicas give a text of a policy the same number, whoever sees it first."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from rollout.core.errors import InvalidInput, StoreError
from rollout.store import SqlStore, inline, open_store
from rollout.store.revisions import StoredRevisions
from tests.store.places import Place


def book(store: SqlStore, before: Path = Path("/nowhere")) -> StoredRevisions:
    return StoredRevisions(store.database, before)


def test_a_text_has_one_number_for_all_replicas_and_for_ever(store: SqlStore) -> None:
    one, other = book(store), book(store)
    assert one.assign({"standard": "a", "careful": "x"}) == {"standard": 1, "careful": 1}
    assert other.assign({"standard": "b", "careful": "x"}) == {"standard": 2, "careful": 1}
    assert one.assign({"standard": "b"}) == {"standard": 2}
    assert other.assign({"standard": "a"}) == {"standard": 1}
    assert one.assign({"standard": "c"}) == {"standard": 3}


def test_replicas_that_see_new_texts_at_once_never_give_one_number_twice(place: Place) -> None:
    url, count = place.empty(), 4
    stores = [open_store(url) for _ in range(count)]
    together = Barrier(count)

    def see(number: int) -> int:
        together.wait()
        return book(stores[number]).assign({"standard": f"text {number % 3}"})["standard"]

    try:
        with ThreadPoolExecutor(count) as threads:
            found = list(threads.map(see, range(count)))
    finally:
        for opened in stores:
            opened.close()
    assert sorted(set(found)) == [1, 2, 3]
    assert found[0] == found[3]  # the same text


def test_what_an_earlier_version_numbered_in_a_file_keeps_its_numbers(
    store: SqlStore, tmp_path: Path
) -> None:
    file = tmp_path / "policy-revisions.json"
    file.write_text(json.dumps({"standard": ["a", "b", "a"], "gone": ["q"]}))
    assert book(store, file).assign({"standard": "a"}) == {"standard": 3}
    assert book(store).assign({"standard": "b"}) == {"standard": 2}
    assert book(store).assign({"standard": "new"}) == {"standard": 4}


def test_a_second_file_with_other_numbers_changes_nothing(store: SqlStore, tmp_path: Path) -> None:
    assert book(store).assign({"standard": "b"}) == {"standard": 1}
    file = tmp_path / "policy-revisions.json"
    file.write_text(json.dumps({"standard": ["a", "b"]}))
    assert book(store, file).assign({"standard": "b"}) == {"standard": 1}
    assert book(store, file).assign({"standard": "a"}) == {"standard": 2}


def test_a_file_that_is_not_ours_is_asked_for_only_when_it_is_needed(store: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "policy-revisions.json"
    file.write_text("[]")
    with pytest.raises(InvalidInput, match="does not hold policy revisions"):
        book(store, file).assign({"standard": "a"})
    book(store).assign({"standard": "a"})
    assert book(store, file).assign({"standard": "a"}) == {"standard": 1}


def test_a_database_that_is_gone_is_said_in_words(place: Place, tmp_path: Path) -> None:
    with closing(open_store(place.empty(), run=inline)) as opened:
        with opened.database.write.begin() as conn:
            conn.exec_driver_sql("DROP TABLE policy_revisions")
        with pytest.raises(StoreError):
            book(opened).assign({"standard": "a"})
