"""Shares of real requests through the real haproxy, which is restarted, asked wrongly and taken away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from deployer_lab import process_options, supervised
from haproxy_lab import (
    GOOD,
    NEW,
    SERVICE,
    Named,
    RealHaproxy,
    answered_by,
    built,
    deploy,
    needs_haproxy,
    real_haproxy,
    restore,
    surroundings,
    verify,
)

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.decide.back import reads_back
from rollout.core.errors import PermanentError, TransientError
from rollout.deployers.haproxy import HaproxyDeployer
from rollout.ports import Progress, Reply
from rollout.registry import Surroundings, load_plugins

pytestmark = pytest.mark.real


@dataclass
class Front:
    """haproxy before three servers of the good version and one of the new, which say theirs."""

    haproxy: RealHaproxy
    servers: dict[str, Named]
    http: httpx.AsyncClient
    around: Surroundings

    def deployer(self, **changes: object) -> HaproxyDeployer:
        written = {"socket": self.haproxy.socket, "version_at": {"path": "/version"}, **changes}
        return built(self.around, **written)  # type: ignore[arg-type]

    async def share(self, times: int = 400) -> float:
        return (await answered_by(self.http, self.haproxy.port, times))[NEW] / times


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Surroundings]:
    load_plugins()
    async with web.client() as http:
        yield surroundings(tmp_path, SystemClock(), http)


@pytest.fixture
def front(tmp_path: Path, around: Surroundings) -> Iterator[Front]:
    program = needs_haproxy()
    servers = {name: Named(GOOD) for name in ("s1", "s2", "s3")} | {"s4": Named(NEW)}
    ports = {name: server.port for name, server in servers.items()}
    with real_haproxy(program, tmp_path, ports) as haproxy:
        yield Front(haproxy, servers, around.http, around)
    for server in servers.values():
        server.end()


async def until(order: Callable[[], object], within_s: float = 10) -> Reply:
    """Ask again while it runs, as the controller does."""
    said = "it was not answered"
    try:
        async with asyncio.timeout(within_s):
            while True:
                reply: Reply = await order()  # type: ignore[misc]
                if reply.progress is not Progress.RUNNING:
                    return reply
                said = reply.result.message
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise AssertionError(f"not within {within_s:g} s: {said}") from error


@pytest.mark.parametrize(
    ("percent", "times", "within"), [(25, 400, 0.005), (10, 400, 0.005), (1, 600, 0.004)]
)
async def test_real_requests_are_split_as_ordered(front: Front, percent: int, times: int, within: float):
    reply = await until(lambda: deploy(front.deployer(), percent))
    assert reply.result.details["share"][NEW] == pytest.approx(percent / 100, abs=0.0005)
    assert reads_back(reply.result.running, NEW, GOOD, percent)
    assert await front.share(times) == pytest.approx(percent / 100, abs=within)


async def test_all_or_nothing_is_all_or_nothing(front: Front):
    await until(lambda: deploy(front.deployer(), 100))
    assert await front.share(200) == 1.0
    await until(lambda: restore(front.deployer()))
    assert await front.share(200) == 0.0


async def test_a_restart_forgets_and_the_next_reading_sets_it_again(front: Front):
    deployer = front.deployer()
    await until(lambda: deploy(deployer, 1))
    front.haproxy.end()
    with pytest.raises(TransientError, match="cannot be asked"):
        await deployer.instances(SERVICE)
    front.haproxy.begin()
    forgotten = await front.share(200)
    await until(lambda: verify(deployer, weight=1))
    assert forgotten == pytest.approx(0.25, abs=0.01)
    assert await front.share(400) == pytest.approx(0.01, abs=0.005)


async def test_a_hand_on_the_socket_is_shown_and_not_fought(front: Front):
    deployer = front.deployer()
    await until(lambda: deploy(deployer, 25))
    await deployer._backends[SERVICE]._socket.set_weight("b", "s4", 0)
    reply = await verify(deployer, weight=25)
    assert reply.progress is Progress.FAILED
    assert "changed by hand" in reply.result.message
    assert await front.share(100) == 0.0


async def test_a_server_that_is_down_is_waited_for(front: Front):
    front.servers["s4"].end()
    deployer = front.deployer()
    async with asyncio.timeout(5):
        while (await deployer.instances(SERVICE))[3].healthy:  # noqa: ASYNC110 - another process notices
            await asyncio.sleep(0.05)
    front.servers["s4"] = Named(NEW, front.servers["s4"].port)
    reply = await until(lambda: deploy(deployer, 25))
    assert reply.progress is Progress.SUCCEEDED
    assert await front.share(200) == pytest.approx(0.25, abs=0.01)


async def test_over_tcp_it_is_the_same(front: Front):
    reply = await until(lambda: deploy(front.deployer(socket=f"127.0.0.1:{front.haproxy.admin}"), 25))
    assert reply.result.details["share"][NEW] == 0.25


async def test_what_haproxy_refuses_is_said_with_what_mends_it(front: Front):
    with pytest.raises(PermanentError, match=r"no backend 'nope'; known: b, fixed"):
        await deploy(front.deployer(backend="nope"), 25)
    socket = front.deployer()._backends[SERVICE]._socket
    with pytest.raises(PermanentError, match=r"no such server.*Servers of b: s1, s2, s3, s4"):
        await socket.set_weight("b", "s9", 1)
    with pytest.raises(PermanentError, match=r"only be between 0 and 256"):
        await socket.set_weight("b", "s1", 257)
    with pytest.raises(PermanentError, match=r"static LB algorithm.*roundrobin"):
        await socket.set_weight("fixed", "s1", 50)


async def test_a_release_travels_through_processes_and_haproxy_follows_them(tmp_path: Path):
    program = needs_haproxy()
    load_plugins()
    with supervised(tmp_path / "R3"), real_haproxy(program, tmp_path, dict.fromkeys("123", 9)) as haproxy:
        async with web.client() as http:
            around = surroundings(tmp_path, SystemClock(), http)
            through = {"kind": "process", "options": process_options()}
            deployer = built(around, socket=haproxy.socket, through=through, follow=True)
            await patiently(lambda: restore(deployer, generation=1, key="install"))
            async with users(http, haproxy.port) as seen:
                await patiently(lambda: deploy(deployer, 5, generation=2))
                at_five = await split(http, haproxy.port, seen)
                await patiently(lambda: restore(deployer, generation=3, key="back"))
                after = await split(http, haproxy.port, seen)
            read_back = await until(lambda: verify(deployer, generation=3))
    assert at_five == pytest.approx(0.05, abs=0.005)
    assert after == 0.0
    assert read_back.result.running == {GOOD: 3}
    assert read_back.result.details["instances"] == {GOOD: 3}
    assert seen.count(NEW) / len(seen) <= 0.06, "nobody saw more of the candidate than was ordered"


async def patiently(order: Callable[[], object]) -> None:
    """Until the supervisor answers, and the order has ended well."""
    async with asyncio.timeout(80):
        while True:
            try:
                reply = await until(order, within_s=60)
            except TransientError:
                await asyncio.sleep(0.1)
                continue
            assert reply.progress is Progress.SUCCEEDED, reply.result.message
            return


@asynccontextmanager
async def users(http: httpx.AsyncClient, port: int) -> AsyncIterator[list[str]]:
    """Ask all the time; gives which version each answer came from, as it grows."""
    seen: list[str] = []

    async def ask() -> None:
        while True:
            answer = await http.get(f"http://127.0.0.1:{port}/version")
            if answer.status_code == 200:
                seen.append(answer.json()["version"])
            await asyncio.sleep(0.002)

    task = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


async def split(http: httpx.AsyncClient, port: int, seen: list[str], times: int = 400) -> float:
    """The share of the candidate in these answers and in those that users had meanwhile: all take turns."""
    before = len(seen)
    answers = [await http.get(f"http://127.0.0.1:{port}/version") for _ in range(times)]
    told = [*(answer.json()["version"] for answer in answers), *seen[before:]]
    return told.count(NEW) / len(told)
