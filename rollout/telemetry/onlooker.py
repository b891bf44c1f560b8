"""What the reconciler and the heartbeat tell of their work, and what is made of it is not their business."""

from dataclasses import dataclass
from datetime import datetime

from rollout.core.actions import ActionRecord
from rollout.core.signals import Judgement
from rollout.ports import Case, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One committed decision: the facts it rests on, and what it wrote."""

    case: Case
    change: Change
    judgement: Judgement
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """One attempt at an action, with its record afterwards."""

    record: ActionRecord
    began: datetime
    ended: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One reading of one service in one region; `error` is None where it was answered."""

    service: str
    region: str
    error: Exception | None = None


class Onlooker:
    """Looks at nothing. Subclasses look, never raise, and never take long."""

    def decided(self, what: Decided) -> None:
        """A decision was committed."""

    def undecided(self) -> None:
        """A rollout could not be decided, for a reason that nobody foresaw."""

    def fenced(self, service: str) -> None:
        """A write was refused: another replica has taken the service."""

    def attempted(self, what: Attempted) -> None:
        """An action was attempted and its result recorded."""

    def read(self, what: Read) -> None:
        """A region was read, or not."""

    def ticked(self, seconds: float) -> None:
        """A whole tick ended."""


NOBODY = Onlooker()
