"""The bench from end to end with a stand-in for the judge, and what it calls reached."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.judge import Options, measure, merged, parts
from bench.judge_cells import CHECKPOINTS, MEASUREMENTS, PRODUCT, needed_over_said
from bench.judge_figures import Target, figures
from bench.judge_outcome import Outcome
from bench.judge_report import as_json, label, summary, table
from bench.judge_speed import speed_figures
from bench.judge_traffic import DAY, Arms, Series
from rollout.core.signals import BaselineKind, SignalKind

JUDGES = {"placebo": {PRODUCT}, "wrong-passes": {PRODUCT, "kayenta doc", "z 60"}}


class StandIn:
    """Rolls back at the candidate's 3rd error, passes after 1,000 baseline requests, says what it lacks."""

    def beside(self, kind: SignalKind, history: Arms, after: Arms, tolerance: float) -> Outcome:
        errors, requests = np.cumsum(after.x1, 1), np.cumsum(after.n0, 1)
        left = 1000 - requests
        return Outcome(
            failed=first(errors >= 3),
            suspected=first(errors >= 2),
            passed=first(left <= 0),
            needs=np.where(left > 0, left, np.nan),
        )

    def region(self, baseline: BaselineKind, series: Sequence[Series], tolerance: float) -> Outcome:
        own = series[0]
        last = Arms(own.x[:, -DAY:], own.n[:, -DAY:], own.x[:, -DAY:], own.n[:, -DAY:])
        return self.beside(SignalKind.RATIO, last, last, tolerance)


def first(mask: np.ndarray) -> np.ndarray:
    return np.where(mask.any(1), mask.argmax(1) + 1.0, np.inf)


def outcome(
    *, failed: float = math.inf, passed: float = math.inf, needs: list[float] | None = None
) -> Outcome:
    said = np.array([needs if needs is not None else [math.nan] * DAY])
    return Outcome(np.array([failed]), np.array([failed]), np.array([passed]), said)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.name)
def test_every_measurement_gives_figures_of_the_product_and_of_its_anchors(measurement):
    cells = measurement.groups(("noisy",))[-1]
    noted = measurement.work(
        [np.random.default_rng(place) for place in range(len(cells))], cells, 4, 2, StandIn()
    )
    found = [
        one
        for cell, notes in zip(cells, noted, strict=True)
        for one in figures(measurement.name, cell, notes)
    ]
    assert {label(one.cell) for one in found} == {label(cell) for cell in cells}
    assert {one.judge for one in found} >= JUDGES.get(measurement.name, {PRODUCT, "reference"})
    for one in found:
        assert one.low <= one.value <= one.high or math.isnan(one.value)
        assert bool(one.target) == bool(one.reached)
        assert one.target == "" or one.judge == PRODUCT


def test_all_shares_noises_and_rates_of_the_design_are_cells():
    cells = {one.name: sum(map(len, one.groups(("clean", "noisy", "bursty")))) for one in MEASUREMENTS}
    assert cells == {
        "unchanged": 63,
        "wrong-passes": 126,
        "delays": 36,
        "restarts": 12,
        "regions": 10,
        "placebo": 8,
    }


def test_a_run_ends_in_a_table_a_summary_and_json_that_agree():
    options = Options(seed=7, only=("restarts",), runs=2)
    found = measure(options, StandIn())
    written = json.loads(as_json(found, {"seed": 7}))
    assert written["meta"] == {"seed": 7}
    assert len(written["figures"]) == len(found)
    assert {"measurement", "what", "cell", "judge", "unit", "value", "low", "high", "runs"} <= set(
        written["figures"][0]
    )
    assert all(one["runs"] == 2 for one in written["figures"])
    shown = table(found, {})
    assert "> 3 in 60 min" in shown
    for cell in (cell for group in MEASUREMENTS[3].groups(()) for cell in group):
        assert label(cell) in shown
    assert "restarts: median delay ≤80" in summary(found)


def test_cells_that_are_judged_together_get_what_they_would_get_alone():
    def rolled_back(share: float, cells: list[dict[str, float]]) -> np.ndarray:
        chances = [np.random.default_rng(round(1000 * cell["share"])) for cell in cells]
        noted = MEASUREMENTS[0].work(chances, cells, 3, 1, StandIn())
        return noted[[cell["share"] for cell in cells].index(share)][PRODUCT]["failed"]

    few, even = ({"noise": "clean", "rpm": 60, "share": share} for share in (0.05, 0.5))
    assert (rolled_back(0.5, [few, even]) == rolled_back(0.5, [even])).all()
    assert (rolled_back(0.05, [few, even]) == rolled_back(0.05, [few])).all()


