"""Who is asking, and may they: the ONE way for a route to declare its permission. Deny by default.

`requires` is for the API (bearer token), `page_requires` for the page (session cookie and form secret). A
test walks every route and fails for one that declares neither.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import structlog
from fastapi import Depends, FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import RedirectResponse, Response

from api.errors import CrossSite
from api.metrics import path_names
from api.reads import Reads
from rollout.access import Permission, check
from rollout.bootstrap import Controller
from rollout.core.errors import NotAuthenticated
from rollout.ports import Token
from rollout.possible import Actor

SESSION_COOKIE = "rollout_session"
_SAFE = frozenset({"GET", "HEAD"})
_bearer = HTTPBearer(auto_error=False, description="A token made with `rollout token create`.")


class LoginNeeded(Exception):
    """A page was asked for without a session."""


def controller_of(request: Request) -> Controller:
    """The controller that `create_app` was given."""
    found: Controller = request.app.state.controller
    return found


def token_of(request: Request) -> Token:
    """The token that `requires` or `page_requires` checked."""
    found: Token = request.state.token
    return found


def actor_of(token: Annotated[Token, Depends(token_of)]) -> Actor:
    """Who history will say it was."""
    return Actor(name=token.name, role=token.role, groups=token.groups)


ControllerDep = Annotated[Controller, Depends(controller_of)]
TokenDep = Annotated[Token, Depends(token_of)]
ActorDep = Annotated[Actor, Depends(actor_of)]


def reads_of(controller: ControllerDep, token: TokenDep) -> Reads:
    """What this token may see."""
    return Reads(controller.queries, token)


ReadsDep = Annotated[Reads, Depends(reads_of)]


@dataclass(frozen=True, slots=True)
class _Open:
    """Nobody is asked: liveness, readiness and the pages about errors."""

    permission: Permission = Permission.OPEN

    async def __call__(self) -> None:
        """Let everybody in."""


@dataclass(frozen=True, slots=True)
class _Bearer:
    """A bearer token whose role has `permission`."""

    permission: Permission

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> None:
        """Raise NotAuthenticated (401) or NotAllowed (403); else leave the token for TokenDep."""
        await admit(request, self.permission, credentials)


async def admit(
    request: Request, permission: Permission, credentials: HTTPAuthorizationCredentials | None = None
) -> Token:
    """The token of the bearer, left for TokenDep; known once, it is not asked for again.

    Raises NotAuthenticated (401) and NotAllowed (403).
    """
    token: Token | None = getattr(request.state, "token", None)
    if token is None:
        token = await token_now(request, credentials)
        request.state.token = token
    _name_in_log(request, token)
    check(token, permission)
    return token


async def token_now(request: Request, credentials: HTTPAuthorizationCredentials | None = None) -> Token:
    """The bearer's token as it is now. Raises NotAuthenticated, also once it was revoked or expired."""
    found = credentials or await _bearer(request)
    if found is None:
        raise NotAuthenticated("Send a token: `Authorization: Bearer rot_…`.")
    return await controller_of(request).access.authenticate(found.credentials)


@dataclass(frozen=True, slots=True)
class _Session:
    """A page session whose token's role has `permission`; a form must also come from our own page."""

    permission: Permission

    async def __call__(self, request: Request) -> None:
        """Raise LoginNeeded, CrossSite or NotAllowed; else leave token and csrf in request.state."""
        if request.method not in _SAFE:
            _refuse_other_sites(request)
        if self.permission is Permission.OPEN:
            return
        try:
            session = request.cookies.get(SESSION_COOKIE, "")
            token, csrf = await controller_of(request).access.session(session)
        except NotAuthenticated as error:
            raise LoginNeeded from error
        if request.method not in _SAFE:
            await _refuse_forged(request, csrf)
        check(token, self.permission)
        request.state.token, request.state.csrf = token, csrf
        _name_in_log(request, token)


def _name_in_log(request: Request, token: Token) -> None:
    """Every further line of this request says who asked and of what; api/limits.py takes it back."""
    route = getattr(request.scope.get("route"), "path", "")
    structlog.contextvars.bind_contextvars(actor=token.name, **path_names(route, request.path_params))


def requires(permission: Permission) -> Any:
    """Declare the permission of an API route: `dependencies=[requires(Permission.READ)]`."""
    return Depends(_Open() if permission is Permission.OPEN else _Bearer(permission))


def page_requires(permission: Permission) -> Any:
    """Declare the permission of a page route; OPEN is for the login form.

    Without a session the answer is 303 to /login?next=…. A form (POST) must be same-origin and carry the
    session's `csrf`, as a field or as the header x-csrf-token. `request.state.token` and `.csrf` are set.
    """
    return Depends(_Session(permission))


def declared_permission(route: Any) -> Permission | None:
    """What a route, or a mounted app with an attribute `permission`, declares; None is a mistake."""
    dependant = getattr(route, "dependant", None)
    if isinstance(dependant, Dependant):
        return permission_among(each.call for each in dependant.dependencies)
    return _permission(getattr(route, "app", None))


def permission_among(dependencies: Iterable[object]) -> Permission | None:
    """The permission that the first of the dependencies that has one declares."""
    return next((found for each in dependencies if (found := _permission(each))), None)


def _permission(declaring: object) -> Permission | None:
    found = getattr(declaring, "permission", None)
    return found if isinstance(found, Permission) else None


def local_path(path: str) -> str:
    """`path` if it leads to this server, else `/`: where to go after logging in."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe and "\\" not in path else "/"


def install_login(app: FastAPI) -> None:
    """Send people without a session to the login form."""
    app.add_exception_handler(LoginNeeded, _to_login)


async def _to_login(request: Request, _error: Exception) -> Response:
    wanted = request.url.path if request.method in _SAFE else "/"
    if request.url.query and wanted != "/":
        wanted += f"?{request.url.query}"
    return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)


def _refuse_other_sites(request: Request) -> None:
    """Browsers say where a form comes from; what does not say it is no browser of ours."""
    fetch_site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(controller_of(request).settings.public_url).netloc}
    foreign = origin is not None and urlsplit(origin).netloc not in ours
    if foreign or fetch_site not in (None, "same-origin"):
        raise CrossSite("The form was sent from another site. Open the page here and send it again.")
    if fetch_site is None and origin is None:
        raise CrossSite("The form does not say where it comes from. Programs use /v1 with a bearer token.")


async def _refuse_forged(request: Request, csrf: str) -> None:
    sent = request.headers.get("x-csrf-token") or (await request.form()).get("csrf")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), csrf.encode()):
        raise CrossSite("The form is older than your login. Open the page again and send it from there.")
