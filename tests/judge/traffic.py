"""Plans, samples and synthetic traffic for the tests of the judge. Seeded; no clock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from rollout.core.judge import RegionEvidence, begin, hold_off, update
from rollout.core.judge.streams import Arms
from rollout.core.model import Plugin, Region
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Sample, Signal, SignalKind

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # on a border of blocks of a minute
OLD, NEW = "1.4.0", "1.5.0"
KINDS = {
    "errors": SignalKind.RATIO,
    "latency": SignalKind.RATIO,
    "work_age": SignalKind.RATIO,
    "restarts": SignalKind.RATE,
    "oldest_age": SignalKind.GAUGE,
    "duration": SignalKind.DISTRIBUTION,
    "done": SignalKind.THROUGHPUT,
}


def a_plan(
    *signals: str, regions: Sequence[str] = ("R3",), zones: Mapping[str, str] | None = None, **policy: Any
) -> Plan:
    """A plan with one stage for each region; `policy` overrides its keys."""
    checks = policy.pop("checks", [{"signal": name} for name in signals or ("errors",)])
    written = {
        "apiVersion": "rollout/v1",
        "name": "tried",
        "holdback": 50,
        "steps": [{"set_weight": 50}, {"bake": "1h"}],
        "stages": [{"regions": [name]} for name in regions],
        "checks": checks,
        "judging": {"warmup": 0.001},
        **policy,
    }
    return compile_plan(
        Policy.model_validate(written),
        {name: _region(name, (zones or {}).get(name, "UTC")) for name in regions},
        {name: Signal(name=name, kind=kind, title=name) for name, kind in KINDS.items()},
    )


def _region(name: str, zone: str) -> Region:
    nothing = Plugin(kind="none")
    return Region(
        name=name, title=name, time_zone=zone, order=1, traffic_share=1.0, deployer=nothing, source=nothing
    )


def sample(
    at: float,
    version: str,
    value: Any,
    exposure: float = 0.0,
    *,
    signal: str = "errors",
    seconds: float = 60.0,
    region: str = "R3",
    instance: str = "",
) -> Sample:
    """A sample whose interval ends `at` seconds after START."""
    return Sample(
        time=START + timedelta(seconds=at),
        region=region,
        version=version,
        signal=signal,
        value=value,
        exposure=exposure,
        duration_s=seconds,
        instance=instance,
    )


def begun(plan: Plan, history: Sequence[Sample] = (), region: str = "R3") -> RegionEvidence:
    """Evidence that judges from START on."""
    evidence = begin(plan, region=region, candidate=NEW, baseline=OLD, now=START, history=history)
    return hold_off(evidence, START)


def fed(plan: Plan, evidence: RegionEvidence, samples: Sequence[Sample]) -> RegionEvidence:
    """Evidence after samples in the order given."""
    return update(plan, evidence, list(enumerate(samples, start=evidence.seen + 1)))


def at(seconds: float) -> datetime:
    """A time after START."""
    return START + timedelta(seconds=seconds)


def steady(
    minutes: int,
    new: tuple[float, float],
    old: tuple[float, float],
    *,
    signal: str = "errors",
    first: int = 0,
) -> list[Sample]:
    """Minutes that are all the same: (value, exposure) of candidate and baseline."""
    return [
        sample(60.0 * (minute + 1), version, *numbers, signal=signal)
        for minute in range(first, first + minutes)
        for version, numbers in ((NEW, new), (OLD, old))
    ]


def noisy_arms(
    rng: np.random.Generator, runs: int, minutes: int, *, p: float = 0.005, lift: float = 1.0
) -> Arms:
    """Minutes of 600 requests in each arm: shared drift, and each arm's own over-dispersion (CV 0.5)."""
    drift, shocks = np.empty((runs, minutes)), rng.normal(0, 0.3 * np.sqrt(1 - 0.98**2), (runs, minutes))
    level = rng.normal(0, 0.3, runs)
    for minute in range(minutes):
        level = 0.98 * level + shocks[:, minute]
        drift[:, minute] = level
    load = 600 * rng.lognormal(0, 0.1, (runs, minutes))
    n1, n0 = rng.poisson(load), rng.poisson(load)
    wobble = rng.gamma(4, 0.25, (2, runs, minutes))
    x1 = rng.binomial(n1, np.minimum(p * lift * np.exp(drift) * wobble[0], 0.9))
    return Arms(x1, n1, rng.binomial(n0, np.minimum(p * np.exp(drift) * wobble[1], 0.9)), n0)


def as_samples(arms: Arms, *, run: int = 0, first: int = 0, signal: str = "errors") -> list[Sample]:
    """One run of arms as minutes of samples, the candidate's first."""
    return [
        sample(
            60.0 * (first + minute + 1), version, float(x[run, minute]), float(n[run, minute]), signal=signal
        )
        for minute in range(arms.x1.shape[1])
        for version, x, n in ((NEW, arms.x1, arms.n1), (OLD, arms.x0, arms.n0))
    ]


def noisy(
    rng: np.random.Generator, minutes: int, *, first: int = 0, p: float = 0.005, lift: float = 1.0
) -> list[Sample]:
    """Noisy minutes as samples."""
    return as_samples(noisy_arms(rng, 1, minutes, p=p, lift=lift), first=first)


def demo(
    rng: np.random.Generator, seconds: int, *, region: str, history: int, harm: bool
) -> Iterator[Sample]:
    """One region on one machine, read each second: `history` of four baseline instances, then three
    candidates, each restarting every 12 s (never three times in 20 s) and one send in 15 late, beside one."""
    offsets = rng.uniform(0, 12, 3)
    for second in range(-history, seconds):
        arms = {OLD: 4} if second < 0 else {NEW: 3, OLD: 1}
        for version, instances in arms.items():
            bad = harm and version == NEW
            requests = float(rng.poisson(2 * instances))
            late = float(rng.binomial(int(requests), 1 / 15)) if bad else 0.0
            fell = [bad and second >= 4 and (second + offset) % 12 < 1 for offset in offsets]
            made = {
                "errors": (0.0, requests),
                "latency": (float(rng.binomial(int(requests), 0.01)), requests),
                "work_age": (late, requests),
                "restarts": (float(sum(fell)), instances / 3600),
            }
            for signal, numbers in made.items():
                yield sample(second + 1, version, *numbers, signal=signal, seconds=1.0, region=region)
            for place, restarted in enumerate(fell if version == NEW else []):
                yield sample(
                    second + 1,
                    version,
                    float(restarted),
                    signal="restarts",
                    seconds=1.0,
                    region=region,
                    instance=f"slot-{place}",
                )


def demo_plan(**policy: Any) -> Plan:
    """Demo clock: blocks of two seconds, two regions, a budget of 1 %."""
    return a_plan(
        regions=("R3", "R1"),
        **{
            "holdback": 25,
            "steps": [{"set_weight": 75}, {"bake": "60s"}],
            "judging": {"interval": "1s", "block": "2s", "warmup": "1s", "max_age": "5s"},
            "guards": {"crash_loop": {"restarts": 3, "within": "20s"}, "silence": "10s"},
            "watch": "120s",
            "checks": [{"signal": name} for name in ("errors", "restarts", "work_age", "latency")],
            **policy,
        },
    )


def in_region(samples: Sequence[Sample], region: str) -> list[Sample]:
    """The same samples, of another region."""
    return [replace(one, region=region) for one in samples]
