"""Which revision of a policy a text is: a number that rises with every change and survives restarts."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rollout.core.errors import InvalidInput, StoreError


class Revisions:
    """Remembers the digests of each policy, oldest first, in a JSON file when `path` is given.

    Raises InvalidInput for a file that is not ours, StoreError when it cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._digests: dict[str, list[str]] = _read(path) if path else {}

    def assign(self, digests: Mapping[str, str]) -> Mapping[str, int]:
        """Give each policy its revision, from 1.

        A digest that is not the newest of its name begins the next revision.
        """
        known = {name: list(kept) for name, kept in self._digests.items()}
        for name, digest in digests.items():
            kept = known.setdefault(name, [])
            if kept[-1:] != [digest]:
                kept.append(digest)
        if known != self._digests and self._path:
            _write(self._path, known)
        self._digests = known
        return {name: len(known[name]) for name in digests}


def _read(path: Path) -> dict[str, list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"The policy revisions in {path} cannot be read: {error}. Mend the file.") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not _is_ours(found):
        raise InvalidInput(
            f"{path} does not hold policy revisions. Restore it from a backup, or delete it to begin at 1."
        )
    return dict(found)


def _is_ours(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(kept, list) and kept and all(isinstance(digest, str) for digest in kept)
        for kept in found.values()
    )


def _write(path: Path, known: Mapping[str, list[str]]) -> None:
    """Replace the file in one step, so that a crash leaves the old one or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"The policy revisions cannot be written to {path}: {error.strerror}. Mend that."
        ) from error
