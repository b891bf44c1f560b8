"""The evidence screen of one check: plot, numbers, how it is judged, and every block as a table."""

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from api.dashboard import tiles
from api.dashboard.rendering import PageRoute, render
from api.deps import ReadsDep, page_requires
from api.schemas import RolloutId
from rollout.access import Permission
from rollout.showing.plotting import LARGE, TILE
from rollout.showing.series import SeriesView
from rollout.showing.views import CheckView, RolloutView

router = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
POINTS = 240  # blocks of the large plot and of its table


@router.get("/rollouts/{rollout_id}/checks/{region}/{signal}", dependencies=[page_requires(Permission.READ)])
async def evidence(
    request: Request, rollout_id: RolloutId, region: str, signal: str, reads: ReadsDep
) -> Response:
    """Everything that is known of one check in one region."""
    view = await reads.rollout(rollout_id)
    series = (await reads.series(view, region, [signal], points=POINTS))[signal]
    check = _check(view, region, signal)
    return render(
        request,
        "evidence",
        f"{series.title} in {region}: {view.service} {view.version}",
        live=f"/rollouts/{view.id}/live",
        tone=tiles.mark_of(check).tone if check else "wait",
        view=view,
        series=series,
        tile=tiles.tile(view.id, check, {}) if check else None,
        difference=tiles.difference(check, series.unit) if check else None,
        plot=tiles.plot(series, LARGE),
        small=tiles.plot(series, TILE),
        rows=_rows(series),
    )


def _check(view: RolloutView, region: str, signal: str) -> CheckView | None:
    return next((c for c in view.checks if (c.region, c.signal) == (region, signal)), None)


def _rows(series: SeriesView) -> list[tuple[datetime, str, str]]:
    """Every block, the newest first; a gap says so in words."""
    return [
        (
            point.at,
            "gap" if point.candidate is None else series.shown(point.candidate),
            "gap" if point.baseline is None else series.shown(point.baseline),
        )
        for point in reversed(series.points)
    ]
