"""How far history came on this machine, kept beside the database: one that went back is seen by it.

The event itself is kept and not only its number, which a database that went back may give again. The file
lags behind by a tick at most, so it never claims more than was recorded. What is done with a database that
went back is rollout/store/doubt.py's work.
"""

import os
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class History(Protocol):
    """What is asked of the database."""

    async def newest_event(self) -> tuple[int, str]:
        """Its number, and what tells it from any other; 0 while there is none."""

    async def distrust_if_old(self, now: datetime, known: int, event: str) -> str:
        """Put every region in doubt when the database lacks that event; why, in a sentence, or empty."""


class HighWater:
    """The newest event, in a file of its own. What it notes never goes back without a doubt."""

    def __init__(self, path: Path, history: History, now: Callable[[], datetime]) -> None:
        self._path, self._history, self._now = path, history, now
        self._noted = self._filed = self._read()

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

    def _read(self) -> tuple[int, str]:
        """What was noted last; nothing when the file is not there, or not ours."""
        try:
            number, _, event = self._path.read_text(encoding="ascii").strip().partition(" ")
            return int(number), event
        except (OSError, ValueError):
            return 0, ""

    def _note(self, newest: tuple[int, str]) -> None:
        """Keep it. A disk that takes no more is no reason to stop: the database says so itself."""
        self._noted = newest
        if newest == self._filed:
            return
        number, event = newest
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="ascii", dir=self._path.parent, prefix=f".{self._path.name}.", delete=False
            ) as file:
                file.write(f"{number} {event}\n")
            os.replace(file.name, self._path)
            self._filed = newest
        except OSError as error:
            log.warning("newest event not noted", file=str(self._path), error=str(error))
