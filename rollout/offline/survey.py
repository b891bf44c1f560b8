"""What a recording holds, from one look at all of it: who ran where and when, and how often samples come."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.errors import InvalidInput
from rollout.core.signals import series_name, series_parts
from rollout.offline.samples import Recording, Row

MOST_SERIES = 20_000  # of region, version and signal; a file with more is made wrong


@dataclass(slots=True)
class Span:
    """When a version was seen in a region, and in how many rows."""

    first: datetime
    last: datetime
    rows: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`versions` maps a region to its versions; `spacing` a signal to its usual distance, in seconds."""

    name: str
    rows: int
    versions: Mapping[str, Mapping[str, Span]]
    spacing: Mapping[str, float]

    @property
    def checks(self) -> frozenset[str]:
        """The names by which a policy can check what is recorded."""
        return frozenset(check_of(signal) for signal in self.spacing)


@dataclass(slots=True)
class _Seen:
    span: Span
    gaps: Counter[float] = field(default_factory=Counter)


def check_of(signal: str) -> str:
    """`latency{segment=far,le=0.25}` → `latency{segment=far}`: a bucket belongs to its distribution."""
    base, labels = series_parts(signal)
    labels.pop("le", None)
    return series_name(base, **labels)


def survey(recording: Recording) -> Survey:
    """Look once at every row. Raises InvalidInput at the first that cannot be read."""
    series: dict[tuple[str, str, str], _Seen] = {}
    rows = 0
    for row in recording:
        rows += 1
        _note(series, row)
    if len(series) > MOST_SERIES:
        raise InvalidInput(_too_many(recording.name))
    versions: dict[str, dict[str, Span]] = {}
    gaps: dict[str, Counter[float]] = {}
    for (region, version, signal), seen in series.items():
        versions.setdefault(region, {})
        known = versions[region].get(version)
        versions[region][version] = _joined(known, seen.span) if known else seen.span
        gaps.setdefault(signal, Counter()).update(seen.gaps)
    spacing = {signal: _middle(found) for signal, found in gaps.items()}
    return Survey(name=recording.name, rows=rows, versions=versions, spacing=spacing)


def _note(series: dict[tuple[str, str, str], _Seen], row: Row) -> None:
    key = (row.region, row.version, row.signal)
    seen = series.get(key)
    if seen is None:
        if len(series) <= MOST_SERIES:
            series[key] = _Seen(Span(row.time, row.time))
        return
    span = seen.span
    if row.time != span.last:
        gap = float(f"{(row.time - span.last).total_seconds():.2g}")  # two digits: few different ones
        seen.gaps[gap] += 1
        span.last = row.time
    span.rows += 1


def _middle(gaps: Counter[float]) -> float:
    """The median distance, 0 where no series has two samples."""
    half, passed = sum(gaps.values()) / 2, 0
    for gap in sorted(gaps):
        passed += gaps[gap]
        if passed >= half:
            return gap
    return 0.0


def _joined(one: Span, other: Span) -> Span:
    return Span(min(one.first, other.first), max(one.last, other.last), one.rows + other.rows)


def _too_many(name: str) -> str:
    return (
        f"{name} has more than {MOST_SERIES:,} series. A version is a release and a signal a name; "
        "what belongs to one instance goes into the column 'instance'."
    )


def versions_at(spans: Mapping[str, Span], names: Iterable[str]) -> str:
    """Versions and when they were seen, for people."""
    shown = [
        f"'{name}' from {spans[name].first:%Y-%m-%d %H:%M} to {spans[name].last:%Y-%m-%d %H:%M}"
        for name in names
    ]
    return ", ".join(shown) or "none"
