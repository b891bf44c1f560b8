"""Missing data as a signal: gaps of the candidate against those of the baseline beside it."""

import numpy as np
import pytest

from rollout.core.judge import judge
from rollout.core.signals import Sample, VerdictKind

from .traffic import NEW, OLD, a_plan, at, begun, fed, sample

PLAN = a_plan("errors", "latency")


def reported(chance: dict[str, float], minutes: int, *, run: int = 1, seconds: float = 10.0) -> list[Sample]:
    """Reports every so often, of which each version loses some, `run` at a time."""
    rng, found, gone = np.random.default_rng(5), [], dict.fromkeys(chance, 0)
    for k in range(1, round(minutes * 60 / seconds) + 1):
        for version, lost in chance.items():
            if not gone[version] and rng.random() < lost:
                gone[version] = run
            if gone[version]:
                gone[version] -= 1
                continue
            found += [
                sample(
                    k * seconds,
                    version,
                    float(rng.binomial(100, 0.01)),
                    100.0,
                    signal=signal,
                    seconds=seconds,
                )
                for signal in ("errors", "latency")
            ]
    return found


def said(samples, minutes, plan=PLAN):
    return judge(plan, {"R3": fed(plan, begun(plan), samples)}, at(60.0 * minutes))


def test_a_candidate_with_many_gaps_beside_a_whole_baseline_fails():
    judgement = said(reported({NEW: 0.2, OLD: 0.002}, 90), 90)
    assert [(v.signal, v.kind) for v in judgement.culprits] == [("gaps", VerdictKind.FAIL)]
    (verdict,) = judgement.culprits
    assert verdict.value > 10 * verdict.baseline
    assert verdict.since <= at(600)


@pytest.mark.parametrize("lost", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("run", [1, 6])
def test_gaps_of_both_are_no_harm(lost, run):
    judgement = said(reported({NEW: lost, OLD: lost}, 240, run=run), 240)
    assert judgement.culprits == judgement.suspected == ()


def test_a_whole_candidate_beside_a_baseline_with_gaps_is_no_harm():
    assert said(reported({NEW: 0.0, OLD: 0.3}, 120), 120).culprits == ()


def test_reports_that_come_a_little_late_are_no_gaps():
    rng = np.random.default_rng(6)
    samples = [
        sample(10.0 * k + rng.uniform(0, 3), version, 1.0, 100.0, signal=signal, seconds=10.0)
        for k in range(1, 400)
        for version in (NEW, OLD)
        for signal in ("errors", "latency")
    ]
    state = fed(PLAN, begun(PLAN), samples).checks["gaps"]
    assert state["totals"][0] == state["totals"][2] == 0
    assert state["totals"][1] == pytest.approx(4000 / 3600, rel=0.01)


def test_a_long_silence_is_one_gap():
    samples = reported({NEW: 0.0, OLD: 0.0}, 60)
    samples = [one for one in samples if one.version == OLD or not 600 < one.time.timestamp() % 3600 <= 1800]
    assert fed(PLAN, begun(PLAN), samples).checks["gaps"]["totals"][0] == 1


def test_a_source_that_reports_seldom_has_no_gaps():
    plan = a_plan(checks=[{"signal": "errors", "interval": "5m"}])
    samples = [
        sample(300.0 * k, version, 5.0, 3000.0, seconds=300.0) for k in range(1, 40) for version in (NEW, OLD)
    ]
    state = fed(plan, begun(plan), samples).checks["gaps"]
    assert state["totals"][0] == state["totals"][2] == 0


def test_only_the_first_check_of_the_plan_is_listened_to():
    whole = reported({NEW: 0.0, OLD: 0.0}, 60)
    holes = [one for one in whole if one.signal == "errors" or one.time.timestamp() % 50]
    assert fed(PLAN, begun(PLAN), holes).checks["gaps"]["totals"][0] == 0


def test_a_distribution_with_several_edges_counts_each_gap_once():
    plan = a_plan("duration")
    history = [
        sample(-60.0 * k, OLD, 1000 * share, 1000.0, signal=f"duration{{le={edge}}}")
        for k in range(1, 40)
        for edge, share in ((0.1, 0.6), (0.5, 0.95), (2.0, 0.995))
    ]
    evidence = begun(plan, history)
    assert sum(cell.startswith("duration{") for cell in evidence.checks) == 3
    samples = [
        sample(60.0 * k, version, 1000 * share, 1000.0, signal=f"duration{{le={edge}}}")
        for k in range(1, 30)
        for version in (NEW, OLD)
        for edge, share in ((0.1, 0.6), (0.5, 0.95), (2.0, 0.995))
        if version == OLD or k != 15
    ]
    assert fed(plan, evidence, samples).checks["gaps"]["totals"] == [
        1.0,
        pytest.approx(28 / 60),
        0.0,
        pytest.approx(28 / 60),
    ]


def test_without_a_baseline_beside_it_there_are_no_gaps_to_compare():
    plan = a_plan(checks=[{"signal": "errors", "baselines": ["history"]}])
    assert "gaps" not in begun(plan).checks
