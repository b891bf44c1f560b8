"""Every end without a result: its exit code, its words, and the next command."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from rollout.cli.exits import Exit
from tests.cli.conftest import Ran, StandIn, problem
from tests.cli.views import ID, view

Run = Callable[..., Ran]
ONE = f"GET /v1/rollouts/{ID}"


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "then"),
    [
        (400, "malformed", 2, f"rollout status {ID}"),
        (401, "not-authenticated", 30, "rollout token create"),
        (403, "not-allowed", 30, "rollout whoami"),
        (404, "not-found", 31, "rollout list"),
        (409, "touched", 2, f"rollout status {ID}"),
        (409, "illegal-transition", 32, f"rollout status {ID}"),
        (409, "freeze", 14, f"rollout status {ID}"),
        (412, "stale", 32, f"rollout status {ID}"),
        (422, "invalid-input", 2, f"rollout status {ID}"),
        (428, "precondition-required", 2, f"rollout status {ID}"),
        (429, "busy", 40, "rollout doctor"),
        (500, "internal", 1, "rollout doctor"),
        (502, "outside", 1, "rollout doctor"),
        (503, "store", 40, "rollout doctor"),
        (503, "outcome-unknown", 40, "rollout list"),
    ],
)
def test_each_problem_has_its_exit_code_and_a_next_command(
    run: Run, server: StandIn, status: int, code: str, exit_code: int, then: str
) -> None:
    server.answers[ONE] = problem(status, code, "What happened.")
    ran = run("status", ID)
    assert (ran.code, ran.out) == (exit_code, "")
    assert ran.err.startswith("✖ What happened.\n")
    assert f"try: {then}" in ran.err.splitlines()[-1]


def test_a_problem_names_each_wrong_place(run: Run, server: StandIn) -> None:
    wrong = [{"pointer": "/version", "detail": "must not be empty"}]
    server.answers["POST /v1/rollouts"] = problem(422, "invalid-input", "1 place is wrong.", wrong)
    ran = run("start", "mail-sender", "1.2.0")
    assert "\nversion: must not be empty\n" in ran.err
    assert ran.err.endswith("try: rollout start --help\n")


def test_words_for_programs_are_not_shown_to_people(run: Run, server: StandIn) -> None:
    detail = "2 places in the request cannot be accepted; nothing was changed. Mend what `errors` names."
    wrong = [{"pointer": "{name}", "detail": "is odd"}, {"pointer": "?limit", "detail": "is big"}]
    server.answers["GET /v1/services/X"] = problem(422, "invalid-input", detail, wrong)
    ran = run("service", "show", "X")
    assert ran.err.startswith(
        "✖ 2 places in the request cannot be accepted; nothing was changed.\nname: is odd\nlimit: is big\n"
    )


def test_a_version_that_was_rolled_back_names_the_start_with_override(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = problem(409, "version-rolled-back", "It was rolled back by ro_A.")
    ran = run("start", "mail-sender", "1.2.0", "--policy", "careful", "--change-url", "https://x/?a=1&b=2")
    assert ran.code == 2
    assert ran.err.endswith(
        "try: rollout start mail-sender 1.2.0 --change-url 'https://x/?a=1&b=2' --policy careful "
        '--override "why it may start again" (an admin)\n'
    )


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        ("policy", "rollout policy show"),
        ("service", "rollout service list"),
        ("rollout", "rollout list"),
    ],
)
def test_what_is_unknown_names_the_list_of_its_kind(run: Run, server: StandIn, kind: str, then: str) -> None:
    server.answers["POST /v1/rollouts"] = problem(404, "not-found", f"There is no {kind} 'x'.")
    ran = run("start", "x", "1.2.0")
    assert (ran.code, ran.err.splitlines()[-1]) == (31, f"  try: {then}")
    assert ("rollout service put x --policy standard" in ran.err) == (kind == "service")


def test_an_argument_that_is_no_text_is_2_and_shown(run: Run, server: StandIn) -> None:
    ran = run("start", "mail-sender", "\udcff")
    assert (ran.code, server.asked) == (2, [])
    assert ran.err == "✖ The argument '\\xff' is not UTF-8; nothing was sent.\n  try: write it in UTF-8\n"


def test_a_token_that_cannot_be_sent_is_2_and_not_shown(
    run: Run, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_TOKEN", "rot_geheimß")
    ran = run("list")
    assert (ran.code, server.asked) == (2, [])
    assert "ROLLOUT_TOKEN" in ran.err
    assert "geheim" not in ran.err


def test_a_server_without_its_database_names_the_way_back_without_it(run: Run, server: StandIn) -> None:
    server.answers[f"GET /v1/rollouts/{ID}"] = problem(503, "store", "The database is not there.")
    ran = run("status", ID)
    assert ran.code == 40
    assert "try: rollout doctor, on the controller's machine" in ran.err
    assert "'rollout emergency restore SERVICE --region R' brings a region back" in ran.err


def test_a_fault_of_the_server_shows_its_trace_id(run: Run, server: StandIn) -> None:
    server.answers[ONE] = problem(500, "internal", "The controller failed.")
    assert "trace abc" in run("status", ID).err


def test_an_unreachable_server_is_40_and_names_the_next_command(run: Run, server: StandIn) -> None:
    server.answers[ONE] = httpx.ConnectError("Connection refused")
    ran = run("status", ID)
    assert ran.code == 40
    assert ran.err == (
        "✖ The server at http://127.0.0.1:8080 cannot be reached: Connection refused.\n"
        "  try: rollout doctor (or rollout serve, to start one)\n"
    )


def test_a_decision_without_an_answer_says_that_it_may_be_recorded(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view()
    server.answers[f"POST /v1/rollouts/{ID}/hold"] = httpx.ReadTimeout("timed out")
    ran = run("hold", ID, "--reason", "x")
    assert ran.code == 40
    assert "may have recorded" in ran.err


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(302, headers={"Location": "/login"})]
)
def test_something_else_on_the_port_is_40(run: Run, server: StandIn, answer: httpx.Response) -> None:
    server.answers[ONE] = answer
    ran = run("status", ID)
    assert ran.code == 40
    assert "no rollout server" in ran.err


def test_errors_as_json_go_to_stderr(run: Run, server: StandIn) -> None:
    ran = run("status", "ro_X", "--json")
    told = json.loads(ran.err)
    assert (ran.code, ran.out) == (31, "")
    assert told["error"]["exit_code"] == 31
    assert told["error"]["next"] == "rollout list"
    assert told["problem"]["type"] == "/problems/not-found"


@pytest.mark.parametrize(
    ("argv", "then"),
    [
        (("status",), "rollout status --help"),
        (("bogus",), "rollout --help"),
        (("list", "--limit", "0"), "rollout list --help"),
        (("list", "--phase", "done"), "rollout list --help"),
        (("service", "bogus"), "rollout service --help"),
        (("token", "create", "x"), "rollout token create --help"),
    ],
)
def test_wrong_usage_is_2_and_names_the_help(run: Run, argv: tuple[str, ...], then: str) -> None:
    ran = run(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(f"try: {then}\n")


def test_wrong_settings_are_2_and_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "eighty")
    ran = run("list")
    assert ran.code == 2
    assert "ROLLOUT_PORT" in ran.err


def test_ctrl_c_is_130_and_says_that_rollouts_go_on(run: Run, server: StandIn) -> None:
    server.answers[ONE] = KeyboardInterrupt()
    ran = run("status", ID)
    assert ran.code == 130
    assert "goes on" in ran.err


def test_a_fault_of_this_program_is_1_with_its_trace(run: Run, server: StandIn) -> None:
    server.answers[ONE] = view() | {"phase": "no such phase"}
    ran = run("status", ID, "--exit-code")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert ran.err.endswith("try: rollout doctor\n")


def test_exit_codes_are_the_promised_ones() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 20, 30, 31, 32, 40, 130]


# --------------------------------------------------------------------------- which server, which token


def _sent(server: StandIn) -> str | None:
    return server.asked[-1].headers.get("Authorization")


def test_the_token_of_a_flag_comes_before_the_environment(
    run: Run, server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_TOKEN", "from-environment")
    file = tmp_path / "mine"
    file.write_text("from-file\n")
    run("list", "--token-file", str(file))
    assert _sent(server) == "Bearer from-file"
    run("list")
    assert _sent(server) == "Bearer from-environment"


def test_on_the_servers_machine_the_first_admins_file_is_used(
    run: Run, server: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "admin-token").write_text("first\n")
    run("list")
    assert _sent(server) == "Bearer first"


def test_the_first_admins_token_is_never_sent_to_another_machine(
    run: Run, server: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "admin-token").write_text("first\n")
    run("list", "--url", "https://rollout.example")
    assert server.asked[-1].url.host == "rollout.example"
    assert _sent(server) is None


def test_a_token_file_that_cannot_be_read_is_said(run: Run, server: StandIn, tmp_path: Path) -> None:
    ran = run("list", "--token-file", str(tmp_path / "none"))
    assert (ran.code, server.asked) == (2, [])
    assert "cannot be read" in ran.err


def test_the_url_comes_from_the_environment_without_a_flag(
    run: Run, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_URL", "https://one.example/")
    run("list")
    assert str(server.asked[-1].url).startswith("https://one.example/v1/rollouts")
