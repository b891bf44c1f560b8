"""History: as a list, waiting for what is new, and as a stream; of everything, and of one rollout."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.deps import ReadsDep, controller_of, requires, token_now
from api.lists import link_next
from api.reads import Reads
from api.routing import v1
from api.schemas import EventFilter, EventListing, LastEventId, RolloutId
from api.stream import MEDIA_TYPE, EventStream
from api.waiting import WaitingDep
from rollout.access import Permission, check
from rollout.showing.views import EventView

router = v1("events")
READ = [requires(Permission.READ)]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "description": "Server-sent events."}}}}
}


@router.get(
    "/rollouts/{id}/events",
    dependencies=READ,
    tags=["rollouts"],
    response_model=EventListing[EventView],
    responses=_STREAM,
)
async def rollout_events(
    id: RolloutId,  # noqa: A002  # the path's word
    wanted: Annotated[EventFilter, Query()],
    reads: ReadsDep,
    waiting: WaitingDep,
    request: Request,
    response: Response,
    last_event_id: LastEventId = None,
) -> object:
    """List the history of one rollout, oldest first, or stream it; the stream stays open after its end."""
    view = await reads.rollout(id)
    history = _History(view.id, wanted, reads, request)
    if wants_stream(request):
        return await history.stream(last_event_id)
    return await history.listing(waiting, response)


@router.get("/events", dependencies=READ, response_model=EventListing[EventView], responses=_STREAM)
async def events(
    wanted: Annotated[EventFilter, Query()],
    reads: ReadsDep,
    waiting: WaitingDep,
    request: Request,
    response: Response,
    last_event_id: LastEventId = None,
) -> object:
    """List the history of everything, oldest first, or stream it."""
    history = _History(None, wanted, reads, request)
    if wants_stream(request):
        return await history.stream(last_event_id)
    return await history.listing(waiting, response)


class _History:
    """What was asked for, and of what."""

    def __init__(self, rollout_id: str | None, wanted: EventFilter, reads: Reads, request: Request) -> None:
        self._id, self._wanted, self._reads, self._request = rollout_id, wanted, reads, request

    async def listing(self, waiting: WaitingDep, response: Response) -> EventListing[EventView]:
        """A page; one that would be empty waits for what is new, if the client would."""
        place = self._wanted.place or 0

        async def look(looked: int) -> EventListing[EventView] | None:
            page = await self._page(max(place, looked), response)
            return page if page.items or page.next_cursor else None

        return await waiting.until(look) or await self._page(place, response)

    async def _page(self, after: int, response: Response) -> EventListing[EventView]:
        found, last, more = await self._read(after, self._wanted.limit)
        cursor = str(last) if more else None
        link_next(self._request, response, "after", cursor)
        return EventListing(items=found, next_cursor=cursor, last=last)

    async def stream(self, last_event_id: int | None) -> Response:
        """What comes after Last-Event-ID, else after `after`, else after now."""
        controller = controller_of(self._request)
        place = last_event_id if last_event_id is not None else self._wanted.place
        return EventStream(
            tail=controller.tail,
            room=self._request.app.state.room,
            pages=self._read,
            may_listen=self._may_listen,
            after=await controller.tail.newest() if place is None else place,
        )

    async def _read(self, after: int, limit: int) -> tuple[tuple[EventView, ...], int, bool]:
        return await self._reads.events(rollout_id=self._id, after=after, limit=limit)

    async def _may_listen(self) -> None:
        check(await token_now(self._request), Permission.READ)


def wants_stream(request: Request) -> bool:
    """Whether the client accepts server-sent events."""
    return any(MEDIA_TYPE in each.lower() for each in request.headers.getlist("accept"))
