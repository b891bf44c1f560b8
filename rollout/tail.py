"""Waiting for news of history: one look at the newest sequence number for everybody who waits.

It is rung when this process has written, and looks by itself every second while somebody waits, so that what
another process writes is noticed too. Nothing is queued for anybody: who waits reads pages from the store,
from a cursor of its own. What must not live here: events, and who may see them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from rollout.core.errors import StoreError

log = structlog.get_logger(__name__)

LOOK_S = 1.0


class Tail:
    """Where history ends now. `newest` reads that from the store."""

    def __init__(self, newest: Callable[[], Awaitable[int]], *, look_s: float = LOOK_S) -> None:
        self._read, self._look_s = newest, look_s
        self._rung, self._news = asyncio.Event(), asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._waiting = 0
        self._end = 0
        self.closed = False

    def ring(self) -> None:
        """History was written."""
        self._rung.set()

    def close(self) -> None:
        """Let everybody who waits go, now and from now on: the server ends."""
        self.closed = True
        self._rung.set()
        self._tell()

    async def newest(self) -> int:
        """Where history ends now. Raises StoreError."""
        return await self._read()

    async def after(self, sequence: int, within_s: float) -> int:
        """Where history ends, once it is beyond `sequence`; that itself when it is not within the time."""
        async with self._looked_for():
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while self._end <= sequence and not self.closed:
                        await self._news.wait()
        return max(self._end, sequence)

    @asynccontextmanager
    async def _looked_for(self) -> AsyncIterator[None]:
        """Keep the one look going while anybody waits."""
        self._waiting += 1
        self._rung.set()  # the first look is at once
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._waiting -= 1

    async def _look(self) -> None:
        while self._waiting and not self.closed:
            self._rung.clear()
            await self._look_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._rung.wait()

    async def _look_once(self) -> None:
        try:
            end = await self._read()
        except StoreError as error:
            log.error("history cannot be read; it is tried again", error=str(error))
            return
        if end != self._end:
            self._end = end
            self._tell()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()
