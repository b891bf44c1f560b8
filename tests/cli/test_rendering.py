"""Golden lines: what a person on call reads."""

import io
from dataclasses import replace

from rollout.cli import render, render_plan
from rollout.cli.session import console
from rollout.core.model import Hold, Obligation, ObligationKind, ObligationState, Phase, RegionPhase
from rollout.core.signals import VerdictKind
from rollout.showing.views import StageView, SuspectView
from tests.cli.views import ID, T0, at, baking, check, event, plan, rolled_back, view


def drawn(renderable: object) -> list[str]:
    stream = io.StringIO()
    console(stream).print(renderable, soft_wrap=True)
    return [line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n")]


def test_status_says_state_why_reach_next_and_each_region() -> None:
    assert drawn(render.status(view())) == [
        "◐ mail-sender 1.2.0 is progressing.",
        "  why      ci asked for mail-sender 1.2.0 under policy standard.",
        "  reach    R3; 5 % of users for 5 min, 1240 requests judged",
        "  next     Bake in R3, then R1, 2026-11-21 18:36:00 UTC",
        "  R3  ◐ baking · runs 1.1.0 + 1.2.0, 25 % ordered · baked 4 min of 15 min",
        "  R1  ○ pending",
        "  can do   hold, rollback (Roll back R3 to 1.1.0)",
        f"  rollout  {ID}, seen 17, policy standard@3, started 2026-11-21 18:20:00 UTC by ci",
    ]


def test_status_of_a_rollback_names_the_failed_check_with_its_numbers() -> None:
    lines = drawn(render.status(rolled_back()))
    assert lines[0] == "↩ mail-sender 1.2.0 was rolled back; users are on 1.1.0."
    assert lines[1].endswith(
        "R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback; since 18:24:00 UTC."
    )
    assert "      ✖ R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback" in lines
    assert "  next     Nothing more will happen." in lines


def test_status_leaves_passing_checks_to_why() -> None:
    good = check(VerdictKind.PASS, text="R3 restarts 0")
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(good, check())),)),))
    assert "✔ R3 restarts 0" not in "\n".join(drawn(render.status(shown)))
    assert "      ✔ R3 restarts 0" in drawn(render.why(shown))


def test_status_names_the_undecided_and_why_says_how_much_more_each_needs() -> None:
    open_check = check(VerdictKind.UNDECIDED, text="R3 failed requests 0.30 %", needs="788 requests")
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(open_check,)),)),))
    assert "      ? not decided yet: failed requests" in drawn(render.status(shown))
    assert "      ? R3 failed requests 0.30 % (needs 788 requests)" in drawn(render.why(shown))


def test_what_the_judge_remarks_is_for_why_alone() -> None:
    note = "counts vary 2.3 times as much as chance alone would; that is allowed for"
    open_check = check(
        VerdictKind.UNDECIDED, text="R3 failed requests 0.30 %", needs="788 requests", note=note
    )
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(open_check, check(note=note))),)),))
    assert note not in "\n".join(drawn(render.status(shown)))
    told = drawn(render.why(shown))
    assert told.count(f"        {note}") == 2
    asked = told.index("      ? R3 failed requests 0.30 % (needs 788 requests)")
    assert told[asked + 1] == f"        {note}"


def test_why_says_what_speaks_against_and_whom_else_it_may_be_due_to() -> None:
    suspects = tuple(
        SuspectView(rollout=f"ro_{n}", service="billing", version="2", score=1 / n, text=f"billing {n}")
        for n in (1, 2)
    )
    shown = rolled_back(against="R1 failed requests 0.20 %: harm is ruled out.", suspects=suspects)
    assert drawn(render.why(shown))[4:7] == [
        "  against  R1 failed requests 0.20 %: harm is ruled out.",
        "  suspect  1. billing 1",
        "  suspect  2. billing 2",
    ]
    assert "billing" not in "\n".join(drawn(render.status(shown)))


def test_why_says_the_limit_and_what_a_check_rests_on() -> None:
    known = {"limit_text": "1.00 %", "rests_words": "few false rollbacks, by proof", "note": ""}
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(check(**known),)),)),))
    told = drawn(render.why(shown))
    failed = told.index("      ✖ R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback")
    assert told[failed + 1] == "        limit 1.00 %; few false rollbacks, by proof"
    assert "rollbacks, by proof" not in "\n".join(drawn(render.status(shown)))
    minor = {**known, "critical": False, "limit_text": ""}
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(check(**minor),)),)),))
    assert "        few false rollbacks, by proof; not critical" in drawn(render.why(shown))


def test_a_suspected_check_is_told_in_full_also_in_status() -> None:
    suspected = check(VerdictKind.UNDECIDED, text="R3 failed requests 0.30 %", suspected=True)
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(suspected,)),)),))
    lines = drawn(render.status(shown))
    assert "      ! R3 failed requests 0.30 %" in lines
    assert not [line for line in lines if "not decided yet" in line]


def test_a_remark_that_the_sentence_has_already_is_not_repeated() -> None:
    silent = check(VerdictKind.NO_DATA, text="R3 errors unknown; no sample came", note="no sample came")
    shown = view(stages=(StageView(name="R3", regions=(baking(checks=(silent,)),)),))
    assert "\n".join(drawn(render.why(shown))).count("no sample came") == 1


