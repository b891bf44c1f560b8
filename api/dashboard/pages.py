"""The screens: log in, fleet, rollout, and one confirmation for each verb. A GET never changes anything.

What must not live here: words and shapes (presenters, marks, acts), or what fits the state (commands).
"""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Cookie, Depends, Form, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.responses import Response

from api.dashboard import acts, marks, presenters, tiles
from api.dashboard.acts import HOLD_MOST_S, VERBS, Verb
from api.dashboard.plots import PlotCache
from api.dashboard.rendering import PageRoute, render, status_of
from api.deps import (
    SESSION_COOKIE,
    ActorDep,
    ControllerDep,
    ReadsDep,
    TokenDep,
    local_path,
    page_requires,
)
from api.schemas import RolloutId
from rollout.access import SESSION_HOURS, Permission
from rollout.core.errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated, StaleWrite
from rollout.core.model import Phase, Rollout
from rollout.ports import Token
from rollout.showing.report import build, markdown
from rollout.showing.views import RolloutView

ASKED_COOKIE = "rollout_asked"  # the verb that this browser has just sent; a link cannot claim one
ASKED_S = 60
EVENTS_MOST = 500  # of the timeline at once, the newest
REPORTED_MOST = 10_000
HOLD_CHOICES = (
    (0, "until somebody resumes it"),
    (900, "15 min"),
    (3600, "1 h"),
    (14400, "4 h"),
    (86400, "1 d"),
)

router = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
_OPEN, _READ = [page_requires(Permission.OPEN)], [page_requires(Permission.READ)]


# ------------------------------------------------------------------ log in, log out


@router.get("/login", dependencies=_OPEN)
async def login_form(request: Request, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form; `next` is where to go afterwards.

    Who comes from a chat or a mail has no cookie with them, since ours is strict: one step from our own page
    brings it along, so that a link leads to its screen without a tap more.
    """
    came = request.headers.get("sec-fetch-site") == "cross-site" and local_path(wanted) != "/"
    if came:
        return render(request, "onward", "Opening", onward=local_path(wanted))
    return render(request, "login", "Log in", message="", next=local_path(wanted))


@router.post("/login", dependencies=_OPEN)
async def log_in(
    request: Request,
    controller: ControllerDep,
    token: Annotated[str, Form(max_length=200)] = "",
    wanted: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Make a session and go on, or show the form again and say why not."""
    try:
        _, session = await controller.access.log_in(token.strip())
    except NotAuthenticated as error:
        return render(request, "login", "Log in", status=401, message=str(error), next=local_path(wanted))
    answer = RedirectResponse(local_path(wanted), 303)
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=not _loopback_http(request),
    )
    return answer


@router.post("/logout", dependencies=_READ)
async def log_out(request: Request, controller: ControllerDep) -> Response:
    """End the session."""
    await controller.access.log_out(request.cookies[SESSION_COOKIE])
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


def _loopback_http(request: Request) -> bool:
    """Whether this is plain HTTP on this machine, where a Secure cookie would be lost."""
    host = request.url.hostname or ""
    try:
        return request.url.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return request.url.scheme == "http" and host == "localhost"


# ------------------------------------------------------------------ screens


@router.get("/", dependencies=_READ)
async def fleet(request: Request, reads: ReadsDep) -> Response:
    """Who needs a person, what moves, what ended lately, and what runs where."""
    found = await reads.fleet()
    return render(
        request,
        "fleet",
        presenters.fleet_title(found),
        live="/live",
        refresh=True,
        tone=presenters.fleet_tone(found),
        fleet=found,
    )


