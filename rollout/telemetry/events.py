"""What happened, as numbers: pure functions from what the reconciler tells to figures.

What must not live here: the metrics library, and what stands rather than happens (standing.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rollout.core.errors import PermanentError, TransientError
from rollout.core.machine import Trigger
from rollout.core.model import Phase, RegionPhase, RegionRollout, Rollout, Transition
from rollout.telemetry.onlooker import Attempted, Decided, Read

GOING_BACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED})
CAUSES = (Trigger.HARM, Trigger.ROLLBACK, Trigger.DEPLOY_FAILED, Trigger.GATE_FAILED)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number for one metric of the catalogue: what a counter rises by, or seconds of a histogram."""

    metric: str
    labels: tuple[str, ...]
    value: float = 1.0


def of_decision(what: Decided) -> Iterator[Figure]:
    """What one committed decision counts and times."""
    before, after = what.case.rollout, what.change.rollout
    due, service = before.next_due_at, after.release.service
    if due is not None:
        yield Figure("rollout_reconcile_lag_seconds", (), _seconds(due, what.now))
    for verdict in what.judgement.verdicts:
        yield Figure("rollout_checks", (verdict.kind,))
    for row in what.change.transitions:
        if row.region is None:
            yield from _of_transition(before, after, row)
    promoted = any(row.trigger == Trigger.PROMOTE for row in what.change.transitions)
    for region in before.regions:
        yield from _of_bake(service, region, after.region(region.region), what.now, promoted=promoted)
    yield from _of_approvals(before, after)
    if after.outcome is not None and after.outcome is not before.outcome:
        yield Figure("rollout_rollouts_ended", (service, after.outcome))


def _of_transition(before: Rollout, after: Rollout, row: Transition) -> Iterator[Figure]:
    service = after.release.service
    if row.to_phase == Phase.ROLLING_BACK and row.from_phase not in GOING_BACK:
        for region in after.touched:
            yield Figure("rollout_rollbacks", (service, region.region, row.trigger))
        if row.trigger == Trigger.HARM and after.harm_since is not None:
            took = _seconds(after.harm_since, row.at)
            yield Figure("rollout_time_to_detect_seconds", (service,), took)
    if row.trigger == Trigger.ALL_RESTORED and after.decided_at is not None:
        took = _seconds(after.decided_at, row.at)
        yield Figure("rollout_time_to_rollback_seconds", (service,), took)
    if row.to_phase == Phase.HELD and row.from_phase != Phase.HELD:
        yield Figure("rollout_holds", (service, row.trigger))
    if row.trigger in (Trigger.STAGE_PASSED, Trigger.ALL_PASSED):
        touched = [r.touched_at for r in after.regions if r.stage == before.stage and r.touched_at]
        if touched:
            yield Figure("rollout_stage_seconds", (service,), _seconds(min(touched), row.at))


def _of_bake(
    service: str, before: RegionRollout, after: RegionRollout, now: datetime, *, promoted: bool
) -> Iterator[Figure]:
    """A bake ends with its step, or because its region goes elsewhere; one that was held goes on."""
    if before.phase is not RegionPhase.BAKING or before.bake_started_at is None:
        return
    passed = after.phase in (RegionPhase.BAKING, RegionPhase.PASSED, RegionPhase.DEPLOYING)
    if after.step > before.step or after.phase is not RegionPhase.BAKING:
        took = _seconds(before.bake_started_at, now)
        skipped = promoted and after.skipped_by
        ended = "cut_short" if not passed or skipped else "passed"
        yield Figure("rollout_bake_seconds", (service, before.region, ended), took)


def _of_approvals(before: Rollout, after: Rollout) -> Iterator[Figure]:
    for approval in after.answered[len(before.answered) :]:
        if approval.ended_at is not None:
            took = _seconds(approval.asked_at, approval.ended_at)
            labels = (after.release.service, approval.state)
            yield Figure("rollout_approval_wait_seconds", labels, took)


def of_attempt(what: Attempted) -> Iterator[Figure]:
    """An action that ended, or one that is tried again because its target did not answer."""
    record = what.record
    if not record.open:
        yield Figure("rollout_actions", (record.action.kind, record.state))
    elif record.unreachable_since is not None:
        yield Figure("rollout_action_retries", (record.action.kind, record.action.region or ""))


def of_reading(what: Read) -> Iterator[Figure]:
    """A reading, and what went wrong with it."""
    yield Figure("rollout_source_readings", (what.service, what.region))
    if what.error is not None:
        yield Figure("rollout_source_errors", (what.service, what.region, error_kind(what.error)))


def error_kind(error: Exception) -> str:
    """One of four words: timeout, transient (asking again may help), refused (it does not), unforeseen."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, TransientError):
        return "transient"
    return "refused" if isinstance(error, PermanentError) else "unforeseen"


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
