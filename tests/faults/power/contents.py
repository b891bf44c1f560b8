"""What a database holds, as one digest: equal for equal rows in every table."""

import hashlib
from pathlib import Path

from rollout.store import tables
from rollout.store.sqlite import sqlite_module

NAMES = sorted(tables.metadata.tables)


class Contents:
    """A connection of its own to a file, beside whoever writes it."""

    def __init__(self, file: Path) -> None:
        self._conn = sqlite_module().connect(file)

    def digest(self) -> str:
        """Of every row of every table. Raises the driver's error for a file that is damaged."""
        made = hashlib.sha256()
        for name in NAMES:
            rows = sorted(map(repr, self._conn.execute(f"SELECT * FROM {name}")))
            made.update(f"{name} {len(rows)} {rows}".encode())
        return made.hexdigest()

    def damage(self) -> str:
        """What SQLite finds wrong with the file; empty when that is nothing."""
        (found,) = self._conn.execute("PRAGMA integrity_check(1)").fetchone()
        return "" if found == "ok" else str(found)

    def close(self) -> None:
        """End the connection, and what it holds."""
        self._conn.close()
