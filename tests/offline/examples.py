"""Makes the samples files of docs/judge.md: `python -m tests.offline.examples`. What happened is known.

Times are those of a Wednesday. Every file has its own seed, so that one can change without the others.
"""

import gzip
import math
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parents[2] / "docs" / "examples"
DEPLOY = datetime(2026, 3, 4, 12, tzinfo=UTC)
OLD, NEW = "1.4.0", "1.5.0"
HEADER = "time,region,version,signal,value,exposure\n"
SLOWER = {0.1: 0.5, 0.25: 0.098, 0.5: 0.03, 1.0: 0.0095, 2.5: 0.001}  # seconds → share of answers beyond


def row(minute: float, region: str, version: str, signal: str, value: float, exposure: float) -> str:
    """One line, `minute` after the deploy."""
    at = f"{DEPLOY + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}"
    name = f'"{signal}"' if "{" in signal else signal
    return f"{at},{region},{version},{name},{value:g},{exposure:g}\n"


def arms(minute: int, each: float) -> Iterator[tuple[str, float]]:
    """Before the deploy all on the old version, then a quarter of it."""
    yield from [(OLD, each)] if minute <= 0 else [(OLD, each / 4), (NEW, each * 3 / 4)]


def chance(rng: random.Random, mean: float) -> int:
    """Poisson."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    events, left = 0, rng.expovariate(1.0)
    while left < mean:
        events, left = events + 1, left + rng.expovariate(1.0)
    return events


def rise() -> Iterator[str]:
    """1,200 requests a minute, 0.5 % fail; from minute 20 on three times as many of the new version."""
    rng = random.Random(1)
    for minute in range(-180, 61):
        for version, requests in arms(minute, 1200):
            share = 0.015 if version == NEW and minute > 20 else 0.005
            yield row(minute, "R3", version, "errors", chance(rng, requests * share), requests)


def noisy() -> Iterator[str]:
    """Harmless: each version's failures wobble by half from minute to minute; an incident hits both."""
    rng = random.Random(2)
    for minute in range(-180, 121):
        incident = 4.0 if 40 < minute <= 52 else 1.0
        for version, requests in arms(minute, 1200):
            wobble = rng.gammavariate(4, 1 / 4)
            events = chance(rng, requests * 0.005 * wobble * incident)
            yield row(minute, "R3", version, "errors", events, requests)


def quiet() -> Iterator[str]:
    """Harmless, and 20 requests a minute in all."""
    rng = random.Random(3)
    for minute in range(-180, 121):
        for version, requests in arms(minute, 20):
            yield row(minute, "R3", version, "errors", chance(rng, requests * 0.005), requests)


def restarts() -> Iterator[str]:
    """80 instances, one restart in 50 instance-hours; the new version ten times as often."""
    rng = random.Random(4)
    for minute in range(-7 * 1440, 121, 5):
        for version, instances in arms(minute, 80):
            hours = instances / 12
            events = chance(rng, hours * (0.2 if version == NEW else 0.02))
            yield row(minute, "R3", version, "restarts", events, hours)


def latency() -> Iterator[str]:
    """The median stays; three times as many answers take longer than half a second."""
    rng = random.Random(5)
    for minute in range(-180, 61):
        for version, requests in arms(minute, 1200):
            late = 3.0 if version == NEW else 1.0
            slower = [share * (late if edge >= 0.5 else 1.0) for edge, share in SLOWER.items()]
            between = [one - next_ for one, next_ in pairwise([*slower, 0.0])]
            counts = [chance(rng, requests * share) for share in between]
            for place, edge in enumerate(SLOWER):
                beyond = sum(counts[place:])
                yield row(minute, "R3", version, f"latency{{le={edge:g}}}", requests - beyond, requests)


def peers() -> Iterator[str]:
    """R3 whole on the new version, which fails three times as often."""
    return _switched(8, {"R3": 0.005, "R1": 0.003, "R2": 0.004}, lambda minute: 3.0 if minute > 0 else 1.0)


def history() -> Iterator[str]:
    """Harmless, whole, in the only region; something that it needs is in trouble for an hour."""
    return _switched(9, {"R3": 0.005}, lambda minute: 3.0 if 20 < minute <= 80 else 1.0)


def _switched(seed: int, regions: Mapping[str, float], in_r3: Callable[[int], float]) -> Iterator[str]:
    """Two weeks of each region, whose load and whose failures have a day of their own."""
    rng = random.Random(seed)
    for minute in range(-14 * 1440, 181, 5):
        shape = 1 + 0.5 * math.sin(2 * math.pi * minute / 1440)
        for region, share in regions.items():
            requests = round(3000 * shape)
            wobble = rng.gammavariate(100, 1 / 100)
            times = in_r3(minute) if region == "R3" else 1.0
            version = NEW if region == "R3" and minute > 0 else OLD
            yield row(
                minute, region, version, "errors", chance(rng, requests * share * wobble * times), requests
            )


def silent() -> Iterator[str]:
    """The new version is heard no more from minute 40 on."""
    return (line for line in _calm(6) if not (f",{NEW}," in line and line[11:16] > "12:40"))


def lost() -> Iterator[str]:
    """Nothing is heard any more from minute 20 on, of either version."""
    return (line for line in _calm(7) if line[11:16] <= "12:20" or line[11:16] > "13:30")


def _calm(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for minute in range(-180, 121):
        for version, requests in arms(minute, 1200):
            yield row(minute, "R3", version, "errors", chance(rng, requests * 0.005), requests)


FILES = {
    "rise.csv": rise,
    "noisy.csv": noisy,
    "quiet.csv": quiet,
    "restarts.csv.gz": restarts,
    "latency.csv.gz": latency,
    "peers.csv.gz": peers,
    "history.csv.gz": history,
    "silent.csv": silent,
    "lost.csv": lost,
}

if __name__ == "__main__":
    for name, lines in FILES.items():
        text = (HEADER + "".join(lines())).encode()
        data = gzip.compress(text, mtime=0) if name.endswith(".gz") else text
        (HERE / name).write_bytes(data)
