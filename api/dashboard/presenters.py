"""From views to what the templates show. Pure: no clock, no HTTP, no HTML.

The words for state, reason and next come with the view; here are only those that a page adds to them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from api.dashboard import marks
from api.dashboard.marks import Mark
from api.dashboard.tiles import Bar
from rollout.core.model import FINISHED, Obligation, ObligationKind, ObligationState, Phase, RegionPhase
from rollout.core.reason import span
from rollout.showing.views import Exposure, Fleet, GateView, RegionView, RolloutView, RunningView

STOPPED = FINISHED | {Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED}  # no further region is touched
OPEN = (ObligationState.OPEN, ObligationState.OVERDUE)


@dataclass(frozen=True, slots=True)
class StripCell:
    """One region in a row of the fleet. `words` is for screen readers, `extra` stands beside the shape."""

    region: str
    mark: Mark
    words: str
    extra: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One region of a rollout page."""

    view: RegionView
    mark: Mark
    weight: str
    way_back: str
    bake: Bar | None
    bake_ends: datetime | None
    detectable: tuple[str, ...]  # what its bake can rule out, one sentence for each check
    next: str


@dataclass(frozen=True, slots=True)
class Owed:
    """One obligation in words."""

    view: Obligation
    mark: Mark
    what: str
    open: bool


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One service of the fleet's table; a region in which it does not live is None."""

    service: str
    stopped_by: str | None
    cells: tuple[RunningView | None, ...]


def title(view: RolloutView) -> str:
    """The title of the window: the state first, so that it is seen in a narrow tab."""
    mark = marks.PHASES[view.phase]
    return f"{mark.shape} {mark.word}: {view.service} {view.version}"


def fleet_title(fleet: Fleet) -> str:
    """The title of the fleet page carries how many need a person."""
    return f"({len(fleet.needs_person)}) needs you" if fleet.needs_person else "Rollouts"


def fleet_tone(fleet: Fleet) -> str:
    """The icon's tone: that of the worst rollout which needs a person, or moves."""
    order = ("bad", "warn", "move", "wait", "good")
    tones = {marks.PHASES[view.phase].tone for view in (*fleet.needs_person, *fleet.moving)}
    return next((tone for tone in order if tone in tones), "good")


# ------------------------------------------------------------------ the first screen


def reached(exposure: Exposure) -> str:
    """Who was reached, in words and numbers."""
    if not exposure.regions:
        return "Nobody: no region was touched."
    where = f"{listed(exposure.regions)}{' only' if len(exposure.regions) == 1 else ''}"
    requests = f", {exposure.requests:,} requests" if exposure.requests else ""
    share = percent(exposure.traffic_share)
    return f"{where}: {share} of users for {span(exposure.duration_s)}{requests}."


def unreached(view: RolloutView) -> str:
    """Which regions never received the version, or that all did."""
    never = [region.region for region in view.regions if region.touched_at is None]
    if not never:
        return "Every region received it."
    if not view.exposure.regions:
        return ""
    return f"{listed(never)} never received {view.version}."


def next_words(view: RolloutView) -> str:
    """What happens next; a view without one has come to its end."""
    return view.next.what if view.next else "Nothing more will happen by itself"


def countdown(at: datetime, now: datetime) -> str:
    """`in 6 min 12 s`, or how long it is overdue."""
    left = (at - now).total_seconds()
    return f"in {span(left)}" if left >= 0 else f"{span(-left)} ago"


def age(at: datetime, now: datetime) -> str:
    """How long ago, in the largest unit alone."""
    text = span(max(0.0, (now - at).total_seconds())).split(" ")
    return " ".join(text[:2])


def percent(share: float) -> str:
    """A share 0..1 as a person reads it."""
    return f"{100 * share:.3g} %"


