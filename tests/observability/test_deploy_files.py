"""What is shipped for Prometheus, Grafana and systemd is right: asked of promtool and systemd themselves."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rollout.telemetry.catalogue import COUNTED, LEVELS, TIMED
from rollout.telemetry.meters import Meters

ROOT = Path(__file__).parents[2]
DEPLOY, MANUAL = ROOT / "deploy", (ROOT / "docs" / "operations.md")
RULES = DEPLOY / "prometheus" / "rules.yml"
OF_OTHERS = {"up", "ALERTS"}  # made by Prometheus itself
FUNCTIONS = {
    "sum", "max", "min", "count", "rate", "increase", "absent", "vector", "histogram_quantile", "by", "on",
    "and", "or", "group_left", "label_values",
}  # fmt: skip


def tool(name: str) -> str:
    """A real program; without it the test is skipped by name, or fails where everything is required."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not installed"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exposed() -> dict[str, set[str]]:
    """Every series name that /metrics can show, with its labels."""
    found: dict[str, set[str]] = {level.name: set(level.labels) for level in LEVELS}
    found |= {f"{counted.name}_total": set(counted.labels) for counted in COUNTED}
    for timed in TIMED:
        found |= {f"{timed.name}_{part}": {*timed.labels, "le"} for part in ("bucket", "sum", "count")}
    return found


def rules() -> list[dict[str, Any]]:
    written = yaml.safe_load(RULES.read_text())
    return [rule for group in written["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Every expression of the dashboard by where it stands, its variables filled in."""
    board = json.loads((DEPLOY / "grafana" / "rollout.json").read_text())
    found = {f"annotation {each['name']}": each["expr"] for each in board["annotations"]["list"]}
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    fill = {"$service": "mail", "$region": "R3", "$signal": "errors", "$window": "7d"}
    for variable, value in fill.items():
        found = {place: text.replace(variable, value) for place, text in found.items()}
    return found


def assert_exists(place: str, expression: str) -> None:
    known = exposed()
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\b(by|on|group_left) *\([^)]*\)", " ", expression)
    names = set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - FUNCTIONS - OF_OTHERS
    assert names or set(re.findall(r"\w+", expression)) & OF_OTHERS, place
    assert names <= set(known), f"{place} uses {names - set(known)}, which /metrics does not have"
    for name, inside in re.findall(r"(rollout_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+) *(?:=~|!~|!=|=)", inside))
        assert labels <= known[name], f"{place}: {name} has no {labels - known[name]}"


def test_the_catalogue_is_what_metrics_shows() -> None:
    text = Meters().text(()).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    ours = {name for name in families if name.startswith("rollout_")}
    assert ours == {each.name for each in (*COUNTED, *TIMED, *LEVELS)}


@pytest.mark.parametrize("place", expressions())
def test_the_dashboard_uses_only_metrics_and_labels_that_exist(place: str) -> None:
    assert_exists(place, expressions()[place])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_uses_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert_exists(rule["alert"], rule["expr"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert f"`{rule['alert']}`" in MANUAL.read_text(), "the runbook has no line for it"


def test_every_section_that_an_alert_leads_to_is_in_the_manual() -> None:
    titles = re.findall(r"^#+ (.+)$", MANUAL.read_text(), re.MULTILINE)
    known = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    led = [place for rule in rules() for place in re.findall(r"#([a-z-]+)", rule["annotations"]["action"])]
    assert len(led) >= 5
    assert set(led) <= known


def test_every_metric_is_explained_in_the_manual() -> None:
    text = MANUAL.read_text()
    named = {f"{c.name}_total" for c in COUNTED} | {each.name for each in (*TIMED, *LEVELS)}
    assert sorted(name for name in named if f"`{name}`" not in text) == []
    known = set(exposed()) | named
    said = set(re.findall(r"`(rollout_[a-z_]+)`", text)) - {"rollout_id"}
    assert said <= known, f"the manual names {said - known}, which do not exist"


def test_the_dashboard_says_what_each_panel_is_and_no_two_panels_overlap() -> None:
    board = json.loads((DEPLOY / "grafana" / "rollout.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
    assert max(x for x, _ in taken) == 23
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.real
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    promtool = tool("promtool")
    said = ran(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert f"{len(rules())} rules found" in said
    assert "SUCCESS" in ran(promtool, "test", "rules", str(RULES.with_name("rules_test.yml")))


@pytest.mark.real
def test_each_alert_is_made_to_fire_by_a_test_of_promtool() -> None:
    written = RULES.with_name("rules_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if written.count(rule["alert"]) == 0] == []


@pytest.mark.real
def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(expressions().values())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in ran(tool("promtool"), "check", "rules", str(file))


@pytest.mark.real
def test_promtool_takes_the_scrape_configuration(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("rot_x")
    text = (DEPLOY / "prometheus" / "scrape.yml").read_text()
    assert "/etc/prometheus/rollout-token" in text
    file = tmp_path / "scrape.yml"
    file.write_text(text.replace("/etc/prometheus/rollout-token", str(token)))
    shutil.copy(RULES, tmp_path)
    assert "SUCCESS" in ran(tool("promtool"), "check", "config", str(file))


@pytest.mark.real
def test_promtool_finds_nothing_wrong_with_the_metrics(tmp_path: Path) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=Meters().text(()),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "")


@pytest.mark.real
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    text = (DEPLOY / "systemd" / "rollout.service").read_text()
    assert "ExecStart=/opt/rollout/bin/rollout serve" in text
    unit = tmp_path / "rollout.service"
    unit.write_text(text.replace("/opt/rollout/bin/rollout", sys.executable))
    said = ran(analyze, "verify", "--man=no", "--recursive-errors=no", str(unit))
    assert "rollout.service" not in said, said
    exposure = ran(analyze, "security", "--offline=true", "--no-pager", str(unit))
    level = re.search(r"exposure level for rollout\.service: ([\d.]+)", exposure)
    assert level is not None
    assert float(level[1]) < 2.0
