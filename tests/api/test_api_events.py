"""Long polls and event streams: none lost, none doubled, nobody waits for somebody who does not read."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_world import OURS, T0, THEIRS, World, declare, open_world
from live_server import served
from test_api_problems import assert_problem

from api import stream
from rollout.core.model import Reason, Transition
from rollout.ports import Change

AS_STREAM = {"accept": "text/event-stream"}
ACT = {"reason": "because"}


async def move(world: World, rollout_id: str, times: int = 1) -> None:
    """Write transitions as the reconciler does."""
    for _ in range(times):
        rollout = (await world.store.case(rollout_id)).rollout
        step = Transition(
            rollout_id=rollout_id,
            number=rollout.transitions + 1,
            at=T0,
            region=None,
            from_phase=rollout.phase,
            to_phase=rollout.phase,
            trigger="note",
            actor="ci",
            reason=Reason(code="note", text=f"Step {rollout.transitions + 1}\nof many."),
        )
        await world.store.commit(Change(rollout=rollout, transitions=(step,)))


# ------------------------------------------------------------------ long polls


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose store has a thread of its own, as in production."""
    opened, store = open_world(tmp_path, in_place=False)
    await declare(opened)
    yield opened
    opened.controller.tail.close()
    store.close()


async def test_a_poll_of_something_older_is_answered_at_once(busy: World) -> None:
    await busy.put("ro_ONE")
    headers = {"if-none-match": '"0"', "prefer": "wait=60"}
    async with await busy.client("viewer") as client:
        answer = await asyncio.wait_for(client.get("/v1/rollouts/ro_ONE", headers=headers), 5)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_poll_waits_until_the_rollout_changes_and_not_for_others(busy: World) -> None:
    await busy.put("ro_ONE")
    await busy.put("ro_TWO")
    headers = {"if-none-match": '"1"', "prefer": "respond-async, wait=30"}
    async with await busy.client("viewer") as client:
        polling = asyncio.create_task(client.get("/v1/rollouts/ro_ONE", headers=headers))
        await _waits(busy)
        await move(busy, "ro_TWO", 3)
        done, _ = await asyncio.wait({polling}, timeout=0.3)
        assert not done
        await move(busy, "ro_ONE")
        answer = await asyncio.wait_for(polling, 5)
    assert (answer.status_code, answer.headers["etag"], answer.json()["row_version"]) == (200, '"2"', 2)


async def test_a_poll_ends_with_304_when_nothing_changes(busy: World) -> None:
    await busy.put("ro_ONE")
    headers = {"if-none-match": '"1"', "prefer": "wait=1"}
    async with await busy.client("viewer") as client:
        answer = await client.get("/v1/rollouts/ro_ONE", headers=headers)
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert answer.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("prefer", ["", "wait", "wait=0", "wait=-1", "wait=soon", "waiting=9"])
async def test_what_is_no_wait_is_no_preference(busy: World, prefer: str) -> None:
    await busy.put("ro_ONE")
    headers = {"if-none-match": '"1"', "prefer": prefer}
    async with await busy.client("viewer") as client:
        answer = await asyncio.wait_for(client.get("/v1/rollouts/ro_ONE", headers=headers), 5)
    assert answer.status_code == 304
    assert "preference-applied" not in answer.headers


async def test_a_longer_wait_is_cut_to_a_minute(busy: World) -> None:
    await busy.put("ro_ONE")
    async with await busy.client("viewer") as client:
        answer = await client.get("/v1/rollouts/ro_ONE", headers={"prefer": "wait=3600"})
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_list_of_events_waits_for_what_may_be_seen(busy: World) -> None:
    await busy.put("ro_OURS")
    await busy.put("ro_THEIRS", THEIRS)
    last = await busy.store.newest_sequence()
    async with await busy.client("viewer", services=[OURS]) as client:
        polling = asyncio.create_task(client.get(f"/v1/events?after={last}", headers={"prefer": "wait=30"}))
        await _waits(busy)
        await move(busy, "ro_THEIRS", 2)
        done, _ = await asyncio.wait({polling}, timeout=0.3)
        assert not done
        await move(busy, "ro_OURS")
        answer = await asyncio.wait_for(polling, 5)
    assert [(event["rollout_id"], event["number"]) for event in answer.json()["items"]] == [("ro_OURS", 2)]


async def test_a_poll_of_a_token_that_ends_meanwhile_is_refused(busy: World) -> None:
    await busy.put("ro_ONE")
    token, secret = await busy.token("viewer")
    async with busy.http({"authorization": f"Bearer {secret}"}) as client:
        polling = asyncio.create_task(
            client.get("/v1/rollouts/ro_ONE", headers={"if-none-match": '"1"', "prefer": "wait=30"})
        )
        await _waits(busy)
        await busy.store.revoke_token(token.id, T0)
        await move(busy, "ro_ONE")
        assert_problem(await asyncio.wait_for(polling, 5), 401, "not-authenticated")


