"""emergency.jsonl: what people ordered without a database, each line signed with the one before.

A line that was changed, left out or put elsewhere shows. The next controller that has a database reads it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rollout.core.errors import InvalidInput, StoreError
from rollout.emergency.seal import Seal, locked, replace_file
from rollout.ports import Emergency

_EMERGENCY = TypeAdapter(Emergency)
_FIRST = "emergencies"


class Record:
    """The file of one data directory."""

    def __init__(self, path: Path, seal: Seal) -> None:
        self._path, self._seal = path, seal

    def read(self) -> tuple[Emergency, ...]:
        """Every emergency as it stands now, oldest first. Raises InvalidInput for a chain that is broken."""
        newest: dict[str, Emergency] = {}
        for emergency, _ in self._lines():
            newest[emergency.key] = emergency
        return tuple(newest.values())

    def under_way(self, service: str, region: str, version: str) -> Emergency | None:
        """The one that began and has not ended, so that it goes on under its key. Raises InvalidInput."""
        found = [one for one in self.read() if (one.service, one.region) == (service, region)]
        newest = found[-1] if found else None
        if newest is None or newest.state != "begun" or newest.known_good.release.version != version:
            return None
        return newest

    def append(self, emergency: Emergency) -> None:
        """Add how one stands now, on the disk when this returns. Raises StoreError and InvalidInput."""
        with locked(self._path):  # two of them, in two terminals, follow each other
            self._append(emergency)

    def _append(self, emergency: Emergency) -> None:
        *_, signature = ("", *(signature for _, signature in self._lines()))
        said = json.dumps(_EMERGENCY.dump_python(emergency, mode="json"), ensure_ascii=False, sort_keys=True)
        line = json.dumps({"said": said, "signature": self._sign(signature, said)}, ensure_ascii=False)
        try:
            before = self._path.read_bytes() if self._path.exists() else b""
            replace_file(self._path, before + (line + "\n").encode("utf-8", "replace"))
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror}. Mend that.") from error

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the file does; asks the file system only."""
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def _sign(self, before: str, said: str) -> str:
        return self._seal.sign(f"{before or _FIRST}\n{said}".encode("utf-8", "replace"))

    def _lines(self) -> Iterator[tuple[Emergency, str]]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{self._path} cannot be read: {error}.") from error
        before = ""
        for number, line in enumerate(lines, start=1):
            said, signature = _parts(line)
            if not self._seal.holds(f"{before or _FIRST}\n{said}".encode("utf-8", "replace"), signature):
                raise InvalidInput(
                    f"{self._path}:{number} is not as it was signed: a line was changed or taken away, or "
                    "the key is another. Move the file away, and see what runs in each region."
                )
            yield _read(self._path, number, said), signature
            before = signature


def _parts(line: str) -> tuple[str, str]:
    try:
        found = json.loads(line)
        return str(found["said"]), str(found["signature"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return "", ""


def _read(path: Path, number: int, said: str) -> Emergency:
    try:
        return _EMERGENCY.validate_json(said)
    except ValidationError as error:
        raise InvalidInput(f"{path}:{number} was written by another version of this program.") from error