def listed(names: Sequence[str]) -> str:
    """`R3, R1 and R2`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# ------------------------------------------------------------------ regions


def strip(view: RolloutView) -> tuple[StripCell, ...]:
    """Every region of a rollout as shape, word and what is left of its bake."""
    return tuple(_strip_cell(region) for region in view.regions)


def _strip_cell(region: RegionView) -> StripCell:
    mark = marks.REGIONS[region.phase]
    left = max(0, region.bake.planned_s - region.bake.elapsed_s) if region.bake else 0
    extra = span(left) if left else ""
    words = f"{region.title}, {region.region}: {mark.word}" + (f", {extra} left" if extra else "")
    return StripCell(region.region, mark, words, extra)


def lane(region: RegionView, phase: Phase, now: datetime) -> Lane:
    """One region with its bake and its next step; `phase` is the rollout's."""
    bake: Bar | None = None
    detectable: tuple[str, ...] = ()
    if region.bake:
        planned, elapsed = region.bake.planned_s, min(region.bake.elapsed_s, region.bake.planned_s)
        until = ", or until every check passes" if region.bake.until == "pass" else ""
        bake = Bar(elapsed, max(1, planned), f"{span(elapsed)} of {span(planned)}{until}")
        detectable = tuple(words for _, words in sorted(region.bake.detectable.items()))
    left = region.bake.planned_s - region.bake.elapsed_s if region.bake else 0
    ends = now + timedelta(seconds=left) if left > 0 else None
    on = region.phase in (RegionPhase.DEPLOYING, RegionPhase.BAKING, RegionPhase.PASSED)
    return Lane(
        view=region,
        mark=marks.REGIONS[region.phase],
        weight=f"{region.weight} %" if on else "",
        way_back=f"can go back to {region.back_to}" if on and region.back_to else "",
        bake=bake,
        bake_ends=ends,
        detectable=detectable,
        next=_lane_next(region) if phase not in STOPPED or region.touched_at else "",
    )


def _lane_next(region: RegionView) -> str:
    if region.phase in (RegionPhase.RESTORING, RegionPhase.UNREACHABLE, RegionPhase.RESTORE_FAILED):
        return f"read back on {region.back_to}" if region.back_to else "read back"
    if region.phase in (RegionPhase.PASSED, RegionPhase.RESTORED):
        return ""
    rest = region.steps[region.step + (region.phase is not RegionPhase.PENDING) :]
    return " → ".join((*rest, "passed"))


def gate_mark(gate: GateView) -> Mark:
    """The shape and the word of a gate's status."""
    return marks.GATES.get(gate.status, marks.GATES["waiting"])


def next_steps(view: RolloutView, stage: str) -> tuple[tuple[str, str], ...]:
    """What each region of a stage goes through from where it stands: (region, steps in words)."""
    regions = next((each.regions for each in view.stages if each.name == stage), ())
    return tuple((region.region, _lane_next(region)) for region in regions)


# ------------------------------------------------------------------ what is owed


def owed(obligations: Iterable[Obligation]) -> tuple[Owed, ...]:
    """Obligations, the open ones first."""
    found = [_owed(o) for o in obligations]
    return tuple(sorted(found, key=lambda o: not o.open))


def _owed(owes: Obligation) -> Owed:
    what = f"Watch {owes.region} for late harm"
    if owes.kind is ObligationKind.RECOVERY:
        what = f"Recovery of {owes.region}: {recovery(owes.progress)}"
    return Owed(owes, marks.OBLIGATIONS[owes.state], what, owes.state in OPEN)


def recovery(progress: Mapping[str, object]) -> str:
    """Stalled work: found, resumed, left."""
    if "stalled" not in progress:
        return "looking for stalled work"
    words = f"{progress.get('found', 0)} stalled found, {progress.get('resumed', 0)} resumed"
    words += f", {progress['stalled']} left"
    return words + (f"; backlog {progress['backlog']}" if "backlog" in progress else "")


# ------------------------------------------------------------------ the fleet


def matrix(fleet: Fleet) -> tuple[tuple[tuple[str, str], ...], tuple[MatrixRow, ...]]:
    """The columns (region, title) in order of promotion, and one row for each service."""
    columns: dict[str, str] = {}
    for running in fleet.running.values():
        columns.update({cell.region: cell.title for cell in running if cell.region not in columns})
    rows = []
    for service in fleet.services:
        here = {cell.region: cell for cell in fleet.running.get(service.name, ())}
        cells = tuple(here.get(name) for name in columns)
        rows.append(MatrixRow(service.name, service.stopped_by, cells))
    return tuple(columns.items()), tuple(rows)


def versions(running: Mapping[str, int]) -> str:
    """`3 × 1.1.0, 1 × 1.2.0`; one version alone goes without its number, none is `0 instances`."""
    if not running:
        return "0 instances"
    if len(running) == 1:
        return next(iter(running))
    return ", ".join(f"{count} × {version}" for version, count in sorted(running.items()))


def from_version(view: RolloutView) -> str:
    """What the release takes the place of; empty until a region was prepared."""
    return listed(sorted({region.back_to for region in view.regions if region.back_to}))


# ------------------------------------------------------------------ links


def web_link(url: str | None) -> str | None:
    """The URL when it is http or https with a host; anything else is shown as text, never linked."""
    if not url or "\\" in url or " " in url or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    return url if fits else None
