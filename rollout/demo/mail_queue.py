"""The durable queue of one region: what was accepted, who works on it, what was delivered.

A send is queued, claimed by one process, then done. What a process claimed and did not finish stays claimed
when it dies: that is the flaw of this design which stalls sends. Times are seconds since 1970.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

WORKING_S = 1.0  # a claim younger than this is being worked on, and is not taken away
LISTED = 1000  # stalled items in one answer
SCHEMA = """
create table if not exists sends (
  id integer primary key autoincrement, recipient text not null, subject text not null,
  accepted_at real not null,
  waiting_since real not null,       -- since it was accepted, or resumed
  state text not null,               -- queued | claimed | done
  slot text, version text,           -- whose it is: of who accepted it, then of who claimed it
  token text, claimed_at real, done_at real, late integer not null default 0
);
create index if not exists of_owner on sends (state, slot, version);
create table if not exists delivered (send_id integer primary key, at real not null, times integer not null);
create table if not exists resumed (key text primary key, send_id integer not null, at real not null);
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """A slot and the version in it."""

    slot: str
    version: str


class Delivery(Enum):
    """How finishing a send went."""

    DONE = "in time"
    LATE = "late, and not counted as late before"
    NOT_OURS = "somebody resumed it meanwhile"


@dataclass(frozen=True, slots=True)
class Resumed:
    """How many items were put back, how many were not stalled any more, and ids that do not exist."""

    resumed: int
    already: int
    unknown: tuple[str, ...]


