"""When nothing changed, E has a mean of at most 1 and is seldom large: every family, every kind of baseline.

Two figures over thousands of streams at once: the mean of E after the last block, and the part of streams in
which E was ever 20 or more, which may be 1/20 (Ville). Both within sampling error.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import forecasts, mixture, sequential, streams
from rollout.core.judge.baseline import at_hours, hours_of_day
from rollout.core.judge.forecasts import learn
from rollout.core.judge.mixture import Floats
from rollout.core.judge.past import Past
from rollout.core.judge.samples import COUNTS
from rollout.core.judge.sequential import WIDTH, Terms
from rollout.core.judge.state import CheckState, load_terms

FAIR = settings(derandomize=True, deadline=None, max_examples=6)
STREAMS, BLOCKS = 3000, 60
SIGMAS = 4.0  # of sampling error, since many cells are looked at
seeds = st.integers(0, 10_000)


def terms(*families: str, falls: bool = False, **more) -> Terms:
    part = 1 / len(families)
    tests = tuple(sequential.Test(family, falls, part) for family in families)
    return Terms(**{"tests": tests, "lift": 2.0, "horizon": BLOCKS, **more})


def rows(x1, n1, x0, n0, expected=0.0):
    return np.stack(
        [np.broadcast_to(each, x1.shape).astype(float) for each in (x1, n1, x0, n0, expected)], axis=-1
    )


def assert_fair(settled: Terms, blocks: np.ndarray, pool: np.ndarray | None = None, ever: float = 20) -> None:
    logs = streams.replay_streams(settled, blocks, pool).log_e
    last = np.exp(logs[:, -1])
    often = (logs.max(axis=1) >= math.log(ever)).mean()
    assert last.mean() <= 1 + SIGMAS * last.std() / math.sqrt(len(last))
    assert often <= 1 / ever + SIGMAS * math.sqrt((1 / ever) / len(last))


@FAIR
@given(
    seed=seeds,
    share=st.sampled_from([0.05, 0.3, 0.5, 0.9]),
    mean=st.sampled_from([0.3, 4.0, 80.0]),
    every=st.sampled_from([1, 4]),
    falls=st.booleans(),
)
def test_split_bets_on_counts_are_fair_whatever_moves_both(seed, share, mean, every, falls):
    rng = np.random.default_rng(seed)
    shared = mean * rng.lognormal(0, 0.7, (STREAMS, BLOCKS))
    blocks = rows(rng.poisson(shared * share), share, rng.poisson(shared * (1 - share)), 1 - share)
    assert_fair(terms("split", falls=falls, every=every), blocks)


@FAIR
@given(seed=seeds, wobble=st.sampled_from([0.2, 0.5, 1.0]), falls=st.booleans())
def test_sign_bets_are_fair_in_any_noise_that_both_arms_share_alike(seed, wobble, falls):
    rng = np.random.default_rng(seed)
    rates = 5 * rng.gamma(1 / wobble**2, wobble**2, (2, STREAMS, BLOCKS))
    blocks = rows(rng.poisson(rates[0]), 1000.0, rng.poisson(rates[1]), 1000.0)
    assert_fair(terms("sign", falls=falls, rho=wobble**2 / 2), blocks)


@FAIR
@given(seed=seeds, known=st.sampled_from([0.5, 3.5, 40.5]), falls=st.booleans())
def test_joint_bets_on_rates_are_fair_for_what_history_leaves_open(seed, known, falls):
    rng = np.random.default_rng(seed)
    usual = rng.gamma(known, 1 / 100.0, STREAMS)[:, None]
    x1, x0 = (rng.poisson(usual * 0.5, (STREAMS, BLOCKS)) for _ in range(2))
    assert_fair(terms("joint", falls=falls, known=(known, 100.0)), rows(x1, 0.5, x0, 0.5))


@FAIR
@given(
    seed=seeds, mean=st.sampled_from([0.2, 5.0, 300.0]), drift=st.floats(1 / 1.2, 1.2), falls=st.booleans()
)
def test_forecast_bets_are_fair_for_any_drift_within_the_margin(seed, mean, drift, falls):
    rng = np.random.default_rng(seed)
    expected = mean * (1.5 + np.sin(np.arange(BLOCKS) / 9))
    x1 = rng.poisson(np.broadcast_to(expected * drift, (STREAMS, BLOCKS)))
    assert_fair(terms("forecast", falls=falls, margin=1.2), rows(x1, 1.0, x1 * 0, 1.0, expected))


@FAIR
@given(seed=seeds, scale=st.sampled_from([0.2, 1.0, 5.0]), drift=st.floats(-0.3, 0.3), falls=st.booleans())
def test_level_bets_are_fair_for_any_symmetric_noise_and_a_drift_within_the_margin(seed, scale, drift, falls):
    rng = np.random.default_rng(seed)
    own = drift + scale * rng.standard_t(3, (STREAMS, BLOCKS))
    blocks = rows(own, 1.0, rng.normal(0, 0.5, (STREAMS, BLOCKS)), 1.0)
    assert_fair(terms("level", falls=falls, margin=0.3, every=2), blocks)


@FAIR
@given(seed=seeds, drift=st.floats(-0.3, 0.3), falls=st.booleans())
def test_step_bets_are_fair_in_noise_with_heavy_tails_and_a_drift_within_the_margin(seed, drift, falls):
    rng = np.random.default_rng(seed)
    blocks = rows(drift + rng.standard_t(4, (STREAMS, BLOCKS)), 1.0, np.zeros((STREAMS, BLOCKS)), 1.0)
    assert_fair(terms("step", falls=falls, margin=0.3), blocks)


LIFT = 2.0


def assert_seldom_passed(settled: Terms, blocks: np.ndarray) -> None:
    passed = (streams.replay_streams(settled, blocks).ruled_out >= streams.ENOUGH).any(axis=1)
    assert passed.mean() <= 0.05 + SIGMAS * math.sqrt(0.05 / len(passed))


@FAIR
@given(
    seed=seeds,
    share=st.sampled_from([0.1, 0.5, 0.9]),
    mean=st.sampled_from([2.0, 50.0]),
    falls=st.booleans(),
    margin=st.sampled_from([1.0, 1.2]),
)
def test_harm_equal_to_the_tolerance_is_seldom_passed_by_split_bets(seed, share, mean, falls, margin):
    rng = np.random.default_rng(seed)
    lift = 1 / LIFT if falls else LIFT
    shared = mean * rng.lognormal(0, 0.5, (STREAMS, BLOCKS))
    blocks = rows(rng.poisson(shared * share * lift), share, rng.poisson(shared * (1 - share)), 1 - share)
    assert_seldom_passed(terms("split", falls=falls, margin=margin), blocks)


@FAIR
@given(seed=seeds, known=st.sampled_from([3.5, 40.5]), falls=st.booleans())
def test_harm_equal_to_the_tolerance_is_seldom_passed_by_joint_bets(seed, known, falls):
    rng = np.random.default_rng(seed)
    usual = rng.gamma(known, 1 / 20.0, STREAMS)[:, None]
    lift = 1 / LIFT if falls else LIFT
    x1, x0 = (rng.poisson(usual * 0.5 * times, (STREAMS, BLOCKS)) for times in (lift, 1.0))
    assert_seldom_passed(terms("joint", falls=falls, known=(known, 20.0)), rows(x1, 0.5, x0, 0.5))


@FAIR
@given(seed=seeds, mean=st.sampled_from([0.5, 20.0]), falls=st.booleans(), margin=st.sampled_from([1.0, 1.2]))
def test_harm_equal_to_the_tolerance_is_seldom_passed_by_forecasts(seed, mean, falls, margin):
    rng = np.random.default_rng(seed)
    x1 = rng.poisson(mean * (1 / LIFT if falls else LIFT), (STREAMS, BLOCKS))
    assert_seldom_passed(terms("forecast", falls=falls, margin=margin), rows(x1, 1.0, 0 * x1, 1.0, mean))


@FAIR
@given(
    seed=seeds,
    family=st.sampled_from(["level", "step"]),
    scale=st.sampled_from([0.1, 0.5, 2.0]),
    falls=st.booleans(),
    margin=st.sampled_from([0.0, 0.1]),
)
def test_harm_equal_to_the_tolerance_is_seldom_passed_by_levels(seed, family, scale, falls, margin):
    rng = np.random.default_rng(seed)
    harm = math.log(LIFT) * (-1 if falls else 1)
    own = 3.0 + harm + scale * rng.normal(0, 1, (STREAMS, BLOCKS))
    settled = terms(family, falls=falls, margin=margin, scale=scale, relative=True)
    assert_seldom_passed(settled, rows(own, 1.0, 0 * own + 3.0, 1.0))


def noisy(rng: np.random.Generator, blocks: int, share: float, mean: float, count: int) -> streams.Arms:
    """Arms whose rates wobble by themselves (CV 0.5) around what both share."""
    shared = mean * rng.lognormal(0, 0.3, (count, blocks))
    wobble = rng.gamma(4, 0.25, (2, count, blocks))
    n1, n0 = np.full((2, count, blocks), 1000.0) * np.array([share, 1 - share])[:, None, None]
    return streams.Arms(
        rng.poisson(shared * share * wobble[0]), n1, rng.poisson(shared * (1 - share) * wobble[1]), n0
    )


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_noisy_counts_beside_a_baseline_are_fair_once_history_says_how_noisy(share):
    rng = np.random.default_rng(11)
    settled, pool = streams.beside(noisy(rng, 360, share, 6.0, 400), tolerance=2.0, horizon=BLOCKS)
    assert_fair(settled, noisy(rng, BLOCKS, share, 6.0, 400).rows(), pool)


def test_rates_beside_a_baseline_are_fair_with_history_of_the_rate():
    rng = np.random.default_rng(12)
    usual = rng.gamma(2.0, 0.02, STREAMS)
    known = rng.poisson(usual * 500), np.full(STREAMS, 500.0)
    settled = streams.rates_beside(known, tolerance=5.0, horizon=BLOCKS)
    x1, x0 = (rng.poisson(usual[:, None], (STREAMS, BLOCKS)) for _ in range(2))
    assert_fair(settled, rows(x1, 1.0, x0, 1.0))


DAYS, STEP = 6, 1800.0
DAY = round(86400 / STEP)


def daily(rng: np.random.Generator, mean: float, shape: float) -> np.ndarray:
    """Events and exposure of one region: a daily shape, and what no hour foretells (5 %)."""
    hours = np.arange(DAYS * DAY + DAY) * STEP / 3600
    rate = mean * (1 + shape * np.sin(2 * np.pi * hours / 24)) * rng.lognormal(0, 0.05, len(hours))
    return np.stack([rng.poisson(rate * 1000), np.full(len(hours), 1000.0)], axis=1).astype(float)


def of_peers(rng: np.random.Generator) -> tuple[Terms, np.ndarray]:
    own, *peers = (daily(rng, 0.02, 0.6) for _ in range(3))
    return peers_stream(
        own,
        peers,
        history=DAYS * DAY,
        first=STEP,
        length=STEP,
        zone="UTC",
        terms=terms("split", "sign", horizon=DAY),
    )


def of_history(rng: np.random.Generator) -> tuple[Terms, np.ndarray]:
    own = daily(rng, 0.02, 0.6)
    cells = {("own", "good"): dict(enumerate(own[: DAYS * DAY].tolist()))}
    state = CheckState()
    past = Past(region="own", zone="UTC", length=STEP, family="counts", cells=cells)
    forecasts.learn(state, past, (), terms("forecast", horizon=DAY))
    after = np.arange(DAYS * DAY, len(own), dtype=float)
    expected = own[DAYS * DAY :, 1] * at_hours(
        state.profiles["history"], hours_of_day(STEP * (after + 1), "UTC")
    )
    blocks = np.zeros((DAY, WIDTH))
    blocks[:, :2], blocks[:, 2], blocks[:, 3], blocks[:, 4] = own[DAYS * DAY :], expected, 1000.0, expected
    return load_terms(state.terms), blocks


@pytest.mark.parametrize("kind", [of_peers, of_history])
def test_a_forecast_from_peers_or_history_is_fair_on_days_that_are_like_those_before(kind):
    rng = np.random.default_rng(13)
    found = [kind(rng) for _ in range(150)]
    settled = streams.stacked([each for each, _ in found])
    assert_fair(settled, np.stack([blocks for _, blocks in found]))


def test_the_order_of_independent_streams_does_not_matter():
    rng = np.random.default_rng(14)
    settled, pool = streams.beside(noisy(rng, 120, 0.3, 6.0, 40), tolerance=2.0, horizon=BLOCKS)
    blocks = noisy(rng, BLOCKS, 0.3, 9.0, 40).rows()
    order = rng.permutation(40)
    mixed = Terms(
        tests=settled.tests,
        lift=settled.lift,
        horizon=settled.horizon,
        rho=settled.rho[order],
        psi=settled.psi[order],
        every=settled.every[order],
    )
    straight = streams.replay_streams(settled, blocks, pool)
    shuffled = streams.replay_streams(mixed, blocks[order], pool[order])
    assert np.allclose(straight.log_e[order], shuffled.log_e, rtol=0, atol=1e-9)
    assert np.allclose(straight.ruled_out[order], shuffled.ruled_out, rtol=0, atol=1e-9)


def test_the_mean_over_cells_keeps_its_budget_whatever_their_dependence():
    """The same noise in every cell, the worst dependence there is: ever above 1/alpha in alpha of cases."""
    rng = np.random.default_rng(15)
    shared = rng.poisson(4.0, (STREAMS, BLOCKS))
    blocks = rows(shared, 1.0, rng.poisson(4.0, (STREAMS, BLOCKS)), 1.0)
    other = rows(shared, 1.0, rng.poisson(8.0, (STREAMS, BLOCKS)), 2.0)
    cells = [streams.replay_streams(terms("split"), each).log_e for each in (blocks, other)]
    logs = mixture.log_mean(np.stack([*cells, np.zeros_like(cells[0])], axis=-1), np.array([0.5, 0.3, 0.2]))
    assert (logs.max(axis=1) >= math.log(20)).mean() <= 0.05 + SIGMAS * math.sqrt(0.05 / STREAMS)


def peers_stream(
    own: Floats,
    peers: Sequence[Floats],
    *,
    history: int,
    first: float,
    length: float,
    zone: str,
    terms: Terms,
) -> tuple[Terms, Floats]:
    """One region against its peers as arrays: for benchmarks. Learned from the first `history` blocks.

    `own` and each of `peers` have shape [blocks, 2] (events, exposure); `first` is the epoch second at which
    the first block ends. Returns the settled terms and the blocks after history, [blocks, WIDTH].
    """
    numbers = range(round(first / length) - 1, round(first / length) - 1 + len(own))
    names = [f"peer {place}" for place in range(len(peers))]
    columns = {("own", "good"): own} | {(name, "good"): each for name, each in zip(names, peers, strict=True)}
    cells = {
        place: dict(zip(numbers[:history], column[:history].tolist(), strict=True))
        for place, column in columns.items()
    }
    state = CheckState()
    past = Past(region="own", zone=zone, length=length, family=COUNTS, cells=cells)
    learn(state, past, names, terms)
    after = np.arange(history, len(own), dtype=np.float64)
    hours = hours_of_day(first + length * after, zone)
    rows = np.zeros((len(own) - history, WIDTH))
    rows[:, :2] = own[history:]
    for name, each in zip(names, peers, strict=True):
        rows[:, 2] += each[history:, 0]
        rows[:, 3] += each[history:, 1] / at_hours(state.profiles[name], hours)
    return load_terms(state.terms), rows
