"""What happened in one run, in order: values that the checkers read and people can print.

What must not live here: judging it (checkers.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

from rollout.core.actions import Action, ActionRecord
from rollout.core.model import (
    Intent,
    KnownGood,
    Rollout,
    ServiceRegion,
    Transition,
)
from rollout.core.plan import Plan
from rollout.core.signals import Sample
from rollout.ports import Case, Change, Fence, Held, Notice, Replica, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A decision is in the database."""

    by: str
    change: Change
    fence: Fence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A rollout is in the database. `key` is that of the request that asked for it."""

    by: str
    rollout: Rollout
    plan: Plan
    transition: Transition
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An intent is in the database."""

    by: str
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """Known goods that a person named."""

    by: str
    known_good: tuple[KnownGood, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An attempt at an action is in the database; `kept` unless the action had ended before."""

    by: str
    record: ActionRecord
    fence: Fence | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A reading is in the database."""

    by: str
    service: str
    region: str
    samples: tuple[Sample, ...]
    fence: Fence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A lease was given or made longer."""

    by: str
    replica: Replica
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A process begins an order to a target."""

    by: str
    key: str
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An order was answered by its target, whoever hears it. `ran` is what ran there afterwards.

    `highest` is the generation that the target had seen before.
    """

    region: str
    key: str
    action: Action
    highest: int
    reply: Reply | None  # None: it raised
    ran: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What runs in a region has changed, or work was resumed, through an order."""

    region: str
    service: str
    key: str
    action: Action
    before: Mapping[str, int]
    after: Mapping[str, int]
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice was delivered."""

    notice: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A person said something to a machine; `answer` is what came of it."""

    who: str
    what: str
    to: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Something befell a process, a machine or the world."""

    whose: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line of the log that says that something unforeseen happened, or one worth knowing."""

    by: str
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """Every fault has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What people are shown of one rollout at the end."""

    sentence: str
    blocked_by: tuple[str, ...]
    next: str
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How everything stands when nothing happens any more. `running` is by service and region, as it is."""

    cases: tuple[Case, ...] = ()
    rows: tuple[Transition, ...] = ()
    pairs: tuple[ServiceRegion, ...] = ()
    running: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    rested: bool = True  # nothing was left to do before time was over
    helped: bool = True
    at: float = 0.0  # virtual seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One line of the history: `n` is its place, `at` is in true seconds."""

    n: int
    at: float
    what: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What was given before anything happened."""

    services: tuple[str, ...] = ()
    known_good: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (service, region) → version
    fencing: frozenset[str] = frozenset()  # regions whose target fences
    deduping: frozenset[str] = frozenset()  # regions whose target remembers keys all the time
    lease_s: float = 15.0


class History:
    """Grows while a run goes on."""

    def __init__(self, setting: Setting, end: End | None = None) -> None:
        self.setting, self.end = setting, end
        self.happened: list[Happened] = []
        self._by_kind: dict[type, list[Happened]] = {}

    def note(self, at: float, what: Any) -> None:
        """Something has happened."""
        happened = Happened(n=len(self.happened), at=at, what=what)
        self.happened.append(happened)
        self._by_kind.setdefault(type(what), []).append(happened)

    def of(self, *kinds: type) -> Iterator[tuple[Happened, Any]]:
        """Everything of some kinds, in order."""
        found = [self._by_kind.get(kind, ()) for kind in kinds]
        for happened in found[0] if len(found) == 1 else merge(*found, key=lambda one: one.n):
            yield happened, happened.what

    def count(self, *kinds: type) -> int:
        """How many there are of some kinds."""
        return sum(len(self._by_kind.get(kind, ())) for kind in kinds)

    def calm_at(self) -> float:
        """When the faults stopped."""
        return next((happened.at for happened, _ in self.of(Calm)), float("inf"))
