"""How far history came on this machine, kept beside the database: a copy of an older one is seen by it.

The file lags behind by a tick at most, so it never claims more than was recorded.
"""

import os
import tempfile
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class HighWater:
    """The sequence number of the newest event, in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted = self.read()

    def read(self) -> int:
        """What was noted last; 0 when nothing was, or the file is not ours."""
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def note(self, sequence: int) -> None:
        """Keep it. A disk that takes no more is no reason to stop: the database says so itself."""
        if sequence == self._noted:
            return
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="ascii", dir=self._path.parent, prefix=f".{self._path.name}.", delete=False
            ) as file:
                file.write(f"{sequence}\n")
            os.replace(file.name, self._path)
            self._noted = sequence
        except OSError as error:
            log.warning("newest event not noted", file=str(self._path), error=str(error))
