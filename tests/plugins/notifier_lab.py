"""A real receiver of notices on loopback, which answers as it is told; and notifiers to try on it."""

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from webhook_lab import Request, answer_bytes

from rollout.ports import Clock, Notifier
from rollout.registry import NOTIFIERS, Surroundings, load_plugins

SECRET = "whsec_" + base64.b64encode(b"a secret for notices of 32 bytes").decode()
OTHER = "whsec_" + base64.b64encode(b"the next one, during a rotation!").decode()


@dataclass
class Receiver:
    """Takes every notice with 204, but for the `answers` that are spent first; None never answers."""

    answers: deque[bytes | None] = field(default_factory=deque)
    asked: list[Request] = field(default_factory=list)
    sent: int = 0  # bytes of answers that somebody took
    url: str = ""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def has_been_asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        while len(self.asked) < times:
            self._news.clear()
            await self._news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        broken = (ConnectionError, asyncio.IncompleteReadError)
        with contextlib.closing(writer), contextlib.suppress(*broken):
            self.asked.append(await _request(reader))
            self._news.set()
            answer = self.answers.popleft() if self.answers else answer_bytes(204)
            if answer is None:
                await asyncio.Event().wait()
            assert answer is not None
            for start in range(0, len(answer), 65536):
                writer.write(answer[start : start + 65536])
                await writer.drain()
                self.sent += len(answer[start : start + 65536])

    def told(self) -> list[dict[str, Any]]:
        """The notices that arrived, in order."""
        return [json.loads(request.body)["data"] for request in self.asked]


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    named = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in named}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body.decode())


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own; connections under way are cut at the end."""
    receiver, tasks = Receiver(), set[asyncio.Task[None]]()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def notifier_of(
    kind: str, directory: Path, clock: Clock, http: httpx.AsyncClient | None = None, **options: Any
) -> Notifier:
    """A notifier as the controller builds it."""
    load_plugins()
    around = Surroundings(region="", http=http or httpx.AsyncClient(), clock=clock, directory=directory)
    return NOTIFIERS.build(kind, options, around)
