"""doctor: one line each, a fix for each failure, also without a server."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.store.sqlite import SqliteDatabase
from rollout.testing import ManualClock
from tests.cli.conftest import Ran, StandIn, problem
from tests.cli.emergency_lab import POLICY, SIGNALS
from tests.cli.views import service

Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _a_server(server: StandIn, clock: ManualClock) -> None:
    date = {"Date": format_datetime(clock.now(), usegmt=True)}
    ready = {"ready": True, "detail": "Ready.", "checks": []}
    server.answers = {
        "GET /readyz": httpx.Response(200, json=ready, headers=date),
        "GET /v1/whoami": {"token": {"name": "ada", "role": "admin"}, "permissions": []},
        "GET /v1/services": {"items": [service()]},
        "GET /v1/services/mail-sender/signals": {"items": [found("R3", "errors", 4)]},
    }


def found(
    region: str, signal: str, series: int, said: str = "", age_s: float | None = 12.0
) -> dict[str, Any]:
    versions = {"1.0.0": 2, "1.1.0": 2} if series else {}
    seen = {"newest": None, "age_s": age_s if series else None, "said": said}
    return {
        "region": region,
        "source": "prometheus",
        "signal": signal,
        "series": series,
        "versions": versions,
    } | seen


def checks(run: Run, *argv: str) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(run("doctor", "--json", *argv).out)["checks"]}


def test_each_region_without_a_supervisor_fails_with_the_command_that_starts_it(
    run: Run, tmp_path: Path
) -> None:
    found = checks(run)
    for name in ("R1", "R2", "R3"):
        check = found[f"{name} deployer process"]
        assert check["state"] == "fail"
        assert "python -m rollout.supervisor --directory" in check["message"]
        assert f"{name} in " in check["fix"]
        assert found[f"{name} source scrape"]["state"] == "skip"


def test_a_failure_exits_1_and_says_how_many_of_how_many(run: Run) -> None:
    ran = run("doctor")
    assert ran.code == 1
    assert ran.err.startswith("3 of 12 checks failed;")
    assert len(ran.out.splitlines()) == 12


def test_server_clock_and_token_pass(run: Run) -> None:
    found = checks(run)
    assert [found[name]["state"] for name in ("server", "clock", "token")] == ["pass", "pass", "pass"]
    assert found["token"]["message"] == "ada is admin"


def test_each_signal_is_told_with_its_series_versions_and_age(run: Run) -> None:
    check = checks(run)["R3 signals of mail-sender"]
    assert check["state"] == "pass"
    assert check["message"] == "errors: 4 series of 1.0.0 (2), 1.1.0 (2), newest 12 s ago"


def test_a_signal_without_series_fails_with_the_nearest_names(run: Run, server: StandIn) -> None:
    near = "Prometheus has no series of m_totl; the nearest names there: m_total"
    items = [found("R3", "errors", 0, near), found("R3", "latency", 9), found("R1", "errors", 2)]
    server.answers["GET /v1/services/mail-sender/signals"] = {"items": items}
    shown = checks(run)
    assert shown["R3 signals of mail-sender"]["state"] == "fail"
    assert shown["R3 signals of mail-sender"]["message"] == f"1 of 2 are found; errors: {near}"
    assert "under prometheus:" in shown["R3 signals of mail-sender"]["fix"]
    assert shown["R1 signals of mail-sender"]["state"] == "pass"


def test_signals_where_nothing_runs_are_skipped(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/services/mail-sender/signals"] = {"items": [found("R3", "errors", 0)]}
    assert checks(run)["R3 signals of mail-sender"]["state"] == "skip"


def test_without_a_server_the_rest_is_still_checked(run: Run, server: StandIn) -> None:
    server.answers["GET /readyz"] = httpx.ConnectError("Connection refused")
    found = checks(run)
    assert [found[name]["state"] for name in ("server", "clock", "token")] == ["fail", "skip", "skip"]
    assert found["configuration"]["state"] == "pass"
    assert found["server"]["fix"].startswith("rollout serve")


def test_a_server_that_is_not_ready_fails_with_its_sentence(run: Run, server: StandIn) -> None:
    server.answers["GET /readyz"] = problem(503, "store", "The heart has not beaten at all.")
    check = checks(run)["server"]
    assert (check["state"], check["message"]) == ("fail", "The heart has not beaten at all.")


def test_a_clock_that_differs_from_the_servers_fails(run: Run, clock: ManualClock) -> None:
    clock.advance(30)
    check = checks(run)["clock"]
    assert check["state"] == "fail"
    assert "30 s from the server's" in check["message"]


def test_a_refused_token_fails_with_how_to_make_one(run: Run, server: StandIn) -> None:
    server.answers["GET /v1/whoami"] = problem(401, "not-authenticated", "The token is not known.")
    check = checks(run)["token"]
    assert check["state"] == "fail"
    assert "rollout token create" in check["fix"]


def test_a_token_file_that_cannot_be_read_fails_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    found = checks(run, "--token-file", str(tmp_path / "none"))
    assert found["token"]["state"] == "fail"
    assert found["database"]["state"] == "skip"


def test_a_configuration_that_cannot_be_used_fails_with_each_place(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_CONFIG", str(tmp_path))
    check = checks(run)["configuration"]
    assert check["state"] == "fail"
    assert "regions.yaml" in check["message"]


def test_a_service_that_a_deployer_does_not_know_has_the_line_that_mends_it(
    run: Run, server: StandIn
) -> None:
    unknown = service() | {"name": "billing", "regions": ["R1"]}
    server.answers["GET /v1/services"] = {"items": [unknown]}
    found = checks(run)
    assert "known: mail-sender" in found["R1 deployer process"]["message"]
    assert "add: billing: {command:" in found["R1 deployer process"]["fix"]
    assert "billing" not in found["R3 deployer process"]["message"]


@pytest.mark.real
def test_a_disk_without_room_is_a_failed_database(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("db", "upgrade").code == 0

    prove = SqliteDatabase.prove_writable

    def full(database: SqliteDatabase) -> None:
        with database.write.connect() as conn:
            (pages,) = conn.exec_driver_sql("PRAGMA page_count").one()
            conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        prove(database)

    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(SqliteDatabase, "prove_writable", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    check = checks(run)["database"]
    assert check["state"] == "fail"
    assert "the disk is full" in check["message"]
    assert check["fix"].startswith(f"free space on the disk of {tmp_path}: 4,096 bytes are left; while it is")


@pytest.mark.real
def test_a_database_that_is_damaged_or_gone_names_the_way_back_without_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.db").write_bytes(b"no database, but long enough to be read as a header" * 20)
    damaged = checks(run)["database"]
    (tmp_path / "rollout.db").unlink()
    (tmp_path / "known-good.json").touch()
    gone = checks(run)["database"]
    for check in (damaged, gone):
        assert check["state"] == "fail"
        assert "while it is gone, 'rollout emergency restore SERVICE --region R' brings" in check["fix"]
    assert "shows that there was one" in gone["message"]
    assert "rollout db restore FILE" in gone["fix"]


PROGRAMS = "kind: command, options: {commands: {deploy: [a], restore: [a], verify: [a]}"
HAPROXY = "kind: haproxy, options: {socket: /none, services: {mail: {backend: m}}, through: {%s}}"


@pytest.fixture
def with_deployer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replicas on a PostgreSQL that nobody reaches, and one region with this deployer."""
    config = tmp_path / "config"
    (config / "policies").mkdir(parents=True)
    (config / "policies" / "signals.yaml").write_text(SIGNALS)
    (config / "policies" / "standard.yaml").write_text(POLICY)
    monkeypatch.setenv("ROLLOUT_CONFIG", str(config))
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")

    def written(deployer: str) -> None:
        about = "name: R3, title: APAC, time_zone: Asia/Tokyo, order: 1, traffic_share: 100%"
        region = f"{{{about}, deployer: {{{deployer}}}, source: {{kind: scrape}}}}"
        (config / "regions.yaml").write_text(f"apiVersion: rollout/v1\nregions: [{region}]\n")

    return written


