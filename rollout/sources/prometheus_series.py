"""Raw series of one engine, and what each counter rose by from scrape to scrape. Pure numbers.

`increase()` is not used: it extrapolates to the borders of its window, and a series that did not exist at
the first border loses its first count. Here every difference is between two stored points, and a counter is
known to have begun anew by the start time of its process, even where it has already passed its old value.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite, isnan
from typing import NamedTuple

from rollout.core.errors import TransientError
from rollout.sources.exposition import LARGEST

JITTER_S = 2.0  # two looks at one process may disagree on when it started: some kernels move their boot time

PATIENCE = 2.5  # scrapes that a level outlives: one may be late, and one be lost

Process = tuple[str, ...]  # the values of the labels that name one process


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One raw series: the time of each scrape in seconds since the epoch, rising, and what it saw.

    A value that is not a number marks the end of a series: its target has gone, or does not show it any more.
    """

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]

    @property
    def key(self) -> str:
        """The series as people write it: `requests_total{code="200"}`."""
        labels = ",".join(f'{k}="{v}"' for k, v in sorted(self.labels.items()) if k != "__name__")
        return f"{self.labels.get('__name__', '')}{{{labels}}}"

    def process(self, labels: Iterable[str]) -> Process:
        """Which process shows it."""
        return tuple(self.labels.get(label, "") for label in labels)

    def points(self, after: float) -> list[tuple[float, float]]:
        """The scrapes later than `after`, with those before it back to the last one that saw a number."""
        first = bisect_right(self.times, after)
        while first > 0:
            first -= 1
            if not isnan(self.values[first]):
                break
        return list(zip(self.times[first:], self.values[first:], strict=True))

    def since(self, start: float) -> "Series":
        """Only the scrapes from `start` on."""
        first = bisect_right(self.times, start)
        return Series(labels=self.labels, times=self.times[first:], values=self.values[first:])


def refuse_broken(series: Series, *, counts: bool) -> None:
    """Raise TransientError for a series that is no evidence: an infinite, impossible or repeated point."""
    last = float("-inf")
    for time, value in zip(series.times, series.values, strict=True):
        if not time > last:
            raise TransientError(f"{series.key[:160]} has two points of one time, or out of order")
        last = time
        if isnan(value):
            continue
        if not isfinite(value) or (counts and value < 0):
            raise TransientError(f"{series.key[:160]} is {value:g}, which is not {_wanted(counts)}")
        if abs(value) > LARGEST:
            raise TransientError(f"{series.key[:160]} is {value:g}, which is beyond 2**53")


def _wanted(counts: bool) -> str:
    return "a count" if counts else "a number"


class Starts:
    """When each process started, as the engine or else the deployer tells."""

    def __init__(self) -> None:
        self._runs: dict[Process, list[tuple[float, float]]] = {}  # (first seen at, started at)
        self.doubtful: set[Process] = set()  # older than before: several processes behind one address

    def tell(self, process: Process, start: float) -> None:
        """What the deployer says, for a process that says nothing of its start itself."""
        self._runs.setdefault(process, [(start, start)])

    def add(self, process: Process, series: Iterable[Series]) -> None:
        """Take in what one process says of its start; the youngest counts where several say something."""
        seen: dict[float, float] = {}
        for one in series:
            for time, start in zip(one.times, one.values, strict=True):
                if isfinite(start):
                    seen[time] = max(start, seen.get(time, start))
        runs: list[tuple[float, float]] = []
        for time in sorted(seen):
            if not runs or seen[time] > runs[-1][1] + JITTER_S:
                runs.append((time, seen[time]))
            elif seen[time] < runs[-1][1] - JITTER_S:
                self.doubtful.add(process)
        if runs:
            self._runs[process] = runs

    def at(self, process: Process, time: float) -> float | None:
        """The start of the process that was scraped at `time`; None where nobody knows."""
        runs = self._runs.get(process, ())
        known = [start for seen, start in runs if seen <= time]
        if known:
            return known[-1]
        return runs[0][1] if runs and runs[0][1] <= time else None

    def restarted(self, process: Process, before: float, after: float) -> bool | None:
        """Whether another process answered at `after` than at `before`; None where nobody knows."""
        runs = self._runs.get(process, ())
        if len(runs) == 1 and runs[0][1] <= before:
            return False  # nearly always, and asked for each scrape of each series
        new = self.at(process, after)
        if new is None:
            return None
        old = self.at(process, before)
        return new > (before if old is None else old + JITTER_S)


