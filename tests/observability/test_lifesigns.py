"""Signs of life: told while all is well, silent when it is not, and never in the way of the heartbeat."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog

from api.app import create_app
from rollout.core.errors import InvalidInput
from rollout.health import Health, heartbeat_out
from rollout.http import client
from rollout.lifesigns import Beacon, Supervised
from rollout.schedule import DEAD_AFTER_S
from rollout.settings import load_settings
from tests.api.api_world import World, declare, open_world

SECRET = "CANARY77aa"


class Switch:
    """A dead man's switch on loopback: keeps what it was asked, and answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = "HTTP/1.1 200 OK"
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split(" HTTP")[0])
        if self.answer:
            writer.write(f"{self.answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
            writer.close()
        else:
            await reader.read()  # until whoever asked gives up
            writer.close()


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    found = Switch()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ping/{SECRET}"
    yield found
    server.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened, store = open_world(tmp_path)
    await declare(opened)
    yield opened
    store.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with client() as made:
        yield made


def beacon_of(world: World, url: str, http: httpx.AsyncClient, **more: Any) -> Beacon:
    controller = world.controller
    health = Health(controller.store, controller.files, controller.heartbeat)
    return Beacon(url, http, world.clock, health.unwell, **more)


async def test_a_stuck_tick_ends_the_calls_and_a_whole_one_begins_them_again(
    world: World, switch: Switch, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    beacon, heartbeat, going = beacon_of(world, switch.url, http), world.controller.heartbeat, asyncio.Event()

    async def stuck() -> None:
        await going.wait()

    monkeypatch.setattr(world.controller.reconciler, "tick", stuck)
    tick = asyncio.create_task(heartbeat.beat())
    await beacon.once()
    assert switch.asked == [f"GET /ping/{SECRET}"]
    world.clock.advance(DEAD_AFTER_S + 1)
    with structlog.testing.capture_logs() as said:
        await beacon.once()
        await beacon.once()
    assert len(switch.asked) == 1
    told = [line for line in said if line["event"] == "heartbeat url is not called"]
    assert len(told) == 1
    assert "The heartbeat is dead" in told[0]["why"]
    going.set()
    await tick
    await beacon.once()
    assert len(switch.asked) == 2


async def test_a_database_that_only_reads_ends_the_calls(
    world: World, switch: Switch, http: httpx.AsyncClient
) -> None:
    beacon = beacon_of(world, switch.url, http, method="POST")
    await beacon.once()
    with world.store.database.write.connect() as other:  # type: ignore[attr-defined]
        other.exec_driver_sql("PRAGMA query_only=ON")
        other.commit()
    await beacon.once()
    assert switch.asked == [f"POST /ping/{SECRET}"]


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ("HTTP/1.1 503 No", "it answered 503."),
        ("HTTP/1.1 302 Found\r\nlocation: /elsewhere", "it answered 302."),
        ("", "no answer within 0.05 s."),
        ("nonsense", "RemoteProtocolError."),
    ],
)
async def test_a_failing_switch_is_logged_once_without_its_path_and_shown(
    world: World,
    switch: Switch,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    trouble: str,
) -> None:
    monkeypatch.setattr("rollout.lifesigns.ANSWER_S", 0.05 if not answer else 5)
    failed: list[str] = []
    beacon, switch.answer = beacon_of(world, switch.url, http, failed=lambda: failed.append("")), answer
    with structlog.testing.capture_logs() as said:
        await beacon.once()
        await beacon.once()
    assert [(line["event"], line["host"], line["error"]) for line in said] == [
        ("heartbeat url failed; calling on", "127.0.0.1", trouble)
    ]
    assert len(failed) == 2
    assert len(switch.asked) == 2 or not answer, "no redirect is followed; who gives up may not be heard"
    shown = heartbeat_out(beacon)
    assert shown is not None
    assert shown.ok
    assert shown.detail == f"Calling 127.0.0.1 fails: {trouble} Answered last: never yet."
    switch.answer = "HTTP/1.1 200 OK"
    with structlog.testing.capture_logs() as said:
        await beacon.once()
    assert [line["event"] for line in said] == ["heartbeat url answers again"]
    assert SECRET not in repr(said) + shown.detail


async def test_health_that_cannot_be_found_out_is_no_health(
    world: World, switch: Switch, http: httpx.AsyncClient
) -> None:
    async def broken() -> str:
        raise RuntimeError("?")

    await Beacon(switch.url, http, world.clock, broken).once()
    assert switch.asked == []


# --------------------------------------------------------------------------- systemd


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(20)
        yield bound


