"""What can go wrong for a program that asks the server, as one tree.

ClientError
├── Unreachable       no answer came, however often it was asked
├── NotOurs           something answers there that is no rollout server, or a much newer one
├── WaitedTooLong     what was waited for did not come in time; the rollout goes on
└── Refused           the server said no: `status`, `type`, `detail`, `places`, `trace_id`
    ├── NotAuthenticated  401: no valid token
    ├── NotAllowed        403: a valid token without the right
    ├── NotFound          404
    ├── Conflict          409: it does not fit the present state
    └── Changed           412: it moved on since you looked; read it again and decide again

Exit codes are the command line's (rollout/cli/exits.py).
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Root of the tree; its text is a sentence for people."""


class Unreachable(ClientError):
    """No answer. `perhaps_recorded`: what was asked may have arrived; with the same key it counts once."""

    def __init__(self, message: str, *, perhaps_recorded: bool = False) -> None:
        super().__init__(message)
        self.perhaps_recorded = perhaps_recorded


class NotOurs(ClientError):
    """What answers is no rollout server, or says what this client cannot read."""


class WaitedTooLong(ClientError):
    """The time to wait is over, and what was waited for did not come."""


class Refused(ClientError):
    """The server's problem (RFC 9457). `type` is its last word, such as `stale`; `problem` is all of it."""

    def __init__(self, status: int, problem: Mapping[str, Any], path: str = "") -> None:
        self.status, self.problem = status, problem
        self.type = str(problem.get("type", "")).rstrip("/").rpartition("/")[2].rpartition("#")[2]
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status} for {path}")
        self.places = tuple(place for place in problem.get("errors") or () if isinstance(place, Mapping))
        self.trace_id = str(problem.get("trace_id") or "")
        self.retry_after = ""  # seconds, where the server said when to ask again
        super().__init__(self.detail)


class NotAuthenticated(Refused):
    """No token, or one that is unknown, expired or revoked."""


class NotAllowed(Refused):
    """A valid token without the role; the text names the missing one."""


class NotFound(Refused):
    """The named thing does not exist, or is not for this token."""


class Conflict(Refused):
    """The request does not fit the present state; `type` says which way."""


class Changed(Refused):
    """It moved on since you looked."""


_KINDS: Mapping[int, type[Refused]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Changed,
}


def refused(status: int, problem: Mapping[str, Any], path: str) -> Refused:
    """The error of an answer from 400 on."""
    return _KINDS.get(status, Refused)(status, problem, path)
