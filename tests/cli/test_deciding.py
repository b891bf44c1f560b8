"""approve, reject, hold, resume, rollback, cancel: a reason each, and exactly what was asked."""

import json
from collections.abc import Callable

import pytest

from rollout.core.model import Phase
from tests.cli.conftest import Ran, StandIn, problem
from tests.cli.views import ID, view

Run = Callable[..., Ran]
VERBS = ("approve", "reject", "hold", "resume", "rollback", "cancel")


@pytest.fixture(autouse=True)
def _one_rollout(server: StandIn) -> None:
    server.answers[f"GET /v1/rollouts/{ID}"] = view(Phase.AWAITING_APPROVAL)
    for verb in VERBS:
        server.answers[f"POST /v1/rollouts/{ID}/{verb}"] = view(Phase.AWAITING_APPROVAL)


@pytest.mark.parametrize("verb", VERBS)
def test_every_decision_carries_its_reason(run: Run, server: StandIn, verb: str) -> None:
    assert run(verb, ID, "--reason", "because").code == 0
    assert server.asked[1].url.path.endswith(f"/{verb}")
    assert server.body(1) == {"reason": "because"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("given", [(), ("--reason", "  ")])
def test_without_a_reason_and_a_terminal_it_is_a_usage_error(
    run: Run, server: StandIn, verb: str, given: tuple[str, ...]
) -> None:
    ran = run(verb, ID, *given)
    assert ran.code == 2
    assert ran.err.endswith(f'try: rollout {verb} {ID} --reason "…"\n')
    assert {request.method for request in server.asked} == {"GET"}


def test_on_a_terminal_the_reason_is_asked_for(run: Run, server: StandIn) -> None:
    assert run("approve", ID, tty=True, answer="looks good").code == 0
    assert server.body() == {"reason": "looks good"}


def test_json_never_prompts(run: Run) -> None:
    assert run("approve", ID, "--json", tty=True, answer="looks good").code == 2


def test_approve_says_which_version_was_looked_at(run: Run, server: StandIn) -> None:
    run("approve", ID, "--reason", "ok")
    assert server.asked[-1].headers["If-Match"] == '"17"'


def test_approve_of_what_was_seen_earlier_is_refused_when_it_moved_on(run: Run, server: StandIn) -> None:
    server.answers[f"POST /v1/rollouts/{ID}/approve"] = problem(412, "stale", "It is at 17 now.")
    ran = run("approve", ID, "--reason", "ok", "--seen", "15")
    assert ran.code == 32
    sent = [request for request in server.asked if request.method == "POST"]
    assert [request.headers["If-Match"] for request in sent] == ['"15"']
    assert ran.err.endswith(f"try: rollout status {ID}\n")


def test_rollback_and_hold_need_no_version(run: Run, server: StandIn) -> None:
    run("rollback", ID, "--reason", "now")
    assert "If-Match" not in server.asked[-1].headers
    run("hold", ID, "--reason", "now")
    assert "If-Match" not in server.asked[-1].headers


def test_hold_says_how_long_and_what_then(run: Run, server: StandIn) -> None:
    run("hold", ID, "--reason", "lunch", "--for", "30m", "--then", "resume")
    assert server.body() == {"reason": "lunch", "for": "30m", "then": "resume"}


@pytest.mark.parametrize(
    "wrong", [("--for", "soon"), ("--then", "resume"), ("--for", "1h", "--then", "stop")]
)
def test_a_hold_that_makes_no_sense_is_refused_before_the_server_is_asked(
    run: Run, server: StandIn, wrong: tuple[str, ...]
) -> None:
    ran = run("hold", ID, "--reason", "x", *wrong)
    assert (ran.code, server.asked) == (2, [])
    assert ran.err.endswith("try: rollout hold --help\n")


def test_rollback_says_what_it_will_do(run: Run) -> None:
    ran = run("rollback", ID, "--reason", "users complain")
    assert ran.out == f"{ID} rollback recorded for mail-sender 1.2.0: Roll back R3 to 1.1.0\n"
    assert ran.err == f"Follow it: rollout watch {ID}\n"


def test_a_decision_as_json_is_the_rollout(run: Run) -> None:
    ran = run("resume", ID, "--reason", "ok", "--json")
    assert json.loads(ran.out)["id"] == ID
    assert ran.err == ""
