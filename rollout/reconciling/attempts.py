"""What one attempt makes of the record of its action: done, failed, or again and when. It asks nobody."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from rollout.core.actions import ActionRecord, ActionResult, Lane
from rollout.core.model import ActionState

log = structlog.get_logger(__name__)

POLL_S = 0.5  # before asking again about an action that is under way
HOLD_OFF_S = 5.0  # before an action that may not begin is looked at again
RETRY_S = 0.5  # doubled with each attempt that brought no answer, up to:
RETRY_CAP_S: Mapping[Lane, float] = {Lane.BACK: 5.0, Lane.KEEP: 5.0, Lane.FORWARD: 15.0, Lane.TELL: 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstored:
    """An action whose last attempts left nothing in the database, how many, and when it is tried again."""

    service: str
    times: int
    until: datetime


def begun(record: ActionRecord, now: datetime) -> ActionRecord:
    """One more attempt; the first has its whole time before it, however long it could not begin."""
    deadline = record.deadline
    if deadline is not None and record.attempts == 0:
        deadline = max(deadline, now + timedelta(seconds=record.action.within_s))
    return replace(record, attempts=record.attempts + 1, deadline=deadline)


def ended(record: ActionRecord, state: ActionState, result: ActionResult, now: datetime) -> ActionRecord:
    """It is over, one way or the other."""
    return replace(record, state=state, result=result, ended_at=now, unreachable_since=None)


def running(record: ActionRecord, message: str, now: datetime) -> ActionRecord:
    """Its target works on it: ask again soon, unless its deadline has passed."""
    soon = now + timedelta(seconds=POLL_S)
    result = ActionResult(message=message)
    return _in_time(replace(record, due_at=soon, result=result, unreachable_since=None), now)


def unanswered(record: ActionRecord, lane: Lane, message: str, now: datetime) -> ActionRecord:
    """Nobody knows whether it was done: try again ever more slowly, unless its deadline has passed."""
    return _in_time(
        replace(
            record,
            due_at=now + _pause(lane, record.attempts),
            result=ActionResult(message=message),
            unreachable_since=record.unreachable_since or now,
        ),
        now,
    )


def unstored(record: ActionRecord, lane: Lane, before: Unstored | None, now: datetime) -> Unstored:
    """What came of it could not be stored: it is done again, under the same key, ever more slowly."""
    times = before.times + 1 if before else 1
    return Unstored(service=record.action.service, times=times, until=now + _pause(lane, times - 1))


def held_off(record: ActionRecord, why: str, now: datetime) -> ActionRecord:
    """It may not begin now: it stays recorded, and says why. The time that it waits is no part of its own."""
    due_at = now + timedelta(seconds=HOLD_OFF_S)
    deadline = record.deadline and record.deadline + (due_at - min(record.due_at, now))
    return replace(record, due_at=due_at, deadline=deadline, result=ActionResult(message=why))


def names(record: ActionRecord) -> dict[str, str]:
    """What every line of the log about this attempt has."""
    action = record.action
    where = {"region": action.region} if action.region else {}
    known = {"rollout_id": record.rollout_id, "service": action.service, **where}
    return {**known, "action": record.key, "kind": action.kind}


def say(before: ActionRecord, record: ActionRecord) -> None:
    """One line when an action has ended, may not begin, or its target begins to be silent."""
    message, attempts = record.result.message, record.attempts
    if attempts == before.attempts and message != before.result.message:
        log.warning("action may not begin now; it waits", why=message)
    if record.state is ActionState.FAILED:
        log.warning("action failed", attempts=attempts, message=message)
    elif not record.open:
        log.info("action done", attempts=attempts, message=message)
    elif record.unreachable_since is not None and before.unreachable_since is None:
        log.warning("action not answered; trying again", message=message)


def _pause(lane: Lane, tries: int) -> timedelta:
    return timedelta(seconds=min(RETRY_CAP_S[lane], RETRY_S * 2.0 ** min(tries, 10)))


def _in_time(again: ActionRecord, now: datetime) -> ActionRecord:
    if again.deadline is None or now < again.deadline:
        return again
    took = (now - again.recorded_at).total_seconds()
    text = f"not done within {took:.0f} s. {again.result.message}"
    return ended(again, ActionState.FAILED, ActionResult(message=text), now)
