"""Recorded releases for the tests of the offline judge: seeded, without a clock."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rollout.core.policy import Policy
from rollout.offline.backtest import Result, Rules, judge_file
from rollout.offline.releases import PastRelease

DEPLOY = datetime(2026, 3, 2, 12, tzinfo=UTC)
OLD, NEW = "1.4.0", "1.5.0"
HEADER = "time,region,version,signal,value,exposure\n"
Arms = Callable[
    [int, str], Mapping[str, tuple[float, float]]
]  # minute, region → version → requests, share bad

Row = tuple[int, str, str, str, str, str]


def text(minute: float) -> str:
    """A time, in minutes after the deploy, as a samples file has it."""
    return (DEPLOY + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


def a_policy(**changes: Any) -> Policy:
    """An hour of bake and one of watch, for errors alone."""
    written: dict[str, Any] = {
        "apiVersion": "rollout/v1",
        "name": "tried",
        "holdback": 50,
        "steps": [{"set_weight": 50}, {"bake": "1h"}],
        "stages": [{"regions": [name]} for name in ("R3", "R1", "R2")],
        "checks": [{"signal": "errors", "kind": "ratio"}],
        "watch": "1h",
    }
    return Policy.model_validate(written | changes)


def beside(lift: float = 1.0, *, after: int = 0, share: float = 0.005) -> Arms:
    """Both versions from the deploy on; the new one fails `lift` times as often from minute `after` on."""

    def arms(minute: int, _region: str) -> Mapping[str, tuple[float, float]]:
        if minute <= 0:
            return {OLD: (1200, share)}
        return {OLD: (600, share), NEW: (600, share * (lift if minute > after else 1.0))}

    return arms


def minutes(
    arms: Arms, *, first: int = -240, last: int = 150, regions: Iterable[str] = ("R3",), seed: int = 7
) -> Iterator[str]:
    """Lines of a samples file, one per minute, region and version."""
    chance = random.Random(seed)
    for minute in range(first, last + 1):
        for region in regions:
            for version, (requests, share) in arms(minute, region).items():
                bad = sum(chance.random() < share for _ in range(int(requests)))
                yield f"{text(minute)},{region},{version},errors,{bad},{requests:g}\n"


def write(path: Path, lines: Iterable[str], header: str = HEADER) -> Path:
    """A samples file."""
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


def a_release(path: Path | str, deploys: Mapping[str, float] | None = None, **known: Any) -> PastRelease:
    """A release of mail; deploys are in minutes after DEPLOY."""
    at = {region: DEPLOY + timedelta(minutes=m) for region, m in (deploys or {"R3": 0}).items()}
    return PastRelease(file=str(path), service="mail", deploys=at, **{"version": "", **known})


def judged(path: Path, deploys: Mapping[str, float] | None = None, **policy: Any) -> Result:
    """One file judged by a_policy."""
    return judge_file(Rules(policy=a_policy(**policy)), a_release(path, deploys), path)
