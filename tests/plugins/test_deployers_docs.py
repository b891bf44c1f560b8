"""docs/deployers.md against the code: its examples are run, and its tables are complete."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from webhook_lab import OTHER, SECRET

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.model import Kind
from rollout.deployers.answer import Told, order_of
from rollout.deployers.command import CommandOptions, told_by_environment
from rollout.deployers.webhook import WebhookOptions
from rollout.ports import Deployer, Progress
from rollout.registry import DEPLOYERS, Surroundings
from rollout.signing import signed

DOCS = Path(__file__).parents[2] / "docs" / "deployers.md"
TEXT = DOCS.read_text(encoding="utf-8")
DEPLOY = Action(kind=Kind.DEPLOY, region="R3", service="mail", version="1.2.0", weight=25, generation=7)


def example(name: str) -> str:
    """The code block that is marked with a name."""
    found = re.search(rf"^```\w+ {name}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"{DOCS} has no example '{name}'"
    return found[1]


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(DEPLOYERS._kinds)
    yield
    DEPLOYERS._kinds.clear()
    DEPLOYERS._kinds.update(before)


async def build(kind: str, options: dict[str, Any], place: Path) -> Deployer:
    async with web.client() as http:
        around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=place)
        return DEPLOYERS.build(kind, options, around)


def test_the_lines_that_verify_a_signature_accept_ours_and_nothing_else() -> None:
    found: dict[str, Any] = {}
    exec(example("verify"), found)
    is_ours, now = found["is_ours"], SystemClock().now()
    headers = signed("ro_01/7/0", now, '{"a": 1}', (OTHER, SECRET))
    assert is_ours(SECRET, headers, b'{"a": 1}')
    assert is_ours(OTHER, headers, b'{"a": 1}')
    assert not is_ours(SECRET, headers, b'{"a": 2}')
    assert not is_ours(SECRET, {**headers, "webhook-id": "another"}, b'{"a": 1}')
    assert not is_ours(SECRET, signed("ro_01/7/0", now, '{"a": 1}', (OTHER,)), b'{"a": 1}')
    old = signed("ro_01/7/0", now - timedelta(seconds=301), '{"a": 1}', (SECRET,))
    assert not is_ours(SECRET, old, b'{"a": 1}')


@pytest.mark.real
async def test_the_example_of_a_command_deploys_and_reads_back(tmp_path: Path) -> None:
    script = tmp_path / "order.sh"
    script.write_text(example("command"))
    script.chmod(0o755)
    commands = {name: [str(script)] for name in ("deploy", "restore", "verify")}
    deployer = await build("command", {"commands": commands, "fences": True}, tmp_path)
    for kind in (Kind.DEPLOY, Kind.VERIFY):
        action = Action(kind=kind, region="R3", service="mail", version="1.2.0", weight=100, generation=7)
        reply = await deployer.apply(f"ro_01/{kind}/0", action)
        assert (reply.progress, reply.result.running) == (Progress.SUCCEEDED, {"1.2.0": 1})
    assert [one.version for one in await deployer.instances("mail")] == ["1.2.0"]


@pytest.mark.usefixtures("registered")
async def test_the_example_of_a_plugin_registers_and_answers(tmp_path: Path) -> None:
    exec(example("plugin"), {})
    deployer = await build("nomad", {"address": "here"}, tmp_path)
    assert (await deployer.apply("ro_01/7/0", DEPLOY)).progress is Progress.RUNNING


@pytest.mark.parametrize(
    "words",
    [
        [f"`{name}" for name in told_by_environment("ro_01/7/0", DEPLOY)],
        [
            f"{name}:"
            for name in (*WebhookOptions.model_fields, *CommandOptions.model_fields)
            if name != "secret_env"
        ],
        ["secret_env"],
        [f'"{name}"' for name in order_of("ro_01/7/0", DEPLOY)],
        [f"`{name}`" for name in Told.model_fields],
        [f"`{kind}`" for kind in Kind if kind is not Kind.NOTIFY],
    ],
)
def test_every_option_field_and_variable_is_described(words: list[str]) -> None:
    assert [word for word in words if word not in TEXT] == []
