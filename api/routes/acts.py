"""What can be asked of one rollout: one route and one permission each, answered with the rollout (202)."""

from fastapi import Depends, Request

from api.deps import ActorDep, ControllerDep, requires
from api.routing import v1
from api.schemas import ActBody, ApprovalBody, GateBody, GateName, HoldBody, NoteBody, PromoteBody
from api.target import TargetDep
from api.versions import refuse_unseen
from rollout.access import Permission
from rollout.core.model import IntentKind
from rollout.showing.views import RolloutView

router = v1("rollouts")
DECIDE, START = [requires(Permission.DECIDE)], [requires(Permission.START)]
ROLL_BACK, REPORT = [requires(Permission.ROLL_BACK)], [requires(Permission.REPORT)]
SEEN = Depends(refuse_unseen)


@router.post("/rollouts/{id}/hold", status_code=202, dependencies=DECIDE)
async def hold(body: HoldBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Stop it where it stands; judging goes on."""
    await controller.commands.hold(
        target.id, actor, body.reason, for_s=body.seconds, then=body.then, seen=target.seen
    )
    return await target.shown()


@router.post("/rollouts/{id}/resume", status_code=202, dependencies=DECIDE)
async def resume(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Let a held rollout go on."""
    await controller.commands.resume(target.id, actor, body.reason, seen=target.seen)
    return await target.shown()


@router.post("/rollouts/{id}/promote", status_code=202, dependencies=[*DECIDE, SEEN])
async def promote(
    body: PromoteBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """End the bakes under way now, of one region or of all; needs If-Match and a reason."""
    await controller.commands.promote(target.id, actor, body.reason, region=body.region, seen=target.seen)
    return await target.shown()


@router.post("/rollouts/{id}/rollback", status_code=202, dependencies=ROLL_BACK)
async def rollback(
    body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """Restore every touched region to its known good; needs no approval and no If-Match."""
    await controller.commands.rollback(target.id, actor, body.reason, seen=target.seen)
    return await target.shown()


@router.post("/rollouts/{id}/cancel", status_code=202, dependencies=START)
async def cancel(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """End a rollout that has touched no region."""
    await controller.commands.cancel(target.id, actor, body.reason, seen=target.seen)
    return await target.shown()


@router.post("/rollouts/{id}/retry", status_code=202, dependencies=START)
async def retry(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Start its release again as a new rollout, which Location names; or restore again what failed to be."""
    found = await controller.commands.retry(target.id, actor, body.reason, seen=target.seen)
    return await target.other(found.id).shown()


@router.post("/rollouts/{id}/approve", status_code=202, dependencies=[*DECIDE, SEEN])
async def approve(
    body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """Say yes to what the ETag in If-Match showed."""
    await controller.commands.decide_approval(
        target.id, actor, IntentKind.APPROVE, body.reason, seen=target.seen
    )
    return await target.shown()


@router.post("/rollouts/{id}/reject", status_code=202, dependencies=DECIDE)
async def reject(body: ActBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Say no: what was touched is restored."""
    await controller.commands.decide_approval(
        target.id, actor, IntentKind.REJECT, body.reason, seen=target.seen
    )
    return await target.shown()


@router.post("/rollouts/{id}/decisions", status_code=202, dependencies=DECIDE)
async def decide(
    body: ApprovalBody, target: TargetDep, actor: ActorDep, controller: ControllerDep, request: Request
) -> RolloutView:
    """Approve or reject; approving needs If-Match."""
    if body.decision == "approve":
        refuse_unseen(request)
    await controller.commands.decide_approval(
        target.id, actor, IntentKind(body.decision), body.reason, seen=target.seen
    )
    return await target.shown()


@router.post("/rollouts/{id}/notes", status_code=202, dependencies=REPORT)
async def note(body: NoteBody, target: TargetDep, actor: ActorDep, controller: ControllerDep) -> RolloutView:
    """Put a remark into its timeline, also after its end; needs no If-Match."""
    await controller.commands.note(target.id, actor, body.text)
    return await target.shown()


@router.put("/rollouts/{id}/gates/{name}", status_code=202, dependencies=REPORT)
async def report_gate(
    name: GateName, body: GateBody, target: TargetDep, actor: ActorDep, controller: ControllerDep
) -> RolloutView:
    """Report the result of a gate of the plan: the newest report of a stage counts."""
    await controller.commands.report_gate(
        target.id,
        actor,
        name,
        body.status,
        region=body.region,
        url=body.url or "",
        message=body.message,
    )
    return await target.shown()
