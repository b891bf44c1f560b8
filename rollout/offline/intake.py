"""Rows into samples of the judge, and the history of a release in bounded memory."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from rollout.core.judge.samples import block_of
from rollout.core.plan import Plan
from rollout.core.signals import Sample, SignalKind
from rollout.offline.arms import Arms
from rollout.offline.samples import Row, Unusable
from rollout.offline.survey import Survey, check_of

HISTORY = timedelta(days=14)  # kept from before a deploy: two of each day of the week
COUNTED = frozenset({SignalKind.RATIO, SignalKind.RATE, SignalKind.DISTRIBUTION})  # an exposure is needed
SKIPPED = 1.5  # a distance longer than this many usual ones hides an interval without a row

Series = tuple[str, str, str, str]  # region, version, signal, instance


class Intake:
    """Names the arm of a row and the length of its interval; rows that speak for nobody are dropped."""

    def __init__(self, plan: Plan, arms: Arms, found: Survey, unusable: Unusable) -> None:
        self._plan, self._arms, self._unusable = plan, arms, unusable
        self._usual = found.spacing
        self._kinds: dict[str, SignalKind | None] = {}
        self._newest: dict[Series, datetime] = {}

    def sample(self, row: Row) -> Sample | None:
        """The sample that the judge is given, or None."""
        kind = self._kind(row.signal)
        if kind is None:
            return None
        series = (row.region, row.version, row.signal, row.instance)
        before = self._newest.get(series)
        if before == row.time:
            self._unusable.note("a time of a series that is there twice")
            return None
        self._newest[series] = row.time
        version = self._arms.label(row.region, row.version, row.time)
        if version is None:
            return None
        exposure = row.exposure
        if math.isnan(exposure):
            if kind in COUNTED and not row.instance:
                self._unusable.note(f"exposure of {check_of(row.signal)} is missing")
                return None
            exposure = 0.0
        return Sample(
            time=row.time,
            region=row.region,
            version=version,
            signal=row.signal,
            value=row.value,
            exposure=exposure,
            duration_s=self._duration(row, before),
            instance=row.instance,
        )

    def _kind(self, signal: str) -> SignalKind | None:
        if signal not in self._kinds:
            meaning = self._plan.signals.get(check_of(signal))
            self._kinds[signal] = meaning.kind if meaning else None
        return self._kinds[signal]

    def _duration(self, row: Row, before: datetime | None) -> float:
        """As written, else the distance to the sample before, else what is usual for the signal."""
        if not math.isnan(row.duration_s):
            return row.duration_s
        usual = self._usual.get(row.signal, 0.0)
        if before is None:
            return usual
        distance = (row.time - before).total_seconds()
        return distance if not usual or distance < SKIPPED * usual else usual


class Memory:
    """The samples of known-good versions of lately, one for each series and block of the judge."""

    def __init__(self, plan: Plan, candidate: str) -> None:
        self._candidate, self._length = candidate, plan.judging.block
        self._levels = {name for name, signal in plan.signals.items() if signal.kind is SignalKind.GAUGE}
        self._open: dict[Series, list[Sample]] = {}
        self._closed: dict[str, deque[Sample]] = {}

    def add(self, sample: Sample) -> None:
        """Keep a sample of a version that counts as good. Those of instances say nothing about history."""
        if sample.version == self._candidate or sample.instance:
            return
        series = (sample.region, sample.version, sample.signal, "")
        group = self._open.setdefault(series, [])
        if group and self._block(group[0]) != self._block(sample):
            self._close(group)
        group.append(sample)

    def before(self, regions: Iterable[str], now: datetime) -> list[Sample]:
        """The history of `regions` at `now`."""
        wanted = set(regions)
        found = [
            one
            for region in wanted
            for one in self._closed.get(region, ())
            if now - HISTORY <= one.time <= now
        ]
        for (region, *_), group in self._open.items():
            if group and region in wanted:
                found.append(self._as_one(group))
        return sorted(found, key=lambda sample: sample.time)

    def _block(self, sample: Sample) -> int:
        return block_of(sample.time.timestamp(), self._length)

    def _close(self, group: list[Sample]) -> None:
        one = self._as_one(group)
        kept = self._closed.setdefault(one.region, deque())
        kept.append(one)
        while kept and kept[0].time < one.time - HISTORY:
            kept.popleft()
        group.clear()

    def _as_one(self, group: list[Sample]) -> Sample:
        """A block's samples as one: counts add up, of levels the middle one stands for all."""
        if len(group) == 1:
            return group[0]
        last = group[-1]
        level = check_of(last.signal) in self._levels
        middle = sorted(group, key=lambda sample: sample.value)[len(group) // 2]
        return Sample(
            time=last.time,
            region=last.region,
            version=last.version,
            signal=last.signal,
            value=middle.value if level else sum(one.value for one in group),
            exposure=middle.exposure if level else sum(one.exposure for one in group),
            duration_s=sum(one.duration_s for one in group),
        )


def moments(rows: Iterable[Row], since: datetime) -> Iterator[tuple[datetime, list[Row]]]:
    """Rows after `since`, together where their times are equal."""
    group: list[Row] = []
    for row in rows:
        if row.time <= since:
            continue
        if group and row.time != group[0].time:
            yield group[0].time, group
            group = []
        group.append(row)
    if group:
        yield group[0].time, group
