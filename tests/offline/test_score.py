"""Figures of a backtest: counted by hand, bounds against scipy, the same by one process and by two."""

from pathlib import Path

import pytest

from rollout.offline.backtest import Result, Rules, judge_all
from rollout.offline.releases import PastRelease
from rollout.offline.score import most_at, most_of, score
from tests.offline.recorded import DEPLOY, a_policy, a_release, beside, minutes, write


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Right and wrong ones of each label, one with a gap, one without a label, one that cannot be read."""
    directory = tmp_path_factory.mktemp("releases")
    write(directory / "harm.csv", minutes(beside(6.0)))
    write(directory / "none.csv", minutes(beside()))
    write(
        directory / "gap.csv",
        [line for line in minutes(beside(), last=60) if not "12:10" < line[11:16] <= "12:45"],
    )
    write(directory / "wrong.csv", ["not a row\n"])
    made = [
        a_release("harm.csv", bad=True, harm_at=DEPLOY),
        a_release("none.csv", bad=True),
        a_release("none.csv", bad=False),
        a_release("harm.csv", bad=False),
        a_release("gap.csv", bad=False),
        a_release("none.csv"),
        a_release("wrong.csv", bad=False),
    ]
    rules = Rules(policy=a_policy(), plots=directory / "plots")
    alone = list(judge_all(rules, made, directory, jobs=1))
    together = list(judge_all(rules, made, directory, jobs=2))
    assert [each.trial.judgement for each in alone if each.trial] == [
        each.trial.judgement for each in together if each.trial
    ]
    return together


def test_releases_are_counted_against_their_labels(results: list[Result]):
    found = score(results)
    counted = found.rollback
    assert (counted.true_positives, counted.false_negatives) == (1, 1)
    assert (counted.false_positives, counted.true_negatives) == (1, 2)
    assert (counted.precision, counted.recall, counted.f1) == (0.5, 0.5, 0.5)
    held_too = found.rollback_or_hold
    assert (held_too.true_positives, held_too.false_positives) == (1, 2)
    assert (found.releases, found.labelled, found.not_judged) == (7, 5, 1)
    assert found.outcomes == {"rolled_back": 2, "held": 1, "promoted": 3, "unfinished": 0}
    assert found.false_per_hundred == pytest.approx(100 / 3)
    assert (found.held, found.held_good) == (1, 1)


def test_the_delay_counts_from_the_harm_and_only_of_harmful_ones(results: list[Result]):
    first = results[0].trial
    assert first is not None
    assert first.decided is not None
    assert score(results).median_delay_s == (first.decided.at - DEPLOY).total_seconds()


def test_each_error_has_its_plot_and_what_was_right_has_none(results: list[Result]):
    assert [result.wrong for result in results] == [False, True, False, True, True, False, False]
    for result in results:
        assert bool(result.plots) is result.wrong
        for plot in result.plots:
            assert Path(plot).read_text(encoding="utf-8").startswith("<svg")


def test_a_release_that_cannot_be_judged_says_why_and_stops_no_other(results: list[Result]):
    assert results[-1].trial is None
    assert "wrong.csv:2: has 1 columns instead of 6" in results[-1].problem


def test_without_labels_there_is_no_truth_and_no_division_by_nothing(results: list[Result]):
    unknown = [
        Result(release=PastRelease(file="", service="", version="", deploys={}), trial=results[5].trial)
    ]
    found = score(unknown)
    assert found.labelled == 0
    assert (found.rollback.f1, found.false_per_hundred, found.false_days, found.median_delay_s) == (None,) * 4
    assert score([]).releases == 0


@pytest.mark.parametrize(("seen", "tries"), [(0, 20), (3, 20), (19, 20), (0, 1), (5, 1000)])
def test_the_bound_of_a_part_is_that_of_clopper_and_pearson(seen: int, tries: int):
    beta = pytest.importorskip("scipy.stats").beta
    assert most_of(seen, tries) == pytest.approx(beta.ppf(0.95, seen + 1, tries - seen), rel=1e-9)


@pytest.mark.parametrize("seen", [0, 1, 7, 100])
def test_the_bound_of_a_count_is_that_of_garwood(seen: int):
    chi2 = pytest.importorskip("scipy.stats").chi2
    assert most_at(seen) == pytest.approx(chi2.ppf(0.95, 2 * seen + 2) / 2, rel=1e-9)


def test_bounds_without_scipy():
    assert most_of(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert most_of(4, 4) == 1.0
    assert most_at(0) == pytest.approx(2.995732, rel=1e-6)
