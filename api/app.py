"""Puts the app together: middleware, errors, routes. What routes do is in api/routes and api/dashboard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

import rollout
from api import deps, errors
from api.dashboard import pages
from api.limits import BodyLimit, Envelope
from api.metrics import Metrics
from api.routes import access, policies, rollouts, services, system
from api.schemas import ProblemBody
from rollout.access import Permission
from rollout.bootstrap import Controller

TAGS = [
    {"name": "rollouts", "description": "Move a release region by region, and act on it."},
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


def create_app(controller: Controller, *, run_heartbeat: bool = False) -> FastAPI:
    """The whole HTTP side of one controller. With `run_heartbeat` it beats while the app runs."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if run_heartbeat:
            await controller.heartbeat.start()
        try:
            yield
        finally:
            if run_heartbeat:
                await controller.heartbeat.stop()

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
    )
    app.state.controller, app.state.metrics = controller, Metrics()
    app.add_middleware(BodyLimit)
    app.add_middleware(Envelope, observe=app.state.metrics.observe)  # the outer one
    errors.install(app)
    deps.install_login(app)
    for part in (system, rollouts, services, policies, access, pages):
        app.include_router(part.router)
    app.mount("/static", Public(directory=Path(pages.__file__).parent / "static"), name="static")
    return app
