from dataclasses import replace
from datetime import timedelta

import pytest
from page_views import NOW, check, fleet, region, rollout, running

from api.dashboard import acts, marks, presenters, tiles
from rollout.core.model import ObligationState, Phase, RegionPhase
from rollout.core.signals import VerdictKind
from rollout.ports import Token
from rollout.showing.views import Exposure, StageView

ADMIN = Token(id="to_1", name="ann", role="admin", created_at=NOW)


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (marks.PHASES, Phase),
        (marks.REGIONS, RegionPhase),
        (marks.VERDICTS, VerdictKind),
        (marks.OBLIGATIONS, ObligationState),
    ],
)
def test_every_state_has_a_word_and_a_shape_of_its_own_within_its_tone(table, states) -> None:
    assert set(table) == set(states)
    assert len({mark.word for mark in table.values()}) == len(table)
    bad = [mark.shape for mark in table.values() if mark.tone == "bad"]
    good = [mark.shape for mark in table.values() if mark.tone == "good"]
    assert not set(bad) & set(good), "good and bad must differ without colour"


def test_who_was_reached_says_share_time_and_requests() -> None:
    exposure = Exposure(regions=("R3",), traffic_share=0.15, duration_s=540, requests=12_400)
    assert presenters.reached(exposure) == "R3 only: 15 % of users for 9 min, 12,400 requests."


def test_several_regions_are_not_called_only() -> None:
    exposure = Exposure(regions=("R3", "R1"), traffic_share=0.4125, duration_s=65, requests=0)
    assert presenters.reached(exposure) == "R3 and R1: 41.2 % of users for 1 min 5 s."


def test_nobody_was_reached_when_no_region_was_touched() -> None:
    view = rollout(Phase.QUEUED)
    assert presenters.reached(view.exposure) == "Nobody: no region was touched."
    assert presenters.unreached(view) == ""


def test_regions_that_never_received_the_version_are_named() -> None:
    assert presenters.unreached(rollout(Phase.PROGRESSING)) == "R1 and R2 never received 1.2.0."
    assert presenters.unreached(rollout(Phase.SUCCEEDED)) == "Every region received it."


def test_a_rollout_without_a_next_step_says_that_nothing_more_happens() -> None:
    view = rollout(Phase.REJECTED)
    assert presenters.next_words(view) == "Nothing more will happen by itself"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(372, "in 6 min 12 s"), (0, "in 0 s"), (-61, "1 min 1 s ago"), (90_000, "in 1 d 1 h")],
)
def test_a_countdown_is_in_words(seconds: int, words: str) -> None:
    assert presenters.countdown(NOW + timedelta(seconds=seconds), NOW) == words


def test_age_is_the_largest_unit_alone() -> None:
    assert presenters.age(NOW - timedelta(hours=2, minutes=40), NOW) == "2 h"
    assert presenters.age(NOW + timedelta(seconds=5), NOW) == "0 s", (
        "a clock that is ahead gives no negative age"
    )


def test_the_strip_has_shape_and_words_for_each_region() -> None:
    cells = presenters.strip(rollout(Phase.PROGRESSING))
    assert [(c.region, c.mark.shape, c.extra) for c in cells] == [
        ("R3", "◐", "6 min 12 s"),
        ("R1", "○", ""),
        ("R2", "○", ""),
    ]
    assert cells[0].words == "APAC, R3: baking, 6 min 12 s left"


def test_a_baking_lane_says_how_far_it_is_and_when_it_ends() -> None:
    lane = presenters.lane(rollout(Phase.PROGRESSING).regions[0], Phase.PROGRESSING, NOW)
    assert lane.bake is not None
    assert (lane.bake.value, lane.bake.of, lane.bake.words) == (528, 900, "8 min 48 s of 15 min")
    assert lane.bake_ends == NOW + timedelta(seconds=372)
    assert (lane.weight, lane.next) == ("75 %", "passed")


def test_an_untouched_lane_lists_all_its_steps() -> None:
    lane = presenters.lane(region("R1", RegionPhase.PENDING), Phase.PROGRESSING, NOW)
    assert lane.next == "75 % → bake 15 min → passed"


