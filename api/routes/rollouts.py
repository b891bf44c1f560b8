"""Rollouts: start, plan, list and read. Acting on one is in acts.py, what belongs to one in parts.py."""

from typing import Annotated

from fastapi import Query, Request, Response

from api.deps import ActorDep, ControllerDep, ReadsDep, requires
from api.lists import link_next
from api.routing import v1
from api.schemas import Listing, RolloutFilter, RolloutId, StartBody
from api.target import Target
from api.versions import etag, unchanged
from api.waiting import WaitingDep
from rollout.access import Permission, check_service
from rollout.showing.views import PlanView, RolloutView

router = v1("rollouts")
READ, START = [requires(Permission.READ)], [requires(Permission.START)]


@router.post("/rollouts", status_code=202, dependencies=START)
async def start(
    body: StartBody, actor: ActorDep, reads: ReadsDep, controller: ControllerDep, response: Response
) -> RolloutView:
    """Start to move a release through its plan."""
    check_service(reads.token, body.service)
    rollout = await controller.commands.start(body.request(), actor)
    return await Target(rollout.id, None, reads, response).shown()


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
    link_next(request, response, "cursor", cursor)
    return Listing(items=found, next_cursor=cursor)


@router.get("/rollouts/{id}", dependencies=READ, response_model=RolloutView)
async def rollout(
    id: RolloutId,  # noqa: A002  # the path's word
    reads: ReadsDep,
    waiting: WaitingDep,
    request: Request,
    response: Response,
) -> object:
    """Read one rollout: where it stands, why, what happens next, and what blocks it.

    With If-None-Match the answer is 304 while nothing has changed; with `Prefer: wait=60` too it waits for
    a change, at most so long.
    """
    view = await reads.rollout(id)

    async def changed(looked: int) -> RolloutView | None:
        """The rollout, once it differs; read again only when its own history went on."""
        if looked and not (await reads.events(rollout_id=view.id, after=looked, limit=1))[0]:
            return None
        now = await reads.rollout(view.id)
        return None if unchanged(request, now.row_version) else now

    found = await waiting.until(changed)
    response.headers["etag"] = etag((found or view).row_version)
    if found is None:
        return Response(status_code=304, headers=response.headers)
    return found
