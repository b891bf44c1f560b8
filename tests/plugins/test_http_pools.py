"""Connections of one kind of work are no others': a pool that is exhausted delays nobody outside it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from notifier_lab import Receiver, receiving
from webhook_lab import answer_bytes

from rollout import http as web

pytestmark = pytest.mark.real


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def ask(http: httpx.AsyncClient, url: str, pool: str) -> int:
    with web.pool(pool):
        return (await http.get(url)).status_code


async def test_a_pool_that_hangs_whole_delays_no_other(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 3)
    receiver.answers.extend([None] * 3)
    async with web.client(5.0) as http:
        hanging = [asyncio.create_task(ask(http, receiver.url, "forward/R3")) for _ in range(3)]
        await receiver.has_been_asked(3)
        waits = asyncio.create_task(ask(http, receiver.url, "forward/R3"))
        async with asyncio.timeout(5):
            assert await ask(http, receiver.url, "back/R3") == 204
            assert await ask(http, receiver.url, "") == 204
        assert not waits.done()
        for task in (*hanging, waits):
            task.cancel()
        await asyncio.gather(*hanging, waits, return_exceptions=True)


async def test_a_task_inside_asks_from_the_pool_in_which_it_was_begun(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 1)
    receiver.answers.append(None)
    async with web.client(5.0) as http:
        hanging = asyncio.create_task(ask(http, receiver.url, "a"))
        await receiver.has_been_asked(1)
        with web.pool("a"):
            with web.pool("b"):
                inner = asyncio.create_task(http.get(receiver.url))
            outer = asyncio.create_task(http.get(receiver.url))
        assert (await inner).status_code == 204
        assert not outer.done()
        for task in (hanging, outer):
            task.cancel()
        await asyncio.gather(hanging, outer, return_exceptions=True)


async def test_no_redirect_is_followed_and_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        receiver.answers.append(answer_bytes(302, location=proxy.url))
        async with web.client() as http:
            assert await ask(http, receiver.url, "x") == 302
        assert proxy.asked == []
