"""What a checker says, and how a function becomes one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.simulation.history import Happened, History

Checker = Callable[[History], Iterator["Violation"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken: which, when (true seconds, and the place in the history), and how."""

    check: str
    at: float
    text: str
    n: int = -1

    def __str__(self) -> str:
        return f"{self.check} at {self.at:.2f} s (line {self.n}): {self.text}"


def broken(check: str, happened: Happened, text: str) -> Violation:
    """A violation in the moment of something that happened."""
    return Violation(check=check, at=happened.at, text=text, n=happened.n)


def at_end(check: str, history: History, text: str) -> Violation:
    """A violation that only the end shows."""
    last = history.happened[-1] if history.happened else None
    return Violation(check=check, at=last.at if last else 0.0, text=text, n=last.n if last else -1)
