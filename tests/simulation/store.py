"""The real store of one process, every transaction of which can be delayed, refused, or lost at either end.

What was written is noted in the moment of its commit. What must not live here: when a fault happens.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from rollout.core.actions import ActionRecord
from rollout.core.model import Intent, KnownGood, Rollout, Transition
from rollout.core.plan import Plan
from rollout.core.signals import Sample
from rollout.once import current_claim
from rollout.ports import Change, Fence, Held, Observed, Replica
from rollout.store import SqlStore
from rollout.store.database import Database
from tests.simulation import history

T = TypeVar("T")
Note = Callable[[Any], object]  # what a transaction brought → what is noted of it
_NOTED: ContextVar[Note | None] = ContextVar("noted", default=None)
_IOERR, _BUSY = 10, 5


class Places(Protocol):
    """Where a process passes by: it may be delayed, stopped or killed there."""

    async def pass_by(self, place: str) -> None:
        """Come back when the process may go on."""
        ...

    def fault(self) -> str:
        """The fault of the transaction that begins now: none, or one of `Broken.make`."""
        ...

    def note(self, what: Any) -> None:
        """Keep what happened."""
        ...


class Broken:
    """Makes one transaction fail at a statement, or at its commit."""

    def __init__(self, database: Database, *, ever: bool = True) -> None:
        self._statement = 0  # counts down
        self._commit = False
        if not ever:
            return  # a listener takes time at every statement
        for engine in (database.read, database.write):
            event.listen(engine, "begin", self._on_statement)
            event.listen(engine, "before_cursor_execute", self._on_statement)
            event.listen(engine, "commit", self._on_commit)

    def during(self, work: Callable[[], T], *, statement: int = 0, commit: bool = False) -> T:
        """Do the work, and fail it there; statements are counted from one."""
        self._statement, self._commit = statement, commit
        try:
            return work()
        finally:
            self._statement, self._commit = 0, False

    def _on_statement(self, *_: Any) -> None:
        if self._statement:
            self._statement -= 1
            if not self._statement:
                raise failed()

    def _on_commit(self, _connection: Any) -> None:
        if self._commit:
            raise failed()


def failed(code: int = _IOERR) -> OperationalError:
    """What the driver says of a disk error, or (code 5) of a lock."""
    orig = Exception("simulated")
    orig.sqlite_errorcode = code  # type: ignore[attr-defined]
    return OperationalError("simulated", {}, orig)


class Transactions:
    """The `run` of one process's store: one transaction each, with a place before and one after it."""

    def __init__(self, places: Places, broken: Broken) -> None:
        self._places, self._broken = places, broken

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Do the work unless it fails; what it wrote is noted whether or not anybody hears of it."""
        noted = _NOTED.get()
        await self._places.pass_by("store")
        fault = self._places.fault()
        if fault == "gone":
            raise failed()
        if fault == "busy":
            raise failed(_BUSY)
        done = self._done(work, fault)
        if noted is not None:
            self._places.note(noted(done))
            await self._places.pass_by("write")
        if fault == "unknown":
            raise failed()
        return done

    def _done(self, work: Callable[[], T], fault: str) -> T:
        kind, _, nth = fault.partition(" ")
        if kind in ("statement", "commit"):
            return self._broken.during(work, statement=int(nth or 0), commit=kind == "commit")
        return work()


class NotingStore(SqlStore):
    """The store as it is; what it writes becomes history."""

    def __init__(self, database: Database, places: Places, broken: Broken) -> None:
        super().__init__(database, run=Transactions(places, broken))
        self._process = places
        self.name = ""

    async def _noting(self, note: Note, work: Callable[[], Any]) -> Any:
        token = _NOTED.set(note)
        try:
            return await work()
        finally:
            _NOTED.reset(token)

    async def hold(self, replica: Replica, *, instead_of: str | None, busy: Collection[str] = ()) -> Held:
        def note(held: Held) -> object:
            return history.Granted(by=self.name, replica=replica, held=held)

        found: Held = await self._noting(
            note, lambda: super(NotingStore, self).hold(replica, instead_of=instead_of, busy=busy)
        )
        return found

    async def commit(self, change: Change, fence: Fence | None = None) -> Rollout:
        def note(_: Any) -> object:
            return history.Committed(by=self.name, change=change, fence=fence)

        written: Rollout = await self._noting(note, lambda: super(NotingStore, self).commit(change, fence))
        return written

    async def add(
        self,
        rollout: Rollout,
        plan: Plan,
        transition: Transition,
        intents: Sequence[Intent] = (),
        beside: Collection[str] | None = None,
    ) -> None:
        claim = current_claim()

        def note(_: Any) -> object:
            key = claim.key if claim else ""
            return history.Added(by=self.name, rollout=rollout, plan=plan, transition=transition, key=key)

        await self._noting(
            note, lambda: super(NotingStore, self).add(rollout, plan, transition, intents, beside)
        )

    async def ask(self, intent: Intent) -> None:
        await self._noting(
            lambda _: history.Asked(by=self.name, intent=intent),
            lambda: super(NotingStore, self).ask(intent),
        )

    async def adopt(self, known_good: Sequence[KnownGood]) -> None:
        await self._noting(
            lambda _: history.Adopted(by=self.name, known_good=tuple(known_good)),
            lambda: super(NotingStore, self).adopt(known_good),
        )

    async def save_action(self, record: ActionRecord, fence: Fence | None = None) -> bool:
        def note(kept: bool) -> object:
            return history.Saved(by=self.name, record=record, fence=fence, kept=kept)

        kept: bool = await self._noting(note, lambda: super(NotingStore, self).save_action(record, fence))
        return kept

    async def save_reading(
        self,
        observed: Observed,
        samples: Sequence[Sample],
        running: Mapping[str, int] | None,
        fence: Fence | None = None,
    ) -> None:
        def note(_: Any) -> object:
            return history.Stored(
                by=self.name,
                service=observed.service,
                region=observed.region,
                samples=tuple(samples),
                fence=fence,
            )

        await self._noting(
            note, lambda: super(NotingStore, self).save_reading(observed, samples, running, fence)
        )
