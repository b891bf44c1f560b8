"""The points at which a controller can die: around each statement, each commit, each effect and each notice.

What must not live here: what a controller does, and what must be true after its death.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

NEVER = -1
TURNS = ("before COMMIT", "after a transaction", "effect", "notice")  # where what outlives a death changes


class Points:
    """Counts the points that are passed, and kills this process, as by `kill -9`, at one of them."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._deadly, self._last_words, self._unseen = NEVER, NEVER, False

    def arm(self, deadly: int, last_words: int) -> None:
        """Die at the point of this number from now on, after its name was written to a descriptor."""
        self.passed = []
        self._deadly, self._last_words = deadly, last_words

    def pass_by(self, name: str) -> None:
        """Count a point, or die there."""
        if self._unseen:
            return
        if len(self.passed) == self._deadly:
            os.write(self._last_words, _short(name).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed.append(name)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """What a test does to look is no point of the controller."""
        self._unseen = True
        try:
            yield
        finally:
            self._unseen = False

    def watch(self, engine: Engine) -> None:
        """Pass by before and after every statement, before every COMMIT, and after every transaction."""

        def before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.pass_by(f"before {statement}")

        def after(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.pass_by(f"after {statement}")

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        event.listen(engine, "commit", lambda _: self.pass_by("before COMMIT"))
        event.listen(engine, "checkin", lambda *_: self.pass_by("after a transaction"))


def turns(names: Sequence[str]) -> list[int]:
    """The numbers of the points beside which something changes that outlives the controller."""
    return [number for number, name in enumerate(names) if name.startswith(TURNS)]


def writes(names: Sequence[str]) -> list[int]:
    """The numbers of all points but those beside statements that only read.

    Between two of those nothing happens that outlives the controller, nor that the database could keep.
    """
    return [n for n, name in enumerate(names) if not name.startswith(("before SELECT", "after SELECT"))]


def _short(name: str) -> str:
    return " ".join(name.split())[:90]
