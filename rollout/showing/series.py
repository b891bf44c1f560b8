"""What the plot of one check in one region draws, as numbers: candidate and baseline per block of time.

The page, the report and GET /v1/rollouts/{id}/checks/{region}/{signal}/series all draw from these. What must
not live here: SQL (the store gives blocks), or shapes and colours (plotting.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor

from rollout.core import reason as say
from rollout.core.errors import NotFound
from rollout.core.judge import tolerance
from rollout.core.judge.samples import LEVELS, cell_of, told, usable
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import RegionRollout
from rollout.core.plan import GAPS, Plan
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Case, Event, Store
from rollout.showing.views import CheckView

LEAST_POINTS, POINTS, MOST_POINTS = 10, 120, 500
BEFORE_LEAST, BEFORE_MOST = timedelta(minutes=3), timedelta(hours=6)  # shown from before the deploy
AFTER_MOST = timedelta(hours=48)  # shown from the deploy on; then only the newest part
KEPT = ((0.0, 3600.0), (60.0, 14 * 86400.0), (600.0, float("inf")))  # block of the store, up to which age
LENGTHS = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    180,
    240,
    300,
    420,
    600,
    900,
    1200,
    1800,
    3600,
)  # of a block, in seconds
BAND_LEAST = 5  # blocks of the baseline, for its band to say anything
MARKS_SEEN = 500  # events of the rollout, the newest

SHARES = (SignalKind.RATIO, SignalKind.DISTRIBUTION)
_HOLDS = (
    Trigger.HOLD,
    Trigger.NO_DATA,
    Trigger.SUSPECTED,
    Trigger.BAKE_EXPIRED,
    Trigger.GATE_UNMET,
    Trigger.DRIFTED,
    Trigger.INVARIANT_BROKEN,
)
_BACKS = (Trigger.HARM, Trigger.ROLLBACK, Trigger.DEPLOY_FAILED, Trigger.GATE_FAILED)
_KINDS: Mapping[str, tuple[str, str]] = {
    RegionTrigger.DEPLOY: ("weight", "weight"),
    RegionTrigger.BAKE_PASSED: ("promote", "passed"),
    RegionTrigger.RESTORED: ("rollback", "restored"),
    Trigger.PROMOTE: ("promote", "promoted"),
    Trigger.WOULD_ROLL_BACK: ("rollback", "would roll back"),
    **dict.fromkeys(_HOLDS, ("hold", "held")),
    **dict.fromkeys(_BACKS, ("rollback", "rollback")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesMark:
    """A moment that is marked. `kind`: deploy, weight, promote, hold or rollback; `why` is its reason."""

    at: datetime
    kind: str
    text: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPoint:
    """One block of time, by its END. None is a gap: nothing was measured then."""

    at: datetime
    candidate: float | None
    baseline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """What a plot draws, in the unit of the check's view (a share is 0..1), and the same in words.

    `band` is the 5th and the 95th percentile of the baseline's blocks; `compared_with` the level that the
    judge compares with, `limit` what the value may not pass. `bake` has no end while it lasts. `edge` is that
    of a distribution, whose values are the shares beyond it.
    """

    rollout: str
    region: str
    signal: str
    title: str
    unit: str  # "%" of a share, "per instance-hour" of a rate, else the signal's own
    edge: float | None
    candidate: str
    baseline: str
    baseline_kind: str
    since: datetime
    until: datetime
    block_s: int
    points: tuple[SeriesPoint, ...]
    band: tuple[float, float] | None
    compared_with: float | None
    limit: float | None
    bake: tuple[datetime, datetime | None] | None
    marks: tuple[SeriesMark, ...]
    settings: Mapping[str, str]  # how the check is judged, in words by name
    text: str

    def shown(self, value: float | None) -> str:
        """A value as a person reads it: `0.42 %`."""
        return say.number(self._kind, self.unit, value)

    @property
    def _kind(self) -> SignalKind:
        kinds = {"%": SignalKind.RATIO, PER_HOUR: SignalKind.RATE}
        return kinds.get(self.unit, SignalKind.GAUGE)


PER_HOUR = "per instance-hour"


def unit_of(signal: Signal) -> str:
    """The unit in which the values of a check are shown."""
    if signal.kind in SHARES:
        return "%"
    return PER_HOUR if signal.kind is SignalKind.RATE else signal.unit


def known_region(case: Case, region: str) -> RegionRollout:
    """One region of a rollout. Raises NotFound naming those that it has."""
    for found in case.rollout.regions:
        if found.region == region:
            return found
    known = ", ".join(each.region for each in case.rollout.regions)
    raise NotFound("region", region, f"Known to this rollout: {known}.")


def known_signal(case: Case, signal: str) -> Signal:
    """What a check of the plan measures. Raises NotFound naming the checks that it has."""
    checked = [check.signal for check in case.plan.checks]
    if signal in checked:
        return case.plan.signals[signal]
    also = " Gaps are counted, and have no series." if signal == GAPS else ""
    raise NotFound("check", signal, f"Checked by this rollout: {', '.join(checked)}.{also}")


async def read_series(
    store: Store,
    case: Case,
    region: str,
    checks: Sequence[CheckView],
    *,
    now: datetime,
    signals: Sequence[str] = (),
    points: int = POINTS,
) -> Mapping[str, SeriesView]:
    """The series of some checks of one region, or of all, from one pass over its history.

    `checks` is what the judge says of them now. At most `points` blocks; at most 10 reads of 6 hours each.
    Raises NotFound for a region or a signal that the rollout does not have.
    """
    at = known_region(case, region)
    wanted = {name: known_signal(case, name) for name in signals or [c.signal for c in case.plan.checks]}
    candidate, baseline = case.rollout.release.version, _baseline(case, at)
    since, until, block_s = _window(case, at, now, points)
    found: Sequence[Sample] = ()
    if at.touched_at is not None:
        found = await store.history(
            case.rollout.release.service,
            [region],
            signals=list(wanted.values()),
            versions={candidate, baseline} - {""},
            since=since,
            until=until,
            block_s=block_s,
        )
    events = await store.events(rollout_id=case.rollout.id, newest=True, limit=MARKS_SEEN)
    told_of = {check.signal: check for check in checks if check.region == region}
    cells = _cells(found, wanted)
    bake, marks = _bake(case, at, events), _marks(events, at, since)
    frame = _Frame(case, at, candidate, baseline, since, until, block_s, bake, marks)
    return {name: frame.view(signal, cells[name], told_of.get(name)) for name, signal in wanted.items()}


def _baseline(case: Case, at: RegionRollout) -> str:
    evidence = case.evidence.get(at.region)
    if evidence is not None:
        return evidence.baseline
    return at.back_to.release.version if at.back_to else ""


def _window(case: Case, at: RegionRollout, now: datetime, points: int) -> tuple[datetime, datetime, float]:
    """From when to when, and how long a block is: as much from before the deploy as from after it."""
    begun = at.touched_at or now
    until = min(now, _ended(case, at) or now)
    after = until - begun
    since = max(begun - min(max(after, BEFORE_LEAST), BEFORE_MOST), until - AFTER_MOST)
    span = max((until - since).total_seconds(), 1.0)
    age_s = (now - since).total_seconds()
    kept = next(length for length, most_s in KEPT if age_s < most_s)
    least = kept or max(1.0, case.plan.judging.interval)
    lengths = (float(length) for length in LENGTHS if length >= least and (not kept or length % kept == 0))
    block_s = next((length for length in lengths if span / length <= points), ceil(span / points))
    first = floor(since.timestamp() / block_s) * block_s
    return datetime.fromtimestamp(first, UTC), until, float(block_s)


def _ended(case: Case, at: RegionRollout) -> datetime | None:
    """Until when there is something to show of a rollout that has ended; None while it goes on."""
    if at.restored_at:
        return at.restored_at + BEFORE_LEAST
    if not case.rollout.finished or at.touched_at is None:
        return None
    return at.touched_at + AFTER_MOST


# ------------------------------------------------------------------ from samples to points

_Cells = Mapping[str, Mapping[float | None, Sequence[Sample]]]  # check → edge → its blocks


def _cells(found: Iterable[Sample], wanted: Mapping[str, Signal]) -> _Cells:
    cells: dict[str, dict[float | None, list[Sample]]] = {name: defaultdict(list) for name in wanted}
    for sample in found:
        name, edge = cell_of(sample.signal)
        if name in wanted and usable(wanted[name].kind, sample):
            cells[name][edge].append(sample)
    return cells


def values(signal: Signal, blocks: Iterable[Sample]) -> Mapping[tuple[str, float], float]:
    """The value of each version in each block, by its end in epoch seconds; none without exposure."""
    found = {}
    for sample in blocks:
        said = told(signal, sample)
        if said.exposure > 0:
            value = said.value if said.family == LEVELS else said.value / said.exposure
            found[sample.version, sample.time.timestamp()] = value
    return found


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the series of one region share."""

    case: Case
    at: RegionRollout
    candidate: str
    baseline: str
    since: datetime
    until: datetime
    block_s: float
    bake: tuple[datetime, datetime | None] | None
    marks: tuple[SeriesMark, ...]

    def view(
        self, signal: Signal, cells: Mapping[float | None, Sequence[Sample]], check: CheckView | None
    ) -> SeriesView:
        edge = _edge(signal, cells, check, self.baseline)
        points = _from_first(self._points(values(signal, cells.get(edge, ()))))
        compared = check.baseline if check else None
        limit = check.limit if check and check.limit and check.limit > 0 else None
        beyond = f" {say.beyond_edge(signal, edge)}" if edge is not None else ""
        made = SeriesView(
            rollout=self.case.rollout.id,
            region=self.at.region,
            signal=signal.name,
            title=f"{signal.title}{beyond}",
            unit=unit_of(signal),
            edge=edge,
            candidate=self.candidate,
            baseline=self.baseline,
            baseline_kind=check.baseline_kind if check else "",
            since=points[0].at - timedelta(seconds=self.block_s) if points else self.since,
            until=self.until,
            block_s=round(self.block_s),
            points=points,
            band=band_of([p.baseline for p in points if p.baseline is not None]),
            compared_with=compared,
            limit=limit,
            bake=self.bake,
            marks=self.marks,
            settings=_settings(self.case.plan, signal),
            text="",
        )
        return _with_words(made)

    def _points(self, found: Mapping[tuple[str, float], float]) -> tuple[SeriesPoint, ...]:
        """Every block of the window, with or without numbers."""
        if not found:
            return ()
        first = self.since.timestamp()
        count = floor((self.until.timestamp() - first) / self.block_s)
        ends = [first + (n + 1) * self.block_s for n in range(count)]
        return tuple(
            SeriesPoint(
                at=datetime.fromtimestamp(end, UTC),
                candidate=found.get((self.candidate, end)),
                baseline=found.get((self.baseline, end)),
            )
            for end in ends
        )


