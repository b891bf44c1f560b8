"""wait, events, report, and what a pipeline is told beside the lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.core.model import Outcome, Phase, RegionPhase
from rollout.showing.views import GateView, StageView
from tests.cli.conftest import Answer, Ran, StandIn, problem
from tests.cli.views import ID, event, held, region, rolled_back, view

Run = Callable[..., Ran]
ONE = f"GET /v1/rollouts/{ID}"
EVENTS = f"{ONE}/events"
LINK = f"http://127.0.0.1:8080/rollouts/{ID}"


def page(*events: Answer) -> Answer:
    return {"items": list(events), "next_cursor": None, "last": 0}


def later(found: Any, version: int = 18) -> Any:
    return found | {"row_version": version}


@pytest.fixture(autouse=True)
def _no_events(server: StandIn) -> None:
    server.answers[EVENTS] = page()


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
    """The files of a step of GitHub Actions, by the end of their names."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("OUTPUT", "STEP_SUMMARY"):
        monkeypatch.setenv(f"GITHUB_{name}", str(tmp_path / name))
    return lambda name: (tmp_path / name).read_text(encoding="utf-8")


# --------------------------------------------------------------------------- wait


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (view(Phase.SUCCEEDED), 0),
        (rolled_back(), 10),
        (rolled_back(outcome=Outcome.REJECTED), 11),
        (view(Phase.CANCELED), 12),
        (view(Phase.SUPERSEDED), 13),
        (view(Phase.ROLLBACK_FAILED), 15),
    ],
)
def test_wait_ends_with_the_code_of_the_outcome(run: Run, server: StandIn, end: Answer, code: int) -> None:
    server.answers[ONE] = [view(), view(), later(end)]
    assert run("wait", ID).code == code


@pytest.mark.parametrize("until", ["attention", "approval"])
def test_wait_stops_at_an_approval_only_when_it_is_asked_to(run: Run, server: StandIn, until: str) -> None:
    waiting, end = later(view(Phase.AWAITING_APPROVAL)), later(view(Phase.SUCCEEDED), 19)
    server.answers[ONE] = [view(), view(), waiting, end]
    assert run("wait", ID, "--until", until).code == 3
    server.answers[ONE] = [view(), view(), waiting, end]
    assert run("wait", ID).code == 0


def test_wait_stops_at_a_hold_only_for_attention(run: Run, server: StandIn) -> None:
    found = [view(), view(), later(held()), later(view(Phase.CANCELED), 19)]
    server.answers[ONE] = list(found)
    assert run("wait", ID, "--until", "attention").code == 4
    server.answers[ONE] = list(found)
    assert run("wait", ID, "--until", "approval").code == 12


def test_wait_for_a_region_ends_when_it_passed_there(run: Run, server: StandIn) -> None:
    passed = view(stages=(StageView(name="R3", regions=(region("R3", RegionPhase.PASSED),)),))
    server.answers[ONE] = [view(), view(), later(passed)]
    assert run("wait", ID, "--until", "region=R3").code == 0
    server.answers[ONE] = [view(), view(), later(rolled_back())]
    assert run("wait", ID, "--until", "region=R3").code == 10


def test_wait_for_a_gate_ends_when_its_report_is_awaited(run: Run, server: StandIn) -> None:
    def gated(status: str) -> Any:
        return view(gates=(GateView(name="smoke", stage="R3", status=status, text=""),))

    server.answers[ONE] = [gated("to_come"), gated("to_come"), later(gated("waiting"))]
    assert run("wait", ID, "--until", "gate=smoke").code == 0


@pytest.mark.parametrize("until", ["region", "region=", "done=R3", "soon", "region=R9", "gate=smoke"])
def test_what_cannot_be_waited_for_is_2_and_says_what_can(run: Run, server: StandIn, until: str) -> None:
    server.answers[ONE] = view()
    ran = run("wait", ID, "--until", until)
    assert (ran.code, ran.out) == (2, "")
    assert "region=NAME" in ran.err or "known: " in ran.err


def test_wait_gives_up_with_20_and_the_last_line_is_the_reason_with_the_link(
    run: Run, server: StandIn
) -> None:
    server.answers[ONE] = view()
    ran = run("wait", ID, "--timeout", "2m")
    *_, said, then, last = ran.err.splitlines()
    assert ran.code == 20
    assert "goes on" in said
    assert then == f"  try: rollout wait {ID}"
    assert last == f"{view()['reason']['text']} {LINK}"


