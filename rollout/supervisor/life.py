"""One process, from its start to its end."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import psutil

from rollout.supervisor import files, probe
from rollout.supervisor.files import Child, Exit, Launch

WORDS = 8_192  # bytes
GRACE_S = 3.0  # between asking a process to end and killing it
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Wish:
    """What should run in a slot, and how it is started."""

    version: str
    launch: Launch


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: the name of the slot, the working directory of the service, and the log."""

    slot: str
    data: Path
    log: Path


class Life:
    """A started process. Its standard input is a pipe that closes with us."""

    def __init__(
        self, wish: Wish, place: Place, port: int, process: asyncio.subprocess.Process, at: datetime
    ) -> None:
        self.wish = wish
        self.place = place
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.started_at = at
        self.answers: str | None = None
        self.words = b""  # the last that it wrote itself; the log also has those before it
        self._process = process
        self._began = time.monotonic()
        self._log = asyncio.create_task(self._keep_output())
        self._end = asyncio.create_task(process.wait())
        self.child = _child(process.pid)

    @classmethod
    async def start(cls, wish: Wish, place: Place, at: datetime) -> "Life":
        """Start it on a free port. Raises OSError when the command cannot be run at all."""
        files.private(place.data)
        files.private(place.log.parent)
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *command(wish, place, port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={k: os.environ[k] for k in INHERITED if k in os.environ} | wish.launch.environment,
            start_new_session=True,
            preexec_fn=_end_with_parent if _LIBC else None,  # we fork from the main thread only
        )
        return cls(wish, place, port, process, at)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    @property
    def lasted_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    async def trouble(self, http: httpx.AsyncClient) -> str:
        """What is wrong with it; empty when it is healthy and says that it is what was started."""
        try:
            await probe.get(http, self.url + self.wish.launch.health)
            self.answers = await probe.version(http, self.url)
        except probe.ProbeError as error:
            return str(error)
        if self.answers != self.wish.version:
            return f"it was started as {self.wish.version} and answers {self.answers} on /version"
        return ""

    async def wait(self, other: asyncio.Event, within_s: float) -> None:
        """Return when it ends, when `other` is set, or after `within_s`."""
        told = asyncio.create_task(other.wait())
        await asyncio.wait({self._end, told}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()

    async def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        if not self.over:
            self._process.terminate()
        await asyncio.wait({self._end}, timeout=GRACE_S)
        if not self.over:
            self._process.kill()
            await self._end

    async def exit(self, at: datetime, *, planned: bool) -> Exit:
        """How it ended; everything that it wrote is in the log by then."""
        await self._end
        await asyncio.wait({self._log}, timeout=1.0)  # a grandchild may keep the pipe open
        self._log.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        code = self._process.returncode or 0
        return Exit(
            at=at,
            slot=self.place.slot,
            version=self.wish.version,
            code=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
            planned=planned,
        )

    async def _keep_output(self) -> None:
        output = self._process.stdout
        assert output is not None, "started with a pipe"
        while data := await output.read(65_536):
            self.words = (self.words + data)[-WORDS:]
            with suppress(OSError):  # a full disk costs the log, not the process that writes it
                files.append(self.place.log, data)


def command(wish: Wish, place: Place, port: int) -> list[str]:
    """The command with its placeholders filled in; no shell sees it."""
    known = {
        "{python}": sys.executable,
        "{version}": wish.version,
        "{port}": str(port),
        "{slot}": place.slot,
        "{directory}": str(place.data),
    }
    return [_fill(part, known) for part in wish.launch.command]


def _fill(part: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        part = part.replace(name, value)
    return part


def free_port() -> int:
    """A port that nobody has at this moment; who loses the race for it dies and is started with another."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def _child(pid: int) -> Child | None:
    try:
        return Child(pid=pid, created=psutil.Process(pid).create_time())
    except psutil.Error:
        return None  # it ended already


def _end_with_parent() -> None:
    """In the new process: be killed when the supervisor is, should it not watch its standard input."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def end_leftovers(children: files.Children) -> int:
    """End processes that an earlier supervisor left behind, and say how many there were."""
    left = [process for child in children.children if (process := _same(child)) is not None]
    for process in left:
        process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=GRACE_S)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=GRACE_S)
    return len(left)


def _same(child: Child) -> psutil.Process | None:
    try:
        process = psutil.Process(child.pid)
        same = abs(process.create_time() - child.created) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
