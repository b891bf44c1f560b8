"""docs/cli.md names every command with its flags, and every exit code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from rollout.cli.app import build
from rollout.cli.exits import Exit

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: Any, path: str = "rollout") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}")


ALL = dict(commands(typer.main.get_command(build())))


def test_every_command_is_documented() -> None:
    assert [path for path in ALL if f"`{path}" not in DOC] == []
    assert len(ALL) >= 26


def test_every_flag_is_documented() -> None:
    flags = {option for command in ALL.values() for p in command.params for option in getattr(p, "opts", ())}
    flags = {option for option in flags if option.startswith("--")}
    assert sorted(option for option in flags if option not in DOC) == []
    assert len(flags) > 30


def test_every_exit_code_is_documented() -> None:
    assert [int(code) for code in Exit if f"| {int(code)} |" not in DOC] == []


def test_every_command_says_what_it_does_and_takes_json() -> None:
    for path, command in ALL.items():
        assert command.help, path
        assert "--json" in {option for p in command.params for option in p.opts}, path
