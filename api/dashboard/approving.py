"""The decision of one approval: the screen that a notice links to. Only its form changes anything.

Two taps: the link, and Approve. Each answer has a reason that is chosen already and can be seen, since an
answer without one is none.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse
from starlette.responses import RedirectResponse, Response

from api.dashboard import acts, marks
from api.dashboard.pages import recorded
from api.dashboard.rendering import PageRoute, render, status_of
from api.deps import ActorDep, ControllerDep, ReadsDep, TokenDep, page_requires
from api.reads import Reads
from api.schemas import ApprovalId, RolloutId
from rollout.access import Permission
from rollout.core.errors import Conflict, InvalidInput, NotAllowed, StaleWrite
from rollout.core.model import IntentKind
from rollout.ports import Token
from rollout.showing.views import ApprovalView, RolloutView

YES = ("looks healthy", "agreed with the owner", "fixes what runs now")
NO = ("I want to look first", "a check looks wrong", "not at this time")
HOLD_S = 3600  # of a hold from here; a longer one is on the rollout's own form

router = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
Decision = Literal["approve", "reject", "hold"]


class Answer:
    """What was sent: the decision, the reason that was chosen, and what was typed beside it."""

    def __init__(
        self,
        decision: Annotated[Decision, Form()],
        chip: Annotated[str, Form(max_length=100)] = "",
        reason: Annotated[str, Form(max_length=400)] = "",
        row_version: Annotated[int, Form()] = -1,
    ) -> None:
        typed = " ".join(reason.split())
        self.decision, self.chip, self.typed, self.seen = decision, chip, typed, row_version
        self.reason = ": ".join(filter(None, (chip if chip in (*YES, *NO) else "", typed)))
        if not self.reason.isprintable():
            raise InvalidInput(
                "The reason holds characters that cannot be shown; take them away and send it again."
            )


@router.api_route("/a/{approval_id}", methods=["GET", "HEAD"], dependencies=[page_requires(Permission.READ)])
async def show(request: Request, approval_id: ApprovalId, reads: ReadsDep, token: TokenDep) -> Response:
    """Show what is asked. Scanners of mails open links too, so nothing happens here."""
    return await _screen(request, reads, token, approval_id)


@router.api_route("/r/{rollout_id}", methods=["GET", "HEAD"], dependencies=[page_requires(Permission.READ)])
async def of_rollout(rollout_id: RolloutId, reads: ReadsDep) -> Response:
    """Lead to what is asked of a rollout now, else to the rollout: what every notice links to."""
    view = await reads.rollout(rollout_id)
    asked = view.approval is not None and view.approval.id
    return RedirectResponse(f"/a/{asked}" if asked else f"/rollouts/{view.id}", 303)


@router.post("/a/{approval_id}", dependencies=[page_requires(Permission.DECIDE)])
async def decide(
    request: Request,
    approval_id: ApprovalId,
    reads: ReadsDep,
    token: TokenDep,
    actor: ActorDep,
    controller: ControllerDep,
    answer: Annotated[Answer, Depends()],
) -> Response:
    """Record the answer to what was seen; else say why not, with what was typed."""
    asked = await reads.approval(approval_id)
    if asked.state != "pending":
        late = f"Nothing was done: it is {asked.state} by now."
        return await _screen(request, reads, token, approval_id, answer, 409, late)
    if answer.seen != asked.row_version:
        return await _screen(request, reads, token, approval_id, answer, 412, _CHANGED)
    if not answer.reason:
        return await _screen(request, reads, token, approval_id, answer, 422, "Say why: nothing was done.")
    try:
        await _act(controller, asked.rollout, actor, answer)
    except StaleWrite:
        return await _screen(request, reads, token, approval_id, answer, 412, _CHANGED)
    except (Conflict, NotAllowed) as error:
        return await _screen(request, reads, token, approval_id, answer, status_of(error), str(error))
    return recorded(request, asked.rollout, answer.decision)


_CHANGED = "It changed since you looked, so nothing was done. Below is how it stands now: decide again."


async def _act(controller: ControllerDep, rollout_id: str, actor: ActorDep, answer: Answer) -> None:
    commands = controller.commands
    if answer.decision == "hold":
        await commands.hold(rollout_id, actor, answer.reason, for_s=HOLD_S, seen=answer.seen)
        return
    kind = IntentKind(answer.decision)
    await commands.decide_approval(rollout_id, actor, kind, answer.reason, seen=answer.seen)


async def _screen(
    request: Request,
    reads: Reads,
    token: Token,
    approval_id: str,
    answer: Answer | None = None,
    status: int = 200,
    message: str = "",
) -> Response:
    asked = await reads.approval(approval_id)
    view = await reads.rollout(asked.rollout)
    pending = asked.state == "pending"
    withheld = acts.may_answer(asked, view, token) if pending else ""
    mark = marks.WAITS_FOR_OTHERS if withheld else marks.APPROVALS[asked.state]
    return render(
        request,
        "approval",
        f"{mark.shape} {_title(asked, view)}",
        status=status,
        live="" if message else f"/rollouts/{view.id}/live",
        tone=mark.tone,
        asked=asked,
        view=view,
        m=mark,
        heading=_title(asked, view),
        message=message,
        sent=answer,
        withheld=withheld,
        offers={verb: acts.allowed(view, token, verb) for verb in ("reject", "hold")},
        reject=acts.label(view, "reject"),
        yes=YES,
        no=NO,
    )


def _title(asked: ApprovalView, view: RolloutView) -> str:
    places = ", ".join(asked.regions)
    if asked.state == "pending":
        return f"Approve {view.service} {view.version} for {places}?"
    return f"{view.service} {view.version} for {places}: {asked.state}"
