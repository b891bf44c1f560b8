"""All slots of one service: takes what is desired, changes slot after slot, and reports."""

import asyncio
import time
from pathlib import Path

import httpx
from pydantic import BaseModel

from rollout.clock import SystemClock
from rollout.supervisor import files
from rollout.supervisor.files import Child, Desired, Exit, Failure, Status
from rollout.supervisor.life import Place, Wish
from rollout.supervisor.slot import Slot

REPORT_S = 0.5  # status.json is never older while the supervisor lives


class ServiceKeeper:
    """Call `tick` often; it never waits. Slots run as tasks of their own."""

    def __init__(self, directory: Path, pid: int, http: httpx.AsyncClient, clock: SystemClock) -> None:
        self.directory = directory
        self._pid = pid
        self._http = http
        self._clock = clock
        self._accepted = files.read(directory / "accepted.json", Desired)
        before = _last_status(directory)
        self._restarts = {i.slot: i.restarts for i in before.instances} if before else {}
        self._reached = before.reached if before else 0
        self._slots: dict[str, tuple[Slot, asyncio.Task[None]]] = {}
        self._failed: Failure | None = None
        self._refused = self._refused_key = ""
        self._stamp: tuple[int, int] = (0, 0)
        self._reported: BaseModel | None = None
        self._reported_at = 0.0

    def tick(self) -> None:
        """Take a new wish, move one step towards it, and report."""
        self._take()
        self._move()
        self._report()

    def children(self) -> list[Child]:
        """The processes that run at this moment."""
        lives = [slot.life for slot, _ in self._slots.values() if slot.life]
        return [life.child for life in lives if life.child]

    async def close(self) -> None:
        """Stop every process and wait until it is gone."""
        for slot, _ in self._slots.values():
            slot.want(None)
        await asyncio.gather(*(task for _, task in self._slots.values()))
        self._report()

    def _take(self) -> None:
        path = self.directory / "desired.json"
        try:
            stat = path.stat()
        except FileNotFoundError:
            return
        if (stat.st_mtime_ns, stat.st_ino) == self._stamp:
            return
        self._stamp = (stat.st_mtime_ns, stat.st_ino)
        try:
            desired = files.read(path, Desired)
        except ValueError as error:
            self._refused, self._refused_key = str(error), ""
            return
        if desired is not None:
            self._accept(desired)

    def _accept(self, desired: Desired) -> None:
        now = self._accepted
        if now is not None and desired.generation < now.generation:
            self._refused = (
                f"generation {desired.generation} of {desired.key} is lower than "
                f"{now.generation} of {now.key}"
            )
            self._refused_key = desired.key
            return
        self._refused = self._refused_key = ""
        if desired != now:
            files.write(self.directory / "accepted.json", desired)
            self._accepted, self._failed = desired, None

    def _move(self) -> None:
        desired = self._accepted
        if desired is None:
            return
        launch = desired.bare()
        wishes = {wish.slot: Wish(wish.version, launch) for wish in desired.slots}
        self._tidy(wishes)
        if self._converged():
            self._failed, self._reached = None, max(self._reached, desired.generation)
        taken = (slot for name, (slot, _) in self._slots.items() if slot.wish == wishes.get(name))
        failures = (slot.failure() for slot in taken)
        self._failed = self._failed or next(filter(None, failures), None)
        if self._failed and desired.rolling:
            return
        room = desired.max_unavailable - sum(
            slot.wish == wishes.get(name) and not slot.ready for name, (slot, _) in self._slots.items()
        )
        for name in self._wrong(wishes):
            slot = self._slots[name][0] if name in self._slots else None
            if slot and slot.serving and desired.rolling:
                if room <= 0:
                    continue
                room -= 1
            self._want(name, wishes[name])

    def _wrong(self, wishes: dict[str, Wish]) -> list[str]:
        return [n for n, wish in wishes.items() if n not in self._slots or self._slots[n][0].wish != wish]

    def _tidy(self, wishes: dict[str, Wish]) -> None:
        """Empty the slots that are not wanted and forget empty ones; raise, once, what ended one."""
        for name, (slot, task) in list(self._slots.items()):
            if name not in wishes:
                slot.want(None)
            if task.done():
                self._restarts[name] = slot.restarts
                del self._slots[name]
                task.result()

    def _want(self, name: str, wish: Wish) -> None:
        if name in self._slots:
            self._slots[name][0].want(wish)
            return
        place = Place(name, self.directory / "data", self.directory / "logs" / f"{name}.log")
        slot = Slot(place, self._http, self._clock, self._keep_exit, self._restarts.get(name, 0))
        slot.want(wish)
        self._slots[name] = (slot, asyncio.create_task(slot.keep()))

    def _converged(self) -> bool:
        desired = self._accepted
        wanted = {wish.slot: wish.version for wish in desired.slots} if desired else {}
        runs = {n: slot.wish.version for n, (slot, _) in self._slots.items() if slot.wish and slot.ready}
        return desired is not None and runs == wanted and len(self._slots) == len(wanted)

    def _keep_exit(self, ended: Exit) -> None:
        files.append(self.directory / "exits.jsonl", ended.model_dump_json().encode() + b"\n")

    def _report(self) -> None:
        if self._accepted is None and not self._refused:
            return
        found = (slot.status() for slot, _ in self._slots.values())
        status = Status(
            pid=self._pid,
            at=self._clock.now(),
            key=self._accepted.key if self._accepted else "",
            generation=self._accepted.generation if self._accepted else 0,
            reached=self._reached,
            converged=self._converged(),
            refused=self._refused,
            refused_key=self._refused_key,
            failed=self._failed,
            instances=tuple(sorted((one for one in found if one), key=lambda one: (len(one.slot), one.slot))),
        )
        same = self._reported == status.model_copy(update={"at": None})
        if same and time.monotonic() - self._reported_at < REPORT_S:
            return
        files.write(self.directory / "status.json", status)
        self._reported, self._reported_at = status.model_copy(update={"at": None}), time.monotonic()


def _last_status(directory: Path) -> Status | None:
    try:
        return files.read(directory / "status.json", Status)
    except ValueError:
        return None  # only counters are lost