def test_wait_says_each_change_on_stderr_and_the_end_on_stdout(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), view(), later(rolled_back())]
    first, second = (
        event(1, "", "queued", "ci asked.", None),
        event(9, "progressing", "rolling_back", "Harm.", None),
    )
    server.answers[EVENTS] = [page(first), page(), page(second), page()]
    ran = run("wait", ID)
    assert ran.out.startswith("↩ mail-sender 1.2.0 was rolled back")
    assert [line for line in ran.err.splitlines() if line.startswith("18:")] == [
        "18:20:01 ○ queued  ci asked.",
        "18:20:09 ↩ progressing → rolling_back  Harm.",
    ]


def test_wait_as_json_is_the_rollout_alone(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), later(rolled_back())]
    ran = run("wait", ID, "--json")
    assert json.loads(ran.out)["phase"] == "rolled_back"
    assert ran.err == ""


def test_a_server_that_restarts_does_not_end_the_wait(run: Run, server: StandIn) -> None:
    away = httpx.ConnectError("Connection refused")
    server.answers[ONE] = [away, view(), view(), away, away, later(view(Phase.SUCCEEDED))]
    ran = run("wait", ID)
    assert ran.code == 0
    assert ran.err.count("cannot be reached") == 2


def test_ctrl_c_stops_waiting_and_nothing_else(run: Run, server: StandIn) -> None:
    server.answers[ONE] = [view(), KeyboardInterrupt()]
    ran = run("wait", ID)
    assert ran.code == 130
    assert ran.err.endswith(f"Stopped waiting. The rollout {ID} goes on: rollout wait {ID}\n")


# --------------------------------------------------------------------------- in a pipeline


def test_a_step_of_github_gets_outputs_a_summary_and_an_error(
    run: Run, server: StandIn, github: Callable[[str], str]
) -> None:
    server.answers[ONE] = [view(), later(rolled_back())]
    ran = run("wait", ID)
    assert github("OUTPUT") == f"rollout-id={ID}\noutcome=rolled_back\nurl={LINK}\n"
    *_, command, last = ran.err.splitlines()
    assert command.startswith(
        "::error title=mail-sender 1.2.0 was rolled back; users are on 1.1.0.::R3 failed requests 8.10 %25"
    )
    assert last.endswith(LINK)
    summary = github("STEP_SUMMARY")
    assert summary.startswith("### mail-sender 1.2.0 was rolled back")
    assert "| R3 | failed requests | – | – | – | ✖ fail |" in summary


def test_a_step_of_github_that_goes_well_is_a_notice(
    run: Run, server: StandIn, github: Callable[[str], str]
) -> None:
    server.answers[ONE] = [view(), later(view(Phase.SUCCEEDED, outcome=Outcome.PROMOTED))]
    ran = run("wait", ID)
    assert "\n::notice title=" in "\n" + ran.err
    assert "outcome=promoted" in github("OUTPUT")


def test_words_of_others_are_no_commands_and_no_outputs_of_github(
    run: Run, server: StandIn, github: Callable[[str], str]
) -> None:
    evil = rolled_back()
    evil["reason"]["text"] = "a\n::set-output name=x::y\noutcome=promoted | <b> `x`"
    server.answers[ONE] = [view(), later(evil)]
    ran = run("wait", ID)
    assert not [line for line in ran.err.splitlines() if line.startswith("::set-output")]
    assert github("OUTPUT").count("\n") == 3
    assert "<b>" not in github("STEP_SUMMARY")


def test_a_start_tells_the_next_steps_which_rollout_it_is(
    run: Run, server: StandIn, github: Callable[[str], str]
) -> None:
    server.answers["POST /v1/rollouts"] = view(Phase.QUEUED)
    assert run("start", "mail-sender", "1.2.0").code == 0
    assert github("OUTPUT") == f"rollout-id={ID}\noutcome=queued\nurl={LINK}\n"


