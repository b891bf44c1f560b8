"""list, status, why and the finding of a rollout by a name."""

import json
from collections.abc import Callable

import pytest

from rollout.core.model import Phase
from rollout.showing.views import Exposure
from tests.cli.conftest import Ran, StandIn, problem
from tests.cli.views import ID, held, rolled_back, view

Run = Callable[..., Ran]
ONE = f"GET /v1/rollouts/{ID}"
MANY = "GET /v1/rollouts"
NOBODY = Exposure(regions=(), traffic_share=0, duration_s=0, requests=0)


def test_status_prints_the_state_on_stdout_and_exits_0(run: Run, server: StandIn) -> None:
    server.answers[ONE] = rolled_back()
    ran = run("status", ID)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("↩ mail-sender 1.2.0 was rolled back")


def test_status_as_json_is_what_the_server_said(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    assert json.loads(run("status", ID, "--json").out) == view()


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (view(), 20),
        (held(), 4),
        (view(Phase.AWAITING_APPROVAL), 3),
        (rolled_back(), 10),
        (view(Phase.SUCCEEDED), 0),
    ],
)
def test_status_exits_with_the_state_when_asked_to(
    run: Run, server: StandIn, seen: object, code: int
) -> None:
    server.answers[ONE] = seen
    assert run("status", ID, "--exit-code").code == code


def test_there_is_no_colour_where_nobody_watches(run: Run, server: StandIn) -> None:
    server.answers[ONE] = rolled_back()
    assert "\x1b" not in run("why", ID).out
    assert "\x1b[" in run("why", ID, tty=True).out


def test_no_color_is_honoured_on_a_terminal(
    run: Run, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    server.answers[ONE] = rolled_back()
    assert "\x1b" not in run("why", ID, tty=True).out


def test_what_others_wrote_cannot_drive_the_terminal(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view(sentence="\x1b[2Jgone [bold]x[/bold]\u202e")
    ran = run("status", ID, tty=True)
    assert "�[2Jgone [bold]x[/bold]�" in ran.out


def test_long_sentences_are_not_wrapped_in_a_file(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view(sentence="word " * 200 + "end.")
    assert run("status", ID).out.split("\n")[0].endswith("end.")


def test_a_bare_beginning_of_an_id_is_enough(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/rollouts/ro_01M7"] = view()
    assert run("status", "01M7").code == 0


def test_a_service_means_its_newest_unfinished_rollout(run: Run, server: StandIn) -> None:
    newest = view(Phase.CANCELED, id="ro_C")
    server.answers[MANY] = {"items": [newest, view(), rolled_back(id="ro_A")], "next_cursor": None}
    server.answers[ONE] = view()
    ran = run("status", "mail-sender")
    assert ran.code == 0
    assert ran.err == f"mail-sender: {ID} (1.2.0, progressing)\n"
    assert server.asked[0].url.params["service"] == "mail-sender"


def test_a_service_without_an_unfinished_rollout_means_its_newest(run: Run, server: StandIn) -> None:
    server.answers[MANY] = {"items": [rolled_back(), view(Phase.SUCCEEDED, id="ro_A")], "next_cursor": None}
    server.answers[ONE] = rolled_back()
    assert run("why", "mail-sender").code == 0


def test_a_service_that_never_had_a_rollout_says_how_to_start_one(run: Run, server: StandIn) -> None:
    server.answers[MANY] = {"items": [], "next_cursor": None}
    server.answers["GET /v1/services/mail-sender"] = {"name": "mail-sender"}
    ran = run("status", "mail-sender")
    assert ran.code == 31
    assert ran.err.endswith("try: rollout start mail-sender VERSION\n")


def test_rollback_of_a_service_means_what_touched_a_region_not_what_waits(run: Run, server: StandIn) -> None:
    queued = view(Phase.QUEUED, id="ro_Q", exposure=NOBODY, possible=("cancel",))
    server.answers[MANY] = {"items": [queued, view(Phase.SUCCEEDED)], "next_cursor": None}
    server.answers[ONE] = view(Phase.SUCCEEDED)
    server.answers[f"POST /v1/rollouts/{ID}/rollback"] = view(Phase.ROLLING_BACK)
    ran = run("rollback", "mail-sender", "--reason", "users complain")
    assert (ran.code, server.asked[-1].url.path) == (0, f"/v1/rollouts/{ID}/rollback")


def test_cancel_of_a_service_means_the_rollout_that_can_be_canceled(run: Run, server: StandIn) -> None:
    queued = view(Phase.QUEUED, id="ro_Q", exposure=NOBODY, possible=("hold", "cancel"))
    server.answers[MANY] = {"items": [view(id="ro_B"), queued], "next_cursor": None}
    server.answers["GET /v1/rollouts/ro_Q"] = queued
    server.answers["POST /v1/rollouts/ro_Q/cancel"] = queued
    assert run("cancel", "mail-sender", "--reason", "wrong version").code == 0


def test_list_prints_a_row_each_and_where_the_next_page_is(run: Run, server: StandIn) -> None:
    waiting = view(Phase.AWAITING_APPROVAL, needs_person=True)
    server.answers[MANY] = {"items": [waiting], "next_cursor": "ro_X"}
    ran = run("list", "--needs-me", "--phase", "awaiting_approval", "--limit", "1")
    assert "NEEDS YOU" in ran.out.split("\n")[1]
    assert ran.err == "More: rollout list --cursor ro_X\n"
    assert dict(server.asked[0].url.params) == {"needs": "me", "phase": "awaiting_approval", "limit": "1"}


def test_list_as_json_is_one_object_with_its_cursor(run: Run, server: StandIn) -> None:
    server.answers[MANY] = {"items": [view()], "next_cursor": None}
    assert json.loads(run("list", "--json").out) == {"items": [view()], "next_cursor": None}


def test_an_id_of_two_rollouts_is_refused_with_what_the_server_says(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/rollouts/ro_0"] = problem(409, "ambiguous", "More than one begins with ro_0.")
    ran = run("status", "ro_0")
    assert ran.code == 2
    assert "More than one begins" in ran.err
    assert ran.err.endswith("try: rollout list\n")
