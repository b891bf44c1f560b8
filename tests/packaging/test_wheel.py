"""The wheel installs and runs outside the clone, with the top-level package `api` in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
CLONE = Path(__file__).parents[2]


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ROLLOUT_", "PYTHONPATH"))}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the clone and installed apart, without its dependencies."""
    built, target = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built), cwd=CLONE)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q")
    run(*pip, "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=built)
    return target


def test_the_installed_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = "import api.app, rollout; print(rollout.__file__); print(api.app.__file__)"
    printed = run(sys.executable, "-c", code, cwd=tmp_path, path=installed)
    assert [line.startswith(str(installed)) for line in printed.splitlines()] == [True, True]


def test_the_wheel_brings_a_configuration_that_loads(installed: Path, tmp_path: Path) -> None:
    code = (
        "from rollout.config import load_configuration; from rollout.settings import load_settings\n"
        "found = load_configuration(load_settings().config); print(found.directory, sorted(found.policies))"
    )
    printed = run(sys.executable, "-c", code, cwd=tmp_path, path=installed)
    assert printed.startswith(str(installed))
    assert "['careful', 'emergency', 'standard']" in printed


def test_the_wheel_brings_migrations_templates_and_static_files(installed: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "rollout.cli", "db", "upgrade", cwd=tmp_path, path=installed)
    assert (tmp_path / "var" / "rollout.db").stat().st_mode & 0o777 == 0o600
    assert (installed / "api" / "dashboard" / "static" / "app.css").is_file()
    assert (installed / "api" / "dashboard" / "templates" / "rollout.html").is_file()
