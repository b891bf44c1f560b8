"""Starting a version once, apart from what runs: own directory, own port, own log, gone afterwards."""

import asyncio
import shutil
import time
from pathlib import Path

import httpx

from rollout.clock import SystemClock
from rollout.supervisor import files
from rollout.supervisor.files import Child, Rehearse, Rehearsed
from rollout.supervisor.life import Place, Wish
from rollout.supervisor.slot import Slot

SLOT = "rehearsal"
KEPT = 20  # results of one service


class Rehearsals:
    """The rehearsals of one service, one at a time. Call `tick` often; it never waits."""

    def __init__(self, directory: Path, http: httpx.AsyncClient, clock: SystemClock) -> None:
        self._directory = directory / "rehearsals"
        self._http = http
        self._clock = clock
        self._slot: Slot | None = None
        self._task: asyncio.Task[None] | None = None

    def tick(self) -> None:
        """Begin the oldest request that has no result yet, unless one is under way."""
        if self._task is not None:
            if not self._task.done():
                return
            self._task.result()
            self._task = None
        requests = sorted(self._directory.glob("*.request.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in requests:
            if not result_of(path).exists():
                self._task = asyncio.create_task(self._rehearse(path))
                return
        for path in requests[:-KEPT]:
            result_of(path).unlink()
            path.unlink()

    def children(self) -> list[Child]:
        """The process that runs at this moment, if one does."""
        life = self._slot.life if self._slot else None
        return [life.child] if life and life.child else []

    async def close(self) -> None:
        """Stop what is under way; its request stays, and is done by the next supervisor."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _rehearse(self, path: Path) -> None:
        began = time.monotonic()
        request = files.read(path, Rehearse)
        assert request is not None, "requests are removed only by us"
        apart = path.with_name(path.name.removesuffix(".request.json"))
        place = Place(SLOT, apart, apart / "log")
        self._slot = slot = Slot(place, self._http, self._clock)
        slot.want(Wish(request.version, request.bare()))
        keeping = asyncio.create_task(slot.keep())
        try:
            while not slot.proved and slot.failure() is None:
                await asyncio.wait({keeping}, timeout=0.05)
            failure = slot.failure()
        finally:
            slot.want(None)
            await keeping
            self._slot = None
        shutil.rmtree(apart)
        done = Rehearsed(key=request.key, failure=failure, took_s=round(time.monotonic() - began, 3))
        files.write(result_of(path), done)


def result_of(request: Path) -> Path:
    """Where the result of a request is written."""
    return request.with_name(request.name.replace(".request.json", ".result.json"))
