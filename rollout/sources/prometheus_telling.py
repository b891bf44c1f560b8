"""Series become samples: one signal of one service in one region, over intervals that adjoin. Pure.

What one series cannot say becomes a sentence about it, never a guess. Nothing depends on when it is told:
the same intervals of the same stored points give the same samples, live and as history.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from math import inf, isnan

from rollout.core.errors import TransientError
from rollout.core.signals import Sample, Signal, SignalKind, series_name
from rollout.sources.exposition import LARGEST
from rollout.sources.prometheus_scope import SHOWN, Owned, Scope, narrowed
from rollout.sources.prometheus_series import (
    JITTER_S,
    PATIENCE,
    Counter,
    Process,
    Rise,
    Series,
    Starts,
    Witnesses,
    level_at,
    refuse_broken,
    usual_gap,
)
from rollout.sources.prometheus_signals import PrometheusSignal

Answers = Mapping[str, Sequence[Series]]  # by the name of the metric
Place = tuple[str, int]  # version, and which interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One signal over the intervals between `edges`, in seconds since the epoch. One edge: nothing to tell.

    `heard` says until when each version was told before.
    """

    signal: Signal
    spec: PrometheusSignal
    region: str
    edges: Sequence[float]
    heard: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The samples of a stretch, until when each version is told now, and what went wrong."""

    samples: tuple[Sample, ...]
    heard: Mapping[str, float]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Number:
    """A sample without its time. `since` is the oldest scrape that it rests on."""

    place: Place
    value: float
    exposure: float = 0.0
    since: float = inf
    name: str = ""
    instance: str = ""


@dataclass(slots=True)
class _Cell:
    """Sums by slot (what is added up, such as `bad`), of one version in one interval."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    since: float = inf

    def add(self, slot: str, amount: float, since: float) -> None:
        self.sums[slot] += amount
        self.since = min(self.since, since)


Groups = Mapping[str, Sequence[Owned]]  # counters by the slot that they add to


def tell(stretch: Stretch, scope: Scope, answers: Answers, starts: Sequence[Series]) -> Told:
    """The samples of a stretch. Raises TransientError when the series cannot be those of this signal."""
    return _Teller(stretch, scope, answers, starts).told()


