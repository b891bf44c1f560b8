"""Whom a rise is blamed on: only what was there before it, and rather what is there alone and came last."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.decide.blame import ranking, suspects
from rollout.core.judge.suspects import MARGIN_S, Change, Ends, Harm, common_cause, rank, rise
from rollout.core.model import Phase, Reason, RegionRollout, Release, Rollout
from rollout.core.signals import Sample, Verdict, VerdictKind

RISE = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def before(minutes: float) -> datetime:
    return RISE - timedelta(minutes=minutes)


def change(name: str, touched: Mapping[str, float], *, back: Mapping[str, float] = {}) -> Change:
    """A change that touched regions so many minutes before the rise."""
    return Change(
        rollout_id=name,
        service=name,
        version="2",
        touched_at={region: before(minutes) for region, minutes in touched.items()},
        restored_at={region: before(minutes) for region, minutes in back.items()},
        share={},
    )


def ranked(harm: Harm, *changes: Change) -> list[str]:
    return [suspect.change.rollout_id for suspect in rank(harm, changes)]


IN_R3 = Harm(regions=frozenset({"R3"}), since=RISE)


def test_a_change_that_was_not_there_or_came_later_is_no_suspect() -> None:
    elsewhere, later = change("elsewhere", {"R1": 5}), change("later", {"R3": -10})
    gone, here = change("gone", {"R3": 60}, back={"R3": 30}), change("here", {"R3": 60})
    assert ranked(IN_R3, elsewhere, later, gone, here) == ["here"]


def test_a_rise_in_two_regions_is_not_due_to_a_change_in_one_of_them() -> None:
    both = Harm(regions=frozenset({"R3", "R1"}), since=RISE)
    assert ranked(both, change("one", {"R3": 5}), change("two", {"R3": 90, "R1": 60})) == ["two"]


def test_a_change_within_the_margin_after_the_rise_may_still_be_its_cause() -> None:
    assert ranked(IN_R3, change("a", {"R3": -MARGIN_S / 60})) == ["a"]
    assert ranked(IN_R3, change("a", {"R3": -MARGIN_S / 60 - 0.1})) == []


def test_the_change_that_came_last_and_is_nowhere_else_comes_first() -> None:
    old, wide = change("old", {"R3": 600}), change("wide", {"R3": 5, "R1": 5, "R2": 5})
    new = change("new", {"R3": 5})
    found = rank(IN_R3, (old, wide, new))
    assert [suspect.change.rollout_id for suspect in found] == ["new", "wide", "old"]
    assert found[1].beyond == ("R1", "R2")
    assert found[0].lead_s == 300
    assert 1 > found[0].score > found[1].score > found[2].score > 0


def test_a_region_that_was_reached_after_the_rise_does_not_speak_for_a_change() -> None:
    assert rank(IN_R3, [change("a", {"R3": 5, "R1": -30})])[0].beyond == ()


def test_a_rise_on_the_own_instances_of_a_release_points_at_it_however_long_it_was_there() -> None:
    own = replace(IN_R3, release="own")
    found = rank(own, (change("own", {"R3": 240}), change("other", {"R3": 10})))
    assert [(suspect.change.rollout_id, suspect.alone) for suspect in found] == [
        ("own", True),
        ("other", False),
    ]


def test_equal_suspects_come_in_the_order_of_their_ids_whatever_the_order_of_asking() -> None:
    a, b = change("a", {"R3": 5}), change("b", {"R3": 5})
    assert ranked(IN_R3, a, b) == ranked(IN_R3, b, a) == ["a", "b"]


def test_a_smaller_part_of_the_instances_is_less_suspect() -> None:
    few, all_ = change("few", {"R3": 5}), change("most", {"R3": 5})
    assert ranked(IN_R3, replace(few, share={"R3": 0.05}), replace(all_, share={"R3": 0.75})) == [
        "most",
        "few",
    ]


@pytest.mark.parametrize(
    ("rise", "other", "same"),
    [
        ((1.5, 3.0), (1.4, 2.0), True),
        ((1.5, 3.0), (0.9, 2.0), False),  # no rise there
        ((1.5, 3.0), (4.0, 9.0), False),  # another rise
        ((1.5, None), (4.0, None), True),
        ((None, 3.0), (1.5, 2.0), False),  # nothing known here
        ((0.4, 0.8), (0.5, 0.9), True),  # a fall in both
        ((1.5, 3.0), (0.5, 0.9), False),
        ((None, None), (None, None), False),
    ],
)
def test_a_common_cause_is_the_same_rise_where_the_release_is_not(
    rise: Ends, other: Ends, same: bool
) -> None:
    assert common_cause(rise, {"R2": other}) == (("R2",) if same else ())


def counted(minute: float, value: float, exposure: float = 1000.0) -> Sample:
    """What one minute showed, so many minutes before the rise."""
    return Sample(
        time=before(minute), region="R2", version="1", signal="errors", value=value, exposure=exposure
    )


def test_a_rise_is_what_came_after_over_what_was_before() -> None:
    steady = [counted(minute, 5) for minute in range(-9, 30)]
    low, high = rise(steady, RISE)
    assert low is not None
    assert high is not None
    assert low < 1 < high
    risen = [counted(minute, 5 if minute >= 0 else 25) for minute in range(-9, 30)]
    low, high = rise(risen, RISE)
    assert low is not None
    assert high is not None
    assert 2 < low < 5 < high
    assert common_cause((3.0, 8.0), {"R2": (low, high)}) == ("R2",)
    assert common_cause((3.0, 8.0), {"R2": rise(steady, RISE), "R1": (None, None)}) == ()


def test_of_a_bucket_what_is_slower_than_its_edge_counts() -> None:
    slower = [counted(minute, 990 if minute >= 0 else 900) for minute in range(-9, 30)]
    low, _ = rise(slower, RISE, beyond=True)
    assert low is not None
    assert low > 5, "from 1 % to 10 %"


def test_nothing_is_known_of_a_region_that_was_not_heard() -> None:
    assert rise([], RISE) == (None, None)
    assert rise([counted(-1, 5)], RISE) == (None, None), "nothing from before"


# ------------------------------------------------------------------ from rollouts and verdicts


def rollout(name: str, minutes: float, service: str = "mail") -> Rollout:
    touched = RegionRollout(region="R3", stage=0, since=RISE, touched_at=before(minutes), weight=75)
    return Rollout(
        id=name,
        release=Release(service=service, version="2"),
        policy="standard",
        policy_revision=1,
        phase=Phase.PROGRESSING,
        since=RISE,
        created_at=RISE,
        created_by="ci",
        regions=(touched, RegionRollout(region="R1", stage=1, since=RISE)),
        reason=Reason(code="x", text="x"),
    )


HISTORY = Verdict(
    region="R3",
    signal="errors",
    kind=VerdictKind.FAIL,
    value=0.02,
    baseline=0.01,
    baseline_kind="history",
    since=RISE,
)
OURS, THEIRS = rollout("ro_1", 90), rollout("ro_2", 5, "billing")


def test_the_ranking_names_each_release_where_it_is_and_for_how_long() -> None:
    assert ranking(OURS, [HISTORY], [OURS, THEIRS]) == (
        "Suspects, most likely first: 1. billing 2 (ro_2) reached R3 5 min before the rise began; "
        "2. mail 2 (ro_1) reached R3 1 h 30 min before the rise began"
    )


def test_one_suspect_is_no_ranking() -> None:
    assert ranking(OURS, [HISTORY], [OURS]) == ""
    assert ranking(OURS, [], [THEIRS]) == ""
    assert suspects(OURS, [replace(HISTORY, since=None)], [THEIRS]) == ()


@pytest.mark.parametrize("kind", ["beside", "instances beside it in R3"])
def test_harm_told_apart_from_instances_beside_it_is_blamed_on_the_release(kind: str) -> None:
    found = ranking(OURS, [replace(HISTORY, baseline_kind=kind)], [THEIRS])
    assert "1. mail 2 (ro_1) reached R3 1 h 30 min before the rise began; only its own instances" in found
