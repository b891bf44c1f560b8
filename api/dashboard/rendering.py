"""Templates, the headers of every page, and errors as pages. What must not live here: routes."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from api.dashboard import marks, presenters, tiles
from api.deps import controller_of
from api.errors import STATUS
from api.problems import PAGES
from rollout.core.errors import RolloutError, StoreError
from rollout.showing.views import RolloutView

FRAGMENT = "x-fragment"  # the header with which live.js asks for <main> alone
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",  # no-referrer would make a form's Origin `null`, which is refused
    "cache-control": "no-store",
    "vary": FRAGMENT,
}


def _phase_mark(view: RolloutView) -> marks.Mark:
    return marks.PHASES[view.phase]


def _clock_utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        age=presenters.age,
        clock_utc=_clock_utc,
        countdown=presenters.countdown,
        from_version=presenters.from_version,
        lane=presenters.lane,
        matrix=presenters.matrix,
        owed=presenters.owed,
        next_words=presenters.next_words,
        phase_mark=_phase_mark,
        reached=presenters.reached,
        strip=presenters.strip,
        gate_mark=presenters.gate_mark,
        next_steps=presenters.next_steps,
        verdict_mark=tiles.mark_of,
        unreached=presenters.unreached,
        versions=presenters.versions,
        web_link=presenters.web_link,
        words=_words,
    )
    return found


_TEMPLATES = _environment()


def render(
    request: Request,
    page: str,
    title: str,
    *,
    status: int = 200,
    live: str = "",
    refresh: bool = False,
    tone: str = "",
    **values: Any,
) -> HTMLResponse:
    """One screen, whole or (for live.js) its <main> alone.

    `live` is the path of the stream that keeps it fresh; empty when it stays as it is. With `refresh` it is
    kept fresh without scripts too (a form must not be reloaded under somebody who is typing). `tone` is that
    of the icon in the window's title.
    """
    template = "main.html" if FRAGMENT in request.headers else "layout.html"
    text = _TEMPLATES.get_template(template).render(
        page=page,
        page_title=title,
        now=controller_of(request).clock.now(),
        token=getattr(request.state, "token", None),
        csrf=getattr(request.state, "csrf", ""),
        live=live,
        refresh=refresh,
        tone=tone,
        **values,
    )
    return HTMLResponse(text, status)


def status_of(error: RolloutError) -> int:
    """The HTTP status that api/errors.py gives to `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


class PageRoute(APIRoute):
    """A route whose answers carry the page's headers and whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler, its dependencies included."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                answer = await inner(request)
            except RolloutError as error:
                answer = _error_page(request, error)
            except RequestValidationError as error:
                answer = _refused_form(request, error)
            answer.headers.update(HEADERS)
            return answer

        return handle


def _error_page(request: Request, error: RolloutError) -> HTMLResponse:
    status, about = status_of(error), PAGES.get(error.code)
    message = str(error)
    if isinstance(error, StoreError) or status == 500:  # its text is for the log
        message = f"{PAGES[error.code].meaning} {PAGES[error.code].mend}"
    heading = about.title if about else "This did not work"
    return _message_page(request, status, heading, message)


def _refused_form(request: Request, error: RequestValidationError) -> HTMLResponse:
    wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
    return _message_page(request, 422, "The form cannot be accepted", f"{wrong}. Nothing was changed.")


def _message_page(request: Request, status: int, heading: str, message: str) -> HTMLResponse:
    back = request.url.path if request.method != "GET" else "/"
    return render(request, "error", heading, status=status, heading=heading, message=message, back=back)