class _Teller:
    """One stretch under way."""

    def __init__(self, stretch: Stretch, scope: Scope, answers: Answers, starts: Sequence[Series]) -> None:
        self._stretch, self._scope, self._spec = stretch, scope, stretch.spec
        self._edges = stretch.edges
        self._problems: list[str] = []
        selectors = stretch.spec.selectors
        self._here = {one.metric: scope.chosen(answers[one.metric], one.metric) for one in selectors.values()}
        self._starts = self._all_starts(starts)
        chosen = {key: narrowed(one, self._here[one.metric]) for key, one in selectors.items()}
        self._owned = self._sound({key: scope.owned(some, self._problems) for key, some in chosen.items()})

    def told(self) -> Told:
        """Every sample, in the order of time and version."""
        numbers = sorted(
            (one for one in self._form()() if self._countable(one)),
            key=lambda one: (one.place[1], one.place[0]),
        )
        heard = dict(self._stretch.heard)
        samples: list[Sample] = []
        for piece, some in groupby(numbers, key=lambda one: one.place[1]):
            before = dict(heard)
            for one in some:
                samples.append(self._sample(one, before))
                heard[one.place[0]] = self._edges[piece + 1]
        if not samples:
            self._explain_silence()
        return Told(samples=tuple(samples), heard=heard, problems=tuple(dict.fromkeys(self._problems)))

    def _form(self) -> Callable[[], Iterable[_Number]]:
        spec = self._spec
        if spec.kind is SignalKind.RATIO:
            return self._slow_ratio if spec.slower_than else self._ratio
        if spec.kind is SignalKind.RATE:
            return self._by_starts if spec.starts else self._by_restarts
        return {
            SignalKind.DISTRIBUTION: self._distribution,
            SignalKind.GAUGE: self._gauge,
            SignalKind.THROUGHPUT: self._throughput,
        }[spec.kind]

    # ------------------------------------------------------------------ what there is

    def _all_starts(self, series: Sequence[Series]) -> Starts:
        starts = Starts()
        by_process: dict[Process, list[Series]] = defaultdict(list)
        for one in series:
            if self._scope.holds(one):
                by_process[one.process(self._scope.process)].append(one)
        for process, some in by_process.items():
            starts.add(process, some)
        for one in (one for some in self._here.values() for one in some):
            instance = self._scope.instances.get(one.labels.get("instance", ""))
            if instance is not None:
                starts.tell(one.process(self._scope.process), instance.started_at.timestamp())
        return starts

    def _sound(self, groups: Mapping[str, Sequence[Owned]]) -> Groups:
        """Without each process of which one series is no evidence: what is left might hide its failures."""
        broken: dict[Process, str] = {}
        for owned in (one for group in groups.values() for one in group):
            if owned.process in broken:
                continue
            if owned.process in self._starts.doubtful:
                broken[owned.process] = (
                    "it answers now as an older process than before; several processes seem to share its "
                    "address, and each needs its own"
                )
                continue
            try:
                refuse_broken(owned.series, counts=self._spec.kind is not SignalKind.GAUGE)
            except TransientError as error:
                broken[owned.process] = str(error)
        for process, why in broken.items():
            self._problems.append(f"{_called(process)} does not count: {why}")
        return {key: [one for one in group if one.process not in broken] for key, group in groups.items()}

    def _explain_silence(self) -> None:
        """Why there may be no sample at all although there are series."""
        if len(self._edges) < 2 or not any(self._owned.values()):
            self._explain_versions()
            return
        newest = max(
            (one.series for group in self._owned.values() for one in group if one.series.times),
            key=lambda one: one.times[-1],
            default=None,
        )
        if newest is None:
            return
        age = self._edges[-1] - newest.times[-1]
        usual = usual_gap(newest.times, len(newest.times))
        if age > PATIENCE * max(usual, 1.0):
            self._problems.append(
                f"its newest scrape is {age:.0f} s older than the time that was read, and scrapes come every "
                f"{usual:.0f} s; let it be scraped, or raise settle_s if Prometheus gets its points that late"
            )

    def _explain_versions(self) -> None:
        versions = self._scope.versions
        found = self._scope.known_versions(one for some in self._here.values() for one in some)
        if versions and found and not found & versions:
            self._problems.append(
                f"its series are of version {', '.join(sorted(found))[:SHOWN]}, and the deployer runs "
                f"{', '.join(sorted(versions))[:SHOWN]}; compare the label '{self._scope.version_label}'"
            )

    # ------------------------------------------------------------------ counters

    def _tally(self, groups: Groups, *, from_zero: bool = True) -> dict[Place, _Cell]:
        """What the counters of each group rose by, per version and interval.

        Where one counter of a process is unknown at a scrape, the others of it do not count there either.
        """
        found = [(slot, one, rise) for slot, one, rises in self._rises(groups, from_zero) for rise in rises]
        unknown = {(one.process, one.version, rise.time) for _, one, rise in found if rise.amount is None}
        if unknown and from_zero:
            self._problems.append(
                f"scrapes that do not count: {len(unknown)}; a counter fell without a later start of its "
                "process, or was seen first with counts of an older one; it counts from the next scrape on"
            )
        cells: dict[Place, _Cell] = defaultdict(_Cell)
        for slot, one, rise in found:
            if rise.amount is None or (unknown and (one.process, one.version, rise.time) in unknown):
                continue
            piece = self._piece(rise.time)
            if piece is not None:
                cells[one.version, piece].add(slot, rise.amount, rise.since)
        return cells

    def _rises(self, groups: Groups, from_zero: bool) -> Iterator[tuple[str, Owned, list[Rise]]]:
        witnesses = Witnesses()
        for one in (one for group in groups.values() for one in group):
            witnesses.add(one.process, one.version, one.series)
        witnesses.settle()
        for slot, group in groups.items():
            for one in group:
                counter = Counter(
                    series=one.series,
                    process=one.process,
                    version=one.version,
                    starts=self._starts,
                    witnesses=witnesses,
                    lookback_s=self._scope.lookback_s,
                    from_zero=from_zero,
                )
                within = [rise for rise in counter.rises(self._edges[0]) if rise.time <= self._edges[-1]]
                yield slot, one, within

    def _ratio(self) -> Iterator[_Number]:
        for place, cell in self._tally(self._owned).items():
            if "total" in cell.sums:
                yield _Number(
                    place=place, value=cell.sums["bad"], exposure=cell.sums["total"], since=cell.since
                )

    def _slow_ratio(self) -> Iterator[_Number]:
        edge = self._spec.slower_than
        assert edge is not None, "this form says an edge"
        buckets = self._buckets()
        without = _processes(buckets["all"]) - _processes(buckets.get(_edge(edge), ()))
        if without:
            known = ", ".join(sorted(buckets.keys() - {"all"}, key=float)) or "none"
            raise TransientError(
                f"{len(without)} processes have no bucket with the edge {_edge(edge)}, such as "
                f"{_called(min(without)[0])}; there are: {known[:SHOWN]}"
            )
        chosen = {"all": buckets["all"], "within": buckets.get(_edge(edge), ())}
        for place, cell in self._tally(chosen).items():
            if "all" in cell.sums:
                slow = max(0.0, cell.sums["all"] - cell.sums["within"])
                yield _Number(place=place, value=slow, exposure=cell.sums["all"], since=cell.since)

    def _distribution(self) -> Iterator[_Number]:
        buckets = self._buckets()
        everywhere = {
            edge: {version for _, version in _processes(buckets["all"])}
            - {version for _, version in _processes(buckets["all"]) - _processes(group)}
            for edge, group in buckets.items()
        }  # an edge that only some processes of a version have would make the others look slow
        for place, cell in self._tally(buckets).items():
            if "all" not in cell.sums:
                continue
            for edge in sorted(buckets.keys() - {"all"}, key=float):
                if place[0] in everywhere[edge]:
                    yield _Number(
                        place=place,
                        value=min(cell.sums[edge], cell.sums["all"]),
                        exposure=cell.sums["all"],
                        since=cell.since,
                        name=series_name(self._stretch.signal.name, le=edge),
                    )

    def _buckets(self) -> dict[str, list[Owned]]:
        """The buckets of a histogram by edge; `all` is the one without a limit."""
        found: dict[str, list[Owned]] = defaultdict(list)
        for one in self._owned["histogram"]:
            try:
                edge = float(one.series.labels["le"])
            except (KeyError, ValueError) as error:
                raise TransientError(f"{one.series.key[:SHOWN]} has no numeric 'le'") from error
            found["all" if edge == inf else _edge(edge)].append(one)
        if not found.setdefault("all", []) and found.keys() - {"all"}:
            raise TransientError('it has no bucket le="+Inf", so nobody knows how many events there were')
        return found

    def _throughput(self) -> Iterator[_Number]:
        for place, cell in self._tally(self._owned).items():
            if "done" in cell.sums:
                arrived = cell.sums["arrived"]
                yield _Number(place=place, value=cell.sums["done"], exposure=arrived, since=cell.since)

    # ------------------------------------------------------------------ restarts

    def _by_restarts(self) -> Iterator[_Number]:
        found = [(one, rises) for _, one, rises in self._rises(self._owned, from_zero=False)]
        yield from self._rates(found)

    def _by_starts(self) -> Iterator[_Number]:
        yield from self._rates([(one, self._moves(one.series)) for one in self._owned["starts"]])

    def _moves(self, series: Series) -> list[Rise]:
        """One event for each later start. The first sight of a series is none: a deployment made it."""
        points = [(time, start) for time, start in series.points(self._edges[0]) if not isnan(start)]
        return [
            Rise(sooner, time, float(start > before + JITTER_S))
            for (sooner, before), (time, start) in pairwise(points)
            if self._edges[0] < time <= self._edges[-1] and time - sooner < self._scope.lookback_s
        ]

    def _rates(self, found: Sequence[tuple[Owned, list[Rise]]]) -> Iterator[_Number]:
        cells: dict[Place, _Cell] = defaultdict(_Cell)
        single: dict[tuple[Place, str], float] = defaultdict(float)
        for one, rises in found:
            for rise in rises:
                piece = self._piece(rise.time)
                if piece is None or rise.amount is None:
                    continue
                place = (one.version, piece)
                cells[place].add("events", rise.amount, rise.since)
                cells[place].add("hours", (rise.time - rise.since) / 3600, rise.since)
                if rise.amount:
                    single[place, one.series.labels.get(self._spec.by) or _called(one.process)] += rise.amount
        for place, cell in cells.items():
            yield _Number(
                place=place, value=cell.sums["events"], exposure=cell.sums["hours"], since=cell.since
            )
        for (place, instance), events in single.items():
            yield _Number(place=place, value=events, since=cells[place].since, instance=instance)

    # ------------------------------------------------------------------ gauges

    def _gauge(self) -> Iterator[_Number]:
        levels: dict[Place, list[float]] = defaultdict(list)
        fresh: set[Place] = set()
        for one in self._owned["value"]:
            for piece, (begin, end) in enumerate(pairwise(self._edges)):
                level = level_at(one.series, begin, end)
                if level is not None:
                    levels[one.version, piece].append(level)
                    times = one.series.times
                    if bisect_right(times, begin) < bisect_right(times, end):
                        fresh.add((one.version, piece))
        for place in fresh:  # a level that nobody scraped anew is no news
            some = levels[place]
            if self._spec.across == "sum":
                yield _Number(place=place, value=sum(some), exposure=float(len(some)))
            else:
                yield _Number(place=place, value=max(some) if self._spec.across == "max" else _mean(some))

    # ------------------------------------------------------------------ samples

    def _piece(self, time: float) -> int | None:
        """Which interval a scrape belongs to: the one that ends at it or after it."""
        place = bisect_left(self._edges, time) - 1
        return place if 0 <= place < len(self._edges) - 1 else None

    def _countable(self, one: _Number) -> bool:
        if max(abs(one.value), one.exposure) <= LARGEST:
            return True
        self._problems.append(
            f"version {one.place[0]} adds up to {max(abs(one.value), one.exposure):g}, which is beyond "
            "2**53; compare what its instances expose"
        )
        return False

    def _sample(self, one: _Number, heard: Mapping[str, float]) -> Sample:
        version, piece = one.place
        begin, end = self._edges[piece], self._edges[piece + 1]
        return Sample(
            time=datetime.fromtimestamp(end, UTC),
            region=self._stretch.region,
            version=version,
            signal=one.name or self._stretch.signal.name,
            value=one.value,
            exposure=one.exposure,
            duration_s=end - min(begin, max(heard.get(version, -inf), one.since)),
            instance=one.instance,
        )


def _processes(group: Iterable[Owned]) -> set[tuple[Process, str]]:
    return {(one.process, one.version) for one in group}


def _edge(value: float) -> str:
    """An edge as it is named in samples: `0.25`, `1`."""
    return f"{value:.15g}"


def _called(process: Process) -> str:
    return "/".join(part for part in process if part)[:SHOWN] or "a process without labels"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
