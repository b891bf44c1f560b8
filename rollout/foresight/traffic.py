"""What a region carries now, as a plan needs it: rates, paces, how much they vary, and days of history.

What must not live here: what can be seen at it (outlook.py), and words (sight.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from rollout.core.judge.calibrate import edges_of
from rollout.core.judge.reach import RARE, Level, Stream, level_of, noise_of
from rollout.core.judge.samples import COUNTS, block_of, cell_of, told, usable
from rollout.core.plan import Plan
from rollout.core.signals import BaselineKind, Sample, Signal, SignalKind
from rollout.ports import Store

LATELY_S = 6 * 3600.0  # whose samples say how often things happen
PACE_S = 3600.0  # whose samples say how much traffic there is at this hour
DAYS = 15  # of history that are looked through: as many as a judge is calibrated on
PROBE_S = 60.0  # blocks of these looks


@dataclass(slots=True)
class Series:
    """One series of a region over all versions, with harm turned to "more of it" where it is counted."""

    family: str
    events: float = 0.0
    exposure: float = 0.0
    spans: dict[datetime, tuple[float, float]] = field(default_factory=dict)  # time → seconds, exposure
    counts: dict[int, list[float]] = field(default_factory=dict)  # block → events, exposure
    levels: dict[int, list[float]] = field(default_factory=dict)

    def add(self, signal: Signal, sample: Sample, block_s: float) -> None:
        """Take one sample in."""
        said, block = told(signal, sample), block_of(sample.time.timestamp(), block_s)
        if said.family != COUNTS:
            self.levels.setdefault(block, []).append(said.value)
            return
        self.events += said.value
        self.exposure += said.exposure
        _, before = self.spans.get(sample.time, (0.0, 0.0))
        self.spans[sample.time] = (sample.duration_s, before + said.exposure)
        sums = self.counts.setdefault(block, [0.0, 0.0])
        sums[0] += said.value
        sums[1] += said.exposure

    def pace(self, since: datetime | None) -> float:
        """Exposure a second since then, or over all of it where there is nothing since then."""
        recent = [span for at, span in self.spans.items() if since is None or at > since]
        spans = recent or list(self.spans.values())
        seconds = sum(lasted for lasted, _ in spans)
        return sum(exposure for _, exposure in spans) / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The series of one region, `days` of history there are, and since when its pace is measured.

    `edges` maps a distribution to the series of the edges that it is judged at, the slowest last.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    edges: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    days: int = 0
    since: datetime | None = None
    block_s: float = 60.0
    _found: dict[tuple[str, SignalKind], Stream | Level | None] = field(default_factory=dict, repr=False)

    def reach(self, series: str, kind: SignalKind) -> Stream | Level | None:
        """What is measured of a series; None where it was not read."""
        if (series, kind) not in self._found:  # asked for at many weights
            self._found[series, kind] = self._reach(series, kind)
        return self._found[series, kind]

    def _reach(self, name: str, kind: SignalKind) -> Stream | Level | None:
        found = self.series.get(name)
        if found is None:
            return None
        if found.family != COUNTS:
            return level_of([median(found.levels[block]) for block in sorted(found.levels)])
        if found.exposure <= 0:
            return None
        rare = kind is SignalKind.RATE
        return Stream(
            events=found.events,
            exposure=found.exposure,
            per_s=found.pace(self.since),
            noise=RARE if rare else noise_of({at: (x, n) for at, (x, n) in found.counts.items()}),
            block_s=self.block_s,
            known=found.exposure if rare else 0.0,
        )


def traffic(
    samples: Iterable[Sample],
    signals: Mapping[str, Signal],
    *,
    block_s: float = 60.0,
    days: int = 0,
    since: datetime | None = None,
) -> Traffic:
    """What samples of one region carry, whatever version they are of; `since` begins its present pace."""
    series: dict[str, Series] = {}
    spread: dict[str, list[Sample]] = {}
    for sample in samples:
        check, edge = cell_of(sample.signal)
        signal = signals.get(check)
        if signal is None or sample.instance or sample.duration_s <= 0 or not usable(signal.kind, sample):
            continue
        found = series.setdefault(sample.signal, Series(told(signal, sample).family))
        found.add(signal, sample, block_s)
        if edge is not None:
            spread.setdefault(check, []).append(sample)
    return Traffic(
        series=series,
        edges={check: _edges(there) for check, there in spread.items()},
        days=days,
        since=since,
        block_s=block_s,
    )


def _edges(samples: Sequence[Sample]) -> Mapping[float, str]:
    named = {cell_of(sample.signal)[1]: sample.signal for sample in samples}
    return {edge: named[edge] for edge in edges_of(samples)}


async def read_traffic(
    store: Store,
    service: str,
    plan: Plan,
    now: datetime,
    *,
    regions: Sequence[str] | None = None,
    lately_s: float = LATELY_S,
    days: bool = False,
) -> Mapping[str, Traffic]:
    """The traffic of these regions, or of all of a plan, and of those that they are compared with.

    It is that of the versions that are known good or run now. `days` asks for the days of history even where
    nothing is compared with them.
    """
    named = tuple(plan.regions) if regions is None else tuple(regions)
    kinds = {plan.baselines(region, check)[0] for region in named for check in plan.checks}
    wanted = _with_peers(plan, named) if BaselineKind.PEERS in kinds else named
    if not wanted:
        return {}
    past = _Past(store, service, wanted, await _versions(store, service))
    lately: dict[str, list[Sample]] = {name: [] for name in wanted}
    block_s, since = plan.judging.block, now - timedelta(seconds=PACE_S)
    signals = tuple(plan.signals.values())
    for sample in await past.read(signals, now - timedelta(seconds=lately_s), now, block_s):
        lately[sample.region].append(sample)
    kept: dict[str, int] = {}
    if days or kinds - {BaselineKind.BESIDE}:
        probes = await past.probes(plan, now)
        kept = _days(probes, now)
        for sample in probes:  # rare events take longer than hours to know
            if plan.signals[cell_of(sample.signal)[0]].kind is SignalKind.RATE:
                lately[sample.region].append(sample)
    return {
        name: traffic(found, plan.signals, block_s=block_s, days=kept.get(name, 0), since=since)
        for name, found in lately.items()
    }


def _with_peers(plan: Plan, regions: Iterable[str]) -> tuple[str, ...]:
    """These regions and those that are upgraded after them, each once."""
    named = tuple(regions)
    return tuple(dict.fromkeys((*named, *(peer for region in named for peer in plan.peers(region)))))


async def _versions(store: Store, service: str) -> tuple[str, ...]:
    found: set[str] = set()
    for known in await store.service_regions(service):
        found |= {good.release.version for good in known.known_good} | set(known.running)
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class _Past:
    """The stored history of some regions."""

    store: Store
    service: str
    regions: tuple[str, ...]
    versions: tuple[str, ...]

    async def read(
        self, signals: Sequence[Signal], since: datetime, until: datetime, block_s: float
    ) -> tuple[Sample, ...]:
        """A sample for each whole block in between."""
        return await self.store.history(
            self.service,
            self.regions,
            signals=signals,
            versions=self.versions,
            since=since,
            until=until,
            block_s=block_s,
        )

    async def probes(self, plan: Plan, now: datetime) -> tuple[Sample, ...]:
        """What was read on each of the last days, in the hour that ends at this time of day."""
        meant = tuple(plan.signals.values())
        small = tuple(signal for signal in meant if signal.kind is not SignalKind.DISTRIBUTION)
        found: list[Sample] = []
        for day in range(1, DAYS + 1):
            until = now - timedelta(days=day)
            found += await self.read(small or meant, until - timedelta(hours=1), until, PROBE_S)
        return tuple(found)


def _days(probes: Iterable[Sample], now: datetime) -> dict[str, int]:
    """On how many days each region was read."""
    days = {(sample.region, (now - sample.time).days) for sample in probes}
    return Counter(region for region, _ in days)
