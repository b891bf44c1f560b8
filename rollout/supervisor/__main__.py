"""`python -m rollout.supervisor --directory DIR [--lifeline]`: keeps one region's processes running.

Ends on SIGTERM and SIGINT, and with --lifeline when its standard input closes; its processes end with it.
Exit code 3: another supervisor lives in DIR.
"""

import argparse
import asyncio
import errno
import os
import signal
import sys
from pathlib import Path

import httpx

from rollout import http as web
from rollout.clock import SystemClock
from rollout.supervisor import files, life, lifeline
from rollout.supervisor.client import hold_region
from rollout.supervisor.rehearsal import Rehearsals
from rollout.supervisor.service import ServiceKeeper

TICK_S = 0.1


class RegionKeeper:
    """Every service of one region: whatever has a directory under DIR."""

    def __init__(self, directory: Path, http: httpx.AsyncClient) -> None:
        self._directory = directory
        self._http = http
        self._clock = SystemClock()
        self._services: dict[str, tuple[ServiceKeeper, Rehearsals]] = {}
        self._children = files.Children()
        self._trouble = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything running until `stop`."""
        self._end_leftovers()
        while not stop.is_set():
            self._tick_or_say_why_not()
            try:
                await asyncio.wait_for(stop.wait(), TICK_S)
            except TimeoutError:
                continue
        await asyncio.gather(*(part.close() for parts in self._services.values() for part in parts))
        files.write(self._directory / "children.json", files.Children())

    def _tick_or_say_why_not(self) -> None:
        """A full disk ends no process: the status grows stale, and a deployer says so."""
        try:
            self._tick()
        except OSError as error:
            trouble = explained(error, self._directory)
            if trouble != self._trouble:
                say(f"cannot go on: {trouble}")
            self._trouble = trouble
        else:
            if self._trouble:
                say("goes on again")
            self._trouble = ""

    def _tick(self) -> None:
        for directory in self._directory.iterdir():
            if directory.name not in self._services and directory.is_dir():
                keeper = ServiceKeeper(directory, os.getpid(), self._http, self._clock)
                self._services[directory.name] = (keeper, Rehearsals(directory, self._http, self._clock))
        for parts in self._services.values():
            for part in parts:
                part.tick()
        self._remember_children()

    def _remember_children(self) -> None:
        found = [c for parts in self._services.values() for part in parts for c in part.children()]
        children = files.Children(children=tuple(found))
        if children != self._children:
            files.write(self._directory / "children.json", children)
            self._children = children

    def _end_leftovers(self) -> None:
        try:
            before = files.read(self._directory / "children.json", files.Children)
        except ValueError as error:
            say(f"leftovers of an earlier supervisor are unknown: {error}")
            return
        ended = life.end_leftovers(before) if before else 0
        if ended:
            say(f"ended {ended} processes that an earlier supervisor left behind")


def explained(error: OSError, directory: Path) -> str:
    """Which file, what is wrong with it, and what mends it."""
    path, why = error.filename or directory, error.strerror or type(error).__name__
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    mend = "Free space on its disk" if full else "Give this user the right to read and write it"
    return f"{path} cannot be used: {why}. {mend}; it is tried again every {TICK_S:g} s, and what runs stays."


def say(text: str) -> None:
    """Tell whoever started us."""
    sys.stderr.write(f"supervisor {os.getpid()}: {text}\n")
    sys.stderr.flush()


async def supervise(directory: Path, *, watch_parent: bool) -> None:
    """Run until told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_parent:
        lifeline.on_close(lambda: loop.call_soon_threadsafe(stop.set))
    async with web.client(timeout_s=1.0) as http:
        await RegionKeeper(directory, http).run(stop)


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollout.supervisor", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the region's directory")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    try:
        return _supervise_alone(arguments.directory.resolve(), watch_parent=arguments.lifeline)
    except OSError as error:
        say(f"{error.filename or arguments.directory} cannot be used: {error.strerror or error}")
        return 4


def _supervise_alone(directory: Path, *, watch_parent: bool) -> int:
    files.private(directory).chmod(0o700)
    with hold_region(directory) as held:
        if not held:
            say(f"another supervisor lives in {directory}; stop it first")
            return 3
        asyncio.run(supervise(directory, watch_parent=watch_parent))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