async def test_without_room_a_poll_does_not_wait_and_a_stream_is_refused(busy: World) -> None:
    await busy.put("ro_ONE")
    busy.app.state.room.most = 0
    headers = {"if-none-match": '"1"', "prefer": "wait=30"}
    async with await busy.client("viewer") as client:
        answer = await asyncio.wait_for(client.get("/v1/rollouts/ro_ONE", headers=headers), 5)
        refused = await client.get("/v1/events", headers=AS_STREAM)
    assert answer.status_code == 304
    assert "preference-applied" not in answer.headers
    assert_problem(refused, 503, "too-many-streams")
    assert refused.headers["retry-after"] == "5"


async def test_a_stopping_server_lets_polls_go(busy: World) -> None:
    await busy.put("ro_ONE")
    headers = {"if-none-match": '"1"', "prefer": "wait=60"}
    async with await busy.client("viewer") as client:
        polling = asyncio.create_task(client.get("/v1/rollouts/ro_ONE", headers=headers))
        await _waits(busy)
        busy.controller.tail.close()
        assert (await asyncio.wait_for(polling, 5)).status_code == 304
    assert busy.app.state.room.taken == 0


async def _waits(world: World) -> None:
    async with asyncio.timeout(5):
        while not world.app.state.room.taken:  # noqa: ASYNC110  # a request tells nobody that it waits
            await asyncio.sleep(0.005)


# ------------------------------------------------------------------ streams


@dataclass
class Message:
    """One server-sent event."""

    id: str = ""
    event: str = ""
    data: str = ""
    comment: str = ""
    retry: str = ""

    @property
    def seen(self) -> Any:
        return json.loads(self.data)


async def messages(answer: httpx.Response) -> AsyncIterator[Message]:
    """Messages of a stream, as a browser parses them; comments are told too."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line:
            yield Message(**fields)
            fields = {}
            continue
        name, _, value = line.partition(":")
        fields[name or "comment"] = value.removeprefix(" ")


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, path: str = "/v1/events", **headers: str
) -> AsyncIterator[AsyncIterator[Message]]:
    """A stream whose first message (retry) was read."""
    async with client.stream("GET", path, headers={**AS_STREAM, **headers}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        told = messages(answer)
        first = await anext(told)
        assert first.retry == "2000"
        yield told


@asynccontextmanager
async def client_of(
    world: World, url: str, role: str = "viewer", **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    _, secret = await world.token(role, **more)
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        yield client


async def _take(told: AsyncIterator[Message], count: int) -> list[Message]:
    """So many events, without comments."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            message = await anext(told)
            found += [message] if message.id else []
    return found


@pytest.mark.real
async def test_a_stream_begins_with_what_is_new_and_tells_what_the_list_tells(busy: World) -> None:
    await busy.put("ro_ONE")
    async with served(busy.app) as url, client_of(busy, url) as client, listening(client) as told:
        await move(busy, "ro_ONE", 2)
        found = await _take(told, 2)
        listed = (await client.get("/v1/events?after=1")).json()["items"]
    assert [message.seen for message in found] == listed
    assert [(m.event, m.seen["reason"]["text"]) for m in found] == [
        ("note", "Step 2\nof many."),
        ("note", "Step 3\nof many."),
    ]
    assert [int(message.id) for message in found] == [event["sequence"] for event in listed]


@pytest.mark.real
async def test_a_stream_resumes_after_what_was_seen(busy: World) -> None:
    await busy.put("ro_ONE")
    await move(busy, "ro_ONE", 5)
    async with served(busy.app) as url, client_of(busy, url) as client:
        async with listening(client, "/v1/events?after=2") as told:
            by_query = [message.id for message in await _take(told, 4)]
        async with listening(client, "/v1/events?after=2", **{"last-event-id": "4"}) as told:
            by_header = [message.id for message in await _take(told, 2)]
        wrong = await client.get("/v1/events", headers={**AS_STREAM, "last-event-id": "x"})
        beyond = await client.get("/v1/events", headers={**AS_STREAM, "last-event-id": str(2**53)})
    assert by_query == ["3", "4", "5", "6"]
    assert by_header == ["5", "6"]
    assert assert_problem(wrong, 422, "invalid-input")["errors"][0]["pointer"] == "last-event-id"
    assert assert_problem(beyond, 422, "invalid-input")["errors"][0]["detail"] == f"must be less than {2**53}"


@pytest.mark.real
async def test_a_stream_of_one_rollout_tells_only_of_it_and_stays_open(busy: World) -> None:
    await busy.put("ro_ONE")
    await busy.put("ro_TWO")
    async with (
        served(busy.app) as url,
        client_of(busy, url) as client,
        listening(client, "/v1/rollouts/ro_ONE/events?after=0") as told,
    ):
        await move(busy, "ro_TWO", 3)
        await move(busy, "ro_ONE")
        assert [m.seen["number"] for m in await _take(told, 2)] == [1, 2]
        await move(busy, "ro_ONE")
        assert [m.seen["rollout_id"] for m in await _take(told, 1)] == ["ro_ONE"]


