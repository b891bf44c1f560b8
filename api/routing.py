"""The routes under /v1: who asks is known before a body is read, and a POST with a key takes effect once."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.deps import admit, permission_among
from api.idempotency import Handler, key_of, once
from rollout.access import Permission

E = TypeVar("E", bound=Callable[..., Any])


def shown_once(endpoint: E) -> E:
    """Say that the answer of a route holds a secret, so that no answer with one is kept."""
    endpoint.shown_once = True  # type: ignore[attr-defined]  # an attribute of its own
    return endpoint


class V1Route(APIRoute):
    """A route under /v1."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler."""
        handle: Handler = super().get_route_handler()
        permission = permission_among(each.dependency for each in self.dependencies)
        keeps = not getattr(self.endpoint, "shown_once", False)

        async def handle_v1(request: Request) -> Response:
            if permission is None or permission is Permission.OPEN:
                return await handle(request)
            await admit(request, permission)  # before the body is looked at
            key = key_of(request) if request.method == "POST" else None
            if key is None or permission is Permission.READ:  # what only reads can be done again
                return await handle(request)
            return await once(request, handle, key, keeps=keeps)

        return handle_v1


def v1(tag: str) -> APIRouter:
    """Make a router for routes under /v1."""
    return APIRouter(prefix="/v1", tags=[tag], route_class=V1Route)
