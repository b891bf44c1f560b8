"""docs/pipelines.md: every example is taken out of the page and run against a server, with its exit code."""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from rollout.client import Client
from tests.pipelines.conftest import Machine, need
from tests.pipelines.lab import BAD, GOOD, ROOT, Lab

pytestmark = pytest.mark.real
PAGE = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
OUTCOMES = [(GOOD, 0, "promoted"), (BAD, 10, "rolled_back")]
New = Callable[..., str]


def block(language: str, holding: str) -> str:
    """The one example of a language that holds a text."""
    found = [text for kind, text in BLOCKS if kind == language and holding in text]
    assert len(found) == 1, (language, holding, len(found))
    return found[0]


def environment(lab: Lab, service: str, version: str) -> dict[str, str]:
    return {
        "ROLLOUT_URL": lab.url,
        "ROLLOUT_TOKEN": lab.tokens["pipeline"],
        "SERVICE": service,
        "VERSION": version,
    }


def test_every_example_of_the_page_is_run_here() -> None:
    assert sorted(kind for kind, _ in BLOCKS) == ["console", "sh", "sh", "sh", "sh", "sh", "yaml", "yaml"]


# --------------------------------------------------------------------------- GitHub Actions


class Github:
    """What the runner of GitHub Actions does with the steps of one job."""

    def __init__(self, machine: Machine, values: Mapping[str, str]) -> None:
        self._machine, self._values = machine, dict(values)
        self.outputs, self.summary = machine.home / "outputs", machine.home / "summary"

    def run(self, job: Mapping[str, Any]) -> list[subprocess.CompletedProcess[str]]:
        ran: list[subprocess.CompletedProcess[str]] = []
        for step in job["steps"]:
            failed = any(done.returncode for done in ran)
            if failed and step.get("if") != "always()":
                continue
            given = {**job["env"], **step.get("env", {})}
            ran.append(self._step(step, {name: self._filled(str(text)) for name, text in given.items()}))
            for line in self.outputs.read_text().splitlines():
                name, _, value = line.partition("=")
                self._values[f"steps.{step.get('id')}.outputs.{name}"] = value
        return ran

    def _step(self, step: Mapping[str, Any], given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        self.outputs.touch()
        return self._machine.run(
            ["bash", "-e", "-c", step["run"]],
            **given,
            GITHUB_ACTIONS="true",
            GITHUB_OUTPUT=str(self.outputs),
            GITHUB_STEP_SUMMARY=str(self.summary),
            GITHUB_REPOSITORY="acme/checkout",
            GITHUB_SERVER_URL="https://github.example",
            GITHUB_SHA=self._values["github.sha"],
            GITHUB_RUN_ID="7",
            GITHUB_ACTOR="ana",
        )

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: self._values[found[1]], text)


@pytest.mark.parametrize(("version", "code", "outcome"), OUTCOMES)
def test_the_workflow_of_github_ends_as_the_release_does(
    lab: Lab, service: New, machine: Machine, version: str, code: int, outcome: str
) -> None:
    need("bash")
    name = service()
    workflow = yaml.safe_load(block("yaml", "runs-on"))
    job = workflow["jobs"]["rollout"]
    job["env"]["SERVICE"] = name
    github = Github(
        machine,
        {
            "vars.ROLLOUT_URL": lab.url,
            "secrets.ROLLOUT_TOKEN": lab.tokens["pipeline"],
            "github.sha": version,
        },
    )
    first, second = github.run(job)
    assert first.returncode == code, first.stderr
    assert second.returncode == 0, second.stderr
    outputs = dict(line.split("=", 1) for line in github.outputs.read_text().splitlines())
    assert outputs["outcome"] == outcome
    assert outputs["url"] == f"{lab.url}/rollouts/{outputs['rollout-id']}"
    *_, command, last = first.stderr.splitlines()
    assert command.startswith("::notice title=" if code == 0 else "::error title=")
    assert last.endswith(outputs["url"])
    summary = github.summary.read_text()
    assert "| R3 | failed requests |" in summary
    assert "## Timeline" in summary  # of the report
    with Client(lab.url, lab.tokens["viewer"]) as client:
        started = client.rollout(outputs["rollout-id"])
    assert (started.author, started.version) == ("ana", version)
    assert started.change_url == f"https://github.example/acme/checkout/commit/{version}"


def test_a_job_of_github_that_is_run_again_starts_nothing_again(
    lab: Lab, service: New, machine: Machine
) -> None:
    name = service()
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "acme/checkout",
        "GITHUB_SHA": "9f2c",
        "GITHUB_RUN_ID": "7",
    }
    given = {**environment(lab, name, GOOD), **github}
    command = ["rollout", "start", name, GOOD]
    first, again = machine.run(command, **given), machine.run(command, **given)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert first.stdout == again.stdout
    assert "was started before" in again.stderr


# --------------------------------------------------------------------------- GitLab CI


