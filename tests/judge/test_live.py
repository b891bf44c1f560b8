"""Samples one by one and arrays of many streams give the same numbers; what was stored replays to the bit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rollout.core.judge import judge, replay, sequential, streams
from rollout.core.judge.baseline import at_hours, hours_of_day
from rollout.core.judge.state import load_terms

from .regions import BEGUN, STEP, a_worldly_plan, days, later, worldly
from .test_baselines import HISTORY_ONLY, PAST, PLAN, merged, swinging
from .traffic import NEW, OLD, START, a_plan, as_samples, at, begun, fed, noisy_arms, sample


def live_path(plan, evidence, samples, region, cell):
    """log e and nats against harm after each block that was closed, as the live judge keeps them."""
    found = []
    for end in sorted({one.time for one in samples}):
        evidence = fed(plan, evidence, [one for one in samples if one.time == end])
        state = evidence.checks[cell]
        if state["blocks"] > len(found):
            found.append((state["log_e"], state["ruled_out"]))
    return np.array(found).T


def same(state, rows, live):
    """Whether the batch says what the live path said, block by block; `state` is that before the first."""
    pool = np.array([state["running"]["pool"]]) if state["running"] else None
    paths = streams.replay_streams(load_terms(state["terms"]), rows[None], pool)
    count = live.shape[1]
    assert count == len(rows) - 1  # the last block is open
    assert np.allclose(paths.log_e[0, :count], live[0], rtol=0, atol=1e-9)
    assert np.allclose(paths.ruled_out[0, :count], live[1], rtol=0, atol=1e-9)


def test_a_ratio_beside_its_baseline_is_the_same_live_and_in_a_batch():
    rng, plan = np.random.default_rng(1), a_plan("errors")
    history = as_samples(noisy_arms(rng, 1, 360), first=-360)
    arms = noisy_arms(rng, 1, 90, lift=1.5)
    evidence = begun(plan, history)
    live = live_path(plan, evidence, as_samples(arms), "R3", "errors")
    same(evidence.checks["errors"], arms.rows()[0], live)


def test_a_rate_beside_its_baseline_is_the_same_live_and_in_a_batch():
    rng, plan = np.random.default_rng(2), a_plan("restarts")
    past = [sample(-60.0 * k, OLD, float(k % 40 == 0), 0.5, signal="restarts") for k in range(1, 600)]
    x = rng.poisson(0.1, (2, 90)).astype(float)
    arms = streams.Arms(x[:1], 0 * x[:1] + 0.4, x[1:], 0 * x[1:] + 0.1)
    evidence = begun(plan, past)
    assert {test["family"] for test in evidence.checks["restarts"]["terms"]["tests"]} == {"joint", "split"}
    live = live_path(plan, evidence, as_samples(arms, signal="restarts"), "R3", "restarts")
    same(evidence.checks["restarts"], arms.rows()[0], live)


def test_a_gauge_beside_its_baseline_is_the_same_live_and_in_a_batch():
    rng, plan = np.random.default_rng(3), a_plan("oldest_age")
    levels = rng.lognormal(3, 0.2, (2, 60))
    ones = np.ones((1, 60))
    samples = [
        sample(60.0 * (k + 1), version, levels[place, k], signal="oldest_age")
        for k in range(60)
        for place, version in enumerate((NEW, OLD))
    ]
    evidence = begun(plan)
    live = live_path(plan, evidence, samples, "R3", "oldest_age")
    logs = np.log(levels)
    same(evidence.checks["oldest_age"], streams.Arms(logs[:1], ones, logs[1:], ones).rows()[0], live)


@pytest.mark.parametrize(("plan", "region"), [(PLAN, "R3"), (HISTORY_ONLY, "R1")], ids=["peers", "history"])
def test_a_forecast_is_the_same_live_and_in_a_batch(plan, region):
    evidence = worldly(plan, region, PAST)
    state = evidence.checks["errors"]
    own = days(region, 0, 0.4, version=NEW, times=1.3)
    peers = {peer: days(peer, 0, 0.4) for peer in evidence.peers}
    live = live_path(plan, evidence, merged(own, *peers.values()), region, "errors")
    hours = hours_of_day(np.array([one.time.timestamp() for one in own]), state["zone"])
    rows = np.zeros((len(own), sequential.WIDTH))
    rows[:, 0], rows[:, 1] = np.array([(one.value, one.exposure) for one in own]).T
    for peer, samples in peers.items():
        events, exposure = np.array([(one.value, one.exposure) for one in samples]).T
        rows[:, 2] += events
        rows[:, 3] += exposure / at_hours(state["profiles"][peer], hours)
    if not peers:
        rows[:, 4] = rows[:, 1] * at_hours(state["profiles"]["history"], hours)
        rows[:, 2], rows[:, 3] = rows[:, 4], rows[:, 1]
    same(state, rows, live)


def test_a_level_against_its_own_past_is_the_same_live_and_in_a_batch():
    plan = a_worldly_plan("R3", checks=[{"signal": "oldest_age", "baselines": ["history"]}])
    evidence = worldly(plan, "R3", swinging(OLD, -14, 0))
    state, own = evidence.checks["oldest_age"], swinging(NEW, 0, 0.4, 1.2)
    live = live_path(plan, evidence, own, "R3", "oldest_age")
    times = np.array([one.time.timestamp() for one in own])
    rows = np.zeros((len(own), sequential.WIDTH))
    rows[:, 0], rows[:, 1], rows[:, 3] = np.log([one.value for one in own]), 1.0, 1.0
    rows[:, 2] = at_hours(state["profiles"]["history"], hours_of_day(times, state["zone"]))
    same(state, rows, live)


def test_many_streams_at_once_are_each_what_they_are_alone():
    rng = np.random.default_rng(4)
    settled, pool = streams.beside(noisy_arms(rng, 6, 240), tolerance=2.0, horizon=200)
    rows = noisy_arms(rng, 6, 100, lift=2.0).rows()
    together = streams.replay_streams(settled, rows, pool)
    for place in range(6):
        one = replace(
            settled, rho=settled.rho[place], psi=settled.psi[place], every=int(settled.every[place])
        )
        alone = streams.replay_streams(one, rows[place : place + 1], pool[place : place + 1])
        assert np.allclose(alone.log_e[0], together.log_e[place], rtol=0, atol=1e-9)
        assert np.allclose(alone.ruled_out[0], together.ruled_out[place], rtol=0, atol=1e-9)
        assert (alone.passed[0] == together.passed[place]).all()


EVERYTHING = a_plan("errors", "restarts", "oldest_age", "duration", "done")


def of_everything(first, count):
    rng = np.random.default_rng(5 + first + 1000)
    made = []
    for minute in range(first, first + count):
        for version in (NEW, OLD):
            cumulated = np.sort(rng.binomial(400, [0.5, 0.9, 0.99, 1.0]))
            numbers = {
                "errors": (float(rng.binomial(400, 0.02)), 400.0),
                "restarts": (float(rng.poisson(0.05)), 0.2),
                "oldest_age": (float(rng.lognormal(3, 0.3)), 0.0),
                "done": (float(rng.binomial(400, 0.97)), 400.0),
                **{
                    f"duration{{le={edge}}}": (float(below), 400.0)
                    for edge, below in zip((0.1, 0.5, 2.0, "inf"), cumulated, strict=True)
                },
            }
            made += [
                sample(60.0 * (minute + 1), version, *number, signal=signal)
                for signal, number in numbers.items()
            ]
    return made


@pytest.mark.parametrize("past", [0, 200])
@pytest.mark.parametrize("cut", [1, 133, 500])
def test_every_kind_goes_through_json_and_on_to_the_same_bits(past, cut):
    history, later_on = of_everything(-past, past), of_everything(0, 60)
    straight = fed(EVERYTHING, begun(EVERYTHING, history), later_on)
    halfway = fed(EVERYTHING, begun(EVERYTHING, history), later_on[:cut])
    stored = json.loads(json.dumps(halfway.checks, allow_nan=False))
    assert stored == halfway.checks
    resumed = fed(EVERYTHING, replace(halfway, checks=stored), later_on[cut:])
    assert resumed == straight
    assert json.dumps(resumed.checks) == json.dumps(straight.checks)
    assert judge(EVERYTHING, {"R3": resumed}, at(3600)) == judge(EVERYTHING, {"R3": straight}, at(3600))


def test_a_forecast_goes_through_json_to_the_same_bits():
    now = merged(days("R3", 0, 0.3, version=NEW), days("R1", 0, 0.3), days("R2", 0, 0.3))
    straight = fed(PLAN, worldly(PLAN, "R3", PAST), now)
    halfway = fed(PLAN, worldly(PLAN, "R3", PAST), now[:50])
    stored = json.loads(json.dumps(halfway.checks, allow_nan=False))
    resumed = fed(PLAN, replace(halfway, checks=stored), now[50:])
    assert json.dumps(resumed.checks) == json.dumps(straight.checks)


def test_replay_of_recorded_samples_twice_gives_the_same_bits_and_those_of_the_live_judge():
    samples = [*of_everything(-100, 100), *of_everything(0, 40)]
    arguments = {
        "candidate": NEW,
        "baseline": OLD,
        "deploys": {"R3": START},
        "samples": samples,
        "good": (NEW,),
    }
    first, second = replay(EVERYTHING, **arguments), replay(EVERYTHING, **arguments)
    assert repr(first) == repr(second)
    shuffled = [samples[place] for place in np.random.default_rng(6).permutation(len(samples))]
    assert len(replay(EVERYTHING, **(arguments | {"samples": shuffled}))) == len(first)
    history = [one for one in samples if one.time <= START]
    rest = [one for one in samples if one.time > at(60)]  # the warm-up of the plan takes the first minute
    live = judge(EVERYTHING, {"R3": fed(EVERYTHING, begun(EVERYTHING, history), rest)}, at(2400))
    assert first[-1].log_e == pytest.approx(live.log_e, abs=1e-9)
    assert [verdict.kind for verdict in first[-1].verdicts] == [verdict.kind for verdict in live.verdicts]


def test_replay_compares_with_peers_and_each_region_with_its_own():
    samples = merged(PAST, *(days(region, 0, 0.5, version=NEW, times=3.0) for region in ("R3",)),
                     days("R1", 0, 0.5), days("R2", 0, 0.5))  # fmt: skip
    points = replay(PLAN, candidate=NEW, baseline=OLD, deploys={"R3": BEGUN}, samples=samples)
    assert points[0].time == later(STEP / 3600)
    assert points[-1].failed
    assert {verdict.baseline_kind for verdict in points[-1].verdicts} == {"peers R1, R2 by time of day"}
