"""What a decision rests on besides the rollout and its plan, and everything that it writes. Values alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.actions import ActionRecord
from rollout.core.model import Intent, KnownGood, Obligation, Rollout, Transition
from rollout.core.signals import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest reading of a region: healthy instances by version, and when it began."""

    running: Mapping[str, int]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything known besides the rollout and its plan.

    `others` are the other unfinished rollouts of the service, oldest first, and `newer` those created later
    that succeeded; they are known where this one has ended. `overlapping` are those under way
    or watched, of any service, besides this one; known only where there is harm. `stopped_at` is when a
    rollback stopped the service's automatic promotion. `known_good` and `generations` are per region, and so
    is `running`: regions that were never read, or are in doubt, are left out.
    """

    judgement: Judgement = Judgement()
    intents: tuple[Intent, ...] = ()
    actions: tuple[ActionRecord, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    others: tuple[Rollout, ...] = ()
    newer: tuple[Rollout, ...] = ()
    overlapping: tuple[Rollout, ...] = ()
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)  # region → what its source says is wrong
    rolled_back_by: str | None = None  # of an untouched rollout: who rolled its version back before
    known_good: Mapping[str, tuple[KnownGood, ...]] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that one decision writes, in one transaction.

    `rollout` is the new state; its `version` is the one that was read, and the write is refused with
    StaleWrite unless the row still has it. The store raises `version` by one. `claim` makes this rollout
    the holder of the named regions (Conflict when another has one; a rollback takes those that another
    rollout has not touched); a rollout that is finished, queued or held untouched holds none.
    """

    rollout: Rollout
    transitions: tuple[Transition, ...] = ()
    actions: tuple[ActionRecord, ...] = ()
    drop_actions: tuple[str, ...] = ()  # keys of pending actions that are no longer wanted
    intents_done: tuple[str, ...] = ()
    intents_new: tuple[Intent, ...] = ()  # for OTHER rollouts, asked by the controller
    obligations: tuple[Obligation, ...] = ()  # inserted or replaced by id
    claim: tuple[str, ...] = ()
    generations: Mapping[str, int] = field(default_factory=dict)  # region → new, must be higher
    known_good: tuple[KnownGood, ...] = ()  # become the newest; the one before is kept
    not_good: tuple[KnownGood, ...] = ()  # no longer known good
    rolled_back: bool = False  # remember that this version was rolled back; stop automatic promotion
