"""Services and regions: what is declared, what really runs, and what is known good."""

from fastapi import Request, Response

from api.deps import ActorDep, ControllerDep, ReadsDep, requires
from api.lists import ListsDep
from api.routing import v1
from api.schemas import AdoptBody, Listing, ServiceBody, ServiceName
from api.versions import etag, refuse_stale
from rollout.access import Permission, check_service
from rollout.core.model import KnownGood
from rollout.ports import SeenReplica
from rollout.showing.views import RegionInfo, RunningView, ServiceView

router = v1("services")
READ, ADMIN = [requires(Permission.READ)], [requires(Permission.ADMIN)]


@router.get("/services", dependencies=READ)
async def services(reads: ReadsDep, lists: ListsDep) -> Listing[ServiceView]:
    """List the declared services, by name."""
    return lists.page(await reads.services(), lambda each: each.name)


@router.get("/services/{name}", dependencies=READ)
async def service(name: str, reads: ReadsDep, response: Response) -> ServiceView:
    """Read one service's declaration."""
    view = await reads.service(name)
    response.headers["etag"] = etag(view.row_version)
    return view


@router.put("/services/{name}", dependencies=ADMIN)
async def put_service(
    name: ServiceName,
    body: ServiceBody,
    reads: ReadsDep,
    controller: ControllerDep,
    request: Request,
    response: Response,
) -> ServiceView:
    """Declare a service (201), or replace its declaration (200)."""
    before = await reads.declared(name)
    row_version = before.row_version if before else 0
    refuse_stale(request, row_version)
    saved = await controller.commands.put_service(body.service(name, row_version))
    response.status_code = 200 if before else 201
    response.headers["location"] = f"/v1/services/{name}"
    response.headers["etag"] = etag(saved.version)
    return await reads.service(name)


@router.get("/services/{name}/regions", dependencies=READ)
async def running(name: str, reads: ReadsDep, lists: ListsDep) -> Listing[RunningView]:
    """List what really runs, region by region, and what each could go back to."""
    return lists.page(await reads.running(name), lambda each: each.region)


@router.post("/services/{name}/adopt", dependencies=ADMIN)
async def adopt(
    name: str, body: AdoptBody, actor: ActorDep, reads: ReadsDep, controller: ControllerDep
) -> Listing[KnownGood]:
    """Call what runs now known good."""
    check_service(reads.token, name)
    adopted = await controller.commands.adopt(name, actor, body.reason, body.regions, body.override.strip())
    return Listing(items=adopted)


@router.get("/replicas", dependencies=READ, tags=["system"])
async def replicas(reads: ReadsDep, lists: ListsDep) -> Listing[SeenReplica]:
    """List the controllers that share the database, and which services each works on."""
    return lists.page(await reads.replicas(), lambda each: each.id)


@router.get("/regions", dependencies=READ, tags=["regions"])
async def regions(controller: ControllerDep, lists: ListsDep) -> Listing[RegionInfo]:
    """List the regions in the order of promotion, without the options of their plugins."""
    return lists.page(controller.queries.regions(), lambda each: each.name)
