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
from loopback import Request, listening, request_of
from webhook_lab import answer_bytes

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
            self.asked.append(await request_of(reader))
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


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own; connections under way are cut at the end."""
    receiver = Receiver()
    async with listening(receiver.serve) as receiver.url:
        yield receiver


def notifier_of(
    kind: str, directory: Path, clock: Clock, http: httpx.AsyncClient | None = None, **options: Any
) -> Notifier:
    """A notifier as the controller builds it."""
    load_plugins()
    around = Surroundings(region="", http=http or httpx.AsyncClient(), clock=clock, directory=directory)
    return NOTIFIERS.build(kind, options, around)
