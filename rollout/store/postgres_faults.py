"""What PostgreSQL refuses, as errors of ours: what happened, and what mends it. Values are never repeated."""

from typing import Any

from rollout.core.errors import StoreError, Unwritable

_NOT_SERIAL, _DEADLOCK, _TAKEN, _LOCKED, _READ_ONLY = "40001", "40P01", "23505", "55P03", "25006"
FUTURE = "22023"  # of a transaction's number: none has been given so high
LOST = frozenset(
    {_READ_ONLY, "25P03", "57P01", "57P02", "57P03", "57P05"}
)  # the connection is of no more use
_AGAIN = frozenset({_NOT_SERIAL, _DEADLOCK, _LOCKED, _TAKEN, *LOST})
_TOO_LONG = "57014"
_OF_THE_WORK = frozenset({_NOT_SERIAL, _DEADLOCK, _LOCKED, _TOO_LONG})  # other work may well be done

_SAYS = {
    _NOT_SERIAL: "had too many writers at the same rows. Nothing was changed; try again",
    _DEADLOCK: "had writers that waited for each other. Nothing was changed; try again",
    _LOCKED: "is locked by another session for too long. Nothing was changed; it works again when that one "
    "lets go. Find it with: SELECT * FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    _READ_ONLY: "cannot be written: the server is a read-only standby, or the user may only read. Nothing "
    "was changed; name the primary too in ROLLOUT_DATABASE_URL (host1,host2)",
    "28P01": "refuses the password of this user. Mend the password in ROLLOUT_DATABASE_URL",
    "28000": "does not let this user in. See the server's pg_hba.conf, and the user in ROLLOUT_DATABASE_URL",
    "3D000": "is not there. Make it with: createdb, or mend the name in ROLLOUT_DATABASE_URL",
    "42501": "does not permit that to this user. It needs CREATE on the database, or on a schema 'rollout' "
    "that is there",
    "42P01": "lacks a table of ours. Bring it up to date with: rollout db upgrade",
    "53100": "cannot grow: the server's disk is full. Nothing was changed, and work goes on by itself once "
    "there is room; free space there",
    "53300": "takes no more connections. Raise max_connections of the server, or end other sessions",
    _TOO_LONG: "took too long over a statement, which was ended. Nothing was changed",
    "57P03": "is starting or stopping. Nothing was changed; try again in a moment",
}


def code_of(error: BaseException | None) -> str:
    """The five characters of SQLSTATE; empty when the server said nothing."""
    said = _said(error)
    return str(said.get("C", "")) if said else ""


def message_of(error: BaseException | None) -> str:
    """The server's sentence without its details, which may hold values; else the driver's."""
    said = _said(error)
    return str(said.get("M", "")) if said else str(error)


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection is of no more use."""
    said = _said(error)
    return code_of(error) in LOST or (not said and str(error) in ("network error", "connection is closed"))


def is_transient(error: BaseException | None) -> bool:
    """Whether the transaction changed nothing and may well succeed at once."""
    return code_of(error) in _AGAIN or is_lost(error)


def store_error(name: str, error: BaseException | None) -> StoreError:
    """The sentence for an error of the database."""
    if is_lost(error) and not code_of(error):
        return StoreError(
            f"The connection to the database '{name}' was lost. Nothing was changed; see whether the server "
            "runs and can be reached."
        )
    says = _SAYS.get(code_of(error))
    if says is None:
        return StoreError(f"The database '{name}' refused the work: {message_of(error)}.")
    kind = StoreError if code_of(error) in _OF_THE_WORK else Unwritable
    return kind(f"The database '{name}' {says}. ({message_of(error)})")


def _said(error: BaseException | None) -> dict[str, Any]:
    given = error.args[0] if error is not None and error.args else None
    return given if isinstance(given, dict) else {}
