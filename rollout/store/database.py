"""An open database as the store needs it, whichever it is: sqlite.py and postgres.py are the two kinds."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from rollout.clock import SteadyClock
from rollout.core.errors import Conflict, RolloutError, StoreError
from rollout.store.disk import Room
from rollout.store.floor import ASK, refuse_below
from rollout.store.running import Threads

T = TypeVar("T")


class Database(ABC):
    """An open database.

    A transaction of `write` is as if it were alone: what it has read stays true until it commits, or it fails
    in a way that `again` knows. One of `read` sees one moment, and waits for no writer.
    """

    name: str  # what people call it: the path, or the URL without its password
    about: str  # which version of which database, in a few words
    write: Engine
    read: Engine
    pauses_s: tuple[float, ...]  # between tries, while `again` says that trying is worth it

    def __init__(self) -> None:
        self.clock: Callable[[], datetime] = SteadyClock().now  # where the database has none of its own

    def now(self, _conn: Connection, /) -> datetime:
        """The one time by which leases end, whichever replica asks."""
        return self.clock()

    def close(self) -> None:
        """Close every connection."""
        self.read.dispose()
        self.write.dispose()

    def run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """Do one piece of work in one transaction. Raises what it raises, and DBAPIError."""
        with engine.begin() as conn:
            if engine is self.write:
                refuse_below(self.name, conn.exec_driver_sql(ASK).scalar_one())
            return work(conn)

    @abstractmethod
    def threads(self) -> tuple[Threads, Threads]:
        """Where work is done beside an event loop: what reads, and what writes."""

    @abstractmethod
    def again(self, error: DBAPIError) -> bool:
        """Whether nothing was changed, and the same work may well succeed in a moment."""

    @abstractmethod
    def said(self, error: BaseException) -> StoreError:
        """The sentence for what the driver raised, with what mends it and without secrets."""

    @abstractmethod
    def room(self, conn: Connection, bound: int) -> Room:
        """How many bytes are in use, and how many of `bound` may be."""

    @abstractmethod
    def size(self, conn: Connection) -> int:
        """Bytes on the disk."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """Hold the schema alone in a transaction; when it ends well, the database is marked as ours."""

    @abstractmethod
    def prove_writable(self) -> None:
        """Write a little and take it back. Raises StoreError when it cannot grow or be written."""

    def listening(
        self,
        *,
        wrote: Callable[[], object],  # noqa: ARG002 - nobody shares a file
        asked: Callable[[], object],  # noqa: ARG002
    ) -> AbstractContextManager[object]:
        """While inside, call `wrote` when another replica wrote history, `asked` too when it wants a look.

        They are called in another thread; a call may be lost, and none is ever needed.
        """
        return nullcontext()

    def explained(self, error: DBAPIError) -> RolloutError:
        """An error of ours for what SQLAlchemy raised: Conflict for a broken constraint, else StoreError."""
        if isinstance(error, IntegrityError):
            return Conflict(
                f"The write does not fit what is stored: {self.short(error.orig)}. "
                "Read again before trying again."
            )
        return self.said(error.orig or error)

    def short(self, error: Any) -> str:
        """What the driver said, without values."""
        return str(error)