def _bake(case: Case, at: RegionRollout, events: Sequence[Event]) -> tuple[datetime, datetime | None] | None:
    """From when the version was read back there until it passed, or until it was to go back."""
    rows = [event.transition for event in events if event.transition.region == at.region]
    begun = next((row.at for row in rows if row.trigger == RegionTrigger.DEPLOYED), at.bake_started_at)
    return (begun, at.passed_at or case.rollout.decided_at) if begun else None


def _from_first(points: tuple[SeriesPoint, ...]) -> tuple[SeriesPoint, ...]:
    """From the first block with a number on: what was before anybody measured is no gap."""
    first = next((n for n, p in enumerate(points) if (p.candidate, p.baseline) != (None, None)), len(points))
    return points[first:]


def _edge(
    signal: Signal, cells: Mapping[float | None, Sequence[Sample]], check: CheckView | None, baseline: str
) -> float | None:
    """The edge of a distribution: the judge's own; else the first that a tenth of the baseline is beyond."""
    if signal.kind is not SignalKind.DISTRIBUTION or (check is not None and check.edge is not None):
        return check.edge if check is not None else None
    edges = sorted(edge for edge in cells if edge is not None and edge != float("inf"))
    for edge in edges:
        blocks = [s for s in cells[edge] if s.version == baseline]
        exposure = sum(s.exposure for s in blocks)
        if exposure and sum(s.value for s in blocks) >= 0.9 * exposure:
            return edge
    return edges[-1] if edges else None


