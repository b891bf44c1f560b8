"""What an undecided check says it needs, against what it then took."""

import numpy as np
import pytest

from rollout.core.judge import judge, streams
from rollout.core.judge.counts import RULED_OUT_MOST
from rollout.core.judge.needs import exposure, minutes, rounded
from rollout.core.judge.state import CheckState
from rollout.core.judge.streams import ENOUGH
from rollout.core.signals import SignalKind, VerdictKind

from .traffic import NEW, OLD, a_plan, at, begun, fed, noisy_arms, sample, steady

PLAN = a_plan("errors")


def asked_and_taken(settled, pool, rows, warm=3):
    """Exposure said to be needed after `warm` blocks, and what it took from there on."""
    paths = streams.replay_streams(settled, rows, pool, say_needs=True)
    passed = paths.passed[:, warm:]
    spent = rows[:, warm:, 1].cumsum(axis=1)
    taken = np.where(
        passed.any(axis=1), np.take_along_axis(spent, passed.argmax(axis=1)[:, None], 1)[:, 0], np.nan
    )
    return paths.needs[:, warm - 1], taken


@pytest.mark.parametrize(("rate", "mean"), [(0.005, 20.0), (0.02, 60.0)])
def test_what_is_said_to_be_needed_is_about_what_it_takes_in_clean_traffic(rate, mean):
    rng = np.random.default_rng(1)
    n = mean / rate

    def arms(blocks):
        x = rng.poisson(mean, (2, 150, blocks)).astype(float)
        return streams.Arms(x[0], 0 * x[0] + n, x[1], 0 * x[1] + n)

    settled, pool = streams.beside(arms(240), tolerance=1.5, horizon=300)
    said, taken = asked_and_taken(settled, pool, arms(150).rows())
    assert np.isfinite(taken).mean() > 0.9
    assert 0.5 <= np.nanmedian(said / taken) <= 2.0


def test_what_is_said_to_be_needed_is_about_what_it_takes_in_noisy_traffic():
    rng = np.random.default_rng(2)
    settled, pool = streams.beside(noisy_arms(rng, 150, 360), tolerance=2.0, horizon=400)
    said, taken = asked_and_taken(settled, pool, noisy_arms(rng, 150, 240).rows())
    assert np.isfinite(taken).mean() > 0.9
    assert 0.5 <= np.nanmedian(said / taken) <= 2.0


def test_one_check_says_the_same_as_many_at_once():
    arms = noisy_arms(np.random.default_rng(3), 1, 6)
    plan = a_plan("errors", judging={"warmup": 0.001, "min_requests": 1})
    samples = [
        sample(60.0 * (k + 1), version, float(x[0, k]), float(n[0, k]))
        for k in range(6)
        for version, x, n in ((NEW, arms.x1, arms.n1), (OLD, arms.x0, arms.n0))
    ]
    closing = [sample(361.0, version, 0.0, 0.0, seconds=1.0) for version in (NEW, OLD)]
    raw = fed(plan, begun(plan), [*samples, *closing]).checks["errors"]
    settled = streams.Terms(
        tests=(streams.Test("split", False, 0.8), streams.Test("sign", False, 0.2)),
        lift=raw["terms"]["lift"],
        horizon=raw["terms"]["horizon"],
        rho=np.array([raw["terms"]["rho"]]),
        psi=np.array([1.0]),
        every=np.array([1]),
    )
    many = streams.replay_streams(settled, arms.rows(), say_needs=True).needs[0, -1]
    one = exposure(plan, SignalKind.RATIO, CheckState.view(raw), ENOUGH)
    assert one == pytest.approx(many, rel=0.01)


def test_more_is_needed_for_a_smaller_tolerance():
    samples = steady(3, (3.0, 600.0), (3.0, 600.0))
    needed = []
    for lift in (5, 3, 2, 1.5):
        plan = a_plan(checks=[{"signal": "errors", "tolerance": lift}])
        raw = fed(plan, begun(plan), samples).checks["errors"]
        needed.append(exposure(plan, SignalKind.RATIO, CheckState.view(raw), RULED_OUT_MOST))
    assert needed == sorted(needed)


def test_a_level_says_how_long_it_needs_and_takes_about_that():
    plan, rng = a_plan("oldest_age"), np.random.default_rng(4)
    samples = [
        sample(60.0 * (k + 1), version, float(30 * rng.lognormal(0, 0.05)), signal="oldest_age")
        for k in range(120)
        for version in (NEW, OLD)
    ]
    early = judge(plan, {"R3": fed(plan, begun(plan), samples[:6])}, at(180)).verdicts[0]
    assert early.kind is VerdictKind.UNDECIDED
    assert "more of comparison" in early.needs
    promised = float(early.needs.split()[1]) * (60 if " min " in early.needs else 1)
    taken = next(
        60 * k
        for k in range(3, 120)
        if judge(plan, {"R3": fed(plan, begun(plan), samples[: 2 * k])}, at(60.0 * k)).verdicts[0].kind
        is VerdictKind.PASS
    )
    assert (taken - 180) / 3 <= promised <= 3 * taken


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0.123, "0.12"),
        (3.4567, "3.5"),
        (42.4, "42"),
        (1234.0, "1,200"),
        (98765.0, "99,000"),
        (99999.0, "100,000"),
    ],
)
def test_a_forecast_is_said_in_two_digits(amount, words):
    assert rounded(amount) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(42, "42 s"), (600, "10 min"), (7200, "2 h"), (5399, "90 min")]
)
def test_a_span_is_said_in_one_unit(seconds, words):
    assert minutes(seconds) == words
