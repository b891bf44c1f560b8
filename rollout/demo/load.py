"""Traffic for the sample mail service: `python -m rollout.demo.load --regions FILE... --tally FILE`.

Each FILE is JSON: {"region": "R1", "time_zone": "Europe/Berlin", "status": "path of status.json"}, the path
relative to FILE; or, in place of `status`, the "url" of a load balancer. Arrivals are random (Poisson) around
a daily shape in the region's own time zone; a day may be compressed into minutes. Each send goes to one
healthy instance in turn, as behind a load balancer; a refused connection is tried once on another.
"""

import argparse
import asyncio
import json
import math
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Self
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, ConfigDict, model_validator

from rollout import http as web
from rollout.clock import SystemClock
from rollout.supervisor import files, lifeline

SWING = 0.45  # of the daily shape: the peak is 1.45 times the mean
PEAK_HOUR = 14.0
IN_FLIGHT = 64  # sends of one region at a time; what comes beyond is counted as broken
TALLY_S = 5.0
SEND_S = 3.0


class Target(BaseModel):
    """A region to send to: its instances by `status` of its supervisor, or `url`, which finds one itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    time_zone: str
    status: Path | None = None
    url: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.status is None) == (not self.url):
            raise ValueError("needs one of status and url")
        return self


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is sent: the mean per minute, and how many seconds a day of 24 hours takes."""

    per_minute: float = 240.0
    day_s: float = 600.0


@dataclass(slots=True)
class Tally:
    """Counts since the start.

    `failed` had an answer that was no acceptance; `broken` had none: a process that ends cuts the connections
    that it holds. `retried` had a refused connection.
    """

    sent: int = 0
    accepted: int = 0
    failed: int = 0
    broken: int = 0
    retried: int = 0


def local_hour(at: datetime, time_zone: str, day_s: float) -> float:
    """The hour, 0..24, of the compressed day in a region."""
    offset = at.astimezone(ZoneInfo(time_zone)).utcoffset()
    hours = at.timestamp() % day_s / day_s * 24
    return (hours + (offset.total_seconds() / 3600 if offset else 0.0)) % 24


def sends_per_second(at: datetime, time_zone: str, shape: Shape) -> float:
    """The expected rate at a time: most in the afternoon, least at night."""
    hour = local_hour(at, time_zone, shape.day_s)
    return shape.per_minute / 60 * (1 + SWING * math.cos((hour - PEAK_HOUR) / 24 * 2 * math.pi))


class RegionLoad:
    """The users of one region."""

    def __init__(self, target: Target, shape: Shape, http: httpx.AsyncClient, seed: str = "") -> None:
        self.tally = Tally()
        self._target = target
        self._shape = shape
        self._http = http
        self._clock = SystemClock()
        self._chance = Random(f"{seed}{target.region}")  # noqa: S311 - noise, no secret
        self._turn = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for what is under way."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while not stop.is_set():
            rate = sends_per_second(self._clock.now(), self._target.time_zone, self._shape)
            at = max(at + self._chance.expovariate(rate), loop.time() - 1.0)  # a long pause is not made up
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, at - loop.time()))
            except TimeoutError:
                self._begin()
        await asyncio.gather(*self._under_way)

    def _begin(self) -> None:
        self.tally.sent += 1
        if len(self._under_way) >= IN_FLIGHT:
            self.tally.broken += 1
            return
        task = asyncio.create_task(self._send())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send(self) -> None:
        body = {"to": f"user{self.tally.sent}@example.org", "subject": f"Message {self.tally.sent}"}
        for attempt, url in enumerate(self._two_instances()):
            self.tally.retried += attempt
            try:
                answer = await self._http.post(
                    f"{url}/send", json=body, headers={"Connection": "close"}, timeout=SEND_S
                )
            except httpx.ConnectError:
                continue
            except httpx.HTTPError:
                break  # it may have been taken: not sent again
            if answer.status_code == 202:
                self.tally.accepted += 1
            else:
                self.tally.failed += 1
            return
        self.tally.broken += 1

    def _two_instances(self) -> list[str]:
        """The next healthy instance in turn, and the one after it; a load balancer twice."""
        if self._target.status is None:
            return [self._target.url] * 2
        try:
            status = files.read(self._target.status, files.Status)
        except ValueError:
            status = None
        urls = [one.url for one in status.instances if one.healthy] if status else []
        self._turn += 1
        return [urls[(self._turn + i) % len(urls)] for i in range(min(2, len(urls)))]


async def send_load(
    targets: Sequence[Target], stop: asyncio.Event, *, shape: Shape | None = None, tally: Path | None = None
) -> dict[str, Tally]:
    """Send to every region until `stop`; gives, and appends to `tally` each 5 s, the counts by region."""
    async with web.client(timeout_s=SEND_S) as http:
        loads = {target.region: RegionLoad(target, shape or Shape(), http) for target in targets}
        tallies = {region: load.tally for region, load in loads.items()}
        async with asyncio.TaskGroup() as group:
            for load in loads.values():
                group.create_task(load.run(stop))
            while tally is not None and not stop.is_set():
                try:
                    await asyncio.wait_for(stop.wait(), TALLY_S)
                except TimeoutError:
                    record(tally, tallies)
    if tally is not None:
        record(tally, tallies)
    return tallies


def record(path: Path, tallies: dict[str, Tally]) -> None:
    """Append the tallies as JSON lines; the file is rotated and never grows without bound."""
    at = SystemClock().now().isoformat()
    lines = (json.dumps({"at": at, "region": region, **asdict(tally)}) for region, tally in tallies.items())
    files.append(path, "".join(f"{line}\n" for line in lines).encode())


def target_of(path: Path) -> Target:
    """Read one FILE. Raises ValueError naming it."""
    target = files.read(path, Target)
    if target is None:
        raise ValueError(f"{path} does not exist")
    if target.status is None:
        return target
    return target.model_copy(update={"status": path.resolve().parent / target.status})


async def _main(arguments: argparse.Namespace, targets: Sequence[Target]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.lifeline:
        lifeline.on_close(lambda: loop.call_soon_threadsafe(stop.set))
    shape = Shape(arguments.per_minute, arguments.day)
    await send_load(targets, stop, shape=shape, tally=arguments.tally)


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollout.demo.load", description=__doc__)
    parser.add_argument("--regions", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--per-minute", type=float, default=240.0, help="sends per region, on average")
    parser.add_argument("--day", type=float, default=600.0, help="seconds that 24 hours take; 86400 is real")
    parser.add_argument("--tally", type=Path, required=True, help="file for the counts, JSON lines")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    if arguments.per_minute <= 0 or arguments.day <= 0:
        parser.error("--per-minute and --day must be over 0")
    try:
        targets = [target_of(path) for path in arguments.regions]
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_main(arguments, targets))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
