"""The process between the deployer `command` and one run of a program: it outlives the controller.

`python -I command_runner.py DIRECTORY LOCK`: reads DIRECTORY/request.json {argv, directory, within_s}, starts
the program in a process group of its own with this process's environment, keeps the bounds, and writes
DIRECTORY/result.json. LOCK is a descriptor that stays locked as long as this process lives. child.json there
names the program's process, so that one that outlived this process can be found. Standard library only.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

BOUND = 65_536  # bytes kept of each output: the first of stdout, the last of stderr
BUSY = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})  # may pass
GRACE_S = 5.0  # between SIGTERM and SIGKILL
DRAIN_S = 1.0  # for outputs that a process outside the group still holds


class Kept:
    """Reads an output to its end, so that nobody waits for room in it, and keeps a bounded part."""

    def __init__(self, stream: IO[bytes], *, first: bool) -> None:
        self.content, self.size = b"", 0
        self._stream, self._first = stream, first
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self._stream.fileno(), BOUND):
                self.size += len(part)
                both = self.content + part
                self.content = both[:BOUND] if self._first else both[-BOUND:]

    def text(self) -> str:
        """What was kept."""
        self._thread.join(DRAIN_S)
        return self.content.decode("utf-8", errors="replace")


def started_at(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if state in "ZX" else rest[18]


def boot() -> str:
    """The present run of the machine: a process id means nothing in another one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file in one step, durable."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def end_group(group: int, ended: Any = None) -> None:
    """End a process group: ask, wait, insist. `ended()` reaps its leader, where it is ours."""
    began, number = time.monotonic(), int(signal.SIGTERM)
    while _send(group, number) and time.monotonic() - began < GRACE_S + DRAIN_S:
        if ended is not None:
            ended()
        number = 0 if time.monotonic() - began < GRACE_S else signal.SIGKILL
        time.sleep(0.02)


def _send(group: int, number: int) -> bool:
    """Whether somebody of the group is there to get it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # it is gone, or its number is somebody else's now
        return False
    return True


def run(directory: Path) -> dict[str, Any]:
    """Run the program of a request; what is found out about it."""
    request = json.loads((directory / "request.json").read_bytes())
    began = time.monotonic()
    try:
        child = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            request["argv"],
            cwd=request["directory"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return {"cannot_start": _why(error, request), "busy": _busy(error)}
    assert child.stdout is not None
    assert child.stderr is not None
    write(directory / "child.json", {"pid": child.pid, "started": started_at(child.pid), "boot": boot()})
    out, err = Kept(child.stdout, first=True), Kept(child.stderr, first=False)
    try:
        child.wait(request["within_s"])
        late = False
    except subprocess.TimeoutExpired:
        late = True
    took_s = round(time.monotonic() - began, 3)
    end_group(child.pid, child.poll)  # also those whom it left behind
    child.wait()
    return {
        "exit": child.returncode,
        "late": late,
        "took_s": took_s,
        "stdout": out.text(),
        "stdout_size": out.size,
        "stderr": err.text(),
        "stderr_size": err.size,
    }


def _why(error: Exception, request: dict[str, Any]) -> str:
    """Why a program was not started: its own file, its interpreter, or where it should run."""
    program, where = request["argv"][0], request["directory"]
    if not Path(where).is_dir():
        return f"the working directory {where} does not exist"
    if isinstance(error, FileNotFoundError):
        if "/" in program and (Path(where) / program).exists():
            return f"{program} names an interpreter in its first line that does not exist"
        return f"there is no program {program}; write its whole path, or inherit a PATH that has it"
    if isinstance(error, PermissionError):
        return f"{program} may not be executed (chmod +x)"
    if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
        return f"{program} is no program: its first line names no interpreter (#!/bin/sh)"
    return f"{program}: {error}"


def _busy(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in BUSY


def main() -> int:
    """The command; returns its exit code."""
    directory = Path(sys.argv[1])
    with contextlib.suppress(OSError):
        os.set_inheritable(int(sys.argv[2]), False)
    write(directory / "result.json", run(directory))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
