"""The configuration in use, and its files: reloaded whole or not at all."""

from datetime import datetime
from pathlib import Path

from rollout.config.load import Configuration, load_configuration, names_of_files
from rollout.config.revisions import Book, Revisions
from rollout.core.errors import InvalidInput, StoreError
from rollout.ports import Clock

Look = dict[str, tuple[int, int, int, int] | None]


class ConfigurationFiles:
    """Keeps the newest configuration that could be used. Raises InvalidInput when the first one cannot."""

    def __init__(self, directory: Path, clock: Clock, book: Book | None = None) -> None:
        self._directory = directory
        self._clock = clock
        self._book = book or Revisions()
        self._look = _look(directory)
        self._broken = False  # whether what was last read could not be used
        self.current: Configuration = load_configuration(directory, self._book)
        self.loaded_at: datetime = clock.now()

    def changed(self) -> bool:
        """Whether a file came, went or was written since the last look; reads no file."""
        return _look(self._directory) != self._look

    def reload(self) -> Configuration | None:
        """Return the new configuration, or None when nothing changed.

        `current` itself is returned once when files that could not be used say again what it says.
        Raises InvalidInput once per change when the files cannot be used; `current` then stays as it is.
        """
        look = _look(self._directory)
        if look == self._look:
            return None
        self._look = look  # taken before reading: what is written meanwhile is seen the next time
        try:
            fresh = load_configuration(self._directory, self._book)
        except StoreError as error:  # a database that is gone must not stop what is under way
            self._broken = True
            raise InvalidInput(f"{error} Then save a file of the configuration again.") from error
        except InvalidInput:
            self._broken = True
            raise
        mended, self._broken = self._broken, False
        if fresh.digest == self.current.digest:
            return self.current if mended else None
        self.current, self.loaded_at = fresh, self._clock.now()
        return fresh

    def kept(self, error: InvalidInput) -> str:
        """One line for the log when a reload failed."""
        wrong = "; ".join(str(problem) for problem in error.problems) or str(error)
        return (
            f"configuration not reloaded: {wrong}; still using the one of {self.loaded_at:%Y-%m-%d %H:%M} UTC"
        )


def _look(directory: Path) -> Look:
    """Ask the file system about each file: enough to see a change, without reading."""
    return {name: _stat(directory / name) for name in names_of_files(directory)}


def _stat(path: Path) -> tuple[int, int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