def test_the_same_seed_gives_the_same_figures_with_any_number_of_processes():
    def taken(seed: int, jobs: int) -> str:
        return as_json(measure(Options(seed=seed, only=("restarts",), runs=2, jobs=jobs), StandIn()), {})

    assert taken(7, 1) == taken(7, 2)
    assert taken(7, 1) != taken(8, 1)


def test_parts_of_a_cell_have_their_own_chance_and_add_up_to_its_runs():
    options = Options(seed=3, only=("delays",), runs=250)
    groups = list(parts(options))
    assert [part.runs for part in groups[0]] == [100, 100, 50]
    assert [part.slow for part in groups[0]] == [100, 0, 0]
    assert len({chance for group in groups for part in group for chance in part.chances}) == 3 * 36
    joined = merged([{"one": {"failed": np.array([1.0])}}, {"one": {"failed": np.array([2.0])}}])
    assert list(joined["one"]["failed"]) == [1.0, 2.0]


def test_speed_is_measured_in_a_batch_and_through_the_controllers_own_way():
    found = {one.what: one for one in speed_figures(1, StandIn(), streams=20, minutes=120)}
    assert set(found) == {
        "intervals/s batched",
        "late cost over early",
        "ms to calibrate on a day",
        "intervals/s one by one",
        "bytes of evidence",
        "bytes over those at 1 h",
    }
    assert found["intervals/s one by one"].value > 0
    assert found["bytes of evidence"].value > 100
    assert found["bytes over those at 1 h"].reached == "yes"


def test_a_said_need_is_compared_with_what_the_pass_really_took():
    requests = np.full((1, DAY), 10.0)
    said = [math.nan] * DAY
    said[CHECKPOINTS[0] - 1] = 100.0  # of 150 that are missing then
    found = needed_over_said(outcome(passed=20, needs=said), requests)
    assert found["rest"][0, 0] == pytest.approx(1.5)
    assert found["whole"][0, 0] == pytest.approx(200 / 150)
    assert found["silent"][0, 0] == 0
    assert found["silent"][0, 1] == 1  # minute 15: undecided, nothing said
    assert np.isnan(found["silent"][0, 2:]).all()  # passed before


def test_a_need_that_was_exceeded_twice_is_wrong_and_one_that_the_day_cut_off_is_unknown():
    requests = np.full((1, DAY), 1.0)
    far, near = ([value] * DAY for value in (5000.0, 100.0))
    assert np.isnan(needed_over_said(outcome(needs=far), requests)["rest"]).all()
    assert np.isinf(needed_over_said(outcome(needs=near), requests)["rest"]).all()


def test_a_need_is_not_asked_of_a_run_that_was_rolled_back():
    found = needed_over_said(outcome(failed=1, needs=[100.0] * DAY), np.full((1, DAY), 1.0))
    assert np.isnan(found["rest"]).all()
    assert np.isnan(found["silent"]).all()


@pytest.mark.parametrize(
    ("low", "high", "runs", "reached"),
    [(0.0, 0.01, 1000, "yes"), (0.0, 0.07, 40, "open"), (0.02, 0.09, 40, "no"), (0.001, 0.02, 1000, "no")],
)
def test_a_bound_decides_once_there_are_enough_runs(low: float, high: float, runs: int, reached: str):
    assert Target(0.015, bound=True).reached(low, high, runs) == reached


def test_a_limit_from_below_is_reached_when_the_lower_bound_is_above_it():
    target = Target(0.9, at_most=False)
    assert [target.reached(low, high, 1000) for low, high in ((0.91, 0.95), (0.85, 0.93), (0.5, 0.6))] == [
        "yes",
        "open",
        "no",
    ]


def test_a_rollback_that_never_comes_is_no_delay_but_infinitely_long():
    cell = {"noise": "noisy", "rpm": 600, "lift": 2.0}
    notes = {
        PRODUCT: {"failed": np.array([math.inf] * 30 + [5.0] * 10)},
        "floor": {"minutes": np.full(40, 10.0)},
    }
    (delay,) = (one for one in figures("delays", cell, notes) if one.what == "median delay" and one.target)
    assert (delay.value, delay.reached) == (math.inf, "no")
    assert json.loads(as_json([delay], {}))["figures"][0]["value"] == "inf"