def band_of(found: Sequence[float]) -> tuple[float, float] | None:
    """The 5th and the 95th percentile, by linear interpolation between order statistics."""
    if len(found) < BAND_LEAST:
        return None
    ordered = sorted(found)

    def at(part: float) -> float:
        place = part * (len(ordered) - 1)
        low = floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return at(0.05), at(0.95)


# ------------------------------------------------------------------ marks and words


def _settings(plan: Plan, signal: Signal) -> Mapping[str, str]:
    """How a check is judged, as the rollout's own plan has it."""
    check = next(check for check in plan.checks if check.signal == signal.name)
    found = {
        "what it is": signal.kind.value,
        "harm is": {"up": "a rise", "down": "a fall", "both": "a rise or a fall"}[signal.direction.value],
        "ruled out by a pass": f"{say.times(tolerance(check, signal.kind))} of the baseline",
        "compared with": ", ".join(kind.value for kind in plan.baselines(plan.stages[0].regions[0], check)),
        "on harm": "rolls back" if check.critical else "holds and pages",
        "without data": check.no_data,
        "block": say.span(plan.block(check)),
        "not judged after a weight": say.span(plan.judging.warmup),
        "part of the false-rollback budget": f"{check.weight:g}, against the other checks",
    }
    if check.limit is not None:
        found["hard limit"] = f"{check.limit:g} for {say.span(check.limit_for)}"
    return found


