"""The sample mail service as a process: what it answers, what it shows, and how it ends."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.demo.mail import key_issued_at
from rollout.demo.mail_metrics import Meters
from rollout.demo.mail_queue import MailQueue, Owner, SlotLocks
from rollout.demo.mail_versions import SIGNED_TOGETHER, behaviour_of
from rollout.demo.mail_worker import Worker
from rollout.supervisor.life import free_port

pytestmark = pytest.mark.real


def start(version: str, directory: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rollout.demo.mail", "--version", version, "--port", str(port)]
    command += ["--slot", "1", "--directory", str(directory), "--lifeline"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[httpx.Client]:
    """A process of 1.0.0, which must end well when its standard input closes."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    fresh = httpx.Limits(max_keepalive_connections=0)  # none that the service ends while it is used again
    client = httpx.Client(base_url=url, trust_env=False, limits=fresh)
    with start("1.0.0", tmp_path, port) as process, client:
        for _ in range(200):
            try:
                client.get("/healthz")
                break
            except httpx.ConnectError:
                time.sleep(0.02)
        yield client
        client.close()
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) == 0


def test_a_send_is_accepted_delivered_and_shown(mail: httpx.Client) -> None:
    assert mail.post("/send", json={"to": "a@example.org", "subject": "x"}).json() == {"id": "1"}
    for _ in range(100):
        if (totals := mail.get("/admin/totals").json())["unfinished"] == 0:
            break
        time.sleep(0.02)
    assert totals == {"accepted": 1, "delivered": 1, "unfinished": 0, "duplicates": 0, "late": 0}
    lines = [line for line in mail.get("/metrics").text.splitlines() if not line.startswith("#")]
    assert all('slot="1"' in line and 'version="1.0.0"' in line for line in lines)
    assert 'mail_http_requests_total{code="202",slot="1",version="1.0.0"} 1.0' in lines
    assert 'mail_sends_delivered_total{slot="1",version="1.0.0"} 1.0' in lines
    edges = {float(edge) for edge in re.findall(r'_bucket\{le="([\d.]+)"', "\n".join(lines))}
    assert {0.05, 0.1, 0.25, 0.5, 1.0} <= edges


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/send", b"no JSON", 400),
        ("/send", b"[]", 400),
        ("/send", b'{"to": "a@example.org"}', 400),
        ("/send", b'{"to": "", "subject": "x"}', 400),
        ("/admin/resume", b'{"items": [{"id": 1, "key": "k"}]}', 400),
        ("/nothing", b"{}", 404),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(
    mail: httpx.Client, path: str, body: bytes, code: int
) -> None:
    answer = mail.post(path, content=body)
    assert answer.status_code == code
    assert answer.json()["error"]


def test_reading_stalled_work_needs_a_number(mail: httpx.Client) -> None:
    assert mail.get("/admin/stalled?older_than=soon").status_code == 400
    assert mail.get("/admin/stalled?older_than=5").json() == {"items": [], "backlog": 0, "oldest_age_s": 0.0}


@pytest.mark.parametrize(
    ("version", "code", "reason"), [("9.9.9", 64, "unknown version 9.9.9"), ("1.0.0-crash", 1, "is broken")]
)
def test_a_version_that_cannot_start_says_why(tmp_path: Path, version: str, code: int, reason: str) -> None:
    with start(version, tmp_path, free_port()) as process:
        assert process.stderr is not None
        assert reason in process.stderr.read()
        assert process.wait(5) == code


def test_a_key_is_issued_at_the_first_start_and_no_later_start_renews_it(tmp_path: Path) -> None:
    issued_at = key_issued_at(tmp_path, "1.2.0")
    long_ago = issued_at - 500
    os.utime(tmp_path / "signing-key-1.2.0", (long_ago, long_ago))
    assert key_issued_at(tmp_path, "1.2.0") == long_ago
    assert key_issued_at(tmp_path, "1.2.1") > long_ago


def test_a_worker_that_meets_the_expired_key_ends_with_sends_in_hand(tmp_path: Path) -> None:
    owner, ended = Owner("1", "1.2.0"), []
    at = [1000.0]
    queue = MailQueue(tmp_path, lambda: at[0])
    worker = Worker(
        queue,
        SlotLocks(tmp_path),
        owner,
        behaviour_of("1.2.0"),
        Meters(owner, 1000.0),
        token="t",
        late_after=2.0,
        now=lambda: at[0],
        stops_at=lambda: 1045.0,
        end=lambda: ended.append(at[0]),
    )
    queue.accept(owner, "a@example.org", "before the key ends")
    assert worker.step()
    assert (queue.totals(2.0)["delivered"], ended) == (1, [])
    for number in range(SIGNED_TOGETHER + 1):
        queue.accept(owner, "a@example.org", f"after it ended, {number}")
    at[0] = 1045.0
    assert worker.step()
    assert ended == [1045.0]
    at[0] = 1050.0
    assert len(queue.stalled(2.0)["items"]) == SIGNED_TOGETHER
    assert queue.unfinished(owner) == (SIGNED_TOGETHER + 1, 50.0)
    queue.close()
