"""The notifier `log`: what the log and the file hold, and what a disk that is full or hangs makes of it."""

import asyncio
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from notifier_lab import notifier_of
from test_notifier_contract import NOTICE, NOW

from rollout.core.errors import TransientError
from rollout.ports import Notifier
from rollout.testing import ManualClock


def log(place: Path, **options: str) -> Notifier:
    return notifier_of("log", place, ManualClock(NOW), **options)


@pytest.mark.parametrize(("urgent", "level"), [(True, "warning"), (False, "info")])
async def test_the_log_shows_urgent_notices_as_warnings(tmp_path: Path, urgent: bool, level: str) -> None:
    with structlog.testing.capture_logs() as lines:
        await log(tmp_path).send(replace(NOTICE, text="R3 is going back.", urgent=urgent))
    assert lines == [
        {
            "event": "R3 is going back.",
            "log_level": level,
            "key": "ro_1/3/0",
            "rollout_id": "ro_1",
            "service": "mail",
        }
    ]


async def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    await log(tmp_path).send(NOTICE)
    assert os.listdir(tmp_path) == []


async def test_the_file_has_a_line_of_json_for_each_notice_with_the_time_of_its_decision(
    tmp_path: Path,
) -> None:
    notifier = log(tmp_path, file="notices.jsonl")
    await notifier.send(NOTICE)
    decided = NOW.replace(year=2025)
    await notifier.send(replace(NOTICE, key="k2", text="zwei\nZeilen ≤ 1 %", urgent=False, at=decided))
    lines = [json.loads(line) for line in (tmp_path / "notices.jsonl").read_text().splitlines()]
    assert [(line["key"], line["text"], line["urgent"], line["at"]) for line in lines] == [
        ("ro_1/3/0", NOTICE.text, True, "2026-03-02T10:00:00+00:00"),
        ("k2", "zwei\nZeilen ≤ 1 %", False, "2025-03-02T10:00:00+00:00"),
    ]


async def test_a_file_that_cannot_be_written_keeps_no_notice_out_of_the_log_nor_repeats_it_there(
    tmp_path: Path,
) -> None:
    notifier = log(tmp_path, file="missing/notices.jsonl")
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(
                TransientError, match=r"could not be written to .*Check the path and the disk"
            ):
                await notifier.send(NOTICE)
        (tmp_path / "missing").mkdir()
        await notifier.send(NOTICE)
    assert len(lines) == 1
    assert len((tmp_path / "missing" / "notices.jsonl").read_text().splitlines()) == 1


async def test_a_disk_that_hangs_takes_no_thread_of_anybody_else(tmp_path: Path) -> None:
    """A pipe that nobody reads hangs as a dead disk does; more notices than there are shared threads wait."""
    os.mkfifo(tmp_path / "notices.jsonl")
    notifier = log(tmp_path, file="notices.jsonl")
    waiting = [asyncio.create_task(notifier.send(replace(NOTICE, key=f"k{i}"))) for i in range(40)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        others = await asyncio.gather(*(asyncio.to_thread(threading.get_ident) for _ in range(40)))
    assert others
    assert not any(task.done() for task in waiting)
    reader = os.open(tmp_path / "notices.jsonl", os.O_RDONLY | os.O_NONBLOCK)  # it answers again
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    os.close(reader)
    assert {type(error) for error in ended} <= {type(None), TransientError}