class MailQueue:
    """One process's hold on the queue in `directory`; every method is one transaction, from any thread."""

    def __init__(self, directory: Path, now: Callable[[], float]) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._now = now
        self._lock = threading.Lock()
        with file_lock(directory / "mail.lock"):  # changing the journal mode does not wait for others
            self._db = sqlite3.connect(
                directory / "mail.db", isolation_level=None, timeout=5.0, check_same_thread=False
            )
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._db.close()

    def accept(self, owner: Owner, recipient: str, subject: str) -> int:
        """Take a send; it is on disk when this returns its id."""
        now = self._now()
        with self._writing() as db:
            cursor = db.execute(
                "insert into sends (recipient, subject, accepted_at, waiting_since, state, slot, version)"
                " values (?, ?, ?, ?, 'queued', ?, ?)",
                (recipient, subject, now, now, owner.slot, owner.version),
            )
        return int(cursor.lastrowid or 0)

    def claim(self, owner: Owner, token: str) -> int | None:
        """Make the oldest send of this slot, or of nobody, ours; None when there is none."""
        with self._writing() as db:
            row = db.execute(
                "update sends set state = 'claimed', slot = ?, version = ?, token = ?, claimed_at = ?"
                " where id = (select id from sends where state = 'queued' and (slot = ? or slot is null)"
                " order by waiting_since, id limit 1) returning id",
                (owner.slot, owner.version, token, self._now(), owner.slot),
            ).fetchone()
        return None if row is None else int(row[0])

    def deliver(self, send: int, token: str, late_after: float) -> Delivery:
        """Deliver and finish a send in one transaction; when it is no longer ours, nothing happens."""
        now = self._now()
        with self._writing() as db:
            row = db.execute(
                "select waiting_since, late from sends where id = ? and state = 'claimed' and token = ?",
                (send, token),
            ).fetchone()
            if row is None:
                return Delivery.NOT_OURS
            late = now - row[0] > late_after
            db.execute(
                "update sends set state = 'done', done_at = ?, late = max(late, ?) where id = ?",
                (now, late, send),
            )
            db.execute(
                "insert into delivered values (?, ?, 1) "
                "on conflict (send_id) do update set times = times + 1",
                (send, now),
            )
        return Delivery.LATE if late and not row[1] else Delivery.DONE

    def newly_late(self, owner: Owner, late_after: float) -> int:
        """How many unfinished sends of `owner` crossed `late_after` seconds since last asked; each once."""
        with self._writing() as db:
            changed = db.execute(
                "update sends set late = 1 where state in ('queued', 'claimed') and slot = ? and version = ?"
                " and late = 0 and waiting_since < ?",
                (owner.slot, owner.version, self._now() - late_after),
            )
        return changed.rowcount

    def unfinished(self, owner: Owner) -> tuple[int, float]:
        """How many sends of `owner` are unfinished, and the age of the oldest in seconds."""
        with self._lock:
            count, oldest = self._db.execute(
                "select count(*), min(waiting_since) from sends"
                " where state in ('queued', 'claimed') and slot = ? and version = ?",
                (owner.slot, owner.version),
            ).fetchone()
        return int(count), max(0.0, self._now() - oldest) if oldest is not None else 0.0

    def release_slots(self, runs: Callable[[str], bool]) -> int:
        """Give the unclaimed sends of slots in which nothing runs to nobody, so that anybody takes them."""
        with self._lock:
            rows = self._db.execute(
                "select distinct slot from sends where state = 'queued' and slot is not null"
            ).fetchall()
        gone = [slot for (slot,) in rows if not runs(slot)]
        if not gone:
            return 0
        with self._writing() as db:
            return sum(
                db.execute(
                    "update sends set slot = null where state = 'queued' and slot = ?", (slot,)
                ).rowcount
                for slot in gone
            )

    def stalled(self, older_than: float) -> dict[str, Any]:
        """Sends that were claimed over `older_than` seconds ago and never finished, oldest first."""
        now = self._now()
        with self._lock:
            rows = self._db.execute(
                "select id, accepted_at, version from sends where state = 'claimed' and claimed_at <= ?"
                " order by accepted_at limit ?",
                (now - max(older_than, WORKING_S), LISTED),
            ).fetchall()
            backlog, oldest = self._db.execute(
                "select count(*), min(accepted_at) from sends where state in ('queued', 'claimed')"
            ).fetchone()
        return {
            "items": [
                {"id": str(send), "age_s": round(now - at, 3), "version": version}
                for send, at, version in rows
            ],
            "backlog": int(backlog),
            "oldest_age_s": round(now - oldest, 3) if oldest is not None else 0.0,
        }

    def resume(self, items: Sequence[tuple[str, str]]) -> Resumed:
        """Put stalled sends back into the queue, for anybody. `items` are (id, key); a key works once.

        They are late by whoever stalled them; who takes them now is not blamed for their age.
        """
        now, resumed, already = self._now(), 0, 0
        unknown: list[str] = []
        with self._writing() as db:
            for send, key in items:
                if db.execute("select 1 from sends where id = ?", (send,)).fetchone() is None:
                    unknown.append(send)
                    continue
                first = db.execute(
                    "insert or ignore into resumed values (?, ?, ?)", (key, send, now)
                ).rowcount
                moved = (
                    first
                    and db.execute(
                        "update sends set state = 'queued', slot = null, version = null, token = null,"
                        " claimed_at = null, late = 1, waiting_since = ? where id = ? and state = 'claimed'"
                        " and claimed_at <= ?",
                        (now, send, now - WORKING_S),
                    ).rowcount
                )
                resumed, already = resumed + bool(moved), already + (not moved)
        return Resumed(resumed, already, tuple(unknown))

    def totals(self, late_after: float) -> dict[str, int]:
        """Of the whole region: what was accepted must be delivered or unfinished; duplicates must be 0."""
        with self._lock:
            accepted, unfinished, late = self._db.execute(
                "select count(*), count(*) filter (where state <> 'done'),"
                " count(*) filter (where late or (state <> 'done' and waiting_since < ?)) from sends",
                (self._now() - late_after,),
            ).fetchone()
            delivered, times = self._db.execute(
                "select count(*), coalesce(sum(times), 0) from delivered"
            ).fetchone()
        return {
            "accepted": accepted,
            "delivered": delivered,
            "unfinished": unfinished,
            "duplicates": times - delivered,
            "late": late,
        }

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock; waits for it."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class SlotLocks:
    """Who runs: every process holds the lock of its slot for as long as it lives, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "slots"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held: int | None = None
        self._slot = ""

    def hold(self, slot: str) -> None:
        """Take a slot; waits until an earlier process of it is gone."""
        self._held, self._slot = self._open(slot), slot
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def runs(self, slot: str) -> bool:
        """Whether a process holds this slot."""
        if self._held is not None and slot == self._slot:
            return True
        lock = self._open(slot)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _open(self, slot: str) -> int:
        return os.open(self._directory / f"{slot}.lock", os.O_CREAT | os.O_RDWR, 0o600)