@pytest.mark.parametrize(("version", "code", "outcome"), OUTCOMES)
def test_the_job_of_gitlab_ends_as_the_release_does(
    lab: Lab, service: New, machine: Machine, version: str, code: int, outcome: str
) -> None:
    need("bash")
    job = yaml.safe_load(block("yaml", ".gitlab-ci.yml"))["rollout"]
    assert job["variables"]["VERSION"] == "$CI_COMMIT_SHORT_SHA"
    given = {
        **environment(lab, service(), version),
        "CI_PROJECT_PATH": "acme/checkout",
        "CI_PROJECT_URL": "https://gitlab.example/acme/checkout",
        "CI_COMMIT_SHA": "9f2c1e0",
        "CI_PIPELINE_ID": "7",
        "GITLAB_USER_LOGIN": "ana",
    }
    done = machine.run(["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])], **given)
    after = machine.run(["bash", "-eo", "pipefail", "-c", "\n".join(job["after_script"])], **given)
    assert done.returncode == code, done.stderr
    assert after.returncode == 0, after.stderr
    assert code not in job["allow_failure"]["exit_codes"]
    assert all((machine.home / name).stat().st_size for name in job["artifacts"]["paths"])
    with Client(lab.url, lab.tokens["viewer"]) as client:
        assert client.rollout((machine.home / "rollout-id.txt").read_text().strip()).outcome == outcome


# --------------------------------------------------------------------------- curl


def only(machine: Machine, *tools: str) -> str:
    """A path on which these tools are, and nothing else."""
    need("curl")
    place = machine.home.parent / "few"
    place.mkdir()
    for tool in tools:
        found = subprocess.run(
            ["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=False
        )
        (place / tool).symlink_to(found.stdout.strip())
    return str(place)


TOOLS = ("sh", "curl", "date", "mktemp", "rm", "tr", "awk", "grep", "head", "cut", "cat", "sleep")


@pytest.mark.parametrize("extra", [("jq",), ()], ids=["with-jq", "without-jq"])
@pytest.mark.parametrize(("version", "code", "outcome"), OUTCOMES)
def test_the_script_with_curl_ends_as_the_release_does(
    lab: Lab, service: New, machine: Machine, version: str, code: int, outcome: str, extra: tuple[str, ...]
) -> None:
    for tool in extra:
        need(tool)
    machine.path = only(machine, *TOOLS, *extra)
    script = machine.home / "release.sh"
    script.write_text(block("sh", "release.sh SERVICE VERSION"))
    name = service()
    done = machine.run(["sh", str(script), name, version], **environment(lab, name, version))
    assert done.returncode == code, done.stderr
    assert f"{name} {version}: {outcome}. " in done.stderr
    again = machine.run(["sh", str(script), name, version], **environment(lab, name, version))
    assert (again.returncode, again.stdout) == (code, done.stdout)  # the same key: the same rollout


def test_the_script_with_curl_says_what_was_refused_and_when_time_is_over(
    lab: Lab, service: New, machine: Machine
) -> None:
    machine.path = only(machine, *TOOLS)
    script = machine.home / "release.sh"
    script.write_text(block("sh", "release.sh SERVICE VERSION"))
    name = service("slow")
    given = environment(lab, name, GOOD)
    cases = [
        ({"ROLLOUT_TOKEN": "rot_wrong"}, name, 30, "not-authenticated"),
        ({"ROLLOUT_TOKEN": lab.tokens["viewer"]}, name, 30, "not-allowed"),
        ({}, "no-such-service", 31, "no-such-service"),
        ({"WAIT_S": "1"}, name, 20, "the rollout goes on"),
        ({"ROLLOUT_URL": "http://127.0.0.1:1", "WAIT_S": "1"}, name, 20, "the rollout goes on"),
    ]
    for more, wanted, code, words in cases:
        done = machine.run(["sh", str(script), wanted, GOOD], **{**given, **more})
        assert (done.returncode, words in done.stderr) == (code, True), (wanted, done.stderr)


# --------------------------------------------------------------------------- detached, and gates


@pytest.mark.parametrize(("version", "code", "outcome"), OUTCOMES)
def test_a_later_job_reads_the_outcome(
    lab: Lab, service: New, machine: Machine, version: str, code: int, outcome: str
) -> None:
    given = environment(lab, service(), version)
    start, later = block("sh", "# job 1"), block("sh", "# job 2")
    assert machine.run(["sh", "-e", "-c", start], **given).returncode == 0
    with Client(lab.url, lab.tokens["viewer"]) as client:
        started = (machine.home / "rollout-id.txt").read_text().strip()
        assert client.wait(started, timeout_s=60).outcome == outcome
    done = machine.run(["sh", "-e", "-c", later], **given)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(("result", "code"), [(0, 0), (1, 10)])
def test_the_pipelines_own_test_decides_by_a_gate(
    lab: Lab, service: New, machine: Machine, result: int, code: int
) -> None:
    smoke = machine.home / "smoke-test"
    smoke.write_text(f"#!/bin/sh\nexit {result}\n")
    smoke.chmod(0o755)
    given = environment(lab, service("gated"), GOOD)
    done = machine.run(["sh", "-c", block("sh", "./smoke-test")], **given)
    assert done.returncode == code, done.stderr
    assert "gate smoke passed" in done.stdout if code == 0 else "gate smoke failed" in done.stdout


def test_a_gate_is_reported_with_curl_too(lab: Lab, service: New, machine: Machine) -> None:
    need("curl")
    name = service("gated")
    with Client(lab.url, lab.tokens["pipeline"]) as client:
        started = client.start(name, GOOD)
        given = {**environment(lab, name, GOOD), "ROLLOUT_ID": started.id}
        done = machine.run(["sh", "-c", block("sh", "gate.json")], **given)
        assert done.returncode == 0, done.stderr
        assert json.loads((machine.home / "gate.json").read_text())["id"] == started.id
        assert client.wait(started.id, timeout_s=20).phase == "succeeded"  # the early report counted


def test_the_token_of_a_pipeline_is_made_as_the_page_says(lab: Lab, machine: Machine) -> None:
    command = block("console", "token create").removeprefix("$ ").split()
    given = {"ROLLOUT_URL": lab.url, "ROLLOUT_TOKEN": lab.tokens["admin"]}
    made = machine.run(command, **given)
    assert made.returncode == 0, made.stderr
    with Client(lab.url, made.stdout.strip()) as client:
        assert (client.whoami().token.role, client.whoami().token.services) == ("deployer", ("checkout",))
