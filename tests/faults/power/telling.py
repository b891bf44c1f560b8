"""The controller that is watched: `python -m tests.faults.power.telling DIRECTORY STORY JOURNAL SYNCHRONOUS`.

It lives a story of tests/crash to its end in the directory. After every transaction it says, in the file
`said`, what the database holds then: who reads that line was given an answer.
"""

import os
import sys
from pathlib import Path
from typing import Any

from rollout.store import sqlite
from rollout.store.database import Database
from tests.crash.campaign import LOOKS
from tests.crash.grounds import SqliteGround
from tests.crash.life import Life, Loop, leave_nothing_to_chance
from tests.crash.outside import Outside
from tests.crash.points import Points
from tests.crash.stories import STORIES
from tests.faults.power.contents import Contents
from tests.scenarios import world

SAID = "said"  # the file's name
AS_IT_IS = "as it is"


def main() -> None:
    """Live it to its end. Ends with an exception when that does not come."""
    directory, story, journal, synchronous = Path(sys.argv[1]), STORIES[sys.argv[2]], sys.argv[3], sys.argv[4]
    leave_nothing_to_chance()
    if journal == "delete":
        sqlite.FIXED = (99, 0, 0)  # as if no SQLite here were new enough for WAL
    world._hurry = _setting(synchronous)
    outside = Outside.begun(directory.parent / "outside", story.target)
    life, loop = Life(SqliteGround(directory), outside, story, Points()), Loop()
    _say_after_each_transaction(directory)
    loop.run(story.given(life))
    life.pass_time()
    for _ in range(LOOKS):
        if loop.run(life.look()):
            return
        life.pass_time()
    raise AssertionError(f"no end in {LOOKS} looks")


def _setting(synchronous: str) -> Any:
    """What is done with each connection: what the product chose stays, unless another is named.

    The log is copied into the database as often as on a busy day.
    """

    def set_it(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA wal_autocheckpoint=60")
        if synchronous != AS_IT_IS:
            connection.execute(f"PRAGMA synchronous={synchronous}")

    return set_it


def _say_after_each_transaction(directory: Path) -> None:
    said = os.open(directory.parent / SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    contents, whole = Contents(directory / "rollout.db"), Database.run

    def run(database: Database, engine: Any, work: Any) -> Any:
        result = whole(database, engine, work)
        if engine is database.write:
            os.write(said, f"{contents.digest()}\n".encode())
        return result

    Database.run = run  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
