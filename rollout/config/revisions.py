"""Which revision of a policy a text is: one number for each text, which rises with every new one.

The controller keeps them in its database (rollout/store/revisions.py), so that all replicas say the same.
Here is what works without one: in memory, and reading the file in which an earlier version kept them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rollout.core.errors import InvalidInput, StoreError


class Book(Protocol):
    """Where revisions are kept."""

    def assign(self, digests: Mapping[str, str]) -> Mapping[str, int]:
        """Give each policy the revision of its digest, from 1. Raises InvalidInput and StoreError."""
        ...


class Revisions:
    """A book in memory."""

    def __init__(self) -> None:
        self._digests: dict[str, list[str]] = {}

    def assign(self, digests: Mapping[str, str]) -> Mapping[str, int]:
        """Give each policy the revision of its digest, from 1."""
        for name, digest in digests.items():
            kept = self._digests.setdefault(name, [])
            if digest not in kept:
                kept.append(digest)
        return {name: numbers(self._digests[name])[digest] for name, digest in digests.items()}


def numbers(digests: Sequence[str]) -> dict[str, int]:
    """The revision of each digest, oldest first; one that came twice has the later number."""
    return {digest: number for number, digest in enumerate(digests, start=1)}


def read_file(path: Path) -> dict[str, list[str]]:
    """The digests of each policy, oldest first, as an earlier version kept them; none where there is no file.

    Raises InvalidInput for a file that is not ours, StoreError when it cannot be read.
    """
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