def _marks(events: Sequence[Event], at: RegionRollout, since: datetime) -> tuple[SeriesMark, ...]:
    """What happened to this region, or to the whole rollout once it was touched."""
    found: list[SeriesMark] = []
    for row in (event.transition for event in events):
        kind, text = _KINDS.get(row.trigger, ("", ""))
        here = row.region == at.region or (row.region is None and at.touched_at and row.at >= at.touched_at)
        if not kind or not here or row.at < since:
            continue
        if kind == "weight" and not any(mark.kind == "deploy" for mark in found):
            kind = text = "deploy"
        found.append(SeriesMark(at=row.at, kind=kind, text=text, why=row.reason.text))
    return tuple(found)


def _with_words(made: SeriesView) -> SeriesView:
    """The same with what the plot shows in one sentence after the other, for those who do not see it."""
    new = [p.candidate for p in made.points if p.candidate is not None]
    old = [p.baseline for p in made.points if p.baseline is not None]
    said = [f"{made.title} in {made.region}, {_blocks(made.block_s)}: {_range(made, made.candidate, new)}"]
    if made.baseline:
        said.append(_range(made, made.baseline, old, "as baseline "))
    if made.band:
        low, high = (made.shown(value) for value in made.band)
        said.append(f"nine in ten of its blocks lie between {low} and {high}")
    if made.compared_with is not None:
        said.append(f"judged against {made.shown(made.compared_with)}")
    if made.limit is not None:
        said.append(f"limit {made.shown(made.limit)}")
    marks = ", ".join(f"{mark.text} {mark.at:%H:%M:%S}" for mark in made.marks)
    return replace(made, text="; ".join(said) + (f". Marks (UTC): {marks}" if marks else "") + ".")


def _blocks(block_s: int) -> str:
    return f"blocks of {say.span(block_s)}"


def _range(made: SeriesView, version: str, found: Sequence[float], kind: str = "") -> str:
    if not found:
        return f"{version} {kind}has no data"
    newest, low, high = (made.shown(value) for value in (found[-1], min(found), max(found)))
    return f"{version} {kind}{newest} last, between {low} and {high} in {len(found)} blocks"
