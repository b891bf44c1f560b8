"""Whole releases: noise without change, planted rises, and the demonstration's clock."""

import math
from dataclasses import replace

import numpy as np
import pytest

from rollout.core.judge import judge, replay, streams

from .traffic import NEW, OLD, START, a_plan, as_samples, at, begun, demo, demo_plan, fed, noisy_arms, steady

PLAN = a_plan("errors")
ACTS = math.log(125)  # a budget of 1 %, of which eight tenths are for the tests


def watched(rng: np.random.Generator, runs: int, minutes: int, lift: float = 1.0) -> streams.Paths:
    """Many releases at once, each after six hours of history of two versions."""
    p = 10 ** rng.uniform(-3, -2, (runs, 1))
    settled, pool = streams.beside(noisy_arms(rng, runs, 360, p=p), tolerance=2.0, horizon=420)
    return streams.replay_streams(settled, noisy_arms(rng, runs, minutes, p=p, lift=lift).rows(), pool)


def test_harmless_releases_in_noisy_traffic_are_not_rolled_back():
    paths = watched(np.random.default_rng(2024), 400, 360)
    assert (paths.log_e.max(axis=1) >= ACTS).sum() <= 9  # 1 % is promised: more than 9 of 400 is 1 % chance


def test_a_rise_by_three_is_found_within_the_hour():
    hit = watched(np.random.default_rng(2025), 200, 120, lift=3.0).log_e >= ACTS
    delays = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)
    assert np.median(delays) <= 45


def test_harm_equal_to_the_tolerance_is_seldom_passed():
    passed = watched(np.random.default_rng(2026), 300, 120, lift=2.0).passed.any(axis=1)
    assert passed.sum() <= 26  # 5 % is promised: more than 26 of 300 is 0.3 % chance


def test_harm_far_beyond_the_tolerance_is_never_passed():
    assert not watched(np.random.default_rng(2027), 100, 120, lift=6.0).passed.any()


def test_replay_says_the_same_twice_and_what_the_live_judge_says():
    samples = steady(30, (6.0, 600.0), (3.0, 600.0))
    plan = a_plan("errors")
    first, second = (
        replay(plan, candidate=NEW, baseline=OLD, deploys={"R3": START}, samples=samples) for _ in range(2)
    )
    assert first == second
    assert [point.time for point in first] == [at(60.0 * (k + 1)) for k in range(30)]
    later = [one for one in samples if one.time > at(60)]  # the warm-up of the plan takes the first minute
    live = judge(plan, {"R3": fed(plan, begun(plan), later)}, at(1800))
    assert first[-1].log_e == live.log_e
    assert first[-1].verdicts[0].log_e == live.verdicts[0].log_e


def seconds_until_failure(seed: int, *, history: int, harm: bool = True, **policy: object) -> float:
    """Seconds from the start of judging in two regions at once, on the demonstration's clock."""
    rng, plan, regions = np.random.default_rng(seed), demo_plan(**policy), ("R3", "R1")
    streams = {r: list(demo(rng, 90, region=r, history=history, harm=harm)) for r in regions}
    evidence = {r: begun(plan, [s for s in streams[r] if s.time <= START], r) for r in regions}
    for second in range(1, 91):
        for region in regions:
            now = [s for s in streams[region] if s.time == at(second)]
            evidence[region] = fed(plan, evidence[region], now)
        if judge(plan, evidence, at(second)).culprits:
            return second
    return math.inf


@pytest.mark.parametrize(("history", "within"), [(40, 75), (900, 30)])
def test_the_demonstration_is_rolled_back_by_evidence_and_not_by_a_guard(history, within):
    assert max(seconds_until_failure(seed, history=history) for seed in range(3)) <= within


def test_the_demonstration_without_harm_goes_on():
    assert seconds_until_failure(1, history=40, harm=False) == math.inf


def test_a_version_that_was_never_good_is_no_history():
    rng = np.random.default_rng(9)
    known = as_samples(noisy_arms(rng, 1, 60), first=-60)
    bad = [replace(one, version="1.4.9", value=float(k % 400)) for k, one in enumerate(known)]
    now = steady(5, (3.0, 600.0), (3.0, 600.0))
    said = [
        replay(PLAN, candidate=NEW, baseline=OLD, deploys={"R3": START}, samples=past + now, good=good)[-1]
        for past, good in ((known, ()), (known + bad, ()), (known + bad, ("1.4.9",)))
    ]
    assert said[0] == said[1] != said[2]
