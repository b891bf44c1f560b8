"""How far history came on this machine, kept beside the database: one that went back is seen by it.

The event itself is kept and not only its number, which a database that went back may give again, and so is
the sum of all epochs of claims: where a copy comes a second time, its newest event is the one that was noted.
The file lags behind by a tick at most, so it never claims more than was recorded. What is done with a
database that went back is rollout/store/doubt.py's work.
"""

import os
import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

log = structlog.get_logger(__name__)

_NOTE = re.compile(r"(\d{1,18})(?: (\S*))?(?: (\d{1,18}))?")  # older ones end with the number, or the event


class Mark(NamedTuple):
    """How far a database came: its newest event, and the sum of the epochs of its claims, which only rises.

    `number` is 0 while there is no event; `event` tells it from any other of the same number.
    """

    number: int = 0
    event: str = ""
    epochs: int = 0


class History(Protocol):
    """What is asked of the database."""

    async def newest_event(self) -> Mark:
        """How far it came."""

    async def distrust_if_old(self, now: datetime, number: int, event: str, epochs: int) -> str:
        """Put every region in doubt when the database lacks any of that; why, in a sentence, or empty."""


class HighWater:
    """The newest event, in a file of its own. What it notes never goes back without a doubt."""

    def __init__(self, path: Path, history: History, now: Callable[[], datetime]) -> None:
        self._path, self._history, self._now = path, history, now
        self._noted = self._filed = self._read()
        self._failing = False

    async def look(self) -> None:
        """Note how far history came, or doubt a database that lacks what was noted. Before any order.

        Raises StoreError; what was noted stays then.
        """
        newest = await self._history.newest_event()
        if not newest == self._noted == self._filed:
            await self.compare()

    async def compare(self) -> None:
        """The same at a start, when a database may also say itself that it was put back."""
        newest = await self._history.newest_event()
        if why := await self._history.distrust_if_old(self._now(), *self._noted):
            log.warning("every region is in doubt; nothing is ordered where it differs", why=why)
            newest = await self._history.newest_event()
        self._note(newest)

    def _read(self) -> Mark:
        """What was noted last; nothing when the file is not there, or no note, which is said."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return Mark()
        except (OSError, ValueError) as error:
            return self._unread(str(error))
        found = _NOTE.fullmatch(text)
        if found is None:
            return self._unread(f"'{text[:80]}' is not a number, an event and a number")
        return Mark(int(found[1]), found[2] or "", int(found[3] or 0))

    def _unread(self, why: str) -> Mark:
        log.error(
            "newest event cannot be read: nothing is known of how far history came, so a database that went "
            "back is trusted; if it was replaced or failed over since the last stop, compare `rollout list` "
            "with what the regions run before you go on. The file is written anew",
            file=str(self._path),
            error=why,
        )
        return Mark()

    def _note(self, newest: Mark) -> None:
        """Keep it. A disk that takes no more is no reason to stop: the database says so itself."""
        self._noted = newest
        if newest == self._filed:
            return
        try:
            _replace(self._path, f"{newest.number} {newest.event} {newest.epochs}\n")
            self._filed, self._failing = newest, False
        except OSError as error:
            if not self._failing:
                log.warning(
                    "newest event not noted, and tried again at every look: after a restart, a database that "
                    "went back meanwhile is trusted; make room, or mend the directory",
                    file=str(self._path),
                    error=str(error),
                )
            self._failing = True


def _replace(path: Path, text: str) -> None:
    """Durable, and in one step: a power cut leaves the old note or the new one. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