@router.get("/rollouts/{rollout_id}", dependencies=_READ)
async def rollout(
    request: Request,
    rollout_id: RolloutId,
    reads: ReadsDep,
    token: TokenDep,
    controller: ControllerDep,
    asked: Annotated[str, Cookie(alias=ASKED_COOKIE)] = "",
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    """One rollout. `asked` is the verb this browser just sent, `before` the event that older ones end at."""
    view = await reads.rollout(rollout_id)
    events = await reads.newest_events(view.id, before=before, limit=EVENTS_MOST)
    plots = await plots_of(request).of(reads, view, controller.clock.now())
    return render(
        request,
        "rollout",
        presenters.title(view),
        live=f"/rollouts/{view.id}/live",
        refresh=True,
        tone=marks.PHASES[view.phase].tone,
        view=view,
        checks=tiles.tiles(view, plots),
        note=acts.button(view, "note") if acts.allowed(view, token, "note") else None,
        events=events,
        older=events[0].number - 1 if events else 0,  # numbers of a rollout have no gaps
        before=before,
        buttons=acts.buttons(view, token),
        withheld=acts.withheld(view, token),
        asked=acts.label(view, asked) if _under_way(view, asked) else "",
    )


@router.get("/rollouts/{rollout_id}/raw", dependencies=_READ)
async def raw(rollout_id: RolloutId, reads: ReadsDep) -> Response:
    """What the page is made of, as JSON."""
    return JSONResponse(jsonable_encoder(await reads.rollout(rollout_id)))


@router.get("/rollouts/{rollout_id}/report.md", dependencies=_READ)
async def report(rollout_id: RolloutId, reads: ReadsDep) -> Response:
    """The report, for a browser that is logged in; /v1 has it for programs."""
    view = await reads.rollout(rollout_id)
    events = await reads.newest_events(view.id, before=None, limit=REPORTED_MOST)
    return PlainTextResponse(markdown(build(view, events)))


def plots_of(request: Request) -> PlotCache:
    """What this process keeps of plots; made with the first page."""
    state = request.app.state
    if not hasattr(state, "plots"):
        state.plots = PlotCache()
    found: PlotCache = state.plots
    return found


def _under_way(view: RolloutView, asked: str) -> bool:
    """Whether what was asked is recorded and not visible yet."""
    held = asked == "hold" and view.phase is Phase.HELD
    fits = asked in view.possible and asked != "retry"  # which leads to a new rollout
    return (asked in VERBS and fits and not held) or asked == "note"


# ------------------------------------------------------------------ acts


def sent_form(
    reason: Annotated[str, Form(max_length=500)] = "",
    for_s: Annotated[int, Form(ge=0, le=HOLD_MOST_S)] = 0,
    then: Annotated[Literal["hold", "resume"], Form()] = "hold",
    row_version: Annotated[int | None, Form()] = None,
) -> acts.Form:
    """What a confirmation sent; the reason as one line. Raises InvalidInput for characters that hide."""
    line = " ".join(reason.split())
    if not line.isprintable():
        raise InvalidInput(
            "The reason holds characters that cannot be shown; take them away and send it again."
        )
    return acts.Form(reason=line, for_s=for_s, then=then, seen=row_version)


Handler = Callable[..., Awaitable[Response]]


def _shows(verb: Verb) -> Handler:
    async def show(request: Request, rollout_id: RolloutId, reads: ReadsDep, token: TokenDep) -> Response:
        view = await reads.rollout(rollout_id)
        return _confirm(request, view, token, verb, acts.Form(reason=""))

    return show


def _does(verb: Verb) -> Handler:
    async def do(
        request: Request,
        rollout_id: RolloutId,
        controller: ControllerDep,
        reads: ReadsDep,
        token: TokenDep,
        actor: ActorDep,
        form: Annotated[acts.Form, Depends(sent_form)],
    ) -> Response:
        view = await reads.rollout(rollout_id)
        if verb.guarded and form.seen != view.row_version:
            return _confirm(request, view, token, verb, form, 412, *_CHANGED)
        if verb.why and not form.reason:
            return _confirm(request, view, token, verb, form, 422, "Say why.", _NO_REASON)
        sent = form if form.reason else acts.Form(reason=_UNSAID)
        try:
            done = await verb.act(controller.commands, view.id, actor, sent)
        except StaleWrite:  # it moved on between these two lines
            return _confirm(request, await reads.rollout(view.id), token, verb, form, 412, *_CHANGED)
        except (Conflict, NotAllowed, InvalidInput) as error:
            return _confirm(request, view, token, verb, form, status_of(error), "Not done.", str(error))
        started = done.id if isinstance(done, Rollout) else view.id  # a retry leads to its new rollout
        return recorded(request, started, verb.name)

    return do


def recorded(request: Request, rollout_id: str, verb: str) -> Response:
    """Back to the rollout, which says for a minute what was recorded."""
    path = f"/rollouts/{rollout_id}"
    answer = RedirectResponse(path, 303)
    answer.set_cookie(
        ASKED_COOKIE,
        verb,
        max_age=ASKED_S,
        path=path,
        httponly=True,
        samesite="strict",
        secure=not _loopback_http(request),
    )
    return answer


_CHANGED = (
    "Changed since you looked.",
    "Nothing was done. Below is how it stands now; look again, and send it again if it is still right.",
)
_NO_REASON = "Nothing was done: the timeline needs one sentence of reason."
_UNSAID = "no reason was given on the page"


def _confirm(
    request: Request,
    view: RolloutView,
    token: Token,
    verb: Verb,
    form: acts.Form,
    status: int = 200,
    heading: str = "",
    message: str = "",
) -> Response:
    """The effect of one verb, and the form that does it; with a message it is an answer and stays."""
    button = acts.button(view, verb.name)
    possible = acts.allowed(view, token, verb.name)
    return render(
        request,
        "confirm",
        f"{button.label}: {view.service} {view.version}",
        status=status,
        live="" if message else f"/rollouts/{view.id}/live",
        tone=marks.PHASES[view.phase].tone,
        view=view,
        button=button,
        form=form,
        heading=heading,
        message=message,
        hold_choices=HOLD_CHOICES,
        possible=possible,
        impossible=acts.impossible(view, token, verb.name),
    )


for _verb in VERBS.values():
    _path = f"/rollouts/{{rollout_id}}/{_verb.name}"
    router.add_api_route(_path, _shows(_verb), methods=["GET"], dependencies=_READ, name=f"show_{_verb.name}")
    router.add_api_route(
        _path,
        _does(_verb),
        methods=["POST"],
        dependencies=[page_requires(_verb.permission)],
        name=f"do_{_verb.name}",
    )
