"""What the source `scrape` remembers between two readings, and the differences that it makes of it.

It is stored as JSON by the caller, so that a restart of the controller loses and repeats nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.core.errors import TransientError

JITTER_S = 0.5  # two looks at one process may disagree on when it started by this much
SKEW_S = 300.0  # how far the clock of an instance may be from ours; five minutes, as Kerberos has it
KEPT = timedelta(hours=1)  # how long an instance that is no longer listed is remembered

_BY_KEY = ("counters", "edges", "stamps", "restarts")  # what an instance is remembered by, signal by signal


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Restarts(_Stored):
    """How far the restarts of one instance are counted.

    `start` is the process's own start time (None: not known yet), `count` what the deployer counted, `at`
    until when instance-hours are counted. `lead` is what was counted from one of the two and may still
    arrive from the other: above zero from the start time, below zero from the deployer.
    """

    start: float | None
    count: int
    lead: int = 0
    at: datetime

    def since(self, start: float | None, count: int, now: datetime) -> tuple[int, "Restarts"]:
        """The new restarts, and what to remember. `start` is None when the instance could not be asked.

        Both witnesses may have seen the same restart, in either order, so the larger number counts.
        """
        moved = start is not None and began_anew(start, self.start, self.at)
        counted = max(0, count - self.count)
        new = max(int(moved) + min(self.lead, 0), counted - max(self.lead, 0), 0)
        if start is not None:
            lead = max(0, new - counted)
        elif new:
            lead = -1
        else:
            lead = max(0, self.lead - counted) if self.lead > 0 else self.lead
        known = start is not None or new > 0
        return new, Restarts(
            start=self.start if start is None else start,
            count=count,
            lead=lead,
            at=now if known else self.at,
        )


class Remembered(_Stored):
    """One instance while it ran one version. `start` is None until it could be asked for the first time.

    `answered` is when it could be asked last. By the key of how a signal is read: `counters`, the `edges` of
    a distribution, the `stamps` of series with a time of their own, and `restarts`.
    """

    version: str
    seen: datetime
    answered: datetime | None = None
    start: float | None = None
    counters: dict[str, dict[str, float]] = Field(default_factory=dict)
    edges: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    stamps: dict[str, dict[str, float]] = Field(default_factory=dict)
    restarts: dict[str, Restarts] = Field(default_factory=dict)

    def began(self, start: float, now: datetime) -> bool:
        """Take in when the process started, before its counters: those of another process began at zero.

        False when it began later than the one before, and yet long before that one answered last: its clock
        was set, or two processes take turns. What its counters held before is then not known.
        """
        before, answered = self.start, self.answered
        self.start, self.answered = start, now
        if before is None or start <= before + JITTER_S:
            return True
        anew = began_anew(start, before, answered)
        self.counters = {key: {} for key in self.counters} if anew else {}
        return anew

    def measured_at(self, key: str, edges: Sequence[float]) -> None:
        """Take in the edges of a distribution, before its counters: counts at others are not gone on with.

        None at all is a histogram that has no series just now, and keeps what it had.
        """
        if not edges:
            return
        if self.counters.get(key) and self.edges.get(key, ()) != tuple(edges):
            del self.counters[key]
        self.edges[key] = tuple(edges)

    def stamped(self, key: str, stamps: Mapping[str, float], now: datetime) -> None:
        """Take in the times that series say themselves, by their own clock.

        Raises TransientError when one was read before, or is further from `now` than clocks may differ.
        """
        if not stamps:
            return
        old = self.stamps.get(key, {})
        for name, stamp in stamps.items():
            off = now.timestamp() - stamp
            if abs(off) > SKEW_S:
                raise TransientError(
                    f"exposes {name[:160]} as of {abs(off):.0f} s {'ago' if off > 0 else 'ahead'}, and at "
                    f"most {SKEW_S:g} s are taken: stale, or a wrong clock"
                )
            if stamp <= old.get(name, float("-inf")):
                raise TransientError(f"exposes {name[:160]} as of the same time as before, or earlier: stale")
        self.stamps[key] = {**old, **stamps}

    def increase(
        self, key: str, values: Mapping[str, float], start: float, last: datetime | None
    ) -> dict[str, float] | None:
        """How much each counter rose since it was read last, and remember `values`.

        A process that started after the `last` reading counted everything since then. None: counted before
        anybody looked, so the increase is not known. Raises TransientError when a counter fell.
        """
        old = self.counters.get(key)
        self.counters[key] = {**(old or {}), **values}
        if old is None and (last is None or start <= last.timestamp()):
            return None
        before = old or {}
        _refuse_falls(before, values)
        return {name: value - before.get(name, 0.0) for name, value in values.items()}

    def narrowed(self, keys: Collection[str], now: datetime) -> "Remembered":
        """A copy, seen `now`, without what nobody asks for any more.

        Asked for again later, it would tell all the time between as one interval.
        """
        kept = {name: {k: v for k, v in getattr(self, name).items() if k in keys} for name in _BY_KEY}
        return self.model_copy(update={"seen": now, **kept})


class Cursor(_Stored):
    """Everything that is remembered of one service in one region. `at` is the time of the last reading."""

    at: datetime | None = None
    instances: dict[str, Remembered] = Field(default_factory=dict)

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Cursor | None":
        """Read what an earlier reading returned; None when it is of another source or release of this one."""
        try:
            return cls.model_validate(dict(stored))
        except ValidationError:
            return None

    def remembered(self, instance: str, version: str, now: datetime, keys: Collection[str]) -> Remembered:
        """What is known of `instance` for these `keys`, as seen `now`; another version there begins anew."""
        known = self.instances.get(instance)
        if known is None or known.version != version:
            return Remembered(version=version, seen=now)
        return known.narrowed(keys, now)

    def next(self, now: datetime, read: Mapping[str, Remembered]) -> dict[str, Any]:
        """The cursor after a reading, as JSON values; instances not seen for an hour are forgotten."""
        recent = {name: known for name, known in self.instances.items() if now - known.seen <= KEPT}
        return Cursor(at=now, instances={**recent, **read}).model_dump(mode="json")


def began_anew(start: float, before: float | None, looked: datetime | None) -> bool:
    """Whether a process that started at `start`, by its own clock, took the place of the one `before`.

    It did not where it ran already when that one was `looked` at last: then its clock was set.
    """
    if before is None or start <= before + JITTER_S:
        return False
    return looked is None or start > looked.timestamp() - SKEW_S


def _refuse_falls(before: Mapping[str, float], values: Mapping[str, float]) -> None:
    """Only a new process counts anew. What fell without one is unknown, and never that many new events."""
    fell = [name for name, value in values.items() if value < before.get(name, 0.0)]
    if fell:
        name, more = fell[0], f" ({len(fell) - 1} more fell too)" if len(fell) > 1 else ""
        raise TransientError(
            f"exposes {name[:160]} as {values[name]:.15g}, and {before[name]:.15g} before{more}, "
            "without a later start of its process; a counter that begins anew needs a new "
            "process_start_time_seconds"
        )