@pytest.mark.parametrize(
    "phase", [Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED, Phase.ROLLED_BACK, Phase.REJECTED]
)
def test_an_untouched_lane_promises_nothing_once_the_release_is_stopped(phase: Phase) -> None:
    assert presenters.lane(region("R1", RegionPhase.PENDING), phase, NOW).next == ""


def test_a_bake_past_its_time_is_full_and_has_no_end() -> None:
    baking = rollout(Phase.PROGRESSING).regions[0]
    assert baking.bake is not None
    late = replace(baking, bake=replace(baking.bake, elapsed_s=1000))
    lane = presenters.lane(late, Phase.PROGRESSING, NOW)
    assert lane.bake is not None
    assert (lane.bake.value, lane.bake_ends) == (900, None)


@pytest.mark.parametrize(
    "phase", [RegionPhase.RESTORING, RegionPhase.UNREACHABLE, RegionPhase.RESTORE_FAILED]
)
def test_a_lane_that_goes_back_says_to_what_and_shows_no_weight(phase: RegionPhase) -> None:
    lane = presenters.lane(region("R3", phase), Phase.ROLLING_BACK, NOW)
    assert (lane.next, lane.weight) == ("read back on 1.1.0", "")


@pytest.mark.parametrize(
    ("log_e", "words"),
    [
        (-2.0, "of harm: none; acts alone at 3,000 to 1"),
        (0.5, "of harm 2 to 1: weak; acts alone at 3,000 to 1"),
        (3.0, "of harm 20 to 1: some; acts alone at 3,000 to 1"),
        (5.0, "of harm 150 to 1: strong; acts alone at 3,000 to 1"),
        (9.0, "of harm 8,100 to 1: enough to act; acts alone at 3,000 to 1"),
    ],
)
def test_evidence_is_in_words_against_what_makes_it_act(log_e: float, words: str) -> None:
    bar = tiles.evidence(check("errors", VerdictKind.UNDECIDED, log_e=log_e, acts_at=8.0))
    assert bar is not None
    assert bar.words == words
    assert 0 <= bar.value <= bar.of


def test_a_guard_shows_no_evidence() -> None:
    fired = check("restarts", VerdictKind.FAIL, log_e=0.0, acts_at=8.0, guard="crash_loop")
    assert tiles.evidence(fired) is None


def test_a_check_that_is_not_critical_never_acts_alone_in_words() -> None:
    minor = check("errors", VerdictKind.UNDECIDED, log_e=3.0, acts_at=8.0, critical=False)
    bar = tiles.evidence(minor)
    assert bar is not None
    assert bar.words == "of harm 20 to 1: some; not critical: holds and pages"


def test_a_suspected_check_is_marked_so_and_comes_first() -> None:
    held = replace(rollout(Phase.HELD), stages=())
    suspected = check("errors", VerdictKind.UNDECIDED, suspected=True)
    silent = check("restarts", VerdictKind.NO_DATA)
    place = region("R3", RegionPhase.BAKING, checks=(silent, suspected))
    found = tiles.tiles(replace(held, stages=(StageView(name="R3", regions=(place,)),)), {})
    assert [tile.mark.word for tile in found["R3"]] == ["suspected", "no data"]


def test_a_check_that_only_its_guard_can_fail_has_no_evidence_bar() -> None:
    assert tiles.evidence(check("backlog", VerdictKind.UNDECIDED, acts_at=None)) is None


def test_the_ratio_needs_a_baseline_above_zero() -> None:
    assert tiles.ratio(check("errors", VerdictKind.PASS, value=0.041, baseline=0.01)) == "×4.1"
    assert tiles.ratio(check("errors", VerdictKind.PASS, baseline=0.0)) == ""
    assert tiles.ratio(check("errors", VerdictKind.PASS, value=None)) == ""


def test_the_worst_verdict_comes_first() -> None:
    found = tiles.tiles(rollout(Phase.PROGRESSING), {})
    assert [tile.mark.word for tile in found["R3"]] == ["no data", "undecided", "pass"]


