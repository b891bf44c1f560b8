"""The running tests: caps, restarts, bets of several blocks, and what they keep through months."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import counts, mixture, rates, sequential
from rollout.core.judge.sequential import Running, Terms

BLOCKS = 60
BESIDE = (sequential.Test("split", False, 0.8), sequential.Test("sign", False, 0.2))
FAMILIES = ("split", "sign", "joint", "forecast", "level")


def terms(*families: str, falls: bool = False, **more) -> Terms:
    part = 1 / max(1, len(families))
    tests = tuple(sequential.Test(family, falls, part) for family in families) or BESIDE
    return Terms(**{"tests": tests, "lift": 2.0, "horizon": BLOCKS, **more})


def run(settled: Terms, blocks: list[list[float]]) -> Running:
    running = sequential.begin(settled)
    for block in blocks:
        sequential.step(settled, running, np.array([*block, 0.0][:5]))
    return running


def log_e(settled: Terms, blocks: list[list[float]]) -> float:
    return float(sequential.log_e(settled, run(settled, blocks)))


SAME, HARM = [3.0, 600.0, 3.0, 600.0], [9.0, 600.0, 3.0, 600.0]


def test_harm_that_begins_after_hours_is_found_within_minutes_of_what_early_harm_takes():
    settled = terms(horizon=720)

    def blocks_until(quiet: int) -> int:
        running = run(settled, [SAME] * quiet)
        for block in range(500):
            sequential.step(settled, running, np.array([*HARM, 0.0]))
            if sequential.log_e(settled, running) >= math.log(125):
                return block
        raise AssertionError("never found")

    assert blocks_until(600) - blocks_until(0) <= 15


@pytest.mark.parametrize("family", FAMILIES)
def test_one_bet_is_worth_at_most_its_cap(family):
    settled = terms(family, every=1, margin=0.0 if family == "level" else 1.0, known=(0.5, 1000.0))
    usual = run(settled, [[1.0, 1000.0, 1.0, 1000.0, 1.0]])
    before = usual.logs[f"{family}+"].copy()
    sequential.step(settled, usual, np.array([9000.0, 1000.0, 0.0, 1000.0, 1.0]))
    cap = rates.CAP if family == "joint" else counts.CAP
    # the restarts that join beside it weigh a sixtieth of a tenth
    joined = np.logaddexp(before, math.log(0.1 / BLOCKS))
    assert (usual.logs[f"{family}+"] <= joined + cap + 1e-9).all()
    assert (usual.logs[f"{family}+"] > before).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_before_the_first_block_the_e_value_is_one(family):
    assert log_e(terms(family), []) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_without_exposure_are_worth_nothing_either_way(family):
    settled = terms(family, margin=0.0 if family == "level" else 1.0)
    assert log_e(settled, [[0.0, 0.0, 0.0, 0.0, 0.0]] * 90) == pytest.approx(0, abs=1e-12)
    assert sequential.ruled_out(settled, run(settled, [[0.0] * 5] * 90)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("every", [1, 3, 10])
def test_the_restart_weights_sum_to_one_whatever_the_length_of_a_bet(every):
    logs, fair = mixture.start((), 3), np.zeros(3)
    blocks = BLOCKS // every
    weights = np.full(3, 1 / 3)
    for closed in range(2 * blocks):
        logs = mixture.bet(logs, closed, fair, blocks)
        assert mixture.log_e(logs, weights, closed + 1, blocks) == pytest.approx(0.0, abs=1e-12)


def test_months_of_one_answer_neither_overflow_nor_lose_a_number():
    settled = terms("split", "sign", horizon=360)
    month = 60 * 24 * 30
    for block, sign in ((HARM, 1), ([0.0, 600.0, 9.0, 600.0], -1)):
        running = run(settled, [block] * 500)
        running.closed = running.closed + 3 * month
        for _ in range(4000):
            sequential.step(settled, running, np.array([*block, 0.0]))
        found = float(sequential.log_e(settled, running))
        assert math.isfinite(found)
        assert sign * found > 0
        assert all(np.isfinite(logs).all() for logs in running.logs.values())
        assert max(abs(logs).max() for logs in running.logs.values()) <= mixture.FAR


def test_the_open_bet_counts_at_every_look_and_is_what_it_will_be_once_closed():
    settled = terms("split", every=5)
    running = run(settled, [HARM] * 4)
    opened = float(sequential.log_e(settled, running))
    assert opened > 0
    assert running.closed == 0
    whole = terms("split", every=1, horizon=BLOCKS // 5)
    assert opened == pytest.approx(log_e(whole, [[4 * each for each in HARM]]), abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    bad=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=5, max_size=5), size=st.just(5)
)
def test_a_bet_of_five_blocks_is_one_bet_on_their_sum(bad, size):
    blocks = [[float(x1), 600.0, float(x0), 600.0] for x1, x0 in bad]
    summed = [[float(sum(column)) for column in zip(*blocks, strict=True)]]
    five, one = terms("split", every=size), terms("split", every=1, horizon=BLOCKS // size)
    assert log_e(five, blocks) == pytest.approx(log_e(one, summed), abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 999))
def test_the_blocks_of_one_bet_may_come_in_any_order(seed):
    rng = np.random.default_rng(seed)
    blocks = [[float(x1), 600.0, float(x0), 600.0] for x1, x0 in rng.poisson(5, (10, 2))]
    settled = terms(every=10)
    mixed = [blocks[place] for place in rng.permutation(10)]
    assert log_e(settled, blocks) == pytest.approx(log_e(settled, mixed), abs=1e-9)


def test_evidence_against_harm_is_kept_low_enough_to_be_taken_back():
    settled = terms("split", "sign")
    running = run(settled, [SAME] * 1000)
    assert sequential.ruled_out(settled, running) == counts.RULED_OUT_MOST
    for _ in range(10):
        sequential.step(settled, running, np.array([12.0, 600.0, 3.0, 600.0, 0.0]))
    assert sequential.ruled_out(settled, running) < math.log(20)


def test_a_pass_of_a_level_is_taken_back_too():
    settled = terms("level", margin=0.1, scale=0.1, relative=True, lift=2.0)
    level, twice = [1.0, 1.0, 1.0, 1.0], [1.0 + math.log(2.2), 1.0, 1.0, 1.0]
    running = run(settled, [level] * 500)
    assert sequential.ruled_out(settled, running) == pytest.approx(counts.RULED_OUT_MOST)
    for _ in range(10):
        sequential.step(settled, running, np.array([*twice, 0.0]))
    assert sequential.ruled_out(settled, running) < math.log(20)


def test_forgetting_passes_keeps_the_evidence_of_harm():
    settled = terms()
    running = run(settled, [HARM] * 5 + [SAME] * 50)
    before = float(sequential.log_e(settled, running))
    sequential.forget_passes(settled, running)
    assert float(sequential.log_e(settled, running)) == before
    assert sequential.ruled_out(settled, running) == 0


def test_a_fall_of_counts_is_found_only_by_a_test_that_bets_on_falls():
    fallen = [[1.0, 600.0, 9.0, 600.0, 9.0]] * 40
    for family in ("split", "joint", "forecast"):
        known = (9.0, 600.0)
        assert log_e(terms(family, falls=True, known=known), fallen) > math.log(1000)
        assert log_e(terms(family, known=known), fallen) < 0.1


def test_a_drift_within_the_margin_is_no_evidence_of_harm():
    drifted = [[66.0, 6000.0, 60.0, 6000.0, 60.0]] * BLOCKS
    for family in ("split", "forecast"):
        assert log_e(terms(family), drifted) > log_e(terms(family, margin=1.15), drifted)
        assert log_e(terms(family, margin=1.15), drifted) <= 0


def test_noise_that_was_measured_makes_harm_slower_to_find_and_never_impossible():
    needed = []
    for rho in (0.0, 0.1, 0.5):
        settled = terms(rho=rho)
        running, blocks = sequential.begin(settled), 0
        while sequential.log_e(settled, running) < math.log(125):
            sequential.step(settled, running, np.array([30.0, 600.0, 10.0, 600.0, 0.0]))
            blocks += 1
            assert blocks < 500
        needed.append(blocks)
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]
