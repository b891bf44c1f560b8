"""Power cuts, bounded: what was acknowledged is on the disk, with both journals of SQLite."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.power.cuts import JOURNALS, STORIES, cut
from tests.faults.power.disk import Disk
from tests.faults.power.recording import Deed, Made, Moved, NoTrace, Sized, Synced, Wrote, recorded
from tests.store.postgres_lab import missing

Record = Callable[..., Sequence[Deed]]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    def watch(*how: str) -> Sequence[Deed]:
        try:
            return recorded(Path(tmp_path_factory.mktemp("power")), STORIES[0], *how)
        except NoTrace as error:
            missing(str(error))
            raise

    return watch


@pytest.mark.real
@pytest.mark.timeout(180)
@pytest.mark.parametrize("journal", JOURNALS)
def test_a_power_cut_takes_nothing_that_was_acknowledged_and_leaves_nothing_by_half(
    record: Record, journal: str
) -> None:
    deeds = record(journal)
    figures = cut(journal, deeds, 60)
    assert figures.wrong == []
    assert cut("a disk that lies", deeds, 20, lies=True).wrong != []


@pytest.mark.real
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("journal", "synchronous"), [("wal", "NORMAL"), ("delete", "FULL")])
def test_who_does_not_wait_for_the_disk_is_found_to_lose(
    record: Record, journal: str, synchronous: str
) -> None:
    assert cut(journal, record(journal, synchronous), 30).wrong != []


def left(*deeds: Deed, lies: bool = False) -> set[tuple[tuple[str, bytes], ...]]:
    """Everything that a cut may leave after these deeds, as far as 200 cuts show."""
    disk = Disk(lies=lies)
    for deed in deeds:
        disk.do(deed)
    return {tuple(disk.left(random.Random(seed)).items()) for seed in range(200)}


def test_what_a_disk_was_waited_for_is_there_and_of_the_rest_any_part() -> None:
    safe = (Wrote("a", 0, b"1"), Synced("a"))
    assert left(*safe) == {(("a", b"1"),)}
    assert left(*safe, Wrote("a", None, b"2")) == {(("a", b"1"),), (("a", b"12"),), (("a", b"1\0"),)}
    assert left(*safe, Sized("a", 0)) == {(("a", b"1"),), (("a", b""),)}
    assert left(*safe, lies=True) == {(), (("a", b""),), (("a", b"1"),), (("a", b"\0"),)}


def test_a_name_stays_until_the_directory_was_waited_for_and_sectors_are_written_one_by_one() -> None:
    safe = (Made("a"), Synced("a"))
    assert left(*safe, Moved("a", None)) == {(("a", b""),), ()}
    assert left(*safe, Moved("a", "b")) == {(("a", b""),), (("b", b""),)}
    assert left(*safe, Moved("a", "b"), Synced("")) == {(("b", b""),)}
    assert left(*safe, Moved("a", None), Wrote("a", 0, b"1"), Synced("a")) == {(("a", b"1"),)}
    torn = left(*safe, Wrote("a", 0, b"1" * 1024))
    assert (("a", b"1" * 512 + bytes(512)),) in torn
    assert (("a", bytes(512) + b"1" * 512),) in torn
