"""The series of one check in one region: what its plot draws, as numbers."""

from typing import Annotated

from fastapi import Query

from api.deps import ReadsDep, requires
from api.routing import v1
from api.schemas import RolloutId
from rollout.access import Permission
from rollout.showing.series import LEAST_POINTS, MOST_POINTS, POINTS, SeriesView

router = v1("rollouts")
Points = Annotated[
    int, Query(ge=LEAST_POINTS, le=MOST_POINTS, description="The most blocks of time that are wanted.")
]


@router.get("/rollouts/{id}/checks/{region}/{signal}/series", dependencies=[requires(Permission.READ)])
async def series(
    id: RolloutId,  # noqa: A002  # the path's word
    region: str,
    signal: str,
    reads: ReadsDep,
    points: Points = POINTS,
) -> SeriesView:
    """Read what the plot of a check draws: per block the candidate and the baseline, null where a gap is."""
    view = await reads.rollout(id)
    return (await reads.series(view, region, [signal], points=points))[signal]
