"""Rows become samples: of intervals as they are, of counters by what they rose. Pure.

Nothing is guessed: a counter that fell without a later start of its process counts from the next reading on.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from pydantic import BaseModel, ConfigDict, Field

from rollout.core.errors import TransientError
from rollout.core.signals import Sample, Signal, SignalKind, series_name
from rollout.ports import Ask
from rollout.sources.exposition import LARGEST
from rollout.sources.http_json_rows import Row, Rows
from rollout.sources.http_json_signals import HttpJsonSignal

AHEAD_S = 300.0  # that a time of theirs may be ahead of ours
LONGEST_S = 60.0  # interval of one row whose predecessor is missing
JITTER_S = 1.0  # by which the start of one process may be told differently
FORGET_S = 3600.0  # after which counters that nobody shows any more are forgotten
MOST_COUNTERS = 2000  # remembered of one signal
ALL_EVENTS = "inf"  # the edge of a distribution that holds all


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Counted(_Stored):
    """The counters of one row when they were read last; `started` where the row says when its process did."""

    at: float
    started: float | None = None
    numbers: dict[str, float]


class Place(_Stored):
    """How far one signal is told, in seconds since the epoch; `heard`: the same of each version."""

    at: float
    heard: dict[str, float] = Field(default_factory=dict)
    counted: dict[str, dict[str, Counted]] = Field(default_factory=dict)  # by version and instance


class Cursor(_Stored):
    """What is remembered between two readings of one region."""

    signals: dict[str, Place] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One signal over one interval, in seconds since the epoch. `first`: nothing is told, only remembered."""

    ask: Ask
    signal: Signal
    spec: HttpJsonSignal
    begin: float
    end: float
    first: bool

    @property
    def running(self) -> frozenset[str]:
        """The versions that are told."""
        return frozenset(instance.version for instance in self.ask.instances)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The samples of a piece, what went wrong, and how far the signal is told now."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class _Part:
    """What one row adds to its version at one time; `since` is where its interval begins."""

    version: str
    at: float
    since: float
    numbers: Mapping[str, float]


def tell(piece: Piece, rows: Rows, place: Place) -> Told:
    """The samples of a piece. Raises TransientError when too much would have to be remembered."""
    problems = list(rows.problems)
    ours = [row for row in rows.found if row.version in piece.running]
    if rows.found and not ours:
        problems.append(_other_versions(rows.found, piece.running))
    timely = [row for row in ours if _timely(row, piece, problems)]
    if piece.spec.counters:
        counting = _Counting(piece, place, problems)
        parts, counted = counting.parts(timely), counting.counted
    else:
        parts, counted = _of_intervals(piece, place, timely, problems), {}
    samples = [] if piece.first else list(_samples(piece, parts, problems))
    heard = {version: at for version, at in place.heard.items() if at > piece.end - FORGET_S}
    heard |= {sample.version: sample.time.timestamp() for sample in samples}
    return Told(
        samples=tuple(samples),
        problems=tuple(problems),
        place=Place(at=piece.end, heard=heard, counted=counted),
    )


def _other_versions(rows: Iterable[Row], running: frozenset[str]) -> str:
    shown = ", ".join(sorted({row.version for row in rows}))[:160]
    return f"its rows are of version {shown}, and the deployer runs {', '.join(sorted(running))[:160]}"


def _timely(row: Row, piece: Piece, problems: list[str]) -> bool:
    ahead = 0.0 if row.at is None else row.at - piece.ask.now.timestamp()
    if ahead > AHEAD_S:
        problems.append(f"a row of version {row.version} is {ahead:.0f} s in the future and does not count")
    return ahead <= AHEAD_S


# ---------------------------------------------------------------------- numbers of intervals


def _of_intervals(piece: Piece, place: Place, rows: Sequence[Row], problems: list[str]) -> list[_Part]:
    """Rows of this interval. Older ones were told before, or came too late; later ones come later."""
    fresh = [row for row in rows if row.at is None or piece.begin < row.at <= piece.end]
    if rows and not fresh:
        newest = max(row.at for row in rows if row.at is not None)
        if newest <= piece.begin:
            problems.append(
                f"its newest row is {piece.end - newest:.0f} s old, and was read already or is late"
            )
    if piece.spec.kind is SignalKind.GAUGE:
        fresh = _newest(fresh)
    return [_part(piece, place, row) for row in fresh]


def _part(piece: Piece, place: Place, row: Row) -> _Part:
    """A row that says its time is of the time since the one before, which may be of an earlier piece."""
    if row.at is None:
        return _Part(row.version, piece.end, piece.begin, row.numbers)
    since = max(place.heard.get(row.version, piece.begin), row.at - LONGEST_S)
    return _Part(row.version, row.at, since, row.numbers)


def _newest(rows: Sequence[Row]) -> list[Row]:
    """Of each instance its newest level, all as of now."""
    newest: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: row.at or 0.0):
        newest[row.version, row.instance] = row
    latest = max((row.at for row in newest.values() if row.at is not None), default=None)
    return [
        Row(version=row.version, instance=row.instance, numbers=row.numbers, at=latest)
        for row in newest.values()
    ]


# ---------------------------------------------------------------------- counters