@pytest.mark.parametrize("deployer", [PROGRAMS + "}", HAPROXY % (PROGRAMS + "}")])
def test_programs_that_replicas_could_run_side_by_side_are_warned_of(
    run: Run, with_deployer: Callable[[str], None], deployer: str
) -> None:
    with_deployer(deployer)
    check = checks(run)["R3 records"]
    assert check["state"] == "warn"
    assert check["fix"].startswith("R3 in regions.yaml gets `fences: true` where")


@pytest.mark.parametrize("more", ["fences: true", "records: /var/lib/rollout-shared"])
def test_programs_that_fence_or_share_their_records_are_not_warned_of(
    run: Run, with_deployer: Callable[[str], None], more: str
) -> None:
    with_deployer(f"{PROGRAMS}, {more}}}")
    assert "R3 records" not in checks(run)


PROCESSES = "kind: process, options: {directory: %s, services: {mail: {command: [a], instances: 1}}}"


@pytest.mark.parametrize(("directory", "warned"), [("world/R3", True), ("/var/lib/world/R3", False)])
def test_instances_that_each_replica_would_have_for_itself_are_warned_of(
    run: Run, with_deployer: Callable[[str], None], directory: str, warned: bool
) -> None:
    with_deployer(PROCESSES % directory)
    found = checks(run)
    assert ("R3 directory" in found) == warned
    if warned:
        assert found["R3 directory"]["fix"].startswith(
            "R3 in regions.yaml gets a `directory` outside ROLLOUT_DATA"
        )


def test_records_of_one_controller_are_not_warned_of(
    run: Run, with_deployer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_deployer(PROGRAMS + "}")
    monkeypatch.delenv("ROLLOUT_DATABASE_URL")
    assert "R3 records" not in checks(run)


def test_without_a_server_it_is_not_said_that_nothing_runs(
    run: Run, server: StandIn, with_deployer: Callable[[str], None]
) -> None:
    with_deployer(PROGRAMS + "}")
    server.answers["GET /readyz"] = problem(503, "store", "The database does not answer.")
    check = checks(run)["R3 deployer command"]
    assert check["state"] == "skip"
    assert check["message"].startswith("not known: no server says which services are declared")
    assert "nothing runs there" not in run("doctor").out


@pytest.mark.real
def test_the_try_leaves_nothing_in_the_database(run: Run, tmp_path: Path) -> None:
    assert run("db", "upgrade").code == 0
    assert checks(run)["database"]["state"] == "pass"
    connection = sqlite3.connect(tmp_path / "rollout.db")
    tables = connection.execute("select name from sqlite_master where name like 'written%'").fetchall()
    connection.close()
    assert tables == []


@pytest.mark.real
def test_the_database_is_named_with_schema_and_journal(run: Run, tmp_path: Path) -> None:
    assert checks(run)["database"]["state"] == "skip"
    assert not (tmp_path / "rollout.db").exists()
    assert run("db", "upgrade").code == 0
    check = checks(run)["database"]
    assert check["state"] == "pass"
    assert re.search(r"schema \d{4}, SQLite", check["message"])
    assert "journal " in check["message"]
