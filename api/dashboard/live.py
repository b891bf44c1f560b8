"""One stream per open page: it is told that something changed and asks for its <main> again, or hears a beat.

One task per process looks at the database for all pages together: at once after an event of history, else
every 2 s. The stream carries no content: each page reads itself, with its own rights. What must not live
here: HTML.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import structlog

from rollout.core.errors import RolloutError
from rollout.tail import Tail

log = structlog.get_logger(__name__)

LOOK_S = 2.0  # between two looks at what is watched
BEAT_S = 5.0  # between two signs of life of a stream
RIGHTS_S = 25.0  # between two looks at whether the session may still see it
LONGEST_S = 900.0  # of one stream; then the browser opens another
FLEET = ""  # what the front page watches: any event

Look = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
Allowed = Callable[[], Awaitable[object]]


class Live:
    """What the open pages of this process watch, and the number of each as it was last seen."""

    def __init__(self, look: Look, tail: Tail, *, look_s: float = LOOK_S, beat_s: float = BEAT_S) -> None:
        self._look, self._tail, self._look_s, self.beat_s = look, tail, look_s, beat_s
        self._watched: Counter[str] = Counter()
        self._stamps: Mapping[str, int] = {}
        self._looked = -float("inf")  # when the last good look was, in seconds of the loop's clock
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """How many pages are open."""
        return self._watched.total()

    @contextmanager
    def watching(self, key: str) -> Iterator[None]:
        """Count one page in, as long as it is open."""
        self._watched[key] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watched[key] -= 1
            self._watched = +self._watched

    async def told(self, key: str, allowed: Allowed) -> AsyncIterator[str]:
        """The events of one stream: `changed`, `beat`, and `over` once the session may not see it."""
        now = asyncio.get_running_loop().time
        begun, checked, known = now(), now(), None
        while not self._tail.closed and now() - begun < LONGEST_S:
            stamp = await self._next(key, known)
            if now() - checked >= RIGHTS_S:
                checked = now()
                if not await _is(allowed):
                    yield "event: over\ndata: .\n\n"
                    return
            if stamp is not None and stamp != known:
                known = stamp
                yield f"event: changed\ndata: {stamp}\n\n"
            elif now() - self._looked < 3 * self._look_s + self.beat_s:  # else nobody knows what is true now
                yield "event: beat\ndata: .\n\n"

    async def _next(self, key: str, known: int | None) -> int | None:
        """The number once it is another one; after a beat's time whatever it is."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.beat_s
        while self._stamps.get(key) in (known, None) and not self._tail.closed and loop.time() < until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
        return self._stamps.get(key)

    async def _watch(self) -> None:
        """Look as long as anybody watches."""
        while self._watched and not self._tail.closed:
            try:
                found = await self._look([key for key in self._watched if key != FLEET])
            except RolloutError as error:
                log.warning("cannot look what changed", error=str(error))
                await asyncio.sleep(self._look_s)
                continue
            self._looked = asyncio.get_running_loop().time()
            if found != self._stamps:
                self._stamps = found
                self._wake()
            await self._tail.after(found.get(FLEET, 0), self._look_s)
        self._wake()

    def _wake(self) -> None:
        """Wake all that wait, and let the next ones wait for the next change."""
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()


async def _is(allowed: Allowed) -> bool:
    try:
        await allowed()
    except RolloutError:
        return False
    return True
