"""What of a rollout is tried again, since when and why: orders without an answer, and notices untold."""

from collections.abc import Iterator
from datetime import datetime

from rollout.core import reason as say
from rollout.core.actions import ActionRecord
from rollout.core.model import Kind
from rollout.ports import Case


def retried(case: Case, now: datetime, besides: frozenset[str]) -> Iterator[str]:
    """One line for each order without an answer, and for each channel; regions in `besides` say why."""
    silent = [record for record in case.actions if record.open and record.unreachable_since]
    for record in silent:
        if record.action.kind is not Kind.NOTIFY:
            said = "" if record.action.region in besides else f": {record.result.message}"
            yield f"{record.action.region}: {record.action.kind} {_tried(record, now)}{said}"
    notices = [record for record in silent if record.action.kind is Kind.NOTIFY]
    for channel in sorted({record.place for record in notices}):
        untold = [record for record in notices if record.place == channel]
        count = f"{len(untold)} notice{'' if len(untold) == 1 else 's'}"
        yield f"{count} by {channel or 'log'} {_tried(untold[0], now)}: {untold[0].result.message}"


def _tried(record: ActionRecord, now: datetime) -> str:
    waited = say.span((now - (record.unreachable_since or now)).total_seconds())
    return f"unanswered for {waited}, tried {record.attempts} times and on"
