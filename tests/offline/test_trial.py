"""One recorded release through judge and decide: what would have been done, and that nothing is made up."""

from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput
from rollout.core.judge import replay
from rollout.core.signals import BaselineKind, Sample, VerdictKind
from rollout.offline import trial as offline_trial
from rollout.offline.arms import who_is_who
from rollout.offline.backtest import Rules, judge_file
from rollout.offline.intake import Intake, Memory
from rollout.offline.record import along, bake_s
from rollout.offline.samples import SamplesFile, Unusable
from rollout.offline.survey import survey
from tests.offline.recorded import DEPLOY, NEW, OLD, a_policy, a_release, beside, judged, minutes, text, write


def test_a_harmful_release_would_have_been_rolled_back_with_the_sentence_of_the_live_one(tmp_path: Path):
    result = judged(write(tmp_path / "s.csv", minutes(beside(5.0))))
    trial = result.trial
    assert trial is not None
    assert trial.outcome == "rolled_back"
    assert trial.decided is not None
    assert DEPLOY < trial.decided.at <= DEPLOY + timedelta(minutes=30)
    assert trial.decided.reason.text.startswith("R3 errors ")
    assert trial.decided.reason.signal == "errors"
    assert trial.ended_at == trial.decided.at  # nothing is judged after it goes back


def test_a_harmless_release_would_have_been_promoted_after_its_bake_and_watched(tmp_path: Path):
    trial = judged(write(tmp_path / "s.csv", minutes(beside()))).trial
    assert trial is not None
    assert trial.outcome == "promoted"
    assert trial.decided is not None
    assert trial.decided.at == DEPLOY + timedelta(hours=1)
    assert trial.watch == "met"
    assert trial.ended_at == DEPLOY + timedelta(hours=2)


def test_harm_that_begins_in_the_watch_breaches_it(tmp_path: Path):
    trial = judged(write(tmp_path / "s.csv", minutes(beside(20.0, after=75)))).trial
    assert trial is not None
    assert [act.what for act in trial.acts] == ["promoted", "rolled_back"]
    assert (trial.outcome, trial.watch) == ("rolled_back", "breached")
    assert trial.acts[1].during == "succeeded"


def test_a_recording_that_ends_before_the_bake_promotes_nothing(tmp_path: Path):
    trial = judged(write(tmp_path / "s.csv", minutes(beside(), last=30))).trial
    assert trial is not None
    assert (trial.outcome, trial.decided, trial.acts) == ("unfinished", None, ())


def test_a_gap_of_both_is_held_while_it_lasts_and_not_when_rows_come_back(tmp_path: Path):
    lines = [line for line in minutes(beside()) if not text(10) < line[:20] <= text(45)]
    trial = judged(write(tmp_path / "s.csv", lines)).trial
    assert trial is not None
    assert trial.outcome == "held"
    assert trial.decided is not None
    assert DEPLOY + timedelta(minutes=15) <= trial.decided.at <= DEPLOY + timedelta(minutes=20)
    assert trial.decided.reason.code == "check.no_data"


def test_regions_go_in_the_order_of_the_record_and_a_late_one_is_judged_from_its_own_deploy(tmp_path: Path):
    def arms(minute: int, region: str) -> dict[str, tuple[float, float]]:
        return dict(beside(20.0 if region == "R1" else 1.0)(minute - (90 if region == "R1" else 0), region))

    path = write(tmp_path / "s.csv", minutes(arms, regions=("R3", "R1"), last=200))
    trial = judged(path, {"R3": 0, "R1": 90}).trial
    assert trial is not None
    assert [stage.regions for stage in trial.plan.stages] == [("R3",), ("R1",)]
    assert trial.decided is not None
    assert trial.decided.reason.region == "R1"
    assert DEPLOY + timedelta(minutes=90) < trial.decided.at < DEPLOY + timedelta(minutes=120)


def test_nothing_after_the_end_that_people_recorded_is_judged(tmp_path: Path):
    path = write(tmp_path / "s.csv", minutes(beside(20.0, after=30)))
    release = a_release(path, ended_at=DEPLOY + timedelta(minutes=30))
    trial = judge_file(Rules(policy=a_policy()), release, path).trial
    assert trial is not None
    assert trial.outcome == "unfinished"
    assert trial.ended_at == DEPLOY + timedelta(minutes=30)


def test_every_look_says_what_replay_says_of_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path / "s.csv", minutes(beside(), last=40))
    looks = {}
    note = offline_trial.Run._note

    def noted(run: offline_trial.Run, said: object, now: object) -> None:
        looks[now] = said
        note(run, said, now)  # type: ignore[arg-type]

    monkeypatch.setattr(offline_trial.Run, "_note", noted)
    trial = judged(path).trial
    assert trial is not None
    points = replay(
        trial.plan, candidate=NEW, baseline=OLD, deploys={"R3": DEPLOY}, samples=samples_of(path, trial.plan)
    )
    compared = [(point.judgement, looks[point.time]) for point in points if point.time in looks]
    assert len(compared) > 20
    assert all(one == other for one, other in compared)


