"""How far history came, in a file: what it keeps, what it doubts, and what a full disk does to it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.core.errors import StoreError
from rollout.highwater import HighWater

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class _History:
    """A database whose newest event a test sets, and what it was asked to distrust."""

    def __init__(self, number: int) -> None:
        self.newest, self.asked, self.works = (number, f"ro_{number}"), list[tuple[int, str]](), True

    async def newest_event(self) -> tuple[int, str]:
        return self.newest

    async def distrust_if_old(self, now: datetime, known: int, event: str) -> str:
        if not self.works:
            raise StoreError("The database cannot be written.")
        self.asked.append((known, event))
        return "it is an older copy" if self.newest[0] < known else ""


def _noted(file: Path, history: _History) -> HighWater:
    return HighWater(file, history, lambda: NOW)


async def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path) -> None:
    history = _History(7)
    await _noted(tmp_path / "newest", history).look()
    await _noted(tmp_path / "newest", history).compare()
    assert history.asked == [(0, ""), (7, "ro_7")]


async def test_nothing_is_asked_while_nothing_was_written(tmp_path: Path) -> None:
    history = _History(7)
    high_water = _noted(tmp_path / "newest", history)
    for _ in range(3):
        await high_water.look()
    assert len(history.asked) == 1


async def test_the_number_of_an_earlier_version_is_compared(tmp_path: Path) -> None:
    (tmp_path / "newest").write_text("9\n", "ascii")
    history = _History(7)
    await _noted(tmp_path / "newest", history).look()
    assert history.asked == [(9, "")]
    assert (tmp_path / "newest").read_text("ascii") == "7 ro_7\n"


async def test_it_never_goes_back_before_the_doubts_are_stored(tmp_path: Path) -> None:
    history = _History(9)
    high_water = _noted(tmp_path / "newest", history)
    await high_water.look()
    history.newest, history.works = (7, "ro_7"), False
    with pytest.raises(StoreError):
        await high_water.look()
    assert (tmp_path / "newest").read_text("ascii") == "9 ro_9\n"
    history.works = True
    await high_water.look()
    assert history.asked[-1] == (9, "ro_9")


async def test_a_disk_that_takes_nothing_stops_nobody_and_is_tried_again(tmp_path: Path) -> None:
    history = _History(9)
    high_water = _noted(tmp_path / "later" / "newest", history)
    await high_water.look()
    (tmp_path / "later").mkdir()
    await high_water.look()
    assert (tmp_path / "later" / "newest").read_text("ascii") == "9 ro_9\n"
