"""serve for real: one process, a free port, a first token, and an orderly end."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Ran, StandIn

Run = Callable[..., Ran]
CODE = "import sys; from rollout.cli import main; sys.exit(main())"
pytestmark = pytest.mark.real


@contextmanager
def serving(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, and the first line that it prints."""
    command = [sys.executable, "-c", CODE, "serve", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    return err


def test_serve_prints_its_url_keeps_the_token_secret_and_ends_in_order(
    run: Run, server: StandIn, tmp_path: Path
) -> None:
    with serving("--show-token") as (process, url):
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        file = tmp_path / "admin-token"
        headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
        who = httpx.get(f"{url}/v1/whoami", headers=headers, trust_env=False).json()
        err = ended(process, signal.SIGTERM)
    assert (process.returncode, who["token"]["role"]) == (0, "admin")
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"the admin token is in {file}" in err
    assert file.read_text().strip() not in err
    assert "--show-token prints only to a terminal" in err
    assert "Stopped. Rollouts stand where they are" in err


def test_a_database_that_has_tokens_already_says_how_to_log_in_without_a_file(
    run: Run, tmp_path: Path
) -> None:
    assert run("token", "create", "ann", "--role", "admin", "--local").code == 0
    with serving("--show-token") as (process, _):
        err = ended(process, signal.SIGTERM)
    assert not (tmp_path / "admin-token").exists()
    assert "The database has tokens already, so no admin token was written here." in err
    assert "rollout token create NAME --role admin --local" in err
    assert str(tmp_path / "admin-token") not in err


def test_ctrl_c_ends_serve_in_order_with_130() -> None:
    with serving("--json") as (process, line):
        told = json.loads(line)
        err = ended(process, signal.SIGINT)
    assert told["url"] == f"http://127.0.0.1:{told['port']}"
    assert process.returncode == 130
    assert "Stopped." in err
    assert "Traceback" not in err


def test_a_taken_port_is_one_sentence(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("serve", "--port", str(port))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"✖ Port {port} of 127.0.0.1 is taken by another program, or by a server that runs already.\n"
        "  try: rollout serve --port 0 (takes a free port)\n"
    )
    assert not (tmp_path / "rollout.db").exists()


def test_a_configuration_that_cannot_be_used_is_2_and_names_the_place(run: Run, tmp_path: Path) -> None:
    ran = run("serve", "--port", "0", "--config", str(tmp_path))
    assert ran.code == 2
    assert "regions.yaml" in ran.err
    assert ran.err.endswith("try: mend what is named, then again: rollout serve\n")


def test_a_database_that_is_not_ours_is_2_and_stays_untouched(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rollout.db"
    file.write_bytes(b"notes of somebody else " * 100)
    assert run("serve", "--port", "0").code == 2
    assert file.read_bytes() == b"notes of somebody else " * 100


def test_an_address_that_others_reach_is_refused(run: Run) -> None:
    ran = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "ROLLOUT_ALLOW_REMOTE" in ran.err
