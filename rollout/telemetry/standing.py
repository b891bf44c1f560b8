"""How things stand at a scrape, worked out anew from what is stored: pure functions from nouns to levels.

What has ended is not in what they are given, so its numbers disappear by themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.actions import ActionRecord, Lane
from rollout.core.model import Kind, Phase, RegionPhase, Rollout
from rollout.core.signals import Verdict, VerdictKind
from rollout.ports import Backlog, Observed
from rollout.telemetry.events import GOING_BACK

_UNRESTORED = (RegionPhase.UNREACHABLE, RegionPhase.RESTORE_FAILED)


@dataclass(frozen=True, slots=True)
class Value:
    """One number of one gauge of the catalogue; labels in its order."""

    metric: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is read for a scrape. `busy`: unfinished rollouts, and those that are still watched."""

    now: datetime
    phases: Mapping[Phase, int]
    busy: Sequence[Rollout] = ()
    observed: Sequence[Observed] = ()
    pending: Sequence[ActionRecord] = ()
    backlog: Mapping[Lane, Backlog] = field(default_factory=dict)


def levels(at: Standing) -> Iterator[Value]:
    """Every number that what is stored tells."""
    for phase in Phase:
        yield Value("rollout_rollouts", (phase,), at.phases.get(phase, 0))
    due = [_seconds(r.next_due_at, at.now) for r in at.busy if r.next_due_at]
    yield Value("rollout_oldest_due_seconds", (), max((0.0, *due)))
    yield from _of_rollouts(at)
    yield from _of_regions(at)
    yield from _of_actions(at)
    yield from _of_backlog(at)


def _of_rollouts(at: Standing) -> Iterator[Value]:
    for service in sorted({rollout.release.service for rollout in at.busy}):
        ours = [rollout for rollout in at.busy if rollout.release.service == service]
        held = [_seconds(r.since, at.now) for r in ours if r.phase is Phase.HELD]
        left = [-_seconds(r.approval.deadline, at.now) for r in ours if r.approval]
        back = [_seconds(r.decided_at, at.now) for r in ours if r.phase in GOING_BACK and r.decided_at]
        if held:
            yield Value("rollout_held_seconds", (service,), max(held))
        if left:
            yield Value("rollout_approval_remaining_seconds", (service,), min(left))
        if back:
            yield Value("rollout_rollback_age_seconds", (service,), max(back))
    found = {(r.release.service, g.region, g.phase) for r in at.busy for g in r.regions}
    for labels in sorted(found):
        if labels[2] in _UNRESTORED:
            yield Value("rollout_region_unrestored", labels, 1.0)


def _of_regions(at: Standing) -> Iterator[Value]:
    blind = {(o.service, o.region) for o in at.observed if o.error_since}
    for one in at.observed:
        dark = _seconds(one.error_since, at.now) if one.error_since else 0.0
        yield Value("rollout_source_blind_seconds", (one.service, one.region), max(0.0, dark))
    for service in sorted({one.service for one in at.observed}):
        ours = [r for r in at.busy if r.release.service == service]
        count = sum(any((service, g.region) in blind for g in r.touched) for r in ours)
        yield Value("rollout_blind_rollouts", (service,), count)


def _of_actions(at: Standing) -> Iterator[Value]:
    for kind in Kind:
        ages = [_seconds(r.recorded_at, at.now) for r in at.pending if r.action.kind is kind]
        yield Value("rollout_actions_pending", (kind,), len(ages))
        yield Value("rollout_action_oldest_pending_seconds", (kind,), max((0.0, *ages)))
    silent: dict[str, float] = {}
    for record in at.pending:
        if record.unreachable_since is not None and record.action.region:
            region, dark = record.action.region, _seconds(record.unreachable_since, at.now)
            silent[region] = max(dark, silent.get(region, 0.0))
    for region, dark in sorted(silent.items()):
        yield Value("rollout_target_silent_seconds", (region,), dark)


def _of_backlog(at: Standing) -> Iterator[Value]:
    """Every lane at each scrape, so that none vanishes when it is empty."""
    for lane in Lane:
        found = at.backlog.get(lane)
        yield Value("rollout_outbox_pending", (lane,), found.pending if found else 0)
        oldest = max(0.0, _seconds(found.oldest, at.now)) if found else 0.0
        yield Value("rollout_outbox_oldest_seconds", (lane,), oldest)


def of_verdicts(service: str, verdicts: Sequence[Verdict]) -> Iterator[Value]:
    """The numbers of one rollout's checks; what a verdict does not know is left out."""
    for verdict in verdicts:
        labels = (service, verdict.region, verdict.signal)
        for name in ("value", "baseline", "limit"):
            number = getattr(verdict, name)
            if number is not None:
                yield Value(f"rollout_check_{name}", labels, number)
        for kind in VerdictKind:
            yield Value("rollout_check_verdict", (*labels, kind), float(kind is verdict.kind))


def _seconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds()
