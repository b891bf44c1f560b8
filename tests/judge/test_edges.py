"""Distributions: edges are set before the change, and "slower than the edge" is a count with exposure."""

import numpy as np
import pytest

from rollout.core.judge import cell_weights, judge
from rollout.core.judge.state import CheckState
from rollout.core.signals import Sample, VerdictKind

from .traffic import NEW, OLD, a_plan, at, begun, fed, sample

PLAN = a_plan("duration")
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))


def buckets(
    arms: dict[str, float], first: int, count: int, *, n: int = 300, edges=BUCKETS, seed: int = 3
) -> list[Sample]:
    """Minutes of log-normal durations with these medians, as cumulated buckets."""
    rng, found = np.random.default_rng(seed + first + 10_000), []
    for minute in range(first, first + count):
        for version, median in arms.items():
            seen = median * rng.lognormal(0, 0.8, n)
            found += [
                sample(60.0 * (minute + 1), version, float((seen <= edge).sum()), float(n),
                       signal=f"duration{{le={edge:g}}}")
                for edge in edges
            ]  # fmt: skip
    return found


PAST = buckets({OLD: 0.2}, -120, 120)


def edges_of(evidence) -> list[float]:
    return sorted(state["edge"] for state in evidence.checks.values() if state["edge"] >= 0)


def test_edges_are_the_buckets_next_above_the_median_and_the_90th_and_99th_percentile():
    assert edges_of(begun(PLAN, PAST)) == [0.25, 1.0, 2.5]  # 0.2, 0.56 and 1.29 s


def test_without_history_the_edges_are_set_by_the_first_hundred_events_of_the_baseline():
    evidence = begun(PLAN)
    assert edges_of(evidence) == []
    verdict = judge(PLAN, {"R3": evidence}, at(1)).verdicts[0]
    assert verdict.kind is not VerdictKind.PASS
    assert "hundred events" in verdict.note
    few = fed(PLAN, evidence, buckets({NEW: 5.0, OLD: 0.2}, 0, 3, n=30))
    assert edges_of(few) == []
    enough = fed(PLAN, few, buckets({NEW: 5.0, OLD: 0.2}, 3, 3, n=30))
    assert 2 <= len(edges_of(enough)) <= 3
    assert max(edges_of(enough)) <= 2.5  # the slow candidate moves none of them


@pytest.mark.parametrize("past", [PAST, []], ids=["history", "no history"])
def test_a_slower_candidate_is_found_and_one_that_is_as_fast_passes(past):
    for own, kinds in ((0.2, {VerdictKind.PASS}), (0.6, {VerdictKind.FAIL})):
        evidence = fed(PLAN, begun(PLAN, past), buckets({NEW: own, OLD: 0.2}, 0, 120, n=1500))
        judgement = judge(PLAN, {"R3": evidence}, at(7200))
        assert {verdict.kind for verdict in judgement.verdicts} == kinds
        assert bool(judgement.culprits) is (own > 0.2)


def test_a_slow_tail_alone_is_found_at_its_edge():
    """Two in a hundred take 10 s: no percentile below the 98th moves."""
    harmed = []
    for one in buckets({NEW: 0.2, OLD: 0.2}, 0, 120):
        finite = "inf" not in one.signal
        slow = 0.02 * one.exposure if one.version == NEW and finite else 0.0
        harmed.append(sample((one.time - at(0)).total_seconds(), one.version, max(0.0, one.value - slow),
                             one.exposure, signal=one.signal))  # fmt: skip
    (verdict,) = judge(PLAN, {"R3": fed(PLAN, begun(PLAN, PAST), harmed)}, at(7200)).culprits
    assert verdict.edge == 2.5
    assert verdict.value > verdict.baseline


def test_a_faster_candidate_is_no_harm():
    evidence = fed(PLAN, begun(PLAN, PAST), buckets({NEW: 0.1, OLD: 0.2}, 0, 60))
    assert judge(PLAN, {"R3": evidence}, at(3600)).culprits == ()


def test_the_edges_of_a_distribution_share_its_weight():
    evidence = begun(PLAN, PAST)
    checks = {cell: CheckState.view(raw) for cell, raw in evidence.checks.items()}
    weights = {cell: weight for (_, cell), weight in cell_weights(PLAN, "R3", checks).items()}
    assert sum(weights.values()) == pytest.approx(1)
    assert len({weight for cell, weight in weights.items() if cell != "gaps"}) == 1


def test_a_distribution_has_one_verdict_whatever_its_edges():
    evidence = fed(PLAN, begun(PLAN, PAST), buckets({NEW: 0.2, OLD: 0.2}, 0, 5))
    assert [verdict.signal for verdict in judge(PLAN, {"R3": evidence}, at(300)).verdicts] == ["duration"]


def test_the_unit_of_a_distribution_does_not_matter():
    def in_ms(samples):
        return [
            sample((one.time - at(0)).total_seconds(), one.version, one.value, one.exposure,
                   signal=f"duration{{le={1000 * float(one.signal[12:-1]):g}}}")
            for one in samples
        ]  # fmt: skip

    now = buckets({NEW: 0.5, OLD: 0.2}, 0, 20)
    seconds = judge(PLAN, {"R3": fed(PLAN, begun(PLAN, PAST), now)}, at(1200))
    ms = judge(PLAN, {"R3": fed(PLAN, begun(PLAN, in_ms(PAST)), in_ms(now))}, at(1200))
    assert seconds.log_e == ms.log_e
    assert [verdict.kind for verdict in seconds.verdicts] == [verdict.kind for verdict in ms.verdicts]


def test_a_bucket_that_holds_more_than_all_is_junk():
    wrong = sample(60, NEW, 301.0, 300.0, signal="duration{le=0.25}")
    evidence = fed(PLAN, begun(PLAN, PAST), [wrong])
    assert evidence.checks["duration{le=0.25}"]["junk"] == 1
    assert evidence.checks["duration{le=0.25}"]["totals"] == [0.0] * 4


def test_versions_with_different_buckets_are_compared_where_they_agree():
    """In history another version had other buckets; edges are of those that ran last."""
    other = (0.07, 0.3, 0.9, 3.0, float("inf"))
    past = sorted(buckets({NEW: 0.2}, -240, 120, edges=other) + PAST, key=lambda one: one.time)
    evidence = fed(PLAN, begun(PLAN, past), buckets({NEW: 0.2, OLD: 0.2}, 0, 60, n=3000))
    judgement = judge(PLAN, {"R3": evidence}, at(3600))
    assert set(edges_of(evidence)) <= set(BUCKETS)
    assert {verdict.kind for verdict in judgement.verdicts} == {VerdictKind.PASS}


def test_a_candidate_with_other_buckets_is_not_rolled_back_for_them():
    """It changed its histogram: there is nothing to compare, and it is not silent."""
    other = (0.07, 0.3, 0.9, 3.0, float("inf"))
    now = buckets({NEW: 0.2}, 0, 30, edges=other) + buckets({OLD: 0.2}, 0, 30)
    evidence = fed(PLAN, begun(PLAN, PAST), sorted(now, key=lambda one: one.time))
    judgement = judge(PLAN, {"R3": evidence}, at(1800))
    assert judgement.culprits == ()
    assert {verdict.kind for verdict in judgement.verdicts} == {VerdictKind.NO_DATA}
