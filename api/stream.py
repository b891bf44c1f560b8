"""Server-sent events: history as it is written, to one client that may be slow, gone, or no longer allowed.

Nothing is kept for a client: it is sent pages that are read from the store, from its own place. One that does
not read is given up. What must not live here: which events there are, and who may see them (api/reads.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.errors import Full
from rollout.core.errors import RolloutError, StoreError
from rollout.showing.views import EventView
from rollout.tail import Tail

log = structlog.get_logger(__name__)

PAGE = 200  # events that are read at once
BEAT_S = 15.0  # of silence, after which a comment is sent
RECHECK_S = 25.0  # after which it is asked again whether the client may listen
SEND_S = 30.0  # what a client is given to take what was sent
RETRY_MS = 2000
MEDIA_TYPE = "text/event-stream"
_EVENT: TypeAdapter[EventView] = TypeAdapter(EventView)

Pages = Callable[[int, int], Awaitable[tuple[Sequence[EventView], int, bool]]]  # (after, limit)
MayListen = Callable[[], Awaitable[None]]  # raises NotAuthenticated or NotAllowed when no longer


class Room:
    """How many may listen or wait at once."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place while inside. Raises Full."""
        if self.taken >= self.most:
            raise Full(f"{self.most} streams are open, which is all that there may be. Try again in a while.")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class EventStream(Response):
    """Sends events after a place until the client leaves, may listen no longer, or the server ends."""

    media_type = MEDIA_TYPE

    def __init__(self, tail: Tail, room: Room, pages: Pages, may_listen: MayListen, after: int) -> None:
        super().__init__(headers={"x-accel-buffering": "no", "cache-control": "no-store"})
        del self.headers["content-length"]
        self._tail, self._room, self._pages, self._may_listen = tail, room, pages, may_listen
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Send until it is over, whichever side ends it."""
        with self._room.place():
            sending = asyncio.create_task(self._send_all(send))
            leaving = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                sending.cancel()
                results = await asyncio.gather(sending, leaving, return_exceptions=True)
            if isinstance(results[0], Exception):
                raise results[0]

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            async with asyncio.timeout(SEND_S):
                await send(start)
            async for text in self._texts():
                async with asyncio.timeout(SEND_S):
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            async with asyncio.timeout(SEND_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except StoreError as error:  # cut off, so that the client comes again from where it was
            log.error("an event stream ended, since history cannot be read", error=str(error))
        except TimeoutError:
            log.warning("a client of an event stream does not read; it is given up", seconds=SEND_S)

    async def _texts(self) -> AsyncIterator[str]:
        """What is sent, piece by piece: as much as there is, and a comment after each time of silence."""
        yield f"retry: {RETRY_MS}\n: from {self._after}\n\n"
        end, checked, sent = self._after, _now_s(), _now_s()
        while not self._tail.closed:
            if _now_s() - checked >= RECHECK_S:
                checked = _now_s()
                if why := await self._refused():
                    yield closing(why)
                    return
            events, last, more = await self._pages(self._after, PAGE)
            self._after = last if more else max(last, end)  # all up to `end` was read, be it of others
            if events or _now_s() - sent >= BEAT_S:
                sent = _now_s()
                yield "".join(written(event) for event in events) or ": still here\n\n"
            if not more:
                end = await self._tail.after(self._after, sent + BEAT_S - _now_s())
        yield closing("The server ends.")

    async def _refused(self) -> str:
        try:
            await self._may_listen()
        except RolloutError as error:
            return str(error)
        return ""


def written(event: EventView) -> str:
    """One event as a message; JSON has no line breaks in it."""
    data = _EVENT.dump_json(event).decode()
    return f"id: {event.sequence}\nevent: {event.trigger}\ndata: {data}\n\n"


def closing(why: str) -> str:
    """The last message; it has no id, so that the place to resume from stays."""
    data = TypeAdapter(dict[str, str]).dump_json({"reason": why}).decode()
    return f"event: closed\ndata: {data}\n\n"


def _now_s() -> float:
    """Seconds of the loop's clock, which is never set."""
    return asyncio.get_running_loop().time()


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
