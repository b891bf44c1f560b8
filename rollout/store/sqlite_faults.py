"""What SQLite refuses, as errors of ours: what happened to which file, and what mends it."""

from pathlib import Path

from rollout.core.errors import StoreError, Unwritable

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _AUTH, _NOTADB = (
    5,
    6,
    8,
    10,
    11,
    13,
    14,
    23,
    26,
)

_SAYS = {
    _BUSY: "is locked by another process for too long. Nothing was changed; it works again when that process "
    "lets go. Find it with: fuser",
    _READONLY: "cannot be written. Nothing was changed; give this user the right to write to the file and "
    "to its directory, and mount the file system writable:",
    _IOERR: "cannot be read or written: the file system reports an error. Nothing was changed; "
    "check the disk that holds",
    _CORRUPT: "is damaged. Stop the controller, keep a copy of the file, and restore the newest backup over",
    _FULL: "cannot grow: the disk is full. Nothing was changed, and work goes on by itself once there is "
    "room; free space on the file system of",
    _CANTOPEN: "cannot be opened. Check that the directory exists and that this user may read and write",
    _NOTADB: "is not a database. Name another file in the database URL, or move away",
}
DAMAGED = frozenset({_CORRUPT, _NOTADB})
_SAYS[_LOCKED] = _SAYS[_BUSY]
_SAYS[_AUTH] = _SAYS[_CANTOPEN]


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, 0 when there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_busy_code(code: int) -> bool:
    """Whether a result code says that another connection holds the lock."""
    return code in (_BUSY, _LOCKED)


def store_error(path: Path, error: BaseException) -> StoreError:
    """The sentence for an error of the database."""
    says = _SAYS.get(code_of(error))
    if says is None:
        return StoreError(f"The database '{path}' refused the work: {error}.")
    kind = StoreError if is_busy_code(code_of(error)) else Unwritable
    return kind(f"The database '{path}' {says} '{path}'. ({error})")
