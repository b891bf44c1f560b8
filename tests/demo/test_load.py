"""The shape of the traffic, and whom it is sent to."""

import asyncio
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from rollout.demo.load import RegionLoad, Shape, Target, local_hour, record, sends_per_second, target_of
from rollout.supervisor import files
from rollout.supervisor.files import InstanceStatus, Status

MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)


def test_a_real_day_follows_the_clock_of_the_region() -> None:
    assert local_hour(MIDNIGHT, "UTC", 86_400) == 0.0
    assert local_hour(MIDNIGHT, "Asia/Tokyo", 86_400) == 9.0
    assert local_hour(MIDNIGHT, "America/New_York", 86_400) == 19.0


def test_a_compressed_day_passes_in_its_seconds() -> None:
    start = datetime.fromtimestamp(600 * 1_000_000, UTC)
    assert local_hour(start, "UTC", 600) == 0.0
    assert math.isclose(local_hour(start + timedelta(seconds=300), "UTC", 600), 12.0)


def test_the_mean_over_a_day_is_what_was_asked_for_and_the_peak_is_in_the_afternoon() -> None:
    rates = [
        sends_per_second(MIDNIGHT + timedelta(hours=hour), "UTC", Shape(240, 86_400)) for hour in range(24)
    ]
    assert math.isclose(sum(rates) / 24, 4.0)
    assert rates.index(max(rates)) == 14
    assert math.isclose(max(rates), 4.0 * 1.45)


class Users:
    """The load of one region, against instances that answer as told."""

    def __init__(
        self, directory: Path, answers: dict[int, Callable[[httpx.Request], httpx.Response]]
    ) -> None:
        self.asked: list[int] = []
        self._answers = answers
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        target = Target(region="R3", time_zone="UTC", status=directory / "status.json")
        self.load = RegionLoad(target, Shape(), http)
        instances = tuple(
            InstanceStatus(
                slot=str(port), version="1", url=f"http://h:{port}", started_at=MIDNIGHT, healthy=port != 3
            )
            for port in (1, 2, 3)
        )
        status = Status(pid=1, at=MIDNIGHT, key="k", generation=1, instances=instances)
        files.write(directory / "status.json", status)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.port or 0)
        return self._answers[self.asked[-1]](request)

    async def send(self, count: int) -> tuple[int, int, int, int]:
        for _ in range(count):
            self.load._begin()
            await asyncio.gather(*self.load._under_way)
        tally = self.load.tally
        return tally.sent, tally.accepted, tally.failed + tally.broken, tally.retried


def takes(_: httpx.Request) -> httpx.Response:
    return httpx.Response(202)


def refuses(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def breaks(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


async def test_sends_go_to_the_healthy_instances_in_turn(tmp_path: Path) -> None:
    users = Users(tmp_path, {1: takes, 2: takes})
    assert await users.send(4) == (4, 4, 0, 0)
    assert sorted(users.asked) == [1, 1, 2, 2]


async def test_a_refused_connection_is_tried_once_on_another_instance(tmp_path: Path) -> None:
    users = Users(tmp_path, {1: takes, 2: refuses})
    assert await users.send(2) == (2, 2, 0, 1)
    users = Users(tmp_path, {1: refuses, 2: refuses})
    assert await users.send(1) == (1, 0, 1, 1)
    assert len(users.asked) == 2


@pytest.mark.parametrize("answer", [breaks, lambda _: httpx.Response(500)])
async def test_what_may_have_been_taken_is_not_sent_again(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    users = Users(tmp_path, {1: answer, 2: answer})
    assert await users.send(1) == (1, 0, 1, 0)
    assert len(users.asked) == 1


async def test_a_load_balancer_finds_an_instance_itself(tmp_path: Path) -> None:
    (tmp_path / "R3.json").write_text('{"region": "R3", "time_zone": "UTC", "url": "http://front:8000"}')
    users = Users(tmp_path, {8000: takes})
    users.load._target = target_of(tmp_path / "R3.json")
    assert await users.send(2) == (2, 2, 0, 0)
    assert users.asked == [8000, 8000]


@pytest.mark.parametrize("more", ["", ', "url": "http://front", "status": "s.json"'])
def test_a_region_is_sent_to_in_one_way(tmp_path: Path, more: str) -> None:
    (tmp_path / "R3.json").write_text(f'{{"region": "R3", "time_zone": "UTC"{more}}}')
    with pytest.raises(ValueError, match="one of status and url"):
        target_of(tmp_path / "R3.json")


async def test_a_bad_answer_and_no_answer_are_told_apart(tmp_path: Path) -> None:
    users = Users(tmp_path, {1: breaks, 2: lambda _: httpx.Response(500)})
    await users.send(2)
    assert (users.load.tally.failed, users.load.tally.broken) == (1, 1)


async def test_a_region_without_a_status_fails_and_is_counted(tmp_path: Path) -> None:
    users = Users(tmp_path, {})
    (tmp_path / "status.json").unlink()
    assert await users.send(1) == (1, 0, 1, 0)


async def test_the_tally_is_one_json_line_per_region(tmp_path: Path) -> None:
    users = Users(tmp_path, {1: takes, 2: takes})
    await users.send(3)
    record(tmp_path / "tally.jsonl", {"R3": users.load.tally})
    line = json.loads((tmp_path / "tally.jsonl").read_text())
    assert (line["region"], line["sent"], line["accepted"], line["failed"]) == ("R3", 3, 3, 0)


def test_a_target_file_names_a_status_beside_it(tmp_path: Path) -> None:
    (tmp_path / "R3.json").write_text('{"region": "R3", "time_zone": "UTC", "status": "R3/mail/status.json"}')
    assert target_of(tmp_path / "R3.json").status == tmp_path / "R3" / "mail" / "status.json"
    with pytest.raises(ValueError, match="does not exist"):
        target_of(tmp_path / "R4.json")
