"""Runs of programs for the deployer `command`, each under a key and in a directory of its own.

{runs}/{key}/request.json  what is to be run, without its environment
{runs}/{key}/details.json  what else the order says (items of work)
{runs}/{key}/lock          locked as long as the runner of this key lives: never two at once
{runs}/{key}/child.json    the program's process, in case the runner dies before it
{runs}/{key}/result.json   how it ended
Replicas of one machine may share them: whoever changes a run holds its lock. What a result means for an
order is not known here.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rollout.core.errors import TransientError
from rollout.deployers import command_runner

KEPT = 200  # ended runs of a region
FORGETTING_S = 0.2  # while somebody else looks at the run
ENDING_S = 8.0  # for a program of an older order: SIGTERM, SIGKILL, and its runner's last words
RUNNER = Path(command_runner.__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: `exit` below zero is a signal. `cannot_start` says why it never began."""

    exit: int | None = None
    late: bool = False
    took_s: float = 0.0
    stdout: str = ""
    stdout_size: int = 0
    stderr: str = ""
    stderr_size: int = 0
    cannot_start: str = ""
    busy: bool = False


class Runs:
    """The runs of one region. Every method does small, blocking work."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runners: list[subprocess.Popen[bytes]] = []

    def place(self, key: str) -> Path:
        """Where the run of a key keeps its files."""
        name = quote(key, safe="")
        return self._directory / (name if len(name) <= 200 else sha256(key.encode()).hexdigest())

    def ended(self, key: str) -> Ended | None:
        """How the run of a key ended; None while it is under way, or was never begun."""
        place = self.place(key)
        with _locked(place) as free:
            return _result(place) if free else None

    def known(self, key: str) -> bool:
        """Whether the run of a key is under way, or has ended; one that was lost is not."""
        place = self.place(key)
        with _locked(place) as free:
            return _result(place) is not None if free is not None else place.is_dir()

    def begin(
        self,
        key: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        details: Mapping[str, Any],
        directory: Path,
        within_s: float,
        moves: str = "",
        generation: int = 0,
    ) -> bool:
        """Start a program, unless it runs or has ended; False when an orphan of an earlier run still does.

        One that `moves` a service ends those that move it by an older generation, so that it acts last.
        Raises TransientError while one of them, or of a newer one, runs on.
        """
        place = self.place(key)
        self._tidy()
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(place) as free:
            if free is None or _result(place) is not None:
                return True
            if _outlived(place, within_s):
                return False
            for left in ("result.json", "child.json"):
                (place / left).unlink(missing_ok=True)
            command_runner.write(place / "details.json", dict(details))
            request = {"argv": list(argv), "directory": str(directory), "within_s": within_s}
            request |= {"moves": moves, "generation": generation}
            command_runner.write(place / "request.json", request)
            if moves:  # after the request is there: of two that begin at once, at least one sees the other
                self._end_older(place, moves, generation)
            self._watch(_start(place, free, environment))
        return True

    def forget(self, key: str) -> None:
        """Remove what is kept of a run that has ended, unless somebody has begun it again."""
        place, until = self.place(key), time.monotonic() + FORGETTING_S
        while not _removed(place) and time.monotonic() < until:
            time.sleep(0.01)

    def _end_older(self, place: Path, moves: str, generation: int) -> None:
        for other in self._directory.iterdir():
            request = _read(other / "request.json")
            if other != place and request.get("moves") == moves and _is_busy(other):
                older = int(request.get("generation", 0)) < generation
                if not (older and _ended_by_us(other)):
                    raise TransientError(f"Another order for {moves} still runs; this one waits for its end.")

    def _watch(self, runner: subprocess.Popen[bytes]) -> None:
        """Leave no zombie when it ends, also where nobody asks for the run again."""
        self._runners.append(runner)

        def wait() -> None:
            runner.wait()
            self._runners.remove(runner)

        threading.Thread(target=wait, name="command-runner", daemon=True).start()

    def _tidy(self) -> None:
        """Keep the newest runs; one under way is never touched."""
        if not self._directory.is_dir():
            return
        places = sorted(self._directory.iterdir(), key=_touched, reverse=True)
        for place in places[KEPT:]:
            _removed(place)


def _removed(place: Path) -> bool:
    """Remove a run in one step, so that nobody begins it in a half of the old; False while it is locked."""
    with _locked(place) as free, suppress(OSError):
        if free is not None:
            gone = place.rename(place.with_name(f".{uuid.uuid4().hex}"))
            shutil.rmtree(gone, ignore_errors=True)
    return not place.exists()


def _start(place: Path, lock: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own file, no shell
            [sys.executable, "-I", str(RUNNER), str(place), str(lock)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock,),
        )
    except OSError as error:
        raise TransientError(
            f"No process can be started here: {error.strerror}. It is tried again."
        ) from error


@contextmanager
def _locked(place: Path) -> Iterator[int | None]:
    """The lock of a run; None while somebody holds it, or when there is no such run."""
    try:
        lock = os.open(place / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield lock if _taken(lock, place) else None
    finally:
        os.close(lock)


def _taken(lock: int, place: Path) -> bool:
    """Lock it; False where another has, or where the run was removed between opening and locking."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), (place / "lock").stat())
    return False


def _outlived(place: Path, within_s: float) -> bool:
    """Whether a program runs on without its runner. One past its time limit is ended."""
    found = _child(place)
    if found is None:
        return False
    pid, started = found
    if time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK") < within_s:
        return True
    command_runner.end_group(pid)
    return False


def _child(place: Path) -> tuple[int, str] | None:
    """The program of a run, and when it began; None when it does not run."""
    found = _read(place / "child.json")
    pid, started = found.get("pid"), found.get("started")
    if not isinstance(pid, int) or not started or found.get("boot") != command_runner.boot():
        return None
    return (pid, str(started)) if command_runner.started_at(pid) == started else None


def _is_busy(place: Path) -> bool:
    """Whether the runner of a run, or its program, lives."""
    with _locked(place) as free:
        return free is None or _child(place) is not None


def _ended_by_us(place: Path) -> bool:
    """End the program of a run, also one that is just being started; whether it is over."""
    until = time.monotonic() + ENDING_S
    while _is_busy(place) and time.monotonic() < until:
        if found := _child(place):
            command_runner.end_group(found[0])
        time.sleep(0.02)
    return not _is_busy(place)


def _result(place: Path) -> Ended | None:
    found = _read(place / "result.json")
    with suppress(TypeError):
        return Ended(**found) if found else None
    return None


def _read(path: Path) -> dict[str, Any]:
    """A file of ours; empty when it is absent or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _touched(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0
