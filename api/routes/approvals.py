"""Approvals: list, show, and decide. A GET only shows, so that a link can be opened by anything."""

from typing import Annotated

from fastapi import Query, Request, Response

from api.deps import ActorDep, ControllerDep, ReadsDep, requires
from api.lists import link_next
from api.routing import v1
from api.schemas import ApprovalBody, ApprovalFilter, ApprovalId, Listing
from api.target import Target
from api.versions import etag, refuse_stale, refuse_unseen, unchanged
from rollout.access import Permission
from rollout.core.errors import Conflict
from rollout.core.model import IntentKind
from rollout.showing.views import ApprovalView, RolloutView

router = v1("approvals")
READ, DECIDE = [requires(Permission.READ)], [requires(Permission.DECIDE)]


@router.get("/approvals", dependencies=READ)
async def approvals(
    wanted: Annotated[ApprovalFilter, Query()], reads: ReadsDep, request: Request, response: Response
) -> Listing[ApprovalView]:
    """List approvals, newest first; `state=pending` are those that are awaited now."""
    found, cursor = await reads.approvals(
        state=wanted.state, service=wanted.service, limit=wanted.limit, cursor=wanted.cursor
    )
    link_next(request, response, "cursor", cursor)
    return Listing(items=found, next_cursor=cursor)


@router.get("/approvals/{id}", dependencies=READ, response_model=ApprovalView)
async def approval(id: ApprovalId, reads: ReadsDep, request: Request, response: Response) -> object:  # noqa: A002  # the path's word
    """Read one approval with what a person needs to decide; its ETag is that of the rollout."""
    view = await reads.approval(id)
    response.headers["etag"] = etag(view.row_version)
    if unchanged(request, view.row_version):
        return Response(status_code=304, headers={"etag": etag(view.row_version)})
    return view


@router.post("/approvals/{id}/decisions", status_code=202, dependencies=DECIDE)
async def decide_approval(
    id: ApprovalId,  # noqa: A002  # the path's word
    body: ApprovalBody,
    actor: ActorDep,
    reads: ReadsDep,
    controller: ControllerDep,
    request: Request,
    response: Response,
) -> RolloutView:
    """Approve (needs If-Match) or reject; answered with the rollout, which Location names."""
    view = await reads.approval(id)
    refuse_stale(request, view.row_version)
    if body.decision == "approve":
        refuse_unseen(request)
    if view.state != "pending":
        raise Conflict(f"This approval is {view.state} already: {view.text}", "answered")
    await controller.commands.decide_approval(
        view.rollout, actor, IntentKind(body.decision), body.reason, seen=view.row_version
    )
    return await Target(view.rollout, None, reads, response).shown()