class Rise(NamedTuple):
    """What a counter rose by between the scrapes at `since` and `time`; None: nobody can know."""

    since: float
    time: float
    amount: float | None


@dataclass(slots=True)
class Witnesses:
    """When each process of each version was scraped at all, so that a series is known to be new."""

    times: dict[tuple[Process, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, process: Process, version: str, series: Series) -> None:
        """Every scrape of `series`; call `settle` after the last one."""
        self.times[process, version] += series.times

    def settle(self) -> None:
        """Put the scrapes in order."""
        self.times = {key: sorted(set(times)) for key, times in self.times.items()}

    def before(self, process: Process, version: str, time: float) -> float:
        """The last scrape before `time`, or minus infinity."""
        times = self.times.get((process, version), [])
        place = bisect_right(times, time) - 1
        while place >= 0 and times[place] >= time:
            place -= 1
        return times[place] if place >= 0 else float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One counter of one process of one version, and what is known around it."""

    series: Series
    process: Process
    version: str
    starts: Starts
    witnesses: Witnesses
    lookback_s: float
    from_zero: bool = True  # a process's own counter: begins at 0 with it

    def rises(self, after: float) -> list[Rise]:
        """One for each scrape later than `after`. They rest on stored points, not on when anybody looks."""
        made: list[Rise] = []
        known = [(t, v) for t, v in self.series.points(after) if not isnan(v)]
        for place, (time, value) in enumerate(known):
            if time <= after:
                continue
            before = known[place - 1] if place else None
            if before is not None and time - before[0] < self.lookback_s:
                made.append(Rise(before[0], time, self._difference(*before, time, value)))
            else:
                made.append(self._first(time, value))
        return made

    def _difference(self, earlier: float, before: float, time: float, value: float) -> float | None:
        if not self.from_zero:
            return value - before if value >= before else None
        anew = self.starts.restarted(self.process, earlier, time)
        if anew or (anew is None and value < before):
            return value
        return value - before if value >= before else None

    def _first(self, time: float, value: float) -> Rise:
        """A series seen first counts from 0 when its process is that young, or was scraped without it before.

        Otherwise it may hold the counts of days: unknown, and counted from the next scrape on.
        """
        if not self.from_zero:
            return Rise(time, time, None)
        start = self.starts.at(self.process, time)
        if start is not None and start > time - self.lookback_s:
            return Rise(start, time, value)
        last = self.witnesses.before(self.process, self.version, time)
        known = last > time - self.lookback_s
        return Rise(last if known else time, time, value if known else None)


def usual_gap(times: Sequence[float], end: int) -> float:
    """The usual distance of scrapes before place `end`, in seconds; 0 where there are not two."""
    recent = times[max(0, end - 6) : end]
    gaps = sorted(later - sooner for sooner, later in pairwise(recent))
    return gaps[len(gaps) // 2] if gaps else 0.0


def level_at(series: Series, after: float, until: float) -> float | None:
    """The level at `until`, or None for a series that has ended.

    A point later than `after` is fresh; an older one counts while the next scrape may be on its way: up to
    `PATIENCE` times the usual distance of scrapes.
    """
    end = bisect_right(series.times, until)
    if end == 0 or not isfinite(series.values[end - 1]):
        return None
    newest = series.times[end - 1]
    if newest > after or until - newest <= PATIENCE * usual_gap(series.times, end):
        return series.values[end - 1]
    return None
