"""policy init and config show: what is written, what is said, and what is never shown."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Run = Callable[..., Ran]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_first_policy_observes_is_short_and_can_be_used(run: Run, tmp_path: Path) -> None:
    ran = run("policy", "init", "checkout")
    file = tmp_path / "policies" / "checkout.yaml"
    assert (ran.code, ran.out.strip()) == (0, str(file))
    text = file.read_text()
    assert "name: checkout\nmode: observe " in text
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 14
    assert run("policy", "validate", str(file)).code == 0
    for command in ("policy validate", "service put checkout --policy checkout", "start checkout VERSION"):
        assert f"rollout {command}" in ran.err


def test_the_first_policy_of_all_is_written_where_there_is_only_regions_yaml(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_CONFIG", str(tmp_path))
    shutil.copy(ROOT / "regions.yaml", tmp_path)
    ran = run("policy", "init", "checkout")
    file = tmp_path / "policies" / "checkout.yaml"
    assert (ran.code, ran.out.strip()) == (0, str(file))
    assert f"There is no {tmp_path / 'policies' / 'signals.yaml'} yet" in ran.err
    assert "what errors, latency, restarts mean to your source (scrape)" in ran.err
    shutil.copy(ROOT / "policies" / "signals.yaml", file.parent)
    assert run("policy", "validate", str(file)).code == 0
    file.unlink()
    ran = run("policy", "init", "checkout")
    assert (ran.code, "There is no" in ran.err) == (0, False)
    assert run("policy", "validate", str(file)).code == 0


def test_a_policy_that_is_there_is_left_alone_without_force(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    ran = run("policy", "init", "--file", str(file))
    assert ran.code == 2
    assert file.read_text() == "precious"
    assert "--force" in ran.err
    assert run("policy", "init", "--file", str(file), "--force").code == 0
    assert "name: first" in file.read_text()


def test_what_is_to_be_typed_to_write_over_a_file_names_the_service_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "of us" / "checkout.yaml"
    assert run("policy", "init", "checkout", "--file", str(file)).code == 0
    refused = run("policy", "init", "checkout", "--file", str(file))
    typed = shlex.split(refused.err.partition("try: rollout ")[2].partition(" (writes")[0])
    assert run(*typed).code == 0
    assert "name: checkout" in file.read_text()


def test_a_name_that_no_policy_may_have_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path
) -> None:
    ran = run("policy", "init", "Check Out")
    assert ran.code == 2
    assert list(tmp_path.glob("policies/*")) == []


def shown(run: Run, *flags: str) -> dict[str, tuple[str, str]]:
    found = json.loads(run("config", "show", "--origin", "--json", *flags).out)
    return {each["name"]: (each["value"], each["origin"]) for each in found["settings"]}


def test_each_setting_says_where_it_comes_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "9090")
    file = tmp_path / "mine"
    file.write_text("rot_x")
    found = shown(run, "--url", "https://rollout.example", "--token-file", str(file))
    assert found["url"] == ("https://rollout.example", "flag --url")
    assert found["port"] == (9090, "environment ROLLOUT_PORT")
    assert found["tick_s"] == (1.0, "default")
    assert found["token_file"][1] == "flag --token-file"
    assert found["token"][1] == "file, see token_file"


def test_no_secret_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_TOKEN", "rot_geheim")
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", "postgresql://rollout:geheim@db/rollout")
    for flags in ((), ("--origin",), ("--json",)):
        ran = run("config", "show", *flags)
        assert ran.code == 0
        assert "geheim" not in ran.out + ran.err
        assert "postgresql://rollout:***@db/rollout" in ran.out


def test_the_files_in_use_are_listed(run: Run) -> None:
    out = run("config", "show").out
    assert "✔ " in out
    assert "regions.yaml" in out
    assert "standard.yaml" in out
