"""The database is gone: one region goes back by the signed file alone."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rollout.core.model import Service
from rollout.emergency.record import Record
from rollout.emergency.restoring import ABOVE
from rollout.emergency.seal import read_seal
from tests.cli.conftest import Ran
from tests.cli.emergency_lab import DIGEST, Lab, good, made

pytestmark = pytest.mark.real


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A controller knew 1.0.0 and then 2.0.0 to be good; its database is deleted."""
    found = made(tmp_path)
    asyncio.run(found.known("1.0.0", "2.0.0"))
    for file in found.settings.data.glob("rollout.db*"):
        file.unlink()
    return found


def wrong(done: subprocess.CompletedProcess[str]) -> str:
    """What was said of a command that refused, which ordered nothing."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_region_goes_back_to_the_older_known_good_by_the_file_alone(lab: Lab) -> None:
    done = lab.restore("--to", "1.0.0")
    assert done.returncode == 0, done.stderr
    ((_, generation, action, version, artifact),) = lab.state["orders"]
    assert (action, version, artifact) == ("restore", "1.0.0", f"{DIGEST}-1.0.0")
    assert generation == 2 + ABOVE  # far above what the file and the target knew
    assert "mail in R3 was read back: 4 × 1.0.0" in done.stdout
    for said in (
        "mail in R3 goes back to 1.0.0",
        f"{DIGEST}-1.0.0",
        "since 2026-03-02 09:30 UTC",
        "4 × 2.0.0",
    ):
        assert said in done.stderr
    assert re.search(r"written \d+ s ago", done.stderr)
    assert f"start the controller HERE, with ROLLOUT_DATA={lab.settings.data}" in done.stderr
    assert "elsewhere it is not taken in" in done.stderr
    assert not list(lab.settings.data.glob("rollout.db*"))


def test_other_regions_of_the_service_are_named_since_they_may_run_the_release(tmp_path: Path) -> None:
    lab = made(tmp_path)

    async def known() -> None:
        async with lab.controller() as built:
            await built.store.put_service(Service(name="mail", policy="standard"))
            await built.store.adopt([replace(good("1.0.0"), region=region) for region in ("R1", "R2", "R3")])
            assert built.emergencies is not None
            await built.emergencies.note()

    asyncio.run(known())
    assert "R1, R2 may still run the release: one call for each." in lab.restore().stderr


def test_without_a_version_it_is_the_newest_and_says_when_that_runs_already(lab: Lab) -> None:
    done = lab.restore()
    assert done.returncode == 0
    assert "That is what runs there already. An older known good: --to 1.0.0" in done.stderr
    assert lab.state["orders"][0][3] == "2.0.0"


def test_the_target_may_have_seen_more_than_the_file_knows(lab: Lab) -> None:
    lab.runs("3.0.0", generation=40)
    done = lab.restore("--to", "1.0.0")
    assert done.returncode == 0
    assert [order[1] for order in lab.state["orders"]] == [40 + ABOVE]


def test_what_was_never_known_good_is_refused(lab: Lab) -> None:
    assert "3.0.0 is not known good for mail in R3" in wrong(lab.restore("--to", "3.0.0"))
    assert lab.state["orders"] == []


def test_an_unknown_service_or_region_names_those_that_are_known(lab: Lab) -> None:
    done = lab.run("restore", "post", "--region", "R3", "--reason", "x", "--yes")
    assert (done.returncode, "Known are: mail." in done.stderr) == (31, True)
    assert done.stderr.endswith("try: rollout emergency show\n")
    done = lab.run("restore", "mail", "--region", "R9", "--reason", "x", "--yes")
    assert (done.returncode, "Of mail are known: R3." in done.stderr) == (31, True)


def test_nobody_is_asked_without_a_terminal_and_a_reason_is_needed(lab: Lab) -> None:
    done = lab.run("restore", "mail", "--region", "R3", "--reason", "x")
    assert "Say it with --yes" in wrong(done)
    assert "try: rollout emergency restore mail --region R3 --reason x --yes\n" in done.stderr
    more = ("--to", "1.0.0", "--by", "ana", "--within", "30s", "--even-so")
    said = wrong(lab.run("restore", "mail", "--region", "R3", "--reason", "it's on fire", *more))
    again = shlex.split(said.rpartition("try: ")[2])
    assert again[:6] == ["rollout", "emergency", "restore", "mail", "--region", "R3"]
    assert again[6:] == [*more, "--reason", "it's on fire", "--yes"]
    assert "A reason is needed" in wrong(lab.run("restore", "mail", "--region", "R3", "--yes"))
    assert lab.state["orders"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("2.0.0", "6.6.6", 1), "not as it was signed"),
        (lambda text: text.replace(" ", "  ", 1), "not as it was signed"),
        (lambda text: text[:-1], "not as it was signed"),
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: json.dumps({"body": json.loads(text)["body"]}), "has no signature"),
        (lambda _: "[1]", "is damaged"),
    ],
)
def test_a_file_that_is_not_as_it_was_signed_is_refused(
    lab: Lab, change: Callable[[str], str], said: str
) -> None:
    file = lab.settings.known_good
    file.write_text(change(file.read_text()))
    assert said in wrong(lab.restore())
    assert lab.state["orders"] == []


def test_another_key_or_none_is_refused(lab: Lab) -> None:
    key = lab.settings.known_good_key
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_text("00" * 32)
    assert "signed with another key" in wrong(lab.restore())
    key.write_text("short")
    assert "holds no key" in wrong(lab.restore())
    key.unlink()
    assert "There is no key at" in wrong(lab.restore())
    assert lab.state["orders"] == []


def test_without_regions_yaml_the_deployer_is_taken_from_the_file(lab: Lab) -> None:
    shutil.rmtree(lab.settings.config)
    done = lab.restore("--to", "1.0.0")
    assert done.returncode == 0, done.stderr
    assert "Its deployer is taken from the file of known goods" in done.stderr
    assert lab.state["running"] == {"1.0.0": 4}


def test_it_is_tried_until_the_region_answers(lab: Lab) -> None:
    lab.unreachable()
    command, around = (
        lab.command("restore", "mail", "--region", "R3", "--reason", "x", "--yes"),
        lab.environment,
    )
    with subprocess.Popen(
        command, env=around, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        lines = []
        while "It is tried again" not in "".join(lines):
            lines.append(run.stderr.readline())
            assert lines[-1], lines
        lab.unreachable(False)
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, "was read back" in out) == (0, True)


def test_out_of_time_it_stays_ordered_and_the_next_call_is_the_same_order(lab: Lab) -> None:
    lab.unreachable()
    assert lab.restore("--to", "1.0.0", "--within", "3s").returncode == 20
    lab.unreachable(False)
    done = lab.restore("--to", "1.0.0")
    assert done.returncode == 0, done.stderr
    seen = Record(lab.settings.emergencies, read_seal(lab.settings.known_good_key)).read()
    assert [(one.state, one.by, one.reason) for one in seen] == [("done", "ana", "it burns")]
    assert [order[0] for order in lab.state["orders"]] == [seen[0].key]


def test_a_target_that_refuses_for_good_ends_it_with_15(lab: Lab) -> None:
    script = lab.place / "order.py"
    script.write_text(script.read_text().replace("if generation <", "if True or generation <"))
    done = lab.restore("--json")
    assert done.returncode == 15
    assert json.loads(done.stdout)["state"] == "failed"
    said = lab.restore().stderr
    assert "refuses it for good: mend what it says, then: rollout emergency restore mail --region R3" in said
    assert "Another known good of the file: --to 1.0.0." in said
    assert "same key" not in said


def test_a_line_of_the_record_that_was_changed_shows(lab: Lab) -> None:
    assert lab.restore("--to", "1.0.0").returncode == 0
    file = lab.settings.emergencies
    file.write_text(file.read_text().replace("it burns", "all well"))
    assert "emergency.jsonl:1 is not as it was signed" in wrong(lab.restore("--to", "1.0.0"))


def test_show_tells_what_is_known_and_how_old_that_is(lab: Lab) -> None:
    told = json.loads(lab.run("show", "--json").stdout)
    assert [good["version"] for good in told["pairs"][0]["known_good"]] == ["2.0.0", "1.0.0"]
    assert told["age_s"] < 60
    assert "mail in R3: 2.0.0, 1.0.0 (generation 2)" in lab.run("show").stdout


def test_a_controller_that_is_well_is_asked_instead(lab: Lab) -> None:
    class Well(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Well) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            said = wrong(lab.restore("--url", url))
            assert "are well, so nothing was ordered" in said
            assert "try: rollout rollback mail" in said
            assert lab.state["orders"] == []
            assert lab.restore("--url", url, "--even-so").returncode == 0
        finally:
            server.shutdown()
            thread.join()


def test_a_person_types_the_region(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path)
    asyncio.run(found.known("1.0.0"))
    monkeypatch.setenv("ROLLOUT_DATA", str(found.settings.data))
    monkeypatch.setenv("ROLLOUT_CONFIG", str(found.settings.config))
    no = run("emergency", "restore", "mail", "--region", "R3", "--reason", "x", tty=True, answer="R1")
    assert (no.code, found.state["orders"]) == (2, [])
    assert "Nothing was ordered." in no.err
