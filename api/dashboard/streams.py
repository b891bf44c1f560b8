"""The live stream of each page: same session, same rights. What is told is in live.py."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from api.dashboard.live import FLEET, Allowed, Live
from api.dashboard.rendering import PageRoute
from api.deps import SESSION_COOKIE, ControllerDep, ReadsDep, page_requires
from api.schemas import RolloutId
from api.stream import Room
from rollout.access import Permission, check, check_service

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_READ = [page_requires(Permission.READ)]
_UNBUFFERED = {"x-accel-buffering": "no"}  # said to a proxy in between


@dataclass(frozen=True, slots=True)
class _Streams:
    """What tells the pages, and how many may listen at once."""

    live: Live
    room: Room

    def open(self, key: str, allowed: Allowed) -> StreamingResponse:
        """One more stream. Raises Full; the page looks by itself from time to time then."""
        with self.room.place():  # a refusal is an answer of its own, so it comes before the stream begins
            pass
        return StreamingResponse(
            self._events(key, allowed), media_type="text/event-stream", headers=_UNBUFFERED
        )

    async def _events(self, key: str, allowed: Allowed) -> AsyncIterator[str]:
        with self.room.place(), self.live.watching(key):
            async for event in self.live.told(key, allowed):
                yield event


def streams_of(request: Request) -> _Streams:
    """What `create_app` made."""
    return _Streams(request.app.state.live, request.app.state.room)


StreamsDep = Annotated[_Streams, Depends(streams_of)]


@router.get("/live", dependencies=_READ)
async def fleet(request: Request, streams: StreamsDep, controller: ControllerDep) -> StreamingResponse:
    """Tell the front page that something happened."""
    return streams.open(FLEET, _allowed(request, controller, None))


@router.get("/rollouts/{rollout_id}/live", dependencies=_READ)
async def rollout(
    request: Request, rollout_id: RolloutId, reads: ReadsDep, streams: StreamsDep, controller: ControllerDep
) -> StreamingResponse:
    """Tell every page about one rollout that it was written to."""
    view = await reads.rollout(rollout_id)
    return streams.open(view.id, _allowed(request, controller, view.service))


def _allowed(request: Request, controller: ControllerDep, service: str | None) -> Allowed:
    """Whether the session is still good for what the stream is about."""
    session = request.cookies.get(SESSION_COOKIE, "")

    async def allowed() -> None:
        token, _ = await controller.access.session(session)
        check(token, Permission.READ)
        if service is not None:
            check_service(token, service)

    return allowed