@pytest.mark.parametrize(
    "names",
    [
        ("GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_RUN_ID"),
        ("CI_PROJECT_PATH", "CI_COMMIT_SHA", "CI_PIPELINE_ID"),
    ],
)
def test_each_run_of_a_pipeline_has_its_own_key(
    run: Run, server: StandIn, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    server.answers["POST /v1/rollouts"] = view(Phase.QUEUED)

    def key(run_id: str, service: str = "mail-sender") -> str:
        for name, value in zip(names, ("acme/mail", "9f2c", run_id), strict=True):
            monkeypatch.setenv(name, value)
        run("start", service, "1.2.0")
        return str(server.asked[-1].headers["Idempotency-Key"])

    assert key("7") == key("7")
    assert len({key("7"), key("8"), key("7", "billing")}) == 3


# --------------------------------------------------------------------------- events, report


def test_events_are_every_page_and_stop_at_the_limit(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    pages = [page(event(1, "", "queued", "ci asked.", None), event(2, "queued", "preflight", "go", None))]
    server.answers[EVENTS] = [*pages, page(event(7, "preflight", "held", "x", None)), page()]
    ran = run("events", ID)
    assert [line.split()[0] for line in ran.out.splitlines()] == ["18:20:01", "18:20:02", "18:20:07"]
    server.answers[EVENTS] = [*pages, page()]
    ran = run("events", ID, "--json", "--limit", "1", "--after", "0")
    assert [json.loads(line)["sequence"] for line in ran.out.splitlines()] == [1]


def test_events_of_everything_name_the_rollout(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/events"] = [page(event(1, "", "queued", "ci asked.", None)), page()]
    assert run("events").out == f"{ID} mail-sender  18:20:01 ○ queued  ci asked.\n"


def test_following_ends_with_130_and_says_how_to_go_on(run: Run, server: StandIn) -> None:
    told = event(7, "queued", "preflight", "go", None)
    stream = httpx.Response(
        200,
        content=f"id: 7\nevent: begin\ndata: {json.dumps(told)}\n\n".encode(),
        headers={"Content-Type": "text/event-stream"},
    )
    server.answers["GET /v1/events"] = [stream, KeyboardInterrupt()]
    ran = run("events", "--follow", "--json", "--after", "3")
    assert ran.code == 130
    assert json.loads(ran.out) == told
    assert ran.err.endswith("To go on from here: rollout events --follow --after 7\n")
    assert [request.headers["Last-Event-ID"] for request in server.asked] == ["3", "7"]


def test_a_report_is_markdown_or_json(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    markdown = httpx.Response(200, text="# It went\x1b[2J\n", headers={"Content-Type": "text/markdown"})
    server.answers[f"{ONE}/report.md"] = markdown
    server.answers[f"{ONE}/report.json"] = {"id": ID}
    assert run("report", ID).out == "# It went�[2J\n"
    assert json.loads(run("report", ID, "--format", "json").out) == {"id": ID}
    assert json.loads(run("report", ID, "--json").out) == {"id": ID}


# --------------------------------------------------------------------------- the other acts


def test_promote_is_of_what_was_seen(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    server.answers[f"POST /v1/rollouts/{ID}/promote"] = view()
    assert run("promote", ID, "--reason", "enough", "--region", "R3").code == 0
    assert server.body() == {"reason": "enough", "region": "R3"}
    assert server.asked[-1].headers["If-Match"] == '"17"'


def test_retry_prints_the_new_id(run: Run, server: StandIn) -> None:
    server.answers[ONE] = rolled_back()
    server.answers[f"POST /v1/rollouts/{ID}/retry"] = view() | {"id": "ro_NEW"}
    ran = run("retry", ID, "--reason", "the crawler is gone")
    assert (ran.code, ran.out) == (0, "ro_NEW\n")
    assert f"after {ID}" in ran.err


def test_retry_of_a_service_is_of_the_newest_that_can_be(run: Run, server: StandIn) -> None:
    listed = [view(), rolled_back(possible=("retry",)) | {"id": "ro_OLD"}]
    server.answers["GET /v1/rollouts"] = {"items": listed}
    server.answers["GET /v1/rollouts/ro_OLD"] = listed[1]
    server.answers["POST /v1/rollouts/ro_OLD/retry"] = view()
    assert run("retry", "mail-sender", "--reason", "again").code == 0


def test_a_note_and_a_gate_say_what_was_given(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    server.answers[f"POST /v1/rollouts/{ID}/notes"] = view()
    server.answers[f"PUT /v1/rollouts/{ID}/gates/smoke"] = view()
    assert run("note", ID, "users of Kobe complain").code == 0
    assert server.body() == {"text": "users of Kobe complain"}
    assert run("gate", ID, "smoke", "failed", "--link", "https://ci.example/1").code == 0
    assert server.body() == {"status": "failed", "url": "https://ci.example/1"}
    assert run("gate", ID, "smoke", "maybe").code == 2


def test_a_decision_that_comes_too_late_says_what_moved_when_and_by_whom(
    run: Run, server: StandIn, clock: Any
) -> None:
    server.answers[ONE] = [view(Phase.AWAITING_APPROVAL), later(held(), 19)]
    server.answers[f"POST /v1/rollouts/{ID}/approve"] = problem(412, "stale", "It is at 19 now.")
    moved = event(18, "awaiting_approval", "held", "dana holds it", None) | {"actor": "dana"}
    noted = event(19, "held", "held", "bob: hm", None) | {"actor": "bob"}
    server.answers[EVENTS] = [
        page(event(17, "progressing", "awaiting_approval", "x", None), moved, noted),
        page(),
    ]
    clock.advance(22)
    ran = run("approve", ID, "--reason", "errors are a known crawler", "--seen", "17")
    assert ran.code == 32
    assert ran.err.startswith(
        "✖ mail-sender moved from awaiting_approval to held 4 s ago by dana (you saw v17, now v19).\n"
    )
    assert ran.err.endswith(f"try: rollout status {ID}\n")
