"""How many check-intervals a second the judge takes in, and whether its cost grows with the bake."""

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from bench.judge_cells import PRODUCT
from bench.judge_figures import NO, SPEED, YES, Figure, Target
from bench.judge_outcome import Judge
from bench.judge_traffic import DAY, Traffic, beside
from rollout.core.judge import RegionEvidence
from rollout.core.signals import SignalKind
from tests.judge.traffic import NEW, OLD, a_plan, begun, fed, sample

ROUNDS = 3
STREAMS = 1000
SHORT = 60  # minutes of history
NEVER = 1e-9  # seconds
LOOK = 60  # samples of each arm that one update takes in
SAME = Target(1.1)  # of the size after a short bake


def speed_figures(
    seed: int, judge: Judge, *, streams: int = STREAMS, minutes: int = DAY // 2
) -> list[Figure]:
    """Measured on one core: seconds are those of the processor, of all threads together."""
    return [*_batched(np.random.default_rng(seed), judge, streams, minutes), *_one_by_one(minutes)]


def _batched(rng: np.random.Generator, judge: Judge, streams: int, minutes: int) -> Iterator[Figure]:
    """Three lengths, so that judging is told from calibrating (on little), and late intervals from early."""
    seen = beside(rng, streams, rpm=600, noise="noisy", history=SHORT, after=3 * minutes)
    took = [[_took(judge, seen, part * minutes) for part in (1, 2, 3)] for _ in range(ROUNDS)]
    early, late = ([each[place + 1] - each[place] for each in took] for place in (0, 1))
    rates = [streams * minutes / max(each, NEVER) for each in early]
    yield _figure("intervals/s batched", "per_s", rates, streams, SPEED)
    grown = [b / max(a, NEVER) for a, b in zip(early, late, strict=True)]
    yield _figure("late cost over early", "x", grown, streams, None)
    few = max(1, streams // 10)
    day = beside(rng, few, rpm=600, noise="noisy", after=1)
    calibrated = [1000 * _took(judge, day, 1) / few for _ in range(ROUNDS)]
    yield _figure("ms to calibrate on a day", "ms", calibrated, few, None)


def _took(judge: Judge, seen: Traffic, minutes: int) -> float:
    began = time.process_time()
    judge.beside(SignalKind.RATIO, seen.history, seen.after.minutes(0, minutes), 2.0)
    return time.process_time() - began


def _one_by_one(minutes: int) -> Iterator[Figure]:
    """The way of the controller: samples of one check into persisted evidence."""
    plan = a_plan("errors")
    evidence, sizes, rates = begun(plan), [], []
    for first in range(0, minutes, LOOK):
        samples = [
            sample(60.0 * (minute + 1), version, float(minute % 7), 600.0)
            for minute in range(first, first + LOOK)
            for version in (NEW, OLD)
        ]
        began = time.process_time()
        evidence = fed(plan, evidence, samples)
        rates.append(LOOK / (time.process_time() - began))
        sizes.append(_bytes(evidence))
    yield _figure("intervals/s one by one", "per_s", rates, 1, None)
    yield _figure("bytes of evidence", "bytes", [float(sizes[-1])], 1, None)
    yield _figure("bytes over those at 1 h", "x", [sizes[-1] / sizes[0]], 1, SAME)


def _bytes(evidence: RegionEvidence) -> int:
    """As it is stored."""
    return len(json.dumps(asdict(evidence), default=str))


def _figure(what: str, unit: str, rounds: list[float], runs: int, target: Target | None) -> Figure:
    """The median of the rounds, with the lowest and the highest of them as its bounds."""
    value = statistics.median(rounds)
    reached = ""
    if target:
        good = value <= target.limit if target.at_most else value >= target.limit
        reached = YES if good else NO
    said = target.said(unit) if target else ""
    return Figure("speed", what, {}, PRODUCT, unit, value, min(rounds), max(rounds), runs, said, reached)