def test_status_names_what_blocks_but_does_not_repeat_the_reason() -> None:
    reason = view()["reason"]["text"]
    shown = view(
        Phase.HELD,
        hold=Hold(owner="controller", reason=reason, since=at(1)),
        blocked_by=(f"held by controller: {reason}", "needs 1 more approval(s) from oncall"),
    )
    blocked = [line for line in drawn(render.status(shown)) if line.startswith("  blocked")]
    assert blocked == ["  blocked  needs 1 more approval(s) from oncall"]


def test_why_begins_with_reason_since_decision_reach_and_next() -> None:
    assert drawn(render.why(rolled_back()))[1:6] == [
        "  why      R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback; since 18:24:00 UTC.",
        "  since    2026-11-21 18:24:00",
        "  decided  2026-11-21 18:25:00",
        "  reach    R3; 5 % of users for 5 min, 1240 requests judged",
        "  next     Nothing more will happen.",
    ]


def test_an_event_is_one_line() -> None:
    lines = drawn(render.event(event(7, "pending", "deploying", "25 % of R3 is ordered."), T0))
    assert lines == ["18:20:07 ◐ R3 pending → deploying  25 % of R3 is ordered."]


def test_an_event_of_another_day_carries_its_date() -> None:
    lines = drawn(render.event(event(7, "pending", "deploying", "25 % is ordered."), at(86400)))
    assert lines == ["2026-11-21 18:20:07 ◐ R3 pending → deploying  25 % is ordered."]


def test_an_event_that_moved_nothing_is_its_sentence_alone() -> None:
    lines = drawn(render.event(event(7, "progressing", "progressing", "R3 passed; R1 is next.", None), T0))
    assert lines == ["18:20:07 ◐ R3 passed; R1 is next."]


def test_what_is_owed_until_the_same_time_is_one_line() -> None:
    owed = tuple(
        Obligation(
            id=name,
            rollout_id=ID,
            service="mail-sender",
            region=name,
            kind=ObligationKind.WATCH,
            state=state,
            since=at(0),
            until=at(3600),
        )
        for name, state in (
            ("R3", ObligationState.OPEN),
            ("R1", ObligationState.OPEN),
            ("R2", ObligationState.MET),
        )
    )
    lines = [line for line in drawn(render.status(view(obligations=owed))) if "owed" in line]
    assert lines == ["  owed     watch in R3, R1 until 2026-11-21 19:20:00 UTC (open)"]


def test_plan_has_clock_times_and_what_each_bake_can_rule_out() -> None:
    assert drawn(render_plan.plan(plan())) == [
        (
            "Plan for mail-sender 1.2.0, policy standard@3. "
            "Nothing was started; times are UTC, from 2026-11-21 18:20."
        ),
        "  R3, R1  back to 1.1.0, nothing",
        "    18:20  25 %",
        "    18:21  bake 6 h",
        "           R3 failed requests: ×2.1 from 18,000 requests",
        "           R1 failed requests: ×3.4 from 18,000 requests",
        "    11-22 00:21  approval by 1",
        "  watched until 11-22 06:21",
        "  checks: failed requests, restarts",
        "    R3: all checks against instances beside it, 25 % or more: proved.",
        "  ! R1 has no known good release.",
        "  ✖ Start would be refused: checks.0.tolerance: R3: no bake can see ×1.5. Bake 7 h.",
    ]


def test_a_stage_of_one_region_does_not_repeat_its_name() -> None:
    shown = plan()
    shown["stages"][0]["regions"] = ["R3"]
    assert "           failed requests: ×2.1 from 18,000 requests" in drawn(render_plan.plan(shown))


def test_every_phase_of_a_rollout_has_a_sign() -> None:
    signs = {phase: render.sign_of(phase)[0] for phase in Phase}
    assert signs[Phase.ROLLBACK_FAILED] != signs[Phase.SUCCEEDED]
    assert all(drawn(render.status(view(phase)))[0][0] == sign for phase, sign in signs.items())


def test_a_replica_that_is_gone_says_when_its_lease_ended() -> None:
    gone = {"id": "rep_1", "about": "process 1 on a", "alive": False, "until": "2026-11-21T18:20:07.5Z"}
    (_, line) = drawn(render.replicas({"items": [{**gone, "services": []}]}))
    assert line == "rep_1    process 1 on a  gone: its lease ended at 2026-11-21 18:20:07 UTC  –"


def test_a_region_on_its_way_back_shows_what_is_ordered_now_and_what_was_read_when() -> None:
    stuck = replace(
        baking(running={"1.1.0": 1, "1.2.0": 3}, running_at=at(60), weight=75, bake=None),
        phase=RegionPhase.UNREACHABLE,
        back_to="1.1.0",
    )
    shown = view(stages=(StageView(name="R3", regions=(stuck,)),))
    (line,) = [line for line in drawn(render.status(shown)) if line.startswith("  R3")]
    assert "unreachable since 2026-11-21 " in line
    assert "runs 1 × 1.1.0, 3 × 1.2.0 (read 2026-11-21 18:21:00 UTC), 100 % of 1.1.0 ordered" in line
    assert "75 %" not in line
