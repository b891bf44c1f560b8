"""How far history came, in a file: what it keeps, what it doubts, and what a full disk does to it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rollout.core.errors import StoreError
from rollout.highwater import HighWater, Mark

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class _History:
    """A database whose newest event a test sets, and what it was asked to distrust."""

    def __init__(self, number: int) -> None:
        self.newest, self.asked, self.works = _mark(number), list[Mark](), True

    async def newest_event(self) -> Mark:
        return self.newest

    async def distrust_if_old(self, now: datetime, number: int, event: str, epochs: int) -> str:
        if not self.works:
            raise StoreError("The database cannot be written.")
        self.asked.append(Mark(number, event, epochs))
        return "it is an older copy" if self.newest.number < number else ""


def _mark(number: int) -> Mark:
    return Mark(number, f"ro_{number}", 5)


def _noted(file: Path, history: _History) -> HighWater:
    return HighWater(file, history, lambda: NOW)


async def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path) -> None:
    history = _History(7)
    await _noted(tmp_path / "newest", history).look()
    await _noted(tmp_path / "newest", history).compare()
    assert history.asked == [Mark(), _mark(7)]


async def test_nothing_is_asked_while_nothing_was_written(tmp_path: Path) -> None:
    history = _History(7)
    high_water = _noted(tmp_path / "newest", history)
    for _ in range(3):
        await high_water.look()
    assert len(history.asked) == 1


@pytest.mark.parametrize(("text", "mark"), [("9\n", Mark(9)), ("9 ro_9\n", Mark(9, "ro_9"))])
async def test_the_note_of_an_earlier_version_is_compared(tmp_path: Path, text: str, mark: Mark) -> None:
    (tmp_path / "newest").write_text(text, "ascii")
    history = _History(7)
    await _noted(tmp_path / "newest", history).look()
    assert history.asked == [mark]
    assert (tmp_path / "newest").read_text("ascii") == "7 ro_7 5\n"


async def test_epochs_are_noted_also_where_there_is_no_event(tmp_path: Path) -> None:
    history = _History(0)
    history.newest = Mark(epochs=3)
    await _noted(tmp_path / "newest", history).look()
    await _noted(tmp_path / "newest", history).compare()
    assert history.asked == [Mark(), Mark(epochs=3)]


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0", b"-99999999999999999999999 x", b"9" * 30, "٣ x".encode()]
)
async def test_a_file_that_is_no_note_is_said_with_what_follows_and_written_anew(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "newest").write_bytes(content)
    history = _History(7)
    with capture_logs() as said:
        await _noted(tmp_path / "newest", history).compare()
    assert history.asked == [Mark()]
    (line,) = said
    assert line["log_level"] == "error"
    assert "nothing is known of how far history came" in line["event"]
    assert "compare" in line["event"]
    assert (tmp_path / "newest").read_text("ascii") == "7 ro_7 5\n"


async def test_a_file_that_is_not_there_is_nothing_to_say(tmp_path: Path) -> None:
    with capture_logs() as said:
        await _noted(tmp_path / "newest", _History(7)).compare()
    assert said == []


async def test_it_never_goes_back_before_the_doubts_are_stored(tmp_path: Path) -> None:
    history = _History(9)
    high_water = _noted(tmp_path / "newest", history)
    await high_water.look()
    history.newest, history.works = _mark(7), False
    with pytest.raises(StoreError):
        await high_water.look()
    assert (tmp_path / "newest").read_text("ascii") == "9 ro_9 5\n"
    history.works = True
    await high_water.look()
    assert history.asked[-1] == _mark(9)


async def test_a_disk_that_takes_nothing_stops_nobody_and_is_tried_again(tmp_path: Path) -> None:
    history = _History(9)
    high_water = _noted(tmp_path / "later" / "newest", history)
    await high_water.look()
    (tmp_path / "later").mkdir()
    await high_water.look()
    assert (tmp_path / "later" / "newest").read_text("ascii") == "9 ro_9 5\n"


async def test_a_note_that_cannot_be_kept_is_said_once_until_it_can_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = _History(9)
    high_water = _noted(tmp_path / "newest", history)

    async def warnings(looks: int) -> int:
        with capture_logs() as said:
            for _ in range(looks):
                await high_water.look()
        return len(said)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        assert await warnings(looks=5) == 1
        assert os.listdir(tmp_path) == []
    assert await warnings(looks=1) == 0
    history.newest = _mark(10)
    monkeypatch.setattr("os.fsync", full)
    assert await warnings(looks=5) == 1
    assert os.listdir(tmp_path) == ["newest"]


async def test_a_note_is_on_the_disk_before_it_takes_the_place_of_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr("os.fsync", lambda file: (done.append("on disk"), fsync(file)))
    monkeypatch.setattr("os.replace", lambda *paths: (done.append("in place"), replace(*paths)))
    await _noted(tmp_path / "newest", _History(7)).look()
    assert done == ["on disk", "in place"]
