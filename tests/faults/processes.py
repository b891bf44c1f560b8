"""Processes of the fault tests: started, frozen, killed and ended, each by its id; none is left behind."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def eventually(found: Callable[[], T], within_s: float, what: str, every_s: float = 0.05) -> T:
    """What `found` gives once it is true; real processes take real time."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        if given := found():
            return given
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s:g} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """SIGKILL when whoever started this is gone, however that came."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process:
    """One process of ours."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._command, self._environment = command, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, **environment: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ROLLOUT_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**kept, **self._environment, **environment},
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # it makes one call of the kernel
            )

    def kill(self) -> None:
        """As a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        if process.poll() is None:
            process.send_signal(how)
            if how != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)  # one that is frozen takes no signal
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Replica(Process):
    """`rollout serve` with a data directory and a port of its own."""

    def __init__(self, name: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.port, self.data = free_port(), directory / name
        own = {"ROLLOUT_DATA": str(self.data), "ROLLOUT_PORT": str(self.port), **environment}
        command = ["-m", "rollout.cli", "serve"]
        super().__init__(name, command, own, directory / f"{name}.log")
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        return False

    def wait_ready(self, within_s: float = 30) -> None:
        eventually(lambda: self.ready() or not self.alive, within_s, f"{self.name} is ready", 0.1)
        assert self.alive, self.log.read_text("utf-8")[-3000:]

    def said(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """Lines of the log that contain `event`, from a byte of the log on."""
        with self.log.open("rb") as log:
            log.seek(since)
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if event in line]
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


@contextlib.contextmanager
def ended(processes: Mapping[str, Process]) -> Iterator[None]:
    """End whatever is there at the end, however it comes."""
    try:
        yield
    finally:
        for process in processes.values():
            process.kill()
