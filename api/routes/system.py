"""What operators and tools ask: alive, ready, metrics, version, schemas, problems and the routes."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

import rollout
from api.deps import ControllerDep, requires
from api.description import described
from api.health import Check, checks
from api.metrics import text
from api.problems import PAGES, page
from rollout.access import Permission
from rollout.config import policy_schema, regions_schema
from rollout.core.errors import NotFound

router = APIRouter(tags=["system"])
OPEN, READ = [requires(Permission.OPEN)], [requires(Permission.READ)]
MARKDOWN = "text/markdown; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether this replica can do its work, and a sentence for each thing that was looked at."""

    ready: bool
    detail: str
    checks: tuple[Check, ...]


@router.head("/livez", dependencies=OPEN, include_in_schema=False)
@router.get("/livez", dependencies=OPEN)
async def livez() -> dict[str, str]:
    """Answer while the process can."""
    return {"status": "alive"}


@router.head("/readyz", dependencies=OPEN, include_in_schema=False)
@router.get("/readyz", dependencies=OPEN)
async def readyz(controller: ControllerDep, response: Response) -> Readiness:
    """Answer 503, with the sentence why, while the controller cannot do its work."""
    found = await checks(controller)
    failed = [check.detail for check in found if not check.ok]
    response.status_code = 503 if failed else 200
    warned = [check.detail for check in found if check.warn]
    detail = " ".join((*(failed or ["Ready."]), *warned))
    return Readiness(ready=not failed, detail=detail, checks=found)


@router.get("/metrics", dependencies=READ, response_class=Response)
async def metrics(controller: ControllerDep) -> Response:
    """Read the metrics in Prometheus' text format."""
    return Response(await text(controller), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/version", dependencies=READ)
async def version() -> dict[str, str]:
    """Say which version of the controller this is."""
    return {"version": rollout.__version__}


@router.get("/schemas/policy/v1.json", dependencies=READ)
async def policy_v1() -> dict[str, Any]:
    """Read the JSON Schema of a policy."""
    return policy_schema()


@router.get("/schemas/regions/v1.json", dependencies=READ)
async def regions_v1() -> dict[str, Any]:
    """Read the JSON Schema of regions.yaml."""
    return regions_schema()


@router.get("/problems/{code}", dependencies=OPEN, response_class=Response)
async def problem_page(code: str) -> Response:
    """Say what an error means and what to do."""
    if code not in PAGES:
        raise NotFound("problem", code, f"Known: {', '.join(PAGES)}.")
    return Response(page(code), media_type=MARKDOWN)


@router.get("/openapi.json", dependencies=READ)
async def openapi(request: Request) -> dict[str, Any]:
    """Read the OpenAPI description of every route."""
    return described(request.app)


@router.get("/docs", dependencies=READ, response_class=Response)
async def docs(request: Request) -> Response:
    """List the routes as text: a page with scripts from elsewhere is not served here."""
    lines = [
        f"- `{method.upper()} {path}` {about.get('description', '')}"
        for path, methods in request.app.openapi()["paths"].items()
        for method, about in methods.items()
    ]
    return Response("\n".join(["# The HTTP API", "", *lines, ""]), media_type=MARKDOWN)
