"""The verbs judge and backtest as a person runs them: text, JSON, exit codes, errors in words."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.cli import judging, main
from rollout.cli.exits import Exit
from rollout.cli.session import World
from rollout.core.signals import Sample
from rollout.offline.samples import SamplesFile
from rollout.ports import Past
from rollout.testing import ManualClock
from tests.offline.recorded import DEPLOY, beside, minutes, text, write

POLICY = """
apiVersion: rollout/v1
name: tried
holdback: 50%
steps: [{set_weight: 50%}, {bake: 1h}]
stages: [{regions: [main]}]
checks: [{signal: errors, kind: ratio}]
watch: 1h
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLOUT_CONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("ROLLOUT_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    write(tmp_path / "bad.csv", minutes(beside(6.0)))
    write(tmp_path / "good.csv", minutes(beside()))

    def go(*argv: str, tty: bool = False, days: int = 0) -> Ran:
        out, err = io.StringIO(), Terminal() if tty else io.StringIO()
        code = main(
            argv,
            World(out=out, err=err, input=io.StringIO(), clock=ManualClock(DEPLOY + timedelta(days=days))),
        )
        return Ran(code, out.getvalue(), err.getvalue())

    return go


def judge(run: Callable[..., Ran], file: str, *more: str, **how: bool) -> Ran:
    argv = ("--policy", "policy.yaml", "--samples", file, "--deploy", f"R3={text(0)}")
    return run("judge", *argv, *more, **how)


def test_a_policy_that_says_its_kinds_needs_no_configuration_and_regions_of_its_own_are_judged(run):
    ran = judge(run, "bad.csv", "--service", "mail")
    assert ran.code == Exit.ROLLED_BACK
    assert "mail: 1.5.0 against 1.4.0, policy tried" in ran.out
    assert "undecided → fail  R3 errors" in ran.out
    assert "↩ Would have rolled back at 2026-03-02 12:" in ran.out
    assert "Evidence of harm" in ran.out
    assert ran.err == ""


def test_a_harmless_release_exits_zero_and_one_that_ends_too_early_does_not(run, tmp_path):
    assert judge(run, "good.csv").code == Exit.SUCCEEDED
    write(tmp_path / "short.csv", minutes(beside(), last=20))
    ran = judge(run, "short.csv")
    assert ran.code == Exit.STILL_RUNNING
    assert "Nothing would have been done by 2026-03-02 12:20:00" in ran.out


def test_json_is_one_object_with_the_documented_keys(run):
    found = judge(run, "bad.csv", "--json", "--plots", "plots").json
    keys = set(found) | set(found["checks"][0]) | set(found["acts"][0])
    doc = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert sorted(key for key in keys if f"`{key}`" not in doc) == []
    assert (found["outcome"], found["candidate"]) == ("rolled_back", "1.5.0")
    assert found["checks"][0]["log_e"] >= found["threshold"]
    (plot,) = found["plots"]
    assert Path(plot).read_text(encoding="utf-8").startswith("<svg")


def test_a_file_of_one_version_is_judged_by_time(run, tmp_path):
    lines = [
        line.replace("1.5.0", "").replace("1.4.0", "") for line in minutes(lambda m, r: {"": (600, 0.005)})
    ]
    write(tmp_path / "one.csv", lines)
    found = judge(run, "one.csv", "--json").json
    assert found["candidate"] != found["baseline"]
    assert found["notes"] == ["R3 was switched whole: rows after its deploy are judged by those before."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        "file,service,version,region,deployed_at,label,harm_at",
        f"bad.csv,mail,1.5.0,R3,{text(0)},bad,{text(2)}",
        f"good.csv,mail,1.5.0,R3,{text(0)},good,",
        f"good.csv,web,1.5.0,R3,{text(0)},bad,",
    ]
    (tmp_path / "releases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_backtest_prints_each_release_the_figures_and_the_errors_with_their_plots(run, folder):
    ran = run("backtest", "--policy", "policy.yaml", "--samples", ".", "--plots", "plots", "--jobs", "1")
    assert ran.code == Exit.SUCCEEDED
    assert "3 releases, 3 labelled: 1 rolled back, 2 promoted." in ran.out
    assert "F1 0.667  precision 1.000  recall 0.500  (rollback counts: 1 right, 0 false, 1 missed" in ran.out
    assert "0 (at most 95) in 100 harmless releases" in ran.out
    assert "✖ web 1.5.0 is bad and would have been promoted" in ran.out
    assert len(list((folder / "plots").glob("*.svg"))) == 1


def test_the_json_of_a_backtest_has_the_documented_keys_and_can_be_narrowed(run, folder):
    found = run("backtest", "--policy", "policy.yaml", "--samples", ".", "--json", "--service", "mail").json
    assert [release["outcome"] for release in found["releases"]] == ["rolled_back", "promoted"]
    assert found["score"]["rollback"]["f1"] == 1.0
    assert found["errors"] == []
    doc = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    keys = {*found, *found["score"], *found["score"]["rollback"], *found["releases"][0]}
    assert sorted(key for key in keys if f"`{key}`" not in doc and not key.endswith("_at_most")) == []


def test_progress_is_for_a_terminal_only(run, folder):
    assert "\x1b[" in judge(run, "good.csv", tty=True).err
    assert judge(run, "good.csv").err == ""
    assert judge(run, "good.csv", "--json", tty=True).err == ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("judge", "--policy", "policy.yaml", "--samples", "good.csv"), "Say when each region was deployed"),
        (
            ("judge", "--policy", "policy.yaml", "--deploy", "R3"),
            "either --samples FILE, or --source prometheus",
        ),
        (
            ("judge", "--policy", "policy.yaml", "--samples", "good.csv", "--deploy", "R3"),
            "--deploy: 'R3' is not REGION=TIME, such as R3=",
        ),
        (
            ("judge", "--policy", "policy.yaml", "--samples", "good.csv", "--deploy", "R3=now"),
            "--deploy: 'now' is not a time such as",
        ),
        (
            ("judge", "--policy", "policy.yaml", "--samples", "none.csv", "--deploy", f"R3={text(0)}"),
            "none.csv: cannot be read: No such file",
        ),
        (
            ("judge", "--policy", "standard", "--samples", "good.csv", "--deploy", f"R3={text(0)}"),
            "The configuration in",
        ),
        (
            ("judge", "--policy", "policy.yaml", "--source", "prometheus", "--deploy", f"R3={text(0)}"),
            "A source is asked for a service; say --service NAME.",
        ),
        (("backtest", "--policy", "policy.yaml", "--samples", "nowhere"), "releases.csv: cannot be read"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_words(run, argv: tuple[str, ...], said: str):
    ran = run(*argv)
    assert ran.code == Exit.USAGE
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_the_policies_of_a_directory_are_known_by_name(run):
    root = str(Path(__file__).parents[2])
    ran = judge(run, "good.csv", "--policy", "standard", "--config", root, "--json")
    assert ran.json["policy"] == "standard"
    assert "restarts is not in good.csv and was not judged." in ran.json["notes"]


class Kept:
    """A source whose history is a samples file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def history(self, past: Past) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                time=row.time,
                region=row.region,
                version=row.version,
                signal=row.signal,
                value=row.value,
                exposure=row.exposure,
            )
            for row in SamplesFile(self._path)
            if row.region == past.region and row.time <= past.until
        )


@pytest.mark.parametrize("labelled", [True, False])
def test_the_history_of_sources_is_judged_by_both_verbs(
    run: Callable[..., Ran], folder: Path, monkeypatch: pytest.MonkeyPatch, labelled: bool
):
    root = str(Path(__file__).parents[2])
    monkeypatch.setattr(judging, "_sources", lambda *_: {"R3": Kept(folder / "bad.csv")})
    policy = (folder / "policy.yaml").read_text(encoding="utf-8").replace("[main]", "[R3]")
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")
    asked = ("--policy", "policy.yaml", "--source", "prometheus", "--config", root, "--json")
    deploy = ("--service", "mail", "--deploy", f"R3={text(0)}")
    one = run("judge", *asked, *deploy, days=3)
    assert (one.code, one.json["outcome"]) == (Exit.ROLLED_BACK, "rolled_back")
    listed = ("--labels", "releases.csv") if labelled else deploy
    many = run("backtest", *asked, *listed, days=3).json
    assert [release["outcome"] for release in many["releases"]] == ["rolled_back"] * (3 if labelled else 1)
    assert many["score"]["labelled"] == (3 if labelled else 0)


def test_a_region_without_a_source_that_remembers_is_said(run: Callable[..., Ran]):
    asked = ("--policy", "policy.yaml", "--source", "prometheus", "--service", "mail")
    ran = run("judge", *asked, "--deploy", f"R3={text(0)}")
    assert ran.code == Exit.USAGE
    assert "R3 has no source with a history here; those that have: none." in ran.err
