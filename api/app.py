"""Puts the app together: middleware, errors, routes. What routes do is in api/routes and api/dashboard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles

import rollout
from api import deps, errors
from api.dashboard import approving, evidence, pages, streams
from api.dashboard.live import Live
from api.idempotency import Ended
from api.limits import BodyLimit, Envelope
from api.metrics import Answered, is_probe
from api.routes import (
    access,
    acts,
    approvals,
    events,
    parts,
    policies,
    report,
    rollouts,
    series,
    services,
    signals,
    system,
)
from api.schemas import ProblemBody
from api.stream import Room
from rollout.access import Permission
from rollout.bootstrap import Controller, beating

TAGS = [
    {"name": "rollouts", "description": "Move a release region by region, and act on it."},
    {"name": "approvals", "description": "What waits for a person, or did."},
    {"name": "events", "description": "The history of everything, in one sequence."},
    {"name": "services", "description": "What is deployed, what runs, and what is known good."},
    {"name": "regions", "description": "Places with their own users."},
    {"name": "policies", "description": "How a release may move, and what is checked."},
    {"name": "access", "description": "Tokens and roles."},
    {"name": "system", "description": "Health, metrics, schemas and problems."},
]
_PROBLEM: dict[str, Any] = {
    "description": "What went wrong and what to do.",
    "content": {"application/problem+json": {"schema": ProblemBody.model_json_schema()}},
}


class Public(StaticFiles):
    """The page's own files, which hold nothing of anybody's; named here so that the route test sees it."""

    permission = Permission.OPEN


def _operation(route: APIRoute) -> str:
    """Name an operation as its handler is named; clients are made from these names."""
    return route.name


def create_app(controller: Controller, *, run_heartbeat: bool = False) -> FastAPI:
    """The whole HTTP side of one controller. With `run_heartbeat` it beats while the app runs."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with beating(controller) if run_heartbeat else nullcontext():
            yield

    app = FastAPI(
        title="Rollout controller",
        version=rollout.__version__,
        description="Moves a release region by region, judges it, rolls back by itself and drives recovery.",
        openapi_tags=TAGS,
        openapi_url=None,  # served behind a permission, as every route
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the Host header
        responses={"default": _PROBLEM},
        lifespan=lifespan,
        generate_unique_id_function=_operation,
        telemetry={"logs": False, "operation_spans": False, "exclude": is_probe},
    )
    app.state.room = Room(controller.settings.streams_max)
    app.state.controller = controller
    app.state.ended = Ended()
    app.state.live = Live(controller.queries.stamps, controller.tail)
    app.add_middleware(BodyLimit)
    app.add_middleware(Envelope, observe=Answered(controller.telemetry))  # the outer one
    errors.install(app)
    deps.install_login(app)
    for part in (
        system,
        rollouts,
        acts,
        parts,
        report,
        approvals,
        events,
        series,
        services,
        signals,
        policies,
        access,
    ):
        app.include_router(part.router)
    for screen in (pages, evidence, approving, streams):
        app.include_router(screen.router)
    app.mount("/static", Public(directory=Path(pages.__file__).parent / "static"), name="static")
    return app
