"""What a deployer may do with a region's directory: order, read back, and tell whether a supervisor lives."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.supervisor import files
from rollout.supervisor.files import Desired, Exit, Rehearse, Rehearsed, Status
from rollout.supervisor.rehearsal import result_of


@contextmanager
def hold_region(directory: Path, within_s: float = 1.0) -> Iterator[bool]:
    """Be the one supervisor of a region; False when another one is. A deployer that looks is waited for."""
    lock = os.open(directory / "supervisor.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        limit = time.monotonic() + within_s
        while not (held := _try(lock, fcntl.LOCK_EX)) and time.monotonic() < limit:
            time.sleep(0.05)
        if held:
            os.pwrite(lock, f"{os.getpid():<20}".encode(), 0)
        yield held
    finally:
        os.close(lock)


def _try(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class RegionFiles:
    """The deployer's side of one region's directory. Every method does small, blocking file work."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def supervisor(self) -> int | None:
        """The process id of the supervisor that lives here at this moment; None when none does.

        Raises ValueError when one lives and its lock names no process, OSError when it cannot be opened.
        """
        try:
            lock = os.open(self.directory / "supervisor.lock", os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            return None if _try(lock, fcntl.LOCK_SH) else self._named(os.pread(lock, 20, 0))
        finally:
            os.close(lock)

    def _named(self, said: bytes) -> int:
        try:
            return int(said or b"0")  # empty: it took the lock and has not written yet
        except ValueError:
            path = self.directory / "supervisor.lock"
            raise ValueError(f"{path} names no process but {said!r}; restart the supervisor") from None

    @contextmanager
    def locked(self, service: str) -> Iterator[Path]:
        """Be the only one that writes orders for a service; gives its directory."""
        directory = files.private(self.directory / service)
        lock = os.open(directory / "deployer.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(lock)

    def desired(self, service: str) -> Desired | None:
        """The newest order. Raises ValueError when its file is damaged."""
        return files.read(self.directory / service / "desired.json", Desired)

    def status(self, service: str) -> Status | None:
        """What runs, or None when nothing was ever ordered. Raises ValueError when its file is damaged."""
        return files.read(self.directory / service / "status.json", Status)

    def rehearse(self, service: str, request: Rehearse) -> Rehearsed | None:
        """Ask for a rehearsal once, and give its result when there is one."""
        with self.locked(service) as directory:
            files.private(directory / "rehearsals")
            path = directory / "rehearsals" / f"{files.file_name(request.key)}.request.json"
            if not path.exists():
                files.write(path, request)
        return files.read(result_of(path), Rehearsed)

    def exits(self, service: str) -> tuple[Exit, ...]:
        """The ends of processes that are still on record, oldest first; damaged lines are left out."""
        path = self.directory / service / "exits.jsonl"
        found = (_exit(line) for line in files.tail(path, 2 * files.BOUND).splitlines())
        return tuple(one for one in found if one is not None)


def _exit(line: bytes) -> Exit | None:
    """The end of one process; None where the line was cut or damaged."""
    try:
        return Exit.model_validate_json(line)
    except ValueError:
        return None