def test_a_recovery_says_found_resumed_and_left() -> None:
    words = presenters.recovery({"found": 37, "resumed": 30, "stalled": 7, "backlog": 112})
    assert words == "37 stalled found, 30 resumed, 7 left; backlog 112"
    assert presenters.recovery({}) == "looking for stalled work"


def test_open_obligations_come_first() -> None:
    found = presenters.owed(rollout(Phase.SUCCEEDED).obligations)
    assert [owes.open for owes in found] == [True, False]


def test_the_matrix_has_a_gap_where_a_service_does_not_live() -> None:
    front = fleet()
    front = replace(front, running={"mail-sender": (running("R3"),), "other": (running("R3"), running("R1"))})
    front = replace(front, services=(front.services[0], replace(front.services[0], name="other")))
    columns, rows = presenters.matrix(front)
    assert columns == (("R3", "APAC"), ("R1", "Europe"))
    assert [[cell is None for cell in row.cells] for row in rows] == [[False, True], [False, False]]


def test_a_single_version_goes_without_its_number_of_instances() -> None:
    assert presenters.versions({"1.1.0": 4}) == "1.1.0"
    assert presenters.versions({"1.2.0": 3, "1.1.0": 1}) == "1 × 1.1.0, 3 × 1.2.0"
    assert presenters.versions({}) == "0 instances"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/x",
        "/local",
        "https:evil",
        "https://",
        "http://[::1",
        "https://a.example\\@b.example",
        "https://a.example/\nb",
        "",
        None,
    ],
)
def test_only_http_links_become_links(url: str | None) -> None:
    assert presenters.web_link(url) is None


def test_http_and_https_are_linked() -> None:
    assert presenters.web_link("https://git.example/x?a=1#b") == "https://git.example/x?a=1#b"


def test_the_title_begins_with_the_state() -> None:
    assert presenters.title(rollout(Phase.ROLLED_BACK)) == "✖ rolled back: mail-sender 1.2.0"
    assert presenters.fleet_title(fleet(rollout(Phase.AWAITING_APPROVAL))) == "(1) needs you"
    assert presenters.fleet_title(fleet()) == "Rollouts"


# ------------------------------------------------------------------ buttons


@pytest.mark.parametrize("phase", list(Phase))
def test_an_admin_is_offered_exactly_what_is_possible(phase: Phase) -> None:
    view = rollout(phase)
    assert {button.verb.name for button in acts.buttons(view, ADMIN)} == set(view.possible)


def test_buttons_name_their_effect() -> None:
    labels = [button.label for button in acts.buttons(rollout(Phase.AWAITING_APPROVAL), ADMIN)]
    assert labels == ["Approve R1", "Hold", "Reject, roll back R3 to 1.1.0", "Roll back R3 to 1.1.0"]
    assert [b.label for b in acts.buttons(rollout(Phase.QUEUED), ADMIN)] == ["Hold", "Cancel 1.2.0"]
    assert acts.label(rollout(Phase.HELD), "hold") == "Take over the hold"


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("viewer", []),
        ("deployer", ["rollback"]),
        ("approver", ["approve", "hold", "reject", "rollback"]),
        ("admin", ["approve", "hold", "reject", "rollback"]),
    ],
)
def test_a_token_is_offered_what_its_role_may(role: str, verbs: list[str]) -> None:
    view = rollout(Phase.AWAITING_APPROVAL)
    assert [b.verb.name for b in acts.buttons(view, replace(ADMIN, role=role))] == verbs


def test_a_token_of_another_service_is_offered_nothing() -> None:
    assert acts.buttons(rollout(Phase.PROGRESSING), replace(ADMIN, services=("other",))) == ()


def test_what_is_withheld_names_who_may() -> None:
    view = rollout(Phase.AWAITING_APPROVAL)
    words = acts.withheld(view, replace(ADMIN, role="deployer"))
    assert words == "ann is deployer. To approve, hold, reject, ask somebody who is approver or admin."
    assert acts.withheld(view, ADMIN) == ""
