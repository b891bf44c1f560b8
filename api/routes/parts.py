"""What belongs to one rollout, by itself: its stages and its checks."""

from api.deps import ReadsDep, requires
from api.lists import ListsDep
from api.routing import v1
from api.schemas import Listing, RolloutId
from rollout.access import Permission
from rollout.showing.views import CheckView, StageView

router = v1("rollouts")
READ = [requires(Permission.READ)]


@router.get("/rollouts/{id}/stages", dependencies=READ)
async def stages(id: RolloutId, reads: ReadsDep, lists: ListsDep) -> Listing[StageView]:  # noqa: A002  # the path's word
    """List its stages in their order, each with its regions."""
    view = await reads.rollout(id)
    return lists.page(view.stages, lambda stage: stage.name)


@router.get("/rollouts/{id}/checks", dependencies=READ)
async def checks(id: RolloutId, reads: ReadsDep, lists: ListsDep) -> Listing[CheckView]:  # noqa: A002  # the path's word
    """List its checks, region by region, with their numbers."""
    view = await reads.rollout(id)
    return lists.page(view.checks, lambda check: f"{check.region}/{check.signal}")