async def test_the_watchdog_is_fed_only_while_the_heartbeat_beats(supervisor: socket.socket) -> None:
    told = {
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": "2000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    supervised, looks = Supervised(told), 0

    def alive() -> bool:
        nonlocal looks
        looks += 1
        return looks != 2

    assert supervised.every_s == 0.001
    feeding = asyncio.create_task(supervised.run(alive))
    while looks < 4:  # noqa: ASYNC110  # the loop under test is one of sleeps
        await asyncio.sleep(0)
    feeding.cancel()
    supervisor.setblocking(False)
    came = 0
    while came < looks:
        try:
            assert supervisor.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            break
        came += 1
    assert came == looks - 1


async def test_nothing_is_told_where_nobody_supervises() -> None:
    supervised = Supervised({})
    supervised.tell("READY=1")
    await supervised.run(cast(Any, None))  # returns at once, and asks nothing
    other = Supervised({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "9000", "WATCHDOG_PID": "1"})
    assert other.every_s == 0.0, "the watchdog is meant for another process"


def test_a_supervisor_that_is_gone_is_a_line_in_the_log_and_no_more(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as said:
        Supervised({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert [line["event"] for line in said] == ["systemd cannot be told"]


@pytest.mark.real
async def test_serve_tells_both_and_shows_none_of_its_secrets(
    supervisor: socket.socket, switch: Switch, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": "400000",
        "ROLLOUT_HEARTBEAT_URL": switch.url,
        "ROLLOUT_HEARTBEAT_EVERY_S": "1",
        "ROLLOUT_TOKEN": f"rot_{SECRET}",
        "ROLLOUT_DATA": str(tmp_path / "var"),
    }
    code = "import sys; from rollout.cli import main; sys.exit(main())"
    serve = subprocess.Popen(  # noqa: ASYNC220  # a process of its own; awaited in threads below
        [sys.executable, "-c", code, "serve", "--port", "0", "--json"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        ready = await asyncio.to_thread(supervisor.recv, 200)
        told = json.loads(await asyncio.to_thread(serve.stdout.readline))  # type: ignore[union-attr]
        fed = await asyncio.to_thread(supervisor.recv, 200)
        while not switch.asked:  # noqa: ASYNC110  # the test has a time limit
            await asyncio.sleep(0.05)
        async with client() as http:
            bad = {"authorization": f"Bearer rot_{SECRET}", "cookie": f"rollout_session={SECRET}"}
            assert (await http.get(f"{told['url']}/v1/rollouts", headers=bad)).status_code == 401
            shown = (await http.get(f"{told['url']}/readyz")).json()
    finally:
        serve.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(serve.communicate, None, 20)
    assert ready.startswith(b"READY=1\n")
    assert fed == b"WATCHDOG=1"
    assert [check["name"] for check in shown["checks"]] == [
        "store",
        "configuration",
        "heartbeat",
        "heartbeat_out",
    ]
    assert "127.0.0.1 was called last" in shown["checks"][-1]["detail"]
    assert SECRET not in out + err + json.dumps(shown)
    written = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["status"] for line in written if line["event"] == "request"] == [401]
    assert {"uvicorn.error"} & {line["logger"] for line in written}


# --------------------------------------------------------------------------- settings


def test_the_url_may_come_from_a_file_and_an_empty_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"https://hc.example/{SECRET}\n")
    assert load_settings(heartbeat_url_file=file).called_while_healthy() == f"https://hc.example/{SECRET}"
    file.write_text("\n")
    assert load_settings(heartbeat_url_file=file).called_while_healthy() is None
    assert load_settings().called_while_healthy() is None
    with pytest.raises(InvalidInput, match=r"ROLLOUT_HEARTBEAT_URL_FILE, .*cannot be read"):
        load_settings(heartbeat_url_file=tmp_path / "none").called_while_healthy()


def test_what_is_no_url_is_refused_without_showing_it() -> None:
    settings = load_settings(heartbeat_url=SECRET)
    assert SECRET not in repr(settings)
    with pytest.raises(InvalidInput, match="ROLLOUT_HEARTBEAT_URL holds no URL") as refused:
        settings.called_while_healthy()
    assert SECRET not in str(refused.value)


async def test_readyz_stays_ready_and_says_that_the_switch_cannot_be_called(
    world: World, switch: Switch, http: httpx.AsyncClient
) -> None:
    switch.answer = "HTTP/1.1 500 No"
    beacon = beacon_of(world, switch.url, http)
    await beacon.once()
    app = create_app(replace(world.controller, beacon=beacon))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as nobody:
        answer = await nobody.get("/readyz")
        world.clock.advance(90)
        _, token = await world.token("viewer")
        numbers = await nobody.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.json()["detail"] == (
        "Ready. Calling 127.0.0.1 fails: it answered 500. Answered last: never yet."
    )
    assert "rollout_heartbeat_out_age_seconds 90.0" in numbers.text, "a switch that never answered is noticed"
    assert SECRET not in numbers.text
