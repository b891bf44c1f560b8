"""Side effects as values: decided and recorded first, done afterwards.

`ActionRecord.key` is `rollout/transition/index`: stable, so that doing it again after a crash is harmless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rollout.core.model import ActionState, Kind

GOING_BACK = frozenset({Kind.COLLECT, Kind.RESTORE})  # never wait behind anything else
HIGHEST_TOLD = (
    2**31 - 1 - 1_000_000
)  # a generation from outside; databases hold as many as 1,000 emergencies more


class Lane(StrEnum):
    """What shares room with what while it is done; the first comes first. docs/outbox.md says why."""

    BACK = "back"  # restores, and what is read back of a rollout that goes back
    KEEP = "keep"  # logs and exit reasons, before going back
    FORWARD = "forward"  # everything else that targets are ordered
    TELL = "tell"  # notices


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is to be done. `weight` is the candidate's share in percent.

    `within_s` is the time it may take before it counts as failed; 0 means for ever. It counts from being
    recorded, and anew from the first attempt.
    `after` is the index, in the same decision, of an action that comes first: this one waits until that
    one has ended, whichever way, and for `wait_s` at most.
    """

    kind: Kind
    region: str | None
    service: str
    version: str = ""
    artifact: str | None = None
    weight: int = 0
    from_version: str | None = None
    generation: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    within_s: int = 0
    after: int | None = None
    wait_s: int = 0
    obligation: str | None = None


def taken(generation: int) -> int:
    """A generation from outside, or 0: one that leaves no room above it could never be ordered above."""
    return generation if generation <= HIGHEST_TOLD else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """What an attempt brought. `running` maps each version read back to its number of instances."""

    message: str = ""
    running: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRecord:
    """A recorded action and how far it has come."""

    key: str
    rollout_id: str
    action: Action
    recorded_at: datetime
    due_at: datetime
    deadline: datetime | None = None
    after: str | None = None  # key of the action that comes first
    state: ActionState = ActionState.PENDING
    attempts: int = 0
    ended_at: datetime | None = None
    unreachable_since: datetime | None = None  # set while the target does not answer
    result: ActionResult = ActionResult()

    @property
    def open(self) -> bool:
        """Whether it is still to be done."""
        return self.state is ActionState.PENDING

    @property
    def place(self) -> str:
        """Whom it asks: a region, or of a notice its channel (empty is the one that every notice has)."""
        return self.action.region or str(self.action.details.get("channel", ""))
