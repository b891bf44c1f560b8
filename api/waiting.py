"""`Prefer: wait=N`: an answer that waits for news, at most so long. A server without room answers at once."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response

from api.deps import controller_of, token_now
from api.stream import Room

T = TypeVar("T")

MOST_S = 60
_LOOK_S = 5.0  # between two looks whether the client is still there
_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', re.IGNORECASE)


class Waiting:
    """How long this client would wait; `asked_s` is 0 when it would not, or there is no room."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request, self._tail = request, controller_of(request).tail
        self._room: Room = request.app.state.room
        self.asked_s = _asked_s(request) if self._room.taken < self._room.most else 0
        if self.asked_s:
            response.headers["preference-applied"] = f"wait={self.asked_s}"

    async def until(self, look: Callable[[int], Awaitable[T | None]]) -> T | None:
        """What `look` finds, tried now and after each news, or None when the time is over.

        `look` is given the place up to which history was looked at before. Raises NotAuthenticated when the
        token ended meanwhile.
        """
        place = await self._tail.newest() if self.asked_s else 0
        found = await look(0)
        if found is not None or not self.asked_s:
            return found
        with self._room.place():
            found = await self._later(look, place)
        await token_now(self._request)
        return found

    async def _later(self, look: Callable[[int], Awaitable[T | None]], place: int) -> T | None:
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + self.asked_s
        while (left_s := until_s - now_s()) > 0 and not self._tail.closed:
            end = await self._tail.after(place, min(left_s, _LOOK_S))
            if end > place and (found := await look(place)) is not None:
                return found
            place = end
            if await self._request.is_disconnected():
                return None
        return None


WaitingDep = Annotated[Waiting, Depends()]


def _asked_s(request: Request) -> int:
    """The seconds of the first `wait`; what cannot be read is no preference, as RFC 7240 has it."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if found := _WAIT.fullmatch(preference):
            return min(int(found[1]), MOST_S)
    return 0
