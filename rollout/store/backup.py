"""Copies of a database: made while it is in use, verified, and put back.

A backup is ONE file of SQLite, whichever database it is of (PostgreSQL: backup_postgres.py): the tables, and
two more, of where it comes from (`backup_info`) and of the files that belong to it (`backup_files`). SQLite
knows a broken page and no changed row, so a digest of every row is noted too. What a restored database may
not do is doubt.py's work.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import rollout
from rollout.core.errors import StoreError
from rollout.core.model import FINISHED
from rollout.store.floor import ASK, KNOWN
from rollout.store.sqlite import APPLICATION_ID, sqlite_module
from rollout.store.sqlite_faults import DAMAGED, code_of, store_error

INFO, FILES = "backup_info", "backup_files"
_SIDE_FILES = ("-wal", "-shm", "-journal")
_ENDED = ", ".join(f"'{phase.value}'" for phase in sorted(FINISHED))


class UnusableBackup(StoreError):
    """A file that cannot be put back, wherever to; another one may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a file holds. `taken_at` is empty for a database that is no backup."""

    path: Path
    bytes: int
    schema: str
    needs: str  # the oldest schema that a program must know to write it; empty where it does not say
    taken_at: str
    rollouts: int
    under_way: int
    services: int
    events: int  # the sequence number of the newest
    newest_event_at: str
    files: tuple[str, ...]

    @property
    def newer(self) -> str:
        """Why this program is older than what wrote it; empty when it is not."""
        if not self.schema[:1].isdigit() or self.schema[:4] <= KNOWN:
            return ""
        return f"it has schema {self.schema}, and this program knows up to {KNOWN}"


def back_up(source: Path, target: Path, files: Mapping[str, Path], now: datetime) -> Backup:
    """Copy the database `source`, also while a controller uses it, with `files` by name, into `target`.

    The copy is the database at one moment. It appears whole under its name, or not at all. Raises StoreError
    when `target` is there already, or one of the two cannot be used.
    """

    def copied(part: Path) -> None:
        if not source.is_file():
            raise StoreError(
                f"There is no database at '{source}'. Start the controller, or see ROLLOUT_DATA."
            )
        copy(source, part)

    return publish(target, copied, files, now)


def publish(target: Path, make: Callable[[Path], None], files: Mapping[str, Path], now: datetime) -> Backup:
    """Let `make` write a database, and let it appear as the backup `target`, whole or not at all."""
    if target.exists():
        raise StoreError(f"'{target}' is there already. Name another file, or move that one away.")
    part = target.with_name(f".{target.name}.part")
    try:
        with errors_of(target):
            make(part)
            _note(part, files, now)
        found = verify(part)
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise StoreError(f"The backup '{target}' cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return _renamed(found, target)


def verify(path: Path) -> Backup:
    """Read a backup, or a database that nobody uses, from end to end.

    Raises UnusableBackup when it is damaged, cut off, of another program, breaks a reference between its
    tables, or is a backup whose rows are not those that were written into it (older ones do not say).
    """
    if not path.is_file():
        what = f"'{path}' is a directory; name a file." if path.is_dir() else f"There is no file '{path}'."
        raise UnusableBackup(what)
    with _reading(path), closing(_connect(path, read_only=True)) as conn:
        (owner,) = conn.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            raise UnusableBackup(f"'{path}' is no database of this program (application id {owner}).")
        wrong = [row[0] for row in conn.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
        wrong += [f"{row[0]} row {row[1]} names a {row[2]} that is not there" for row in _broken(conn)]
        info = _info(conn)
        wrong += _changed(path, conn, info) if info and not wrong else []
        if wrong:
            raise _damaged(path, "; ".join(wrong))
        return _described(path, conn, info)


def verify_backup(path: Path) -> Backup:
    """The same of what was made by `rollout db backup`. Raises UnusableBackup for anything else."""
    found = verify(path)
    if not found.taken_at:
        raise UnusableBackup(
            f"'{path}' is a database, and no backup: it was not made by `rollout db backup`. Make one of "
            "it with `rollout db backup` first, so that it is known when it was taken."
        )
    return found


def refused(found: Backup) -> UnusableBackup:
    """The error for one that a newer program made, so that this one would lose or spoil what it holds."""
    return UnusableBackup(
        f"The backup '{found.path}' is newer than this program: {found.newer}. "
        "Nothing was changed. Install the program that made it, or take an older backup."
    )


def restore(backup: Path, target: Path, directory: Path, now: datetime) -> tuple[Backup, Path | None]:
    """Put `backup` in the place of the database `target`, which must not be in use.

    What was there is moved aside, never deleted. Files of the backup are written to `directory` where there
    are none. Returns what was restored, and where the old database is now. Raises StoreError, and then
    nothing was changed.
    """
    found = verify_backup(backup)
    if found.needs > KNOWN:
        raise refused(found)
    aside: Path | None = None
    part = target.with_name(f".{target.name}.restoring")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with errors_of(target):
            copy(backup, part)
            keep_files(part, directory)
            _be_in_use(part)
        _flush(part)
        if any(target.with_name(target.name + side).exists() for side in ("", *_SIDE_FILES)):
            aside = _move_aside(target, now)  # a log without its database would be played into the new one
        part.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise StoreError(f"'{target}' cannot be replaced: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return found, aside


# ---------------------------------------------------------------------- files


def copy(source: Path, target: Path) -> None:
    """One moment of `source`; under WAL its writers wait for nothing meanwhile."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connect(source, read_only=True)) as read, closing(_connect(target)) as write:
        read.backup(write)
    be_one_file(target)


def be_one_file(path: Path) -> None:
    """No journal beside it, so that it can be moved by itself."""
    with closing(_connect(path)) as conn:
        conn.execute("PRAGMA journal_mode=DELETE")


