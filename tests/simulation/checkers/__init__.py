"""One checker for each layer and promise: pure functions over a history, named by the promise they watch.

The numbers are those of docs/simulation.md. A checker of a layer sees what another layer would hide: that
a target deduplicates must not hide that an effect was ordered twice.
"""

from tests.simulation.checkers import back, claims, ends, forward, orders, record
from tests.simulation.checkers.violation import Checker, Violation
from tests.simulation.history import History

ALL: tuple[Checker, ...] = (
    *orders.ALL,
    *forward.ALL,
    *back.ALL,
    *record.ALL,
    *claims.ALL,
    *ends.ALL,
)
__all__ = ["ALL", "Violation", "check"]


def check(history: History) -> tuple[Violation, ...]:
    """Everything that is wrong with a history, in order of time."""
    found = [violation for checker in ALL for violation in checker(history)]
    return tuple(sorted(found, key=lambda violation: violation.n))
