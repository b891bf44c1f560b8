"""start, plan, adopt, service, policy, token, whoami, version and db: what is sent and what is shown."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, StandIn, problem
from tests.cli.views import ID, at, held, plan, rolled_back, running, service, view

Run = Callable[..., Ran]
SERVICE = "GET /v1/services/mail-sender"


def test_start_sends_only_what_was_given(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = view()
    ran = run("start", "mail-sender", "1.2.0", "--author", "ada")
    assert (ran.code, ran.out) == (0, f"{ID}\n")
    assert server.body() == {"service": "mail-sender", "version": "1.2.0", "author": "ada"}


def test_start_sends_everything_that_was_given(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = view()
    flags = ["artifact", "lock-digest", "change-url", "policy", "note", "override"]
    run("start", "mail-sender", "1.2.0", *(part for name in flags for part in (f"--{name}", f"a-{name}")))
    sent = server.body()
    assert {name: sent[name.replace("-", "_")] for name in flags} == {name: f"a-{name}" for name in flags}


@pytest.mark.parametrize("argv", [("plan",), ("start", "--dry-run")])
def test_a_plan_starts_nothing(run: Run, server: StandIn, argv: tuple[str, ...]) -> None:
    server.answers["POST /v1/rollouts/plan"] = plan()
    ran = run(argv[0], "mail-sender", "1.2.0", *argv[1:])
    assert ran.out.startswith("Plan for mail-sender 1.2.0, policy standard@3. Nothing was started")
    assert [request.url.path for request in server.asked] == ["/v1/rollouts/plan"]


def test_adopt_shows_what_can_be_gone_back_to(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/services/mail-sender/adopt"] = {"items": []}
    server.answers[f"{SERVICE}/regions"] = {"items": [running()]}
    server.answers["GET /v1/rollouts"] = {"items": []}
    ran = run("adopt", "mail-sender", "--reason", "runs for months", "--region", "R3")
    assert server.body(0) == {"reason": "runs for months", "regions": ["R3"]}
    assert ran.out.splitlines()[1].split() == ["R3", "4", "×", "1.1.0", "1.1.0", "–", "–"]
    assert ran.err == "Now a release can be started: rollout start mail-sender VERSION\n"


def test_adopt_says_why_a_version_that_was_rolled_back_is_good(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/services/mail-sender/adopt"] = {"items": []}
    server.answers[f"{SERVICE}/regions"] = {"items": [running()]}
    server.answers["GET /v1/rollouts"] = {"items": []}
    run("adopt", "mail-sender", "--reason", "it runs", "--override", "the harm was not its own")
    assert server.body(0) == {"reason": "it runs", "regions": [], "override": "the harm was not its own"}


def test_adopt_exits_4_where_a_region_was_not_read_back(run: Run, server: StandIn) -> None:
    why = "Nothing was adopted: R3 was not read back yet. Adopt again once that is mended and read."
    server.answers["POST /v1/services/mail-sender/adopt"] = problem(409, "not-read", why)
    ran = run("adopt", "mail-sender", "--reason", "runs for months")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == f"✖ {why}\n  try: rollout service show mail-sender\n"


def test_adopt_names_the_held_rollouts_that_can_go_on_now(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/services/mail-sender/adopt"] = {"items": []}
    server.answers[f"{SERVICE}/regions"] = {"items": [running()]}
    server.answers["GET /v1/rollouts"] = {"items": [held()]}
    ran = run("adopt", "mail-sender", "--reason", "runs for months")
    assert dict(server.asked[-1].url.params) == {"service": "mail-sender", "phase": "held"}
    assert ran.err == f'mail-sender 1.2.0 is held. To let it go on: rollout resume {ID} --reason "…"\n'


def test_a_region_without_a_known_good_names_the_whole_command(run: Run, server: StandIn) -> None:
    server.answers[SERVICE] = service()
    server.answers[f"{SERVICE}/regions"] = {"items": [running() | {"known_good": []}]}
    assert 'rollout adopt mail-sender --reason "…"' in run("service", "show", "mail-sender").out


def test_service_show_names_the_older_rollouts_that_a_rollback_stopped(run: Run, server: StandIn) -> None:
    stopped = {"stopped_by": "ro_Z", "stopped_at": at(60).isoformat()}
    server.answers[SERVICE] = service() | stopped
    server.answers[f"{SERVICE}/regions"] = {"items": [running()]}
    newer, ended = view(id="ro_N", created_at=at(61)), rolled_back(id="ro_E")
    server.answers["GET /v1/rollouts"] = {"items": [newer, ended]}
    assert run("service", "show", "mail-sender").err == ""
    server.answers["GET /v1/rollouts"] = {"items": [newer, held(), ended]}
    assert run("service", "show", "mail-sender").err == (
        f"! ro_Z was rolled back, so the older {ID} (1.2.0) waits for a person: rollout why {ID}\n"
    )


def test_a_new_service_needs_a_policy(run: Run, server: StandIn) -> None:
    ran = run("service", "put", "mail-sender")
    assert ran.code == 2
    assert ran.err.endswith("try: rollout service put mail-sender --policy standard\n")


def test_putting_a_service_keeps_what_was_not_given(run: Run, server: StandIn) -> None:
    server.answers[SERVICE] = service()
    server.answers["PUT /v1/services/mail-sender"] = service()
    assert run("service", "put", "mail-sender", "--policy", "careful").code == 0
    assert server.body() == {
        "policy": "careful",
        "regions": ["R3"],
        "owners": ["oncall"],
        "signals": {"errors": {"title": "bad"}},
    }
    assert server.asked[-1].headers["If-Match"] == '"4"'


def test_service_list_and_show(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/services"] = {"items": [service()]}
    server.answers[SERVICE] = service()
    server.answers[f"{SERVICE}/regions"] = {"items": [running()]}
    assert run("service", "list").out.splitlines()[1].split() == ["mail-sender", "standard", "R3", "oncall"]
    shown = run("service", "show", "mail-sender").out
    assert shown.startswith("mail-sender: policy standard; R3; owners: oncall\n")
    assert json.loads(run("service", "show", "mail-sender", "--json").out)["regions"] == [running()]


# --------------------------------------------------------------------------- policy


def test_a_good_policy_is_validated_without_a_server(run: Run, server: StandIn) -> None:
    server.answers = {}
    good = Path(__file__).parents[2] / "policies" / "standard.yaml"
    ran = run("policy", "validate", str(good))
    assert (ran.code, server.asked) == (0, [])
    assert "policy standard, R3 → R1 → R2" in ran.out


def test_a_bad_policy_names_file_and_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("apiVersion: rollout/v1\nname: mine\nstagse: []\n")
    ran = run("policy", "validate", str(file))
    assert ran.code == 2
    assert f"{file}:3: stagse: unknown key 'stagse'; did you mean 'stages'?" in ran.err


def test_a_policy_with_an_unknown_region_names_file_and_line(run: Run, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "policies" / "standard.yaml").read_text()
    file = tmp_path / "standard.yaml"
    file.write_text(text.replace("R2", "R9"))
    ran = run("policy", "validate", str(file))
    assert ran.code == 2
    assert f"{file}:" in ran.err
    assert "R9" in ran.err


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_policy_that_cannot_be_read_is_2(run: Run, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    assert run("policy", "validate", str(file)).code == 2


def test_policy_show_prints_the_text_as_written(run: Run, server: StandIn) -> None:
    one = {"name": "standard", "revision": 3, "description": "d", "digest": "x", "text": "name: standard\n"}
    server.answers["GET /v1/policies/standard"] = one
    server.answers["GET /v1/policies"] = {"items": [one]}
    assert run("policy", "show", "standard").out == "name: standard\n"
    assert run("policy", "show").out.splitlines()[1].split() == ["standard", "3", "d"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_policy_schema_is_json(run: Run, flags: tuple[str, ...]) -> None:
    assert json.loads(run("policy", "schema", *flags).out)["title"].startswith("A policy")


# --------------------------------------------------------------------------- tokens, database


def test_a_token_is_created_by_the_server_and_only_the_secret_is_data(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/tokens"] = {"token": {"name": "ci"}, "secret": "rot_x"}
    ran = run("token", "create", "ci", "--role", "deployer", "--service", "mail-sender", "--days", "7")
    assert ran.out == "rot_x\n"
    assert server.body() == {
        "name": "ci",
        "role": "deployer",
        "groups": [],
        "services": ["mail-sender"],
        "days": 7,
    }


@pytest.mark.real
def test_a_token_can_be_created_without_a_server(run: Run, server: StandIn, tmp_path: Path) -> None:
    ran = run("token", "create", "ada", "--role", "approver", "--group", "oncall", "--local", "--json")
    made = json.loads(ran.out)
    assert (ran.code, server.asked) == (0, [])
    assert made["token"]["groups"] == ["oncall"]
    stored = (tmp_path / "rollout.db").read_bytes()
    assert b"approver" in stored
    assert made["secret"].encode() not in stored


@pytest.mark.real
def test_db_upgrade_makes_the_database_and_can_be_repeated(run: Run, tmp_path: Path) -> None:
    assert run("db", "upgrade").code == 0
    assert run("db", "upgrade").out == f"✔ {tmp_path / 'rollout.db'} has the newest schema.\n"


@pytest.mark.real
def test_a_database_of_a_newer_program_says_to_upgrade_this_one(run: Run, tmp_path: Path) -> None:
    assert run("db", "upgrade").code == 0
    connection = sqlite3.connect(tmp_path / "rollout.db")
    with connection:
        connection.execute("update alembic_version set version_num = '9999'")
    (check,) = (c for c in json.loads(run("doctor", "--json").out)["checks"] if c["name"] == "database")
    assert (check["state"], "which may write it" in check["message"]) == ("pass", True)  # it only added
    with connection:
        connection.execute("update schema_floor set floor = '9999'")
    connection.close()
    ran = run("db", "upgrade")
    assert ran.code == 2
    assert "install the newer program" in ran.err
    assert "doctor" not in ran.err
    (check,) = (c for c in json.loads(run("doctor", "--json").out)["checks"] if c["name"] == "database")
    assert (check["state"], check["fix"]) == (
        "fail",
        "install the newer version of this program, which wrote it",
    )


@pytest.mark.real
def test_a_database_of_another_program_is_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.db").write_bytes(
        b"no database at all, but long enough to be read as a file header" * 20
    )
    ran = run("db", "upgrade")
    assert ran.code == 2
    assert "is not a database" in ran.err
    assert ran.err.endswith("try: mend that, then: rollout db upgrade\n")


def test_whoami_says_role_and_end(run: Run, server: StandIn) -> None:
    token = {"name": "ada", "role": "approver", "groups": ["oncall"], "services": []}
    ends = {"expires_at": "2027-02-19T00:00:00Z"}
    server.answers["GET /v1/whoami"] = {"token": token | ends, "permissions": ["decide", "read"]}
    assert run("whoami").out == "ada: approver, oncall, every service, until 2027-02-19; may decide, read\n"


def test_version_needs_no_server(run: Run, server: StandIn) -> None:
    ran = run("version")
    assert ran.out.startswith("rollout ")
    assert json.loads(run("version", "--json").out)["version"] == ran.out.split()[1]
    assert server.asked == []


def test_every_start_carries_a_key_of_its_own_or_the_given_one(run: Run, server: StandIn) -> None:
    server.answers["POST /v1/rollouts"] = view()
    for given in ((), (), ("--idempotency-key", "build-7")):
        assert run("start", "mail-sender", "1.2.0", *given).code == 0
    first, second, third = (request.headers["Idempotency-Key"] for request in server.asked)
    assert first != second
    assert third == "build-7"
