"""What one token may see: the queries, narrowed to its services. Handlers and pages read through this alone.

A rollout of a foreign service is answered as one that does not exist, so that ids cannot be probed; a
foreign service by name is refused whether it exists or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rollout.access import check_service
from rollout.commands import StartRequest
from rollout.core.errors import Conflict, NotFound
from rollout.core.model import Phase
from rollout.ports import SeenReplica, Token
from rollout.queries import Queries
from rollout.showing.series import POINTS, SeriesView
from rollout.showing.views import (
    ApprovalView,
    EventView,
    Fleet,
    PlanView,
    RolloutView,
    RunningView,
    ServiceView,
)


class Reads:
    """Queries for one token. Raises as Queries does, and NotAllowed for a service that is not the token's."""

    def __init__(self, queries: Queries, token: Token) -> None:
        self._queries, self.token = queries, token

    def _sees(self, service: str) -> bool:
        return not self.token.services or service in self.token.services

    async def replicas(self) -> tuple[SeenReplica, ...]:
        """The controllers on this database, with those of their services that are the token's."""
        found = await self._queries.replicas()
        return tuple(replace(one, services=tuple(filter(self._sees, one.services))) for one in found)

    async def rollout(self, prefix: str) -> RolloutView:
        """One rollout by id or unique prefix. Raises NotFound, also for a foreign one, and Conflict."""
        try:
            view = await self._queries.rollout(prefix)
        except Conflict as error:
            if self.token.services:  # the text names the ids of others
                raise NotFound("rollout", prefix) from error
            raise
        if not self._sees(view.service):
            raise NotFound("rollout", prefix)
        seen = tuple(suspect for suspect in view.suspects if self._sees(suspect.service))
        return replace(view, suspects=seen)

    async def rollouts(
        self,
        *,
        service: str | None = None,
        phases: Sequence[Phase] = (),
        needs_person: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[tuple[RolloutView, ...], str | None]:
        """A page, newest first, and the cursor of the next one. Raises NotFound for an unknown cursor."""
        if cursor is not None and self.token.services:
            await self.rollout(cursor)
        if service is not None:
            check_service(self.token, service)
        services: Sequence[str | None] = (service,) if service else self.token.services or (None,)
        found: list[RolloutView] = []
        ends: list[str] = []
        for each in services:
            views, more = await self._queries.rollouts(
                service=each, phases=phases, needs_person=needs_person, limit=limit, cursor=cursor
            )
            found += views
            ends += [more] if more else []
        if len(services) == 1:
            return tuple(found), ends[0] if ends else None
        found.sort(key=lambda view: (view.created_at, view.id), reverse=True)
        kept = [view for view in found if view.id >= max(ends, default="")][:limit]
        after = kept[-1].id if len(kept) < len(found) and kept else None
        return tuple(kept), after or max(ends, default=None)

    async def approvals(
        self, *, state: str | None, service: str | None, limit: int, cursor: str | None
    ) -> tuple[tuple[ApprovalView, ...], str | None]:
        """A page of approvals, newest first, and the cursor of the next one. Raises as `rollouts` does."""
        if cursor is not None and self.token.services:
            await self.approval(cursor)
        if service is not None:
            check_service(self.token, service)
        services: Sequence[str | None] = (service,) if service else self.token.services or (None,)
        pages = [await self._queries.approvals(state, each, limit, cursor) for each in services]
        found = [view for views, _ in pages for view in views]
        found.sort(key=lambda view: (view.rollout, view.asked_at), reverse=True)
        more = len(found) > limit or any(end for _, end in pages)
        return tuple(found[:limit]), found[:limit][-1].id if more and found else None

    async def approval(self, approval_id: str) -> ApprovalView:
        """One approval. Raises NotFound, also for one of a foreign service."""
        view = await self._queries.approval(approval_id)
        if not self._sees(view.service):
            raise NotFound("approval", approval_id)
        return view

    async def events(
        self, *, rollout_id: str | None, after: int, limit: int
    ) -> tuple[tuple[EventView, ...], int, bool]:
        """History after a place: what may be seen of it, the last place looked at, and whether more waits."""
        found = await self._queries.events(rollout_id=rollout_id, after=after, limit=limit)
        seen = tuple(event for event in found if self._sees(event.service))
        return seen, found[-1].sequence if found else after, len(found) == limit

    async def newest_events(
        self, rollout_id: str, *, before: int | None, limit: int
    ) -> tuple[EventView, ...]:
        """The last of one rollout's history, oldest first. Raises as `rollout` does."""
        view = await self.rollout(rollout_id)
        return await self._queries.newest_events(view.id, before=before, limit=limit)

    async def series(
        self, view: RolloutView, region: str, signals: Sequence[str] = (), *, points: int = POINTS
    ) -> Mapping[str, SeriesView]:
        """What the plots of a region draw; `view` is what `rollout` gave and may be seen. Raises NotFound."""
        return await self._queries.series(view, region, signals, points=points)

    async def plan(self, request: StartRequest) -> PlanView:
        """A dry run."""
        check_service(self.token, request.release.service)
        return await self._queries.plan(request)

    async def services(self) -> tuple[ServiceView, ...]:
        """The declared services, by name."""
        return tuple(view for view in await self._queries.services() if self._sees(view.name))

    async def service(self, name: str) -> ServiceView:
        """One declared service."""
        check_service(self.token, name)
        return await self._queries.service(name)

    async def declared(self, name: str) -> ServiceView | None:
        """One service, or None when nobody has declared it."""
        try:
            return await self.service(name)
        except NotFound:
            return None

    async def running(self, name: str) -> tuple[RunningView, ...]:
        """What really runs of a service, region by region."""
        check_service(self.token, name)
        return await self._queries.running(name)

    async def fleet(self) -> Fleet:
        """The front page."""
        return await self._queries.fleet(self.token.services)
