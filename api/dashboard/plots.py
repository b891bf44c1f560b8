"""What the plots of the open pages draw, read once for all who look at the same rollout at the same time."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta

from api.dashboard.tiles import Plots
from api.reads import Reads
from rollout.showing.series import SeriesView
from rollout.showing.views import RolloutView

FRESH = timedelta(seconds=5)  # a source is seldom read more often
MOST = 64  # regions that are kept

_Kept = tuple[datetime, int, Mapping[str, SeriesView]]


class PlotCache:
    """The series of regions, by rollout and region: bounded in number and in age.

    Whoever asks has read the rollout before, so that it may be seen.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def of(self, reads: Reads, view: RolloutView, now: datetime) -> Plots:
        """The series of every check of every region that has some."""
        found = {}
        for region in view.regions:
            if region.checks:
                series = await self._region(reads, view, region.region, now)
                found.update({(region.region, signal): each for signal, each in series.items()})
        return found

    async def _region(
        self, reads: Reads, view: RolloutView, region: str, now: datetime
    ) -> Mapping[str, SeriesView]:
        kept = self._kept.get((view.id, region))
        if kept and kept[1] == view.row_version and timedelta(0) <= now - kept[0] < FRESH:
            return kept[2]
        series = await reads.series(view, region)
        self._kept[view.id, region] = (now, view.row_version, series)
        self._kept.move_to_end((view.id, region))
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return series
