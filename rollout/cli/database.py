"""Verbs about the database of this machine: db backup, verify, restore. They need no server."""

import shlex
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.core.errors import StoreError
from rollout.core.reason import many

if TYPE_CHECKING:
    from rollout.store.backup import Backup

File = Annotated[Path, typer.Argument(help="The backup file.", show_default=False)]
_SQLITE = "sqlite:///"
_ANOTHER = "rollout db verify ANOTHER_FILE"


def backup(session: Session, file: File) -> Exit | None:
    """Copy the database into one file, also while the controller uses it."""
    from rollout.store import backup as sqlite  # noqa: PLC0415  # the database's library is slow to import
    from rollout.store import backup_postgres as postgres  # noqa: PLC0415  # as above

    settings = session.settings
    if file.exists():
        free = file.with_name(f"{file.stem}-{_now(session):%Y%m%dT%H%M%S}{file.suffix}")
        then = shlex.join(["rollout", "db", "backup", str(free)])
        raise Failure(f"'{file}' is there already, and is never written over.", Exit.USAGE, then)
    files, now = {settings.revisions.name: settings.revisions}, _now(session)
    path = _sqlite(session)
    made = (
        postgres.back_up(settings.database_url, file, files, now)
        if path is None
        else sqlite.back_up(path, file, files, now)
    )
    session.show(_told(made), lambda _: Text(f"✔ {_words(made)}\n  Try it: rollout db verify {file}"))
    return None


def verify(session: Session, file: File) -> Exit | None:
    """Read a backup from end to end: whether it is whole and ours, and what it holds."""
    from rollout.store.backup import verify as look  # noqa: PLC0415  # as above

    try:
        found = look(file)
    except StoreError as error:
        raise Failure(str(error), Exit.USAGE, _ANOTHER) from error
    newer = f"\n! Newer than this program: {found.newer}" if found.newer else ""
    session.show(_told(found), lambda _: Text(f"✔ {_words(found)}{newer}"))
    return None


def restore(session: Session, file: File) -> Exit | None:
    """Put a backup in the place of the database, which is kept beside it. Every controller must be stopped.

    When it starts again it orders nothing in a region until a reading shows that nothing happened there since
    the backup, or a person has adopted what runs.
    """
    from rollout.bootstrap import only_controller  # noqa: PLC0415  # as above
    from rollout.store import backup as sqlite  # noqa: PLC0415  # as above
    from rollout.store import backup_postgres as postgres  # noqa: PLC0415  # as above

    settings = session.settings
    settings.data.mkdir(parents=True, exist_ok=True)
    try:
        with only_controller(settings, "Nothing was changed. Stop it, and every other replica, first."):
            path, now = _sqlite(session), _now(session)
            found, aside = (
                postgres.restore(file, settings.database_url, settings.data, now)
                if path is None
                else sqlite.restore(file, path, settings.data, now)
            )
    except sqlite.UnusableBackup as error:
        raise Failure(str(error), Exit.USAGE, _ANOTHER) from error
    except StoreError as error:
        again = f"mend that, then: {shlex.join(['rollout', 'db', 'restore', str(file)])}"
        raise Failure(str(error), Exit.USAGE, again) from error
    kept = f"\n  The database before is kept as {aside}" if aside else ""
    told = {**_told(found), "kept": str(aside) if aside else None}
    session.show(told, lambda _: Text(f"✔ Restored {_words(found)}{kept}\n  {_AFTER}"))
    return None


_AFTER = (
    "Start the controller: rollout serve. Each region is looked at before anything is ordered there; where "
    "it differs from the backup you are told, also by: rollout service show SERVICE"
)


def _sqlite(session: Session) -> Path | None:
    """The file of the database; None for one of PostgreSQL."""
    url = session.settings.database_url
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def _now(session: Session) -> datetime:
    return session.world.clock.now()


def _told(found: "Backup") -> dict[str, Any]:
    return {**asdict(found), "path": str(found.path), "files": list(found.files)}


def _words(found: "Backup") -> str:
    taken = f"taken at {found.taken_at}" if found.taken_at else "a database, and no backup"
    return (
        f"{found.path}: {found.bytes:,} bytes, {taken}, schema {found.schema}, "
        f"{many(found.services, 'service')}, {many(found.rollouts, 'rollout')} of which {found.under_way} "
        f"under way, newest event {found.events}."
    )
