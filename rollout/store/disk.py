"""How many bytes the database takes, and how many it may take."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

_SHARE = 0.9  # of the file and the free space beside it; the rest is for the journal, the log and others


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that are in use, and that may be. Pages that were freed are used again, and do not count."""

    used: int
    allowed: int


def room(conn: Connection, path: Path, bound: int) -> Room:
    """Measure an SQLite database at `path`, as it will be once the transaction commits.

    It may take `bound` bytes, and never more than nine tenths of what its disk could give it.
    """
    page, pages, unused = (
        int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_size", "page_count", "freelist_count")
    )
    disk = page * pages + shutil.disk_usage(path.parent).free
    return Room(used=page * (pages - unused), allowed=min(bound, int(_SHARE * disk)))