@pytest.mark.real
async def test_events_of_foreign_services_are_not_told(busy: World) -> None:
    await busy.put("ro_OURS")
    await busy.put("ro_THEIRS", THEIRS)
    async with (
        served(busy.app) as url,
        client_of(busy, url, services=[OURS]) as client,
        listening(client, "/v1/events?after=0") as told,
    ):
        await move(busy, "ro_THEIRS", 3)
        await move(busy, "ro_OURS")
        assert [m.seen["rollout_id"] for m in await _take(told, 2)] == ["ro_OURS", "ro_OURS"]


async def _write(world: World, count: int, rng: random.Random) -> None:
    for _ in range(count):
        await move(world, rng.choice(["ro_ONE", "ro_TWO"]))
        await asyncio.sleep(rng.random() * 0.01)


async def _follow(client: httpx.AsyncClient, until: int, rng: random.Random) -> list[int]:
    """Read all events up to `until`, cutting the connection at random places, also inside a message."""
    found: list[int] = []
    while not found or found[-1] < until:
        last = str(found[-1]) if found else "0"
        headers = {**AS_STREAM, "last-event-id": last}
        left, rest = rng.randrange(100, 4000), b""
        async with client.stream("GET", "/v1/events", headers=headers) as answer:
            async for piece in answer.aiter_raw():
                rest += piece[:left]
                left -= len(piece)
                *whole, rest = rest.split(b"\n\n")
                found += [int(m.split(b"\n")[0][4:]) for m in whole if m.startswith(b"id: ")]
                if left <= 0 or (found and found[-1] >= until):
                    break
    return found


@pytest.mark.real
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_doubled_over_broken_connections(busy: World, seed: int) -> None:
    rng = random.Random(seed)
    await busy.put("ro_ONE")
    await busy.put("ro_TWO")
    async with served(busy.app) as url, client_of(busy, url) as client, asyncio.timeout(60):
        writing = asyncio.create_task(_write(busy, 78, rng))
        followers = [_follow(client, 80, random.Random(seed * 10 + each)) for each in range(4)]
        found = await asyncio.gather(*followers)
        await writing
    assert found == [list(range(1, 81))] * 4


@pytest.mark.real
async def test_what_another_process_writes_is_told_too(busy: World, tmp_path: Path) -> None:
    other, store = open_world(tmp_path, in_place=False)
    async with served(busy.app) as url, client_of(busy, url) as client, listening(client) as told:
        await other.put("ro_ONE")
        assert [m.seen["rollout_id"] for m in await _take(told, 1)] == ["ro_ONE"]
    store.close()


@pytest.mark.real
async def test_a_revoked_token_ends_its_stream(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RECHECK_S", 0.2)
    monkeypatch.setattr(stream, "BEAT_S", 0.1)
    token, secret = await busy.token("viewer")
    headers = {"authorization": f"Bearer {secret}"}
    async with (
        served(busy.app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
        listening(client) as told,
    ):
        assert (await anext(told)).comment == "still here"
        await busy.store.revoke_token(token.id, T0)
        rest = [message async for message in told]
    assert rest[-1].event == "closed"
    assert "revoked" in rest[-1].seen["reason"]


@pytest.mark.real
async def test_a_client_that_never_reads_is_given_up_and_holds_nobody_up(
    busy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_S", 0.5)
    await busy.put("ro_ONE")
    await _fill(busy, 12_000)
    _, secret = await busy.token("viewer")
    async with served(busy.app) as url, client_of(busy, url, name="other") as client:
        reader, writer = await _silent(url, secret)
        await _waits(busy)
        begun = time.monotonic()
        async with listening(client) as told:
            await move(busy, "ro_ONE")
            await _take(told, 1)
        assert time.monotonic() - begun < 5
        async with asyncio.timeout(10):
            while busy.app.state.room.taken:  # noqa: ASYNC110  # a stream tells nobody that it ended
                await asyncio.sleep(0.02)
        writer.close()
        del reader


async def _fill(world: World, count: int) -> None:
    """More history than the buffers of a connection hold, in one transaction."""
    rollout = (await world.store.case("ro_ONE")).rollout
    steps = tuple(
        Transition(
            rollout_id="ro_ONE",
            number=number,
            at=T0,
            region=None,
            from_phase="queued",
            to_phase="queued",
            trigger="note",
            actor="ci",
            reason=Reason(code="note", text="x" * 1000),
        )
        for number in range(2, count + 2)
    )
    await world.store.commit(Change(rollout=replace(rollout), transitions=steps))


async def _silent(url: str, secret: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks for a stream from the beginning and reads nothing of it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /v1/events?after=0 HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {secret}\r\n\r\n".encode()
    )
    await writer.drain()
    return reader, writer


@pytest.mark.real
async def test_a_server_that_stops_ends_its_streams_at_once(busy: World) -> None:
    async with served(busy.app) as url, client_of(busy, url) as client, listening(client) as told:
        begun = time.monotonic()
        busy.controller.tail.close()
        rest = [message async for message in told]
    assert rest[-1].event == "closed"
    assert time.monotonic() - begun < 3
