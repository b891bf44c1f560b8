"""Candidate and baseline are told from when each version was seen, or from the time alone."""

from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput
from rollout.offline.arms import Arms, who_is_who
from rollout.offline.samples import SamplesFile
from rollout.offline.survey import survey
from tests.offline.recorded import DEPLOY, a_release, text, write


def told(
    tmp_path: Path, spans: dict[str, dict[str, tuple[int, int]]], deploys: dict[str, float], **said: str
) -> Arms:
    """Who is who where `spans` says from which to which minute a version was seen in a region."""
    rows = sorted(
        (minute, region, version)
        for region, versions in spans.items()
        for version, (first, last) in versions.items()
        for minute in range(first, last + 1)
    )
    path = write(
        tmp_path / "s.csv", [f"{text(m)},{region},{version},errors,1,100\n" for m, region, version in rows]
    )
    return who_is_who(survey(SamplesFile(path)), a_release(path, deploys), bake_s=3600, **said)


def test_the_version_that_comes_after_the_deploy_is_the_candidate_beside_the_one_that_stays(tmp_path: Path):
    arms = told(tmp_path, {"R3": {"old": (-60, 90), "older": (-90, -30), "new": (1, 90)}}, {"R3": 0})
    assert (arms.candidate, arms.baseline, arms.regions["R3"].beside) == ("new", "old", True)


def test_a_recording_that_begins_with_the_deploy_knows_what_runs_beside(tmp_path: Path):
    spans = {"R3": {"old": (1, 90), "new": (2, 90), "newer": (40, 90)}}
    arms = told(tmp_path, spans, {"R3": 0}, candidate="new")
    assert (arms.candidate, arms.baseline, arms.beside) == ("new", "old", True)


def test_a_region_that_was_switched_whole_has_nothing_beside_and_leftovers_of_the_old_count_for_nobody(
    tmp_path: Path,
):
    arms = told(tmp_path, {"R3": {"old": (-60, 5), "new": (1, 90)}}, {"R3": 0})
    assert (arms.candidate, arms.baseline, arms.beside) == ("new", "old", False)
    assert arms.label("R3", "old", DEPLOY) == "old"
    assert arms.label("R3", "old", DEPLOY + timedelta(minutes=3)) is None
    assert arms.label("R3", "new", DEPLOY + timedelta(minutes=3)) == "new"


@pytest.mark.parametrize("version", ["1.4.0", ""])
def test_one_version_all_along_is_told_by_time(tmp_path: Path, version: str):
    arms = told(tmp_path, {"R3": {version: (-60, 90)}}, {"R3": 0})
    assert arms.candidate != arms.baseline
    assert arms.label("R3", version, DEPLOY) == arms.baseline
    assert arms.label("R3", version, DEPLOY + timedelta(seconds=1)) == arms.candidate


def test_a_version_that_was_on_trial_before_its_deploy_is_the_candidate_when_it_is_named(tmp_path: Path):
    arms = told(tmp_path, {"R3": {"old": (-60, 90), "new": (-20, 90)}}, {"R3": 0}, candidate="new")
    assert (arms.candidate, arms.baseline, arms.beside) == ("new", "old", True)


def test_regions_without_a_deploy_are_told_as_the_baseline(tmp_path: Path):
    arms = told(tmp_path, {"R3": {"old": (-60, 90), "new": (1, 90)}, "R1": {"1.3": (-60, 90)}}, {"R3": 0})
    assert arms.label("R1", "1.3", DEPLOY + timedelta(minutes=5)) == "old"


@pytest.mark.parametrize(
    ("spans", "deploys", "said", "message"),
    [
        ({"R3": {"a": (-9, 9)}}, {"R9": 0}, {}, "R9: has a deploy and no rows; s.csv has R3"),
        ({"R3": {"a": (-9, 9)}}, {"R3": 60}, {}, "R3: has no rows after its deploy"),
        ({"R3": {"a": (-9, 9), "b": (-9, 9)}}, {"R3": 0}, {}, "say --candidate"),
        (
            {"R3": {"a": (-9, 9)}},
            {"R3": 0},
            {"candidate": "c"},
            "the candidate 'c' is not in s.csv; its versions are 'a'",
        ),
        ({"R3": {"a": (-9, 9)}}, {"R3": 0}, {"baseline": "c"}, "the baseline 'c' is not in s.csv"),
        (
            {"R3": {"a": (-9, -2), "b": (-1, 9)}},
            {"R3": 0},
            {"candidate": "a"},
            "'a' has no rows after the deploy",
        ),
        (
            {"R3": {"a": (-9, 9), "b": (1, 9)}, "R1": {"a": (-9, 9), "c": (1, 9)}},
            {"R3": 0, "R1": 0},
            {},
            "Different versions came to the regions; say --candidate.",
        ),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    tmp_path: Path,
    spans: dict[str, dict[str, tuple[int, int]]],
    deploys: dict[str, float],
    said: dict[str, str],
    message: str,
):
    with pytest.raises(InvalidInput) as raised:
        told(tmp_path, spans, deploys, **said)
    assert message in str(raised.value)
