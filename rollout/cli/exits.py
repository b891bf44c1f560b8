"""Exit codes, and which of them a rollout, an answer of the server or an error becomes."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from rollout.core.errors import (
    Conflict,
    IllegalTransition,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RolloutError,
    StaleWrite,
    StoreError,
)
from rollout.core.model import Outcome, Phase


class Exit(IntEnum):
    """What `$?` says. A promise to scripts: additive changes only; docs/cli.md explains each."""

    SUCCEEDED = 0
    UNEXPECTED = 1
    USAGE = 2
    AWAITING_APPROVAL = 3
    HELD = 4
    ROLLED_BACK = 10
    REJECTED = 11
    CANCELED = 12
    SUPERSEDED = 13
    FROZEN = 14
    ROLLBACK_FAILED = 15
    STILL_RUNNING = 20
    NOT_ALLOWED = 30
    NOT_FOUND = 31
    CHANGED = 32
    UNREACHABLE = 40
    INTERRUPTED = 130


_ENDS = {
    Phase.SUCCEEDED: Exit.SUCCEEDED,
    Phase.ROLLED_BACK: Exit.ROLLED_BACK,
    Phase.ROLLBACK_FAILED: Exit.ROLLBACK_FAILED,
    Phase.REJECTED: Exit.REJECTED,
    Phase.CANCELED: Exit.CANCELED,
    Phase.SUPERSEDED: Exit.SUPERSEDED,
}
_TAKEN_BACK: Mapping[str | None, Exit] = {
    Outcome.REJECTED: Exit.REJECTED,
    Outcome.SUPERSEDED: Exit.SUPERSEDED,
}
_WAITS = {Phase.AWAITING_APPROVAL: Exit.AWAITING_APPROVAL, Phase.HELD: Exit.HELD}
_STATUSES = {
    400: Exit.USAGE,
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    409: Exit.USAGE,
    412: Exit.CHANGED,
    413: Exit.USAGE,
    422: Exit.USAGE,
    428: Exit.USAGE,
    429: Exit.UNREACHABLE,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}
_TYPES = {
    "illegal-transition": Exit.CHANGED,
    "stale": Exit.CHANGED,
    "freeze": Exit.FROZEN,
    "not-read": Exit.HELD,  # nothing was adopted: a region has to be mended, or left out, by a person
    "outside": Exit.UNEXPECTED,  # a deployer or source failed; the server itself is there
}
_ERRORS: tuple[tuple[type[RolloutError], Exit], ...] = (
    (IllegalTransition, Exit.CHANGED),
    (StaleWrite, Exit.CHANGED),
    (InvalidInput, Exit.USAGE),
    (Conflict, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (NotAuthenticated, Exit.NOT_ALLOWED),
    (NotAllowed, Exit.NOT_ALLOWED),
    (StoreError, Exit.USAGE),
)


class Failure(Exception):
    """An end without a result: one sentence or more, the exit code, and the next command to try."""

    def __init__(
        self, message: str, exit_code: Exit, then: str, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.exit_code, self.then, self.problem = message, exit_code, then, problem


def end_of(view: Mapping[str, Any]) -> Exit | None:
    """How a rollout ended, or None while it goes on. Why it was taken back outweighs that it was."""
    end = _ENDS.get(Phase(view["phase"]))
    return _TAKEN_BACK.get(view.get("outcome"), end) if end is Exit.ROLLED_BACK else end


def wait_of(view: Mapping[str, Any]) -> Exit | None:
    """For a person: 3 for approval, 4 held or needed for anything else; None when it waits for nobody."""
    return _WAITS.get(Phase(view["phase"]), Exit.HELD if view["needs_person"] else None)


def exit_of_problem(status: int, problem_type: str) -> Exit:
    """The code of an answer that is an error: by the last word of its `type`, else by its status."""
    word = problem_type.rstrip("/").rpartition("/")[2].rpartition("#")[2]
    return _TYPES.get(word) or _STATUSES.get(status, Exit.UNEXPECTED)


def exit_of_error(error: RolloutError) -> Exit:
    """The code of an error that was raised on this machine."""
    return next((code for kind, code in _ERRORS if isinstance(error, kind)), Exit.UNEXPECTED)
