"""What a process does to the files of one directory, in order, as strace saw it.

Only the calls are read that change files or wait for the disk. Shared memory of SQLite (`-shm`) is made anew
from the log after a cut, and what is mapped there is no part of this.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.power.telling import AS_IT_IS, SAID

SYNCS = ("fsync", "fdatasync")
CALLS = ",".join(("pwrite64", "write", "ftruncate", "unlink", "rename", "openat", *SYNCS))
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPEN = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")


class NoTrace(Exception):
    """Processes cannot be watched here; the text says why."""


@dataclass(frozen=True)
class Made:
    """A name appeared in the directory."""

    name: str


@dataclass(frozen=True)
class Wrote:
    """Bytes at an offset; None is the end of the file."""

    name: str
    offset: int | None
    content: bytes


@dataclass(frozen=True)
class Sized:
    """A file was cut off, or filled with zeros, to this many bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Synced:
    """All that was done to a file is on the disk; an empty name is the directory itself."""

    name: str


@dataclass(frozen=True)
class Moved:
    """A name became another, or none."""

    name: str
    to: str | None


@dataclass(frozen=True)
class Answered:
    """A transaction was acknowledged. `holds` is what the database held then."""

    holds: str


Deed = Made | Wrote | Sized | Synced | Moved | Answered


def recorded(place: Path, story: str, journal: str, synchronous: str = AS_IT_IS) -> Sequence[Deed]:
    """Live the story in `place`, and return what was done in its `data`. Raises NoTrace.

    `journal` is of SQLite, "wal" or "delete"; `synchronous` is its setting, where not the product's.
    """
    directory, trace = place / "data", place / "trace"
    directory.mkdir(parents=True)
    watched = ["strace", "-y", "-xx", "-s", "1000000", "-o", str(trace), "-e", f"trace={CALLS}"]
    life = [sys.executable, "-m", "tests.faults.power.telling", str(directory), story, journal, synchronous]
    _try_out()
    ended = subprocess.run([*watched, *life], capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    with trace.open() as lines:
        return list(_deeds(lines, directory.resolve()))


def _try_out() -> None:
    try:
        tried = subprocess.run(["strace", "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoTrace(f"strace cannot be run: {error}; it is a package of that name") from error
    if tried.returncode != 0:
        raise NoTrace(f"strace may watch no process here: {tried.stderr.strip()[-200:]}")


def _deeds(lines: Iterator[str], directory: Path) -> Iterator[Deed]:
    for line in lines:
        found = _CALL.match(line)
        if found is None or found[3].startswith("-"):
            continue
        call, arguments = found[1], found[2]
        opened = _OPEN.match(arguments)
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        path = Path((_bytes(opened[1]) if opened else texts[0]).decode())
        if path == directory.parent / SAID and call == "write":
            yield Answered(texts[0].decode().strip())
        elif path == directory and call in SYNCS:
            yield Synced("")
        elif path.parent == directory and not path.name.endswith("-shm"):
            yield from _deed(call, path.name, texts, arguments)


def _deed(call: str, name: str, texts: Sequence[bytes], arguments: str) -> Iterator[Deed]:
    if call == "openat" and "O_CREAT" in arguments:
        yield Made(name)
        if "O_TRUNC" in arguments:
            yield Sized(name, 0)
    elif call == "pwrite64":
        yield Wrote(name, int(arguments.rsplit(", ", 1)[1]), texts[0])
    elif call == "write":
        yield Wrote(name, None, texts[0])
    elif call == "ftruncate":
        yield Sized(name, int(arguments.rsplit(", ", 1)[1]))
    elif call in SYNCS:
        yield Synced(name)
    elif call == "unlink":
        yield Moved(name, None)
    elif call == "rename":
        yield Moved(name, Path(texts[1].decode()).name)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
