"""The report of one rollout: times, people, and words of others that stay words."""

from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from rollout.core.model import Obligation, ObligationKind, ObligationState, Phase, Reason
from rollout.showing.report import build, markdown
from rollout.showing.views import EventView, RolloutView
from tests.cli.views import at, event, rolled_back, view

VIEW: TypeAdapter[RolloutView] = TypeAdapter(RolloutView)
EVENT: TypeAdapter[EventView] = TypeAdapter(EventView)


def seen(found: Any, **changes: Any) -> RolloutView:
    return replace(VIEW.validate_python(found), **changes)


def told(sequence: int, trigger: str, text: str = "x", actor: str = "controller") -> EventView:
    row = EVENT.validate_python(event(sequence, "progressing", "rolling_back", text, None))
    return replace(row, trigger=trigger, actor=actor)


def recovery(state: ObligationState, ended: float | None) -> Obligation:
    return Obligation(
        id="ob_1",
        rollout_id="ro_1",
        service="mail-sender",
        region="R3",
        kind=ObligationKind.RECOVERY,
        state=state,
        since=at(300),
        until=at(900),
        ended_at=None if ended is None else at(ended),
    )


def harmed(**changes: Any) -> RolloutView:
    found = seen(rolled_back(), harm_since=at(100), decided_at=at(160), finished_at=at(200), **changes)
    stages = tuple(
        replace(stage, regions=tuple(replace(region, restored_at=at(190)) for region in stage.regions))
        for stage in found.stages
    )
    return replace(found, stages=stages)


def test_times_go_from_the_begin_of_the_harm() -> None:
    report = build(harmed(obligations=(recovery(ObligationState.MET, 400),)), [told(140, "suspected")])
    times = report.times
    assert (times.detect_s, times.decide_s, times.restore_s) == (40, 20, 30)
    assert (times.recover_s, times.whole_s) == (300, 200)


def test_what_has_not_ended_has_no_time_and_is_not_settled() -> None:
    report = build(harmed(obligations=(recovery(ObligationState.OPEN, None),)), [])
    assert report.times.recover_s is None
    assert not report.settled
    assert build(harmed(), []).settled
    assert not build(seen(view(Phase.PROGRESSING)), []).settled


def test_a_release_without_harm_has_only_its_whole_time() -> None:
    times = build(seen(view(Phase.SUCCEEDED), finished_at=at(60)), []).times
    assert (times.detect_s, times.decide_s, times.restore_s, times.recover_s) == (None, None, None, None)
    assert times.whole_s == 60


def test_what_people_did_is_told_apart_from_what_the_controller_did() -> None:
    report = build(harmed(), [told(1, "harm"), told(2, "note", "dana: a crawler", "dana")])
    assert [entry.by_person for entry in report.timeline] == [False, True]
    people = markdown(report).split("## What people and pipelines did")[1].split("##")[0]
    assert "dana: a crawler" in people
    assert "controller" not in people


def test_words_of_others_stay_words() -> None:
    evil = "x | y\n\n# I | won <script> [link](http://evil.test) `x`"
    text = markdown(build(seen(view(), note=evil), [told(1, "note", evil, "eve")]))
    assert "<script>" not in text
    assert "\n# I" not in text
    assert "[link](" not in text.replace("\\[link\\](", "")
    rows = [line for line in text.splitlines() if "won" in line and line.startswith("|")]
    assert rows
    assert all(line.replace("\\|", "").count("|") in (4, 6) for line in rows)


def test_a_release_that_touched_nobody_says_so() -> None:
    nobody = replace(seen(view()).exposure, regions=(), duration_s=0)
    assert "Nobody: no region was touched." in markdown(build(seen(view(), exposure=nobody), []))


def test_in_observe_mode_it_says_what_would_have_been() -> None:
    would = Reason(code="check.harm", text="R3 fails twice as often.")
    text = markdown(build(seen(view(), mode="observe", would=would), []))
    assert "**It would have gone back:** R3 fails twice as often." in text
    assert "which only observes" in text
