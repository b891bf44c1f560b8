"""A directory on a disk that may lose everything for which nobody waited.

What is promised is what POSIX does: bytes stay after fsync of their file, and names after fsync of the
directory; a new file's name also after fsync of the file, as on Linux. Of the rest any part may be there:
each write whole, not at all, or some of its sectors, in any order; names in the order of their changes.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.power.recording import Answered, Deed, Made, Moved, Sized, Synced, Wrote

SECTOR = 512  # bytes that are written whole or not at all
KEPT, LOST, SOME = range(3)  # of what nobody waited for


@dataclass(eq=False)
class _File:
    safe: bytes = b""
    waiting: list[Wrote | Sized] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class _Change:
    """A name is another file's, or nobody's, and the name that it had before is free."""

    name: str
    file: _File | None
    before: str | None = None


class Disk:
    """The directory. One that lies takes fsync for done, and waits for nothing."""

    def __init__(self, *, lies: bool = False) -> None:
        self._lies = lies
        self._safe: dict[str, _File] = {}
        self._names: dict[str, _File] = {}
        self._changes: list[_Change] = []

    def do(self, deed: Deed) -> None:
        """One thing more was done."""
        match deed:
            case Made(name):
                self._file(name)
            case Wrote(name, offset, content):
                file = self._file(name)
                begin = file.size if offset is None else offset
                file.waiting.append(Wrote(name, begin, content))
                file.size = max(file.size, begin + len(content))
            case Sized(name, size):
                file = self._file(name)
                file.waiting.append(deed)
                file.size = size
            case Synced(name):
                self._sync(name)
            case Moved(name, to):
                file = self._names.pop(name)
                if to is not None:
                    self._names[to] = file
                self._changes.append(_Change(to or name, file if to else None, name))
            case Answered():
                pass

    def left(self, chance: random.Random) -> Mapping[str, bytes]:
        """The files that a cut leaves now, by name."""
        names = dict(self._safe)
        for change in self._changes[: self._how_many(chance)]:
            _apply(names, change)
        how = chance.choice((KEPT, LOST, SOME, SOME))
        return {name: _content(file, how, chance) for name, file in names.items()}

    def _how_many(self, chance: random.Random) -> int:
        return chance.choice((0, len(self._changes), chance.randint(0, len(self._changes))))

    def _file(self, name: str) -> _File:
        if name not in self._names:
            self._names[name] = _File()
            self._changes.append(_Change(name, self._names[name]))
        return self._names[name]

    def _sync(self, name: str) -> None:
        if self._lies:
            return
        if not name:
            for change in self._changes:
                _apply(self._safe, change)
            self._changes.clear()
            return
        file = self._file(name)
        file.safe, file.waiting = _content(file, KEPT, random.Random(0)), []
        while any(change.file is file and change.before is None for change in self._changes):
            first = next(each for each in self._changes if name in (each.name, each.before))
            _apply(self._safe, first)
            self._changes.remove(first)


def _apply(names: dict[str, _File], change: _Change) -> None:
    if change.before is not None:
        names.pop(change.before, None)
    if change.file is not None:
        names[change.name] = change.file


def _content(file: _File, how: int, chance: random.Random) -> bytes:
    content = bytearray(file.safe)
    for waiting in file.waiting:
        fate = chance.choice((KEPT, LOST, SOME)) if how == SOME else how
        if fate == LOST:
            continue
        if isinstance(waiting, Sized):
            _resize(content, waiting.size)
        else:
            _write(content, waiting, chance if fate == SOME else None)
    return bytes(content)


def _write(content: bytearray, wrote: Wrote, chance: random.Random | None) -> None:
    assert wrote.offset is not None
    end = wrote.offset + len(wrote.content)
    if len(content) < end:
        _resize(content, end)
    at = wrote.offset
    while at < end:
        until = min(end, (at // SECTOR + 1) * SECTOR)
        if chance is None or chance.random() < 0.5:
            content[at:until] = wrote.content[at - wrote.offset : until - wrote.offset]
        at = until


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
