"""watch: one line per change, the code of the outcome, and Ctrl-C that stops only the watching."""

import json
from collections.abc import Callable

import httpx
import pytest

from rollout.core.model import Outcome, Phase
from rollout.testing import ManualClock
from tests.cli.conftest import Answer, Ran, StandIn, problem
from tests.cli.views import ID, event, held, rolled_back, view

Run = Callable[..., Ran]
ONE = f"GET /v1/rollouts/{ID}"
EVENTS = f"{ONE}/events"
FIRST = event(1, "", "queued", "ci asked.", None)
SECOND = event(9, "progressing", "rolling_back", "R3 harms users.", None)


def page(*events: Answer) -> Answer:
    return {"items": list(events), "next_cursor": None, "last": 0}


@pytest.fixture(autouse=True)
def _no_events(server: StandIn) -> None:
    server.answers[EVENTS] = page()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (view(Phase.SUCCEEDED), 0),
        (rolled_back(), 10),
        (rolled_back(outcome=Outcome.ABORTED), 10),
        (rolled_back(outcome=Outcome.REJECTED), 11),
        (rolled_back(outcome=Outcome.SUPERSEDED), 13),
        (view(Phase.REJECTED), 11),
        (view(Phase.CANCELED), 12),
        (view(Phase.SUPERSEDED), 13),
        (view(Phase.ROLLBACK_FAILED), 15),
    ],
)
def test_watch_ends_with_the_code_of_the_outcome(run: Run, server: StandIn, end: Answer, code: int) -> None:
    server.answers[ONE] = [view(), view(), end]
    assert run("watch", ID).code == code


def test_each_change_is_one_line_and_the_end_is_the_status(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), rolled_back()]
    server.answers[EVENTS] = [page(FIRST), page(), page(SECOND), page()]
    lines = run("watch", ID).out.split("\n")
    assert lines[0] == "18:20:01 ○ queued  ci asked."
    assert lines[1] == "18:20:09 ↩ progressing → rolling_back  R3 harms users."
    assert lines[2] == "↩ mail-sender 1.2.0 was rolled back; users are on 1.1.0."


def test_events_are_asked_for_after_the_last_that_was_shown(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), rolled_back()]
    server.answers[EVENTS] = [page(FIRST), page(), page(SECOND), page()]
    run("watch", ID)
    asked = [r.url.params["after"] for r in server.asked if r.url.path.endswith("/events")]
    assert asked == ["0", "1", "1", "9"]


def test_json_is_one_object_per_line_with_the_rollout_last(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), rolled_back()]
    server.answers[EVENTS] = [page(FIRST), page(), page(SECOND), page()]
    ran = run("watch", ID, "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert told == [{"event": FIRST}, {"event": SECOND}, {"rollout": rolled_back()}]
    assert ran.err == ""


def test_ctrl_c_stops_watching_says_that_the_rollout_goes_on_and_exits_130(run: Run, server: StandIn) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    server.answers[ONE] = view()
    ran = run("watch", ID, sleep=interrupt)
    assert ran.code == 130
    assert ran.err == f"Stopped watching. The rollout {ID} goes on; see it with: rollout watch {ID}\n"
    assert {request.method for request in server.asked} == {"GET"}


def test_ctrl_c_on_a_terminal_is_the_same(run: Run, server: StandIn) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    server.answers[ONE] = view()
    ran = run("watch", ID, tty=True, sleep=interrupt)
    assert ran.code == 130
    assert "Stopped watching" in ran.err
    assert "Ctrl-C stops watching; the rollout goes on." in ran.out


def test_a_terminal_shows_the_status_and_ends_with_its_code(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), rolled_back()]
    ran = run("watch", ID, tty=True)
    assert ran.code == 10
    assert "mail-sender 1.2.0 is progressing." in ran.out
    assert "was rolled back; users are on 1.1.0." in ran.out


def test_watching_gives_up_with_20_while_the_rollout_goes_on(
    run: Run, server: StandIn, clock: ManualClock
) -> None:
    before = clock.now()
    server.answers[ONE] = view()
    ran = run("watch", ID, "--timeout", "2m")
    assert ran.code == 20
    assert (clock.now() - before).total_seconds() == 120
    *_, then, last = ran.err.splitlines()
    assert then.endswith(f"try: rollout watch {ID}")
    assert last.endswith(f"/rollouts/{ID}")


def test_watching_until_attention_stops_where_a_person_is_needed(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(Phase.AWAITING_APPROVAL)]
    assert run("watch", ID, "--until", "attention").code == 3
    server.answers[ONE] = [view(), held()]
    assert run("watch", ID, "--until", "attention").code == 4


def test_a_server_that_restarts_does_not_end_the_watch(run: Run, server: StandIn) -> None:
    away = httpx.ConnectError("Connection refused")
    server.answers[ONE] = [view(), view(), away, away, view(Phase.SUCCEEDED)]
    ran = run("watch", ID)
    assert ran.code == 0
    assert ran.err.count("cannot be reached") == 1


def test_watching_until_attention_stops_whenever_a_person_is_needed(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), view(needs_person=True)]
    assert run("watch", ID, "--until", "attention").code == 4
    server.answers[ONE] = [view(), view(needs_person=True), view(Phase.SUCCEEDED)]
    assert run("watch", ID).code == 0


def test_a_server_that_is_away_at_the_first_look_is_waited_for(run: Run, server: StandIn) -> None:
    away = httpx.ConnectError("Connection refused")
    server.answers[ONE] = [away, away, view(), view(Phase.SUCCEEDED)]
    ran = run("watch", ID)
    assert ran.code == 0
    assert ran.err.count("cannot be reached") == 1


def test_a_first_look_ends_with_the_time_to_watch(run: Run, server: StandIn, clock: ManualClock) -> None:
    before = clock.now()
    server.answers[ONE] = httpx.ConnectError("Connection refused")
    assert run("watch", ID, "--timeout", "20s").code == 20
    assert (clock.now() - before).total_seconds() == 20


def test_a_server_that_stays_away_ends_the_watch_with_40(
    run: Run, server: StandIn, clock: ManualClock
) -> None:
    before = clock.now()
    server.answers[ONE] = [view(), view(), httpx.ConnectError("Connection refused")]
    assert run("watch", ID).code == 40
    assert (clock.now() - before).total_seconds() == 61


def test_a_token_that_ends_meanwhile_ends_the_watch_with_30(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), problem(401, "not-authenticated", "The token expired.")]
    assert run("watch", ID).code == 30


def test_start_can_be_watched_to_its_end(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = view(Phase.QUEUED)
    server.answers[ONE] = [view(), rolled_back()]
    ran = run("start", "mail-sender", "1.2.0", "--watch")
    assert ran.code == 10
    assert ran.out.split("\n")[0] == ID


def test_start_watched_as_json_is_one_stream(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = view(Phase.QUEUED)
    server.answers[ONE] = view(Phase.SUCCEEDED)
    ran = run("start", "mail-sender", "1.2.0", "--watch", "--json")
    assert [list(json.loads(line)) for line in ran.out.splitlines()] == [["rollout"]]