def _move_aside(target: Path, now: datetime) -> Path:
    aside = target.with_name(f"{target.name}.before-{now:%Y%m%dT%H%M%S}")
    if aside.exists():
        raise StoreError(f"'{aside}' is there already. Move it away, and restore again.")
    for suffix in ("", *_SIDE_FILES):
        side = target.with_name(target.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
    return aside


def keep_files(part: Path, directory: Path) -> None:
    """Write the files of a backup where there are none."""
    with closing(_connect(part)) as conn:
        for name, content in conn.execute(f"SELECT name, content FROM {FILES}"):  # noqa: S608  # our own name
            path = directory / Path(name).name
            if not path.exists():
                path.write_bytes(content)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------- database


def _connect(path: Path, *, read_only: bool = False) -> Any:
    mode = "ro" if read_only else "rw"
    return sqlite_module().connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What SQLite says of a file, as StoreError."""
    module = sqlite_module()
    try:
        yield
    except module.Error as error:
        raise store_error(path, error) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """The same of a file that may be a backup: what mends a live database would write over it."""
    with errors_of(path):
        try:
            yield
        except sqlite_module().DatabaseError as error:
            if code_of(error) in DAMAGED:
                raise _damaged(path, str(error)) from error
            raise


def _damaged(path: Path, why: str) -> StoreError:
    return UnusableBackup(
        f"'{path}' is damaged: {why}. Nothing was changed. If it is a backup, take an older one; if it is "
        "the database, stop every controller and put a backup in its place: rollout db restore FILE"
    )


def _note(part: Path, files: Mapping[str, Path], now: datetime) -> None:
    info = {"taken_at": now.isoformat(timespec="seconds"), "program": rollout.__version__}
    with closing(_connect(part)) as conn:
        for name in (INFO, FILES):  # a backup of a database that was just restored
            conn.execute(f"DROP TABLE IF EXISTS {name}")
        conn.execute(f"CREATE TABLE {INFO} (body TEXT NOT NULL)")
        conn.execute(f"CREATE TABLE {FILES} (name TEXT PRIMARY KEY, content BLOB NOT NULL)")
        for name, path in files.items():
            if path.is_file():
                conn.execute(f"INSERT INTO {FILES} VALUES (?, ?)", (name, path.read_bytes()))  # noqa: S608
        info["rows"] = _digest(part)
        conn.execute(f"INSERT INTO {INFO} VALUES (?)", (json.dumps(info),))  # noqa: S608  # our own name


def _digest(path: Path) -> str:
    """SHA-256 of every row of every table but the note itself, in the order in which they lie there."""
    made = hashlib.sha256()
    with closing(_connect(path, read_only=True)) as conn:
        conn.text_factory = bytes  # also what is no text any more
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> ? ORDER BY name"
        for (name,) in conn.execute(names, (INFO,)).fetchall():
            made.update(name)
            for row in conn.execute(f'SELECT * FROM "{name.decode()}"'):  # noqa: S608  # of a schema of ours
                made.update(repr(row).encode())
    return made.hexdigest()


def _be_in_use(path: Path) -> None:
    """Its rows may change from now on: it is a backup no more, and still says where it comes from."""
    with closing(_connect(path)) as conn:
        info = {name: value for name, value in _info(conn).items() if name != "rows"}
        conn.execute(f"UPDATE {INFO} SET body = ?", (json.dumps(info),))  # noqa: S608  # our own name


def _changed(path: Path, conn: Any, info: Mapping[str, str]) -> list[str]:
    """What is not as it was written into a backup."""
    (whole,) = conn.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()
    log = path.with_name(f"{path.name}-wal")  # of a database in use: its newest pages
    if (found := path.stat().st_size) < whole and not log.exists():
        return [f"it was cut off: {found} of {whole} bytes are there"]
    if info.get("rows") not in (None, _digest(path)):
        return ["its rows are not those that were written into it"]
    return []


def _info(conn: Any) -> Mapping[str, str]:
    """What was noted in a backup; empty for a database that is none."""
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (INFO,)).fetchone() is None:
        return {}
    return dict(json.loads(conn.execute(f"SELECT body FROM {INFO}").fetchone()[0]))  # noqa: S608


def _broken(conn: Any) -> list[tuple[str, int, str]]:
    return list(conn.execute("PRAGMA foreign_key_check").fetchmany(5))


def _described(path: Path, conn: Any, info: Mapping[str, str]) -> Backup:
    (schema,) = conn.execute("SELECT version_num FROM alembic_version").fetchone() or ("none",)
    newest = conn.execute("SELECT sequence, at FROM transitions ORDER BY sequence DESC LIMIT 1").fetchone()
    names = f"SELECT name FROM {FILES} ORDER BY name"  # noqa: S608  # our own name
    files = [row[0] for row in conn.execute(names)] if info else []
    return Backup(
        path=path,
        bytes=path.stat().st_size,
        schema=str(schema),
        needs=_needs(conn),
        taken_at=info.get("taken_at", ""),
        rollouts=_count(conn, "rollouts"),
        under_way=_count(conn, f"rollouts WHERE phase NOT IN ({_ENDED})"),
        services=_count(conn, "services"),
        events=int(newest[0]) if newest else 0,
        newest_event_at=str(newest[1]) if newest else "",
        files=tuple(files),
    )


def _needs(conn: Any) -> str:
    """The floor of its schema (floor.py)."""
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_floor'").fetchone() is None:
        return ""
    return str(conn.execute(ASK).fetchone()[0] or "")


def _count(conn: Any, what: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608  # our own names


def _renamed(found: Backup, path: Path) -> Backup:
    return Backup(**{name: getattr(found, name) for name in Backup.__slots__} | {"path": path})