def samples_of(path: Path, plan: object) -> list[Sample]:
    """The file's samples as the intake makes them."""
    found, release = survey(SamplesFile(path)), a_release(path)
    arms = who_is_who(found, release, bake_s=3600)
    intake = Intake(plan, arms, found, Unusable())  # type: ignore[arg-type]
    return [sample for row in SamplesFile(path) if (sample := intake.sample(row)) is not None]


def test_lengths_are_distances_and_a_missing_row_does_not_stretch_the_next(tmp_path: Path):
    lines = [f"{text(m)},R3,{OLD},errors,1,100\n" for m in (-5, -4, -3, -1, 1, 2)]
    path = write(tmp_path / "s.csv", lines)
    found, release = survey(SamplesFile(path)), a_release(path)
    arms = who_is_who(found, release, bake_s=60)
    plan, _ = along(a_policy(), found, arms, regions={}, signals={})
    assert [sample.duration_s for sample in samples_of(path, plan)] == [60.0] * 6


def test_rows_without_the_exposure_that_a_count_needs_are_no_evidence(tmp_path: Path):
    lines = [
        line.rpartition(",")[0] + ",\n" if text(5) in line else line for line in minutes(beside(), last=20)
    ]
    result = judged(write(tmp_path / "s.csv", lines))
    assert ("exposure of errors is missing", 2, 0) in result.unusable


def test_a_time_that_is_there_twice_counts_once(tmp_path: Path):
    lines = list(minutes(beside(), last=20))
    twice = [line for line in lines for _ in range(2)]
    once, doubled = (judged(write(tmp_path / f"{n}.csv", ls)) for n, ls in enumerate((lines, twice)))
    assert once.trial is not None
    assert doubled.trial is not None
    assert once.trial.judgement == doubled.trial.judgement
    assert doubled.unusable


def test_checks_that_were_not_recorded_are_left_out_and_said(tmp_path: Path):
    path = write(tmp_path / "s.csv", minutes(beside(), last=20))
    checks = [{"signal": "errors", "kind": "ratio"}, {"signal": "latency", "kind": "ratio"}]
    trial = judged(path, checks=checks).trial
    assert trial is not None
    assert [check.signal for check in trial.plan.checks] == ["errors"]
    assert trial.notes == ("latency is not in s.csv and was not judged.",)
    with pytest.raises(InvalidInput, match=r"checks none of the signals of s\.csv"):
        judged(path, checks=checks[1:])


def test_a_sparse_signal_gets_the_interval_in_which_it_comes(tmp_path: Path):
    lines = [f"{text(60 * h)},R3,{OLD if h <= 0 else NEW},errors,1,100\n" for h in range(-9, 9)]
    trial = judged(write(tmp_path / "s.csv", lines)).trial
    assert trial is not None
    assert trial.plan.checks[0].interval == 3600
    assert trial.plan.holdback == 0  # switched whole: nothing was held back


def test_a_policy_that_wants_what_a_record_does_not_have_is_judged_as_having_nothing(tmp_path: Path):
    path = write(tmp_path / "s.csv", minutes(lambda _minute, _region: {OLD: (600, 0.005)}, last=90))
    trial = judged(path, checks=[{"signal": "errors", "kind": "ratio", "baselines": ["beside"]}]).trial
    assert trial is not None
    assert [check.baselines for check in trial.plan.checks] == [(BaselineKind.BESIDE,)]
    assert trial.outcome == "held"


def test_all_bakes_of_a_stage_become_one_and_approvals_are_taken_as_given(tmp_path: Path):
    steps = [
        {"approval": {}},
        {"set_weight": 25},
        {"bake": "20m"},
        {"set_weight": 50},
        {"bake": {"until": "pass", "min": "5m", "max": "40m"}},
    ]
    policy = a_policy(steps=steps)
    assert bake_s(policy) == 3600
    trial = judged(write(tmp_path / "s.csv", minutes(beside(), last=20)), steps=steps).trial
    assert trial is not None
    _, bake = trial.plan.stages[0].steps
    assert (bake.until, bake.min, bake.max) == ("pass", 1500, 3600)  # type: ignore[union-attr]


def test_memory_holds_a_sample_per_block_and_two_weeks_at_most(tmp_path: Path):
    path = write(tmp_path / "s.csv", minutes(beside(), first=-5, last=5))
    trial = judged(path).trial
    assert trial is not None
    memory = Memory(trial.plan, NEW)
    for n in range(20 * 1440 * 2):
        at = DEPLOY + timedelta(seconds=30 * (n + 1))
        memory.add(
            Sample(time=at, region="R3", version=OLD, signal="errors", value=1, exposure=10, duration_s=30)
        )
        memory.add(
            Sample(time=at, region="R3", version=NEW, signal="errors", value=9, exposure=10, duration_s=30)
        )
    kept = memory.before(["R3"], DEPLOY + timedelta(days=20))
    assert 14 * 1440 <= len(kept) <= 14 * 1440 + 1
    assert {(one.version, one.value, one.exposure, one.duration_s) for one in kept} == {(OLD, 2, 20, 60)}


def test_verdicts_are_told_when_they_change(tmp_path: Path):
    trial = judged(write(tmp_path / "s.csv", minutes(beside(5.0)))).trial
    assert trial is not None
    assert trial.changes[-1].verdict.kind is VerdictKind.FAIL
    for before, after in zip(trial.changes, trial.changes[1:], strict=False):
        assert after.before is before.verdict.kind
