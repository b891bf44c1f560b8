"""A day with the command and the client against a real server: the sample session, and docs/client.md."""

import re
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from rollout.client import Changed, Client
from tests.pipelines.conftest import Machine, need
from tests.pipelines.lab import BAD, GOOD, ROOT, Lab, eventually

pytestmark = pytest.mark.real
ARTIFACT = "pkg:oci/checkout@sha256%3A9f2c"
New = Callable[..., str]


def test_the_sample_session_of_a_bad_release(lab: Lab, service: New, machine: Machine) -> None:
    need("jq")
    name = service()
    given = {"ROLLOUT_URL": lab.url, "ROLLOUT_TOKEN": lab.tokens["pipeline"]}

    def line(command: str) -> Any:
        return machine.run(["sh", "-c", command.replace("checkout", name)], **given)

    dry = line(f"rollout start checkout {BAD} --artifact {ARTIFACT} --dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"Plan for {name} {BAD}, policy quick@1. Nothing was started" in dry.stdout
    assert re.search(r"R3  back to 1\.0\.0\n +\d\d:\d\d  75 %\n +\d\d:\d\d  bake 14 s\n", dry.stdout)

    ran = line(f"rollout start checkout {BAD} --artifact {ARTIFACT} --wait --timeout 3h; echo $?")
    rollout_id, *lines, code = ran.stdout.splitlines()
    assert code == "10"
    assert re.fullmatch(r"ro_\w{16}", rollout_id)
    assert any("✖ R3 failed requests" in each for each in lines)
    assert any("↩ R3" in each and "restoring" in each for each in lines)
    assert any("R3 was read back on 1.0.0" in each for each in lines)
    assert f"↩ {name} {BAD} was rolled back; users are on 1.0.0." in lines
    told, last = ran.stderr.splitlines()[-2:]
    for verb in ("why", "report", "retry"):
        assert f"rollout {verb} {rollout_id}" in told
    assert last.startswith("R3 failed requests")
    assert last.endswith(f" {lab.url}/rollouts/{rollout_id}")

    short = rollout_id.removeprefix("ro_")
    why = line(f"rollout why {short} --json | jq -r '.reason.text, .reason.evidence[0]'")
    reason, evidence = why.stdout.splitlines()
    assert reason.startswith("R3 failed requests 80.00 % ")
    assert evidence == "R3/errors"

    report = line(f"rollout report {short}").stdout
    assert report.startswith(f"# {name} {BAD} was rolled back; users are on 1.0.0.\n")
    for words in ("decided → every region read back", "| R3 | restored | 1.0.0 |", "✖ fail", "(harm)"):
        assert words in report
    assert line(f"rollout note {short} 'the crawler of a customer'").returncode == 0
    with lab.client("viewer") as client:
        times = client.report(rollout_id)["times"]
        assert None not in (times["detect_s"], times["decide_s"], times["restore_s"])
        eventually(lambda: any("the crawler" in each.reason.text for each in client.events(rollout_id)))
    again = line(f"ROLLOUT_TOKEN={lab.tokens['admin']} rollout retry checkout --reason 'it was the crawler'")
    assert re.fullmatch(r"ro_\w{16}\n", again.stdout), again.stderr
    assert line("rollout wait checkout --timeout 3h").returncode == 10


def test_an_approval_that_comes_too_late_says_what_moved(lab: Lab, service: New, machine: Machine) -> None:
    name = service("asking")
    given = {"ROLLOUT_URL": lab.url, "ROLLOUT_TOKEN": lab.tokens["admin"]}
    with lab.client("pipeline") as pipeline, lab.client("dana") as dana:
        started = pipeline.start(name, GOOD)
        asked = machine.run(["rollout", "wait", name, "--until", "approval", "--timeout", "1h"], **given)
        assert asked.returncode == 3, asked.stderr
        seen = pipeline.rollout(started.id).row_version
        dana.hold(started.id, "lunch")
        held = eventually(lambda: (view := pipeline.rollout(started.id)).phase == "held" and view)
        with pytest.raises(Changed):
            dana.approve(started.id, "fine", seen=seen)
    late = machine.run(
        ["rollout", "approve", name, "--reason", "errors are a known crawler", "--seen", str(seen)], **given
    )
    assert late.returncode == 32
    assert re.search(
        rf"✖ {name} moved from awaiting_approval to held (\d+ s|\d+ min.*) ago by dana "
        rf"\(you saw v{seen}, now v{held.row_version}\)\.\n",
        late.stderr,
    )
    unseen = machine.run(["rollout", "approve", name, "--reason", "errors are a known crawler"], **given)
    assert unseen.returncode == 32
    assert "moved from awaiting_approval to held" in unseen.stderr
    assert "Possible here: " in unseen.stderr


def test_a_stream_tells_everything_once_and_in_order_also_from_now_on(lab: Lab, service: New) -> None:
    name = service()
    heard: list[int] = []
    with lab.client("viewer") as listening, lab.client("pipeline") as client:
        ours = (event.sequence for event in listening.stream(after=None) if event.service == name)
        streaming = threading.Thread(target=lambda: heard.extend(islice(ours, 7)), daemon=True)
        streaming.start()
        time.sleep(0.5)  # until it listens
        started = client.start(name, GOOD)
        client.wait(started.id, timeout_s=60)
        streaming.join(10)
        whole = [event.sequence for event in client.events(started.id)]
        assert (len(whole) >= 7, heard) == (True, whole[:7])
        assert [event.sequence for event in islice(client.stream(started.id), len(whole))] == whole
        later = client.stream(started.id, after=whole[2])
        assert [event.sequence for event in islice(later, len(whole) - 3)] == whole[3:]


def test_the_page_about_the_client_is_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 3
    lab.declare("checkout")
    monkeypatch.setenv("ROLLOUT_URL", lab.url)
    monkeypatch.setenv("ROLLOUT_TOKEN", lab.tokens["admin"])
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)  # the page's own words
    out = capsys.readouterr().out
    assert "succeeded promoted 1.1.0 passed in every region." in out
    assert "illegal-transition" in out
    assert out.count("R3") >= 2


def test_the_table_of_methods_is_whole() -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    public = [name for name, found in vars(Client).items() if name[0] != "_" and callable(found)]
    left_out = {"close", "from_environment", "looks", "raw_events", "raw_stream"}
    assert [name for name in public if name not in left_out and f"`{name}`" not in page] == []