@dataclass(slots=True)
class _Counting:
    """The counters of one signal, compared with those remembered."""

    piece: Piece
    place: Place
    problems: list[str]
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)

    def parts(self, rows: Sequence[Row]) -> list[_Part]:
        """What each row rose by; what is remembered afterwards is in `counted`."""
        for version, instances in self.place.counted.items():
            kept = {name: one for name, one in instances.items() if one.at > self.piece.end - FORGET_S}
            self._missing(version, kept, rows)
            if kept:
                self.counted[version] = kept
        found = [part for row in rows if (part := self._part(row)) is not None]
        if sum(map(len, self.counted.values())) > MOST_COUNTERS:
            raise TransientError(f"more than {MOST_COUNTERS} rows of counters; ask for sums of them")
        return found

    def _missing(self, version: str, known: Iterable[str], rows: Sequence[Row]) -> None:
        shown = {row.instance for row in rows if row.version == version}
        gone = sorted(set(known) - shown)
        if gone and version in self.piece.running:
            named = f"instance {gone[0]}" if gone[0] else "its row"
            self.problems.append(f"version {version}: {named} is missing from the answer")

    def _part(self, row: Row) -> _Part | None:
        at = self.piece.end if row.at is None else row.at
        known = self.counted.get(row.version, {}).get(row.instance)
        if known is not None and at <= known.at:
            self.problems.append(f"the counters of version {row.version} are no newer than those read before")
            return None
        new = Counted(at=at, started=row.started, numbers=dict(row.numbers))
        self.counted.setdefault(row.version, {})[row.instance] = new
        rises = self._rises(row, known)
        since = self.place.at if known is None else known.at
        return None if rises is None else _Part(row.version, at, since, rises)

    def _rises(self, row: Row, known: Counted | None) -> Mapping[str, float] | None:
        if known is None:
            begun = row.started is not None and row.started > self.place.at and not self.piece.first
            return row.numbers if begun else None
        if row.started is not None and known.started is not None:
            if row.started > known.started + JITTER_S:
                return row.numbers
            if row.started < known.started - JITTER_S:
                return self._doubt(row, "says that it started earlier than before")
        if row.numbers.keys() != known.numbers.keys():
            return self._doubt(row, "has other edges than before")
        rises = {slot: value - known.numbers[slot] for slot, value in row.numbers.items()}
        if min(rises.values()) < 0:
            return self._doubt(row, "has a counter that fell without a later start")
        return rises

    def _doubt(self, row: Row, why: str) -> Mapping[str, float] | None:
        whose = f"version {row.version}" + (f", instance {row.instance}," if row.instance else "")
        self.problems.append(f"{whose} {why}; it counts from the next reading on")
        return None


# ---------------------------------------------------------------------- samples


def _samples(piece: Piece, parts: Iterable[_Part], problems: list[str]) -> Iterator[Sample]:
    """One sample of each version and time, or one for each edge; parts of it are added up."""
    cells: dict[tuple[float, str], list[_Part]] = defaultdict(list)
    for part in parts:
        at = piece.end if piece.spec.counters else part.at
        cells[at, part.version].append(part)
    heard: dict[str, float] = {}
    for (at, version), some in sorted(cells.items(), key=lambda cell: cell[0]):
        if len({frozenset(part.numbers) for part in some}) > 1:
            problems.append(f"the instances of version {version} have different edges; none of them counts")
            continue
        sums = {slot: sum(part.numbers[slot] for part in some) for slot in some[0].numbers}
        why = _odd(sums)
        if why:
            problems.append(f"version {version} {why}; it does not count")
            continue
        since = max(min(part.since for part in some), heard.get(version, -inf))
        heard[version] = at
        for name, value, exposure in _numbers(piece, sums, len(some)):
            yield Sample(
                time=datetime.fromtimestamp(at, UTC),
                region=piece.ask.region,
                version=version,
                signal=name,
                value=value,
                exposure=exposure,
                duration_s=max(0.0, at - since),
            )


def _odd(sums: Mapping[str, float]) -> str:
    if max(map(abs, sums.values())) > LARGEST:
        return "adds up to more than 2**53"
    if sums.get("bad", 0.0) > sums.get("total", inf):
        return f"has {sums['bad']:g} bad of {sums['total']:g} in all"
    counts = (
        [count for _, count in sorted((float(edge), sums[edge]) for edge in sums)]
        if ALL_EVENTS in sums
        else []
    )
    return "has more events below an edge than below the next" if counts != sorted(counts) else ""


def _numbers(piece: Piece, sums: Mapping[str, float], parts: int) -> Iterator[tuple[str, float, float]]:
    """Name of the series, value and exposure, as signals.md says of each kind."""
    name, kind = piece.signal.name, piece.spec.kind
    if kind is SignalKind.DISTRIBUTION:
        for edge in sorted(sums.keys() - {ALL_EVENTS}, key=float):
            yield series_name(name, le=edge), sums[edge], sums[ALL_EVENTS]
    elif kind is SignalKind.RATIO:
        yield name, sums["bad"], sums["total"]
    elif kind is SignalKind.RATE:
        if sums["hours"] > 0:
            yield name, sums["events"], sums["hours"]
    elif kind is SignalKind.GAUGE:
        yield name, sums["value"], float(parts) if piece.spec.instance else 0.0
    else:
        yield name, sums["done"], sums.get("arrived", 0.0)
