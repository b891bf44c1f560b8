import asyncio
from collections.abc import Collection

import httpx
import pytest
from page_app import ID, Stage

from api.dashboard.live import Live
from rollout.core.errors import NotAuthenticated, StoreError
from rollout.tail import Tail


class Book:
    """What is stored, as numbers, and how often it was looked at."""

    def __init__(self) -> None:
        self.stamps: dict[str, int] = {"": 1, "ro_1": 5, "ro_2": 9}
        self.looks: list[set[str]] = []
        self.broken = False

    async def look(self, rollout_ids: Collection[str]) -> dict[str, int]:
        self.looks.append(set(rollout_ids))
        if self.broken:
            raise StoreError("no database")
        return {key: n for key, n in self.stamps.items() if key == "" or key in rollout_ids}

    async def newest(self) -> int:
        return self.stamps[""]


async def yes() -> None:
    """The session is good."""


async def no() -> None:
    raise NotAuthenticated("The session is over.")


def made(book: Book, beat_s: float = 0.02, look_s: float = 0.005) -> tuple[Live, Tail]:
    tail = Tail(book.newest, look_s=look_s)
    return Live(book.look, tail, look_s=look_s, beat_s=beat_s), tail


async def test_a_stream_tells_of_each_change_once_and_beats_between() -> None:
    book = Book()
    live, _ = made(book)
    with live.watching("ro_1"):
        told = live.told("ro_1", yes)
        assert await anext(told) == "event: changed\ndata: 5\n\n"
        assert await anext(told) == "event: beat\ndata: .\n\n"
        book.stamps["ro_1"] = 6
        heard = [await anext(told) for _ in range(3)]
        assert heard.count("event: changed\ndata: 6\n\n") == 1
        await told.aclose()


async def test_all_pages_share_one_look() -> None:
    book = Book()
    live, _ = made(book)
    with live.watching("ro_1"), live.watching("ro_1"), live.watching("ro_2"), live.watching(""):
        streams = [live.told(key, yes) for key in ("ro_1", "ro_1", "ro_2", "")]
        first = await asyncio.gather(*(anext(stream) for stream in streams))
        for stream in streams:
            await stream.aclose()
    assert [each.split("data: ")[1].strip() for each in first] == ["5", "5", "9", "1"]
    assert book.looks[0] == {"ro_1", "ro_2"}
    assert len(book.looks) < 4


async def test_nobody_watches_nobody_looks() -> None:
    book = Book()
    live, _ = made(book)
    with live.watching("ro_1"):
        await anext(live.told("ro_1", yes))
    assert live.open == 0
    task = live._task
    assert task
    await asyncio.wait_for(task, 5)


async def test_a_session_that_is_over_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.dashboard.live.RIGHTS_S", 0.0)
    live, _ = made(Book())
    with live.watching("ro_1"):
        assert [event async for event in live.told("ro_1", no)] == ["event: over\ndata: .\n\n"]


async def test_no_beat_pretends_that_nothing_changed_while_the_database_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.dashboard.live.LONGEST_S", 0.2)
    book = Book()
    book.broken = True
    live, _ = made(book)
    with live.watching("ro_1"):
        assert [event async for event in live.told("ro_1", yes)] == []


async def test_the_end_of_the_server_ends_every_stream_at_once() -> None:
    live, tail = made(Book(), beat_s=60.0)
    with live.watching("ro_1"):
        told = live.told("ro_1", yes)
        await anext(told)
        rest = asyncio.ensure_future(anext(told, "ended"))
        await asyncio.sleep(0)
        tail.close()
        assert await asyncio.wait_for(rest, 5) in ("ended", "event: beat\ndata: .\n\n")


async def test_a_full_house_is_an_answer_and_no_stream(stage: Stage, admin: httpx.AsyncClient) -> None:
    stage.app.state.room.most = 0
    answer = await admin.get(f"/rollouts/{ID}/live")
    assert answer.status_code == 503
    assert "20 streams" in answer.text or "0 streams" in answer.text


@pytest.mark.parametrize("path", ["/live", f"/rollouts/{ID}/live"])
async def test_a_stream_needs_a_session(stage: Stage, path: str) -> None:
    async with stage.browser() as client:
        assert (await client.get(path)).status_code == 303


async def test_a_stream_of_a_foreign_service_is_no_stream(stage: Stage) -> None:
    async with await stage.logged_in(services=["billing"]) as client:
        assert (await client.get(f"/rollouts/{ID}/live")).status_code == 404
