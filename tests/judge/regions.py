"""Three regions of the world with days of their own, for the tests of peers and history. Seeded; no clock."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from rollout.core.judge import RegionEvidence, begin, hold_off
from rollout.core.plan import Plan
from rollout.core.signals import Sample

from .traffic import NEW, OLD, START, a_plan, sample

STEP = 600.0  # seconds of one sample and of one block
ZONES = {"R1": "Europe/Berlin", "R2": "America/New_York", "R3": "Asia/Tokyo"}
BEGUN = datetime(2026, 4, 8, 9, 0, tzinfo=UTC)  # ten days after Berlin, a month after New York, put clocks on


def a_worldly_plan(*order: str, checks: Sequence[Any] = ("errors",), **policy: Any) -> Plan:
    """A plan without holdback: regions are compared with those that come later, or with their own past."""
    regions = order or ("R3", "R1", "R2")
    return a_plan(
        regions=regions,
        zones=policy.pop("zones", ZONES),
        checks=list(checks),
        holdback=0,
        steps=[{"set_weight": 100}, {"bake": "6h"}],
        judging={"warmup": 0.001, "block": "10m", "interval": "10m", "max_age": "30m"},
        **policy,
    )


def rate_at(time: datetime, region: str, base: float) -> float:
    """Five times as many errors in the region's own office hours as at night."""
    local = time.astimezone(ZoneInfo(ZONES[region]))
    return base * (5.0 if 9 <= local.hour < 17 else 1.0)


def days(
    region: str,
    first: float,
    last: float,
    *,
    version: str = OLD,
    base: float = 0.004,
    times: Mapping[int, float] | float = 1.0,
    signal: str = "errors",
    n: int = 20_000,
    seed: int = 1,
) -> list[Sample]:
    """Ten-minute samples of a region from day `first` to day `last`, counted from BEGUN."""
    rng = np.random.default_rng([seed, sum(map(ord, region + version)), round(first * 144) + 10_000])
    found = []
    for step in range(round(first * 144), round(last * 144)):
        ends = BEGUN + timedelta(seconds=STEP * (step + 1))
        rate = rate_at(ends - timedelta(seconds=STEP / 2), region, base)
        risen = times if isinstance(times, float) else times.get(step, 1.0)
        seconds = (ends - START).total_seconds()
        value = float(rng.binomial(n, min(0.9, rate * risen * rng.lognormal(0, 0.05))))
        found.append(sample(seconds, version, value, float(n), signal=signal, seconds=STEP, region=region))
    return found


def worldly(plan: Plan, region: str, history: Sequence[Sample]) -> RegionEvidence:
    """Evidence of a region that is judged from BEGUN on."""
    evidence = begin(plan, region=region, candidate=NEW, baseline=OLD, now=BEGUN, history=history)
    return hold_off(evidence, BEGUN)


def later(hours: float) -> datetime:
    """A time after BEGUN."""
    return BEGUN + timedelta(hours=hours)
