"""The files between a supervisor and a deployer: their shapes, and writing them so that no reader sees half.

DIR/supervisor.lock            held (flock) as long as a supervisor lives
DIR/children.json              the processes it started, so that its successor can end leftovers
DIR/{service}/desired.json     what should run; written by the deployer
DIR/{service}/accepted.json    the newest of these that the supervisor took; its generation is the fence
DIR/{service}/status.json      what runs; written by the supervisor
DIR/{service}/exits.jsonl      every end of a process
DIR/{service}/logs/{slot}.log  what the processes wrote
DIR/{service}/data             the working directory of the service, `{directory}` in its command
DIR/{service}/rehearsals/      requests and results of rehearsals
DIR/{service}/evidence/        copies of logs and exits, the newest 20
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

BOUND = 1_000_000  # bytes of a log before it is rotated; one older file is kept
SlotName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$"
Version = Annotated[str, Field(pattern=VERSION)]

M = TypeVar("M", bound=BaseModel)


class Written(BaseModel):
    """Anything in these files; frozen."""

    model_config = ConfigDict(frozen=True)


class Launch(Written):
    """How a process is started and asked for its health.

    `command` may contain {python} {version} {port} {slot} {directory}. It must answer 200 on `health` and its
    version on /version within `start_within_s`, and should end when its standard input closes.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    environment: dict[str, str] = {}
    health: str = "/healthz"
    start_within_s: float = 10.0

    def bare(self) -> "Launch":
        """Only how it is started, without what a subclass adds."""
        return Launch(**{name: getattr(self, name) for name in Launch.model_fields})


class SlotWish(Written):
    """Which version should run in one slot."""

    slot: SlotName
    version: Version


class Desired(Launch):
    """What should run of one service. `rolling` changes `max_unavailable` slots at a time, else all at once.

    `key` is that of the order; `seen` are the keys of orders before it, newest last.
    """

    key: str
    generation: int
    rolling: bool = True
    max_unavailable: Annotated[int, Field(ge=1)] = 1
    slots: tuple[SlotWish, ...]
    seen: tuple[str, ...] = ()


class Exit(Written):
    """The end of one process: a code, or the signal that ended it. `planned` ends were asked for."""

    at: datetime
    slot: str
    version: str
    code: int | None = None
    signal: str | None = None
    planned: bool = False

    @property
    def reason(self) -> str:
        """`exit 70` or `signal SIGKILL`."""
        return f"exit {self.code}" if self.signal is None else f"signal {self.signal}"


class Failure(Written):
    """A slot whose process does not become healthy, and the last lines that it wrote."""

    slot: str
    version: str
    reason: str
    last_lines: tuple[str, ...] = ()


class InstanceStatus(Written):
    """One slot. `version` was started; `answers` is what it says on /version. `restarts` were not ordered."""

    slot: str
    version: str
    answers: str | None = None
    pid: int | None = None
    port: int | None = None
    url: str = ""
    started_at: datetime
    healthy: bool = False
    restarts: int = 0
    exits: tuple[Exit, ...] = ()


class Status(Written):
    """What runs of one service. `reached` is the highest generation that was once whole.

    `converged`: every slot is healthy with the version desired under `key`, and nothing else runs.
    `refused` says why the newest desired.json was not taken, `refused_key` which order that was.
    """

    pid: int
    at: datetime
    key: str
    generation: int
    reached: int = 0
    converged: bool = False
    refused: str = ""
    refused_key: str = ""
    failed: Failure | None = None
    instances: tuple[InstanceStatus, ...] = ()


class Rehearse(Launch):
    """A request to start one process apart and stop it again."""

    key: str
    version: Version


class Rehearsed(Written):
    """How a rehearsal went."""

    key: str
    failure: Failure | None = None
    took_s: float


class Child(Written):
    """A process that was started, told from another with the same pid by when it began."""

    pid: int
    created: float


class Children(Written):
    """All processes of one supervisor."""

    children: tuple[Child, ...] = ()


def private(directory: Path) -> Path:
    """Make a directory that only its owner can enter."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def write(path: Path, content: BaseModel) -> None:
    """Replace a file in one step, durable: a reader sees the old or the new one, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _naming(path):
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An OSError names the file, which the system leaves out when a disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(path: Path, kind: type[M]) -> M | None:
    """The content, or None when there is no such file. Raises ValueError naming a damaged file."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path} cannot be read: {first['msg']} at {list(first['loc'])}") from error


def append(path: Path, data: bytes) -> None:
    """Add to a log that never grows beyond twice BOUND."""
    with _naming(path):
        if path.exists() and path.stat().st_size + len(data) > BOUND:
            path.replace(path.with_name(path.name + ".1"))
        with path.open("ab") as file:
            file.write(data)


def tail(path: Path, size: int = 65_536) -> bytes:
    """The last `size` bytes of a log, reaching into the rotated part; empty when there is none."""
    found = b""
    for part in (path, path.with_name(path.name + ".1")):
        if part.exists() and len(found) < size:
            found = part.read_bytes()[-(size - len(found)) :] + found
    return found


def last_lines(path: Path, count: int = 10) -> tuple[str, ...]:
    """The last lines of a log."""
    return lines(tail(path), count)


def lines(data: bytes, count: int = 10) -> tuple[str, ...]:
    """The last lines of what was written."""
    return tuple(data.decode(errors="replace").splitlines()[-count:])


def file_name(key: str) -> str:
    """A key as the name of a file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", key)[:120].lstrip(".") or "_"


def is_version(text: str) -> bool:
    """Whether a process may be started with this as its version: it can be no option and no path."""
    return re.fullmatch(VERSION, text) is not None
