"""docs/own-service.md from its first line to a rollout that bakes: its files, its commands, what it shows."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-service.md").read_text(encoding="utf-8")
FILES = ("shop.py", "regions.yaml", "policies/signals.yaml")
LEFT_OUT = "…"


def block(name: str) -> str:
    found = re.search(rf"^```\w+ {re.escape(name)}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page, with the lines shown below it but those of measured numbers."""
    for shown in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for part in shown.removeprefix("$ ").split("\n$ "):
            command, *lines = part.splitlines()
            yield command, [line for line in lines if line[:1] != LEFT_OUT and " requests; " not in line]


def plain(text: str) -> str:
    """Without ids and numbers, which are others each time."""
    return re.sub(r"\d[\d.,:-]*\b", "#", re.sub(r"ro_\w{16}", "ID", text)).strip()


def missing(printed: str, lines: list[str]) -> list[str]:
    """The shown lines that were not printed."""
    found = {plain(line) for line in printed.splitlines()}
    return [line for line in lines if plain(line) not in found]


class Desk:
    """A terminal in the directory of the page."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        binaries = home / "bin"
        binaries.mkdir()
        (binaries / "rollout").write_text(f'#!/bin/sh\nexec {sys.executable} -m rollout.cli "$@"\n')
        (binaries / "rollout").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
        self.home = home / "shop"
        self._given = kept | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ROLLOUT_CONFIG": str(self.home),
            "ROLLOUT_DATA": str(self.home / "var"),
            "ROLLOUT_PORT": str(port),
            "COLUMNS": "200",
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        words = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
        return subprocess.run(
            ["sh", "-c", words],
            cwd=self.home,
            env=self._given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """The page's other two terminals."""
        serve = [sys.executable, "-m", "rollout.cli", "serve"]
        region = [sys.executable, "-m", "rollout.supervisor", "--directory"]
        wanted = [serve, *([*region, f"var/regions/{name}"] for name in ("EU", "US"))]
        started = [
            subprocess.Popen(words, cwd=self.home, env=self._given, stderr=subprocess.DEVNULL)
            for words in wanted
        ]
        try:
            yield
        finally:
            for each in started:
                each.terminate()
            for each in started:
                each.wait(20)

    def until(self, command: str, lines: list[str], within_s: float = 45) -> None:
        """Run it until it succeeds and prints these lines; real processes take real time."""
        deadline = time.monotonic() + within_s
        while (ran := self.run(command)).returncode != 0 or missing(ran.stdout, lines):
            lacks = missing(ran.stdout, lines)
            assert time.monotonic() < deadline, f"{command}: {lacks} is not in\n{ran.stdout}"
            time.sleep(0.5)


def test_the_page_leads_from_nothing_to_a_rollout_that_bakes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (desk.home / "policies").mkdir(parents=True)
    for name in FILES:
        (desk.home / name).write_text(block(name))
    shown = list(commands())
    here = [command.startswith("python") for command, _ in shown].index(True)
    started = [command for command, _ in shown].index("rollout start shop 1.1.0")
    for command, lines in shown[:here]:
        desk.until(command, lines)
    with desk.kept_running():
        for command, lines in shown[here : started + 1]:
            desk.until(command, lines)
        desk.until(
            "rollout events shop",
            ["07:38:53 ◐ EU deploying → baking  EU was read back: 1 × 1.0.0, 3 × 1.1.0."],
        )


def test_the_other_terminals_run_what_the_page_says() -> None:
    assert block("serve").strip() == "rollout serve"
    assert "python -m rollout.supervisor --directory var/regions/$r" in block("regions")
    assert "rollout watch shop --until attention" in PAGE
