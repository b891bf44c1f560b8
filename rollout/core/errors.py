"""The error tree. Every error that the product raises on purpose is one of these.

RolloutError
├── InvalidInput          what was sent or written is wrong; names each place
├── NotFound              the named thing does not exist
├── Conflict              the request does not fit the present state
│   ├── IllegalTransition a phase table has no such entry
│   └── StaleWrite        somebody else wrote first; read again and decide again
├── NotAuthenticated      no valid token
├── NotAllowed            a valid token without the right
├── OutsideError          a deployer, source or notifier could not do its work
│   ├── TransientError    worth trying again under the same key
│   └── PermanentError    will not work however often it is tried
└── StoreError            the database cannot be used (full, not ours, newer)
    ├── Unwritable        nobody can write there: the disk is full, the file damaged, the server read-only
    ├── OutcomeUnknown    the answer to a COMMIT was lost: recorded or not, nobody can tell
    └── TooOld            the database wants a newer program to write

They become HTTP in `api/errors.py` and exit codes in `rollout/cli/exits.py`, nowhere else.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong place in an input: `place` is `file:line: path` or a JSON pointer."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """`; did you mean 'bake'?`, or the known words when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(written, words, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(words)}" if words else ""


class RolloutError(Exception):
    """Root of the tree. `code` is stable and names the page of the error in the docs."""

    code = "internal"


class InvalidInput(RolloutError):
    """Something a person or program wrote cannot be accepted; nothing was changed."""

    code = "invalid-input"

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        return "\n".join([super().__str__(), *lines]) if lines else super().__str__()


class NotFound(RolloutError):
    """The named thing does not exist."""

    code = "not-found"

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        super().__init__(f"There is no {kind} '{name}'." + (f" {hint}" if hint else ""))


class Conflict(RolloutError):
    """The request is well formed and does not fit the present state; the text says what does."""

    code = "conflict"

    def __init__(self, message: str, code: str = "conflict") -> None:
        super().__init__(message)
        self.code = code


class IllegalTransition(Conflict):
    """A phase table has no entry for this phase and trigger."""

    def __init__(self, what: str, phase: str, trigger: str, allowed: tuple[str, ...]) -> None:
        known = ", ".join(allowed) or "nothing; wait for what is under way, or look at how it ended"
        super().__init__(
            f"{what} is {phase}, where '{trigger}' is not possible. Possible here: {known}.",
            "illegal-transition",
        )


class StaleWrite(Conflict):
    """The row changed since it was read; losing this race is normal."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "stale")


class Fenced(Conflict):
    """The claim that a write rests on is another replica's now; nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "fenced")


class NotAuthenticated(RolloutError):
    """No token, or one that is unknown, expired or revoked."""

    code = "not-authenticated"


class NotAllowed(RolloutError):
    """The token is valid and lacks the role; the text names the missing role."""

    code = "not-allowed"


class OutsideError(RolloutError):
    """A deployer, source or notifier failed to do its work."""

    code = "outside"
    transient = True


class TransientError(OutsideError):
    """Worth trying again with the same key."""

    transient = True


class PermanentError(OutsideError):
    """Trying again cannot help; a person has to change something."""

    transient = False


class StoreError(RolloutError):
    """The database cannot be used; the text says why and what mends it, `public` what anybody may read."""

    code = "store"
    public = ""


class Unwritable(StoreError):
    """Whoever writes whatever meets the same: it is no matter of what was to be written."""


class OutcomeUnknown(StoreError):
    """What was to be written may be there or not; the same key sent again tells."""

    code = "outcome-unknown"


class TooOld(StoreError):
    """The program knows the schema up to `known`, and the database wants writers to know `wanted`."""

    def __init__(self, name: str, known: str, wanted: str) -> None:
        super().__init__(
            f"The database '{name}' was changed by a newer version of this program: only programs that know "
            f"the schema '{wanted}' may write, and this one knows up to '{known}'. Nothing was written; "
            "install the newer program here."
        )
        self.public = (
            f"This replica is too old to write (it knows {known}, the database wants {wanted}); others hold "
            "its services: rollout replicas. Install the newer version."
        )


def gone_wrong(error: Exception, limit_s: float) -> str:
    """What went wrong outside, for people; `limit_s` is the time that an answer had."""
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s."
    return str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}."
