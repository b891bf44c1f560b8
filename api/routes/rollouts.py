"""Rollouts: start, plan, list, read, act on one, and its events."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from api.deps import ActorDep, ControllerDep, ReadsDep, requires
from api.reads import Reads
from api.schemas import (
    ActBody,
    ApprovalBody,
    EventFilter,
    EventListing,
    HoldBody,
    Listing,
    RolloutFilter,
    RolloutId,
    StartBody,
)
from api.versions import etag, refuse_stale, refuse_unseen, unchanged
from rollout.access import Permission, check_service
from rollout.core.model import IntentKind
from rollout.views import EventView, PlanView, RolloutView

router = APIRouter(prefix="/v1", tags=["rollouts"])
READ, DECIDE = [requires(Permission.READ)], [requires(Permission.DECIDE)]
START, ROLL_BACK = [requires(Permission.START)], [requires(Permission.ROLL_BACK)]


class Target:
    """The rollout that an act is about, still as the client saw it where If-Match says so."""

    def __init__(self, rollout_id: str, reads: Reads, response: Response) -> None:
        self.id, self._reads, self._response = rollout_id, reads, response

    async def shown(self) -> RolloutView:
        """Read it again after the act was recorded, with ETag and Location."""
        view = await self._reads.rollout(self.id)
        self._response.headers["etag"] = etag(view.row_version)
        self._response.headers["location"] = f"/v1/rollouts/{view.id}"
        return view


async def _target(id: RolloutId, reads: ReadsDep, request: Request, response: Response) -> Target:  # noqa: A002  # the path's word
    view = await reads.rollout(id)
    refuse_stale(request, view.row_version)
    return Target(view.id, reads, response)


TargetDep = Annotated[Target, Depends(_target)]


@router.post("/rollouts", status_code=202, dependencies=START)
async def start(
    body: StartBody, actor: ActorDep, reads: ReadsDep, controller: ControllerDep, response: Response
) -> RolloutView:
    """Start to move a release through its plan."""
    check_service(reads.token, body.service)
    rollout = await controller.commands.start(body.request(), actor)
    return await Target(rollout.id, reads, response).shown()


@router.post("/rollouts/plan", dependencies=READ)
async def plan(body: StartBody, reads: ReadsDep) -> PlanView:
    """Show what `start` would do: stages, clock times, what each bake can detect. Nothing is started."""
    return await reads.plan(body.request())


@router.get("/rollouts", dependencies=READ)
async def rollouts(
    wanted: Annotated[RolloutFilter, Query()], reads: ReadsDep, request: Request, response: Response
) -> Listing[RolloutView]:
    """List rollouts, newest first. With `needs=me` a page may be short while `next_cursor` goes on."""
    found, cursor = await reads.rollouts(
        service=wanted.service,
        phases=wanted.phase,
        needs_person=wanted.needs is not None,
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    _link_next(request, response, "cursor", cursor)
    return Listing(items=found, next_cursor=cursor)


@router.get("/rollouts/{id}", dependencies=READ, response_model=RolloutView)
async def rollout(id: RolloutId, reads: ReadsDep, request: Request, response: Response) -> object:  # noqa: A002  # the path's word
    """Read one rollout: where it stands, why, what happens next, and what blocks it."""
    view = await reads.rollout(id)
    response.headers["etag"] = etag(view.row_version)
    if unchanged(request, view.row_version):
        return Response(status_code=304, headers={"etag": etag(view.row_version)})
    return view


@router.post("/rollouts/{id}/hold", status_code=202, dependencies=DECIDE)
async def hold(body: HoldBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Stop it where it stands; judging goes on."""
    await controller.commands.hold(target.id, actor, body.reason, for_s=body.seconds, then=body.then)
    return await target.shown()


@router.post("/rollouts/{id}/resume", status_code=202, dependencies=DECIDE)
async def resume(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Let a held rollout go on."""
    await controller.commands.resume(target.id, actor, body.reason)
    return await target.shown()


@router.post("/rollouts/{id}/rollback", status_code=202, dependencies=ROLL_BACK)
async def rollback(
    body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """Restore every touched region to its known good; needs no approval and no If-Match."""
    await controller.commands.rollback(target.id, actor, body.reason)
    return await target.shown()


@router.post("/rollouts/{id}/cancel", status_code=202, dependencies=START)
async def cancel(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """End a rollout that has touched no region."""
    await controller.commands.cancel(target.id, actor, body.reason)
    return await target.shown()


@router.post("/rollouts/{id}/approve", status_code=202, dependencies=[*DECIDE, Depends(refuse_unseen)])
async def approve(
    body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """Say yes to what the ETag in If-Match showed."""
    await controller.commands.decide_approval(target.id, actor, IntentKind.APPROVE, body.reason)
    return await target.shown()


@router.post("/rollouts/{id}/reject", status_code=202, dependencies=DECIDE)
async def reject(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Say no: what was touched is restored."""
    await controller.commands.decide_approval(target.id, actor, IntentKind.REJECT, body.reason)
    return await target.shown()


@router.post("/rollouts/{id}/decisions", status_code=202, dependencies=DECIDE)
async def decide(
    body: ApprovalBody, target: TargetDep, actor: ActorDep, controller: ControllerDep, request: Request
) -> RolloutView:
    """Approve or reject; approving needs If-Match."""
    if body.decision == "approve":
        refuse_unseen(request)
    await controller.commands.decide_approval(target.id, actor, IntentKind(body.decision), body.reason)
    return await target.shown()


@router.get("/rollouts/{id}/events", dependencies=READ)
async def rollout_events(
    id: RolloutId,  # noqa: A002  # the path's word
    wanted: Annotated[EventFilter, Query()],
    reads: ReadsDep,
    request: Request,
    response: Response,
) -> EventListing[EventView]:
    """List the history of one rollout, oldest first."""
    view = await reads.rollout(id)
    return await _events(view.id, wanted, reads, request, response)


@router.get("/events", dependencies=READ, tags=["events"])
async def events(
    wanted: Annotated[EventFilter, Query()], reads: ReadsDep, request: Request, response: Response
) -> EventListing[EventView]:
    """List the history of everything, oldest first."""
    return await _events(None, wanted, reads, request, response)


async def _events(
    rollout_id: str | None, wanted: EventFilter, reads: Reads, request: Request, response: Response
) -> EventListing[EventView]:
    found, last, more = await reads.events(rollout_id=rollout_id, after=wanted.after, limit=wanted.limit)
    cursor = str(last) if more else None
    _link_next(request, response, "after", cursor)
    return EventListing(items=found, next_cursor=cursor, last=last)


def _link_next(request: Request, response: Response, name: str, cursor: str | None) -> None:
    if cursor is not None:
        url = request.url.include_query_params(**{name: cursor})
        response.headers["link"] = f'<{url.path}?{url.query}>; rel="next"'
