"""The region agent as a real process, reached by the deployer `webhook` as the controller reaches it."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Kind
from rollout.deployers.webhook import WebhookDeployer
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings
from rollout.signing import signed

pytestmark = pytest.mark.real
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes!").decode()
ALL = [kind.value for kind in Kind if kind is not Kind.NOTIFY]


@contextmanager
def agent(directory: Path) -> Iterator[str]:
    """A running agent; gives its address."""
    (directory / "secret").write_text(SECRET)
    options = [
        "--region",
        "R3",
        "--directory",
        str(directory / "r3"),
        "--secret-file",
        str(directory / "secret"),
    ]
    command = [sys.executable, "-m", "rollout.demo.agent", *options, "--instances", "2"]
    command += ["--first-version", "1.0.0", "--lifeline"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            line = process.stderr.readline().decode()
            while "listens on port" not in line:
                assert line, "the agent ended"
                line = process.stderr.readline().decode()
            yield f"http://127.0.0.1:{line.split()[-1]}/"
        finally:
            process.stdin.close()
            process.stderr.read()
            process.wait(20)


@dataclass(frozen=True)
class Place:
    """An agent, and what speaks to it."""

    url: str
    http: httpx.AsyncClient
    deployer: WebhookDeployer

    async def order(self, key: str, kind: Kind, **fields: Any) -> Reply:
        action = Action(kind=kind, region="R3", service="mail-sender", **fields)
        for _ in range(200):
            reply = await self.deployer.apply(key, action)
            if reply.progress is not Progress.RUNNING:
                return reply
            await asyncio.sleep(0.05)
        raise AssertionError(f"{key} still runs")

    async def installed(self) -> None:
        for _ in range(200):
            try:
                running = (await self.order("first", Kind.VERIFY)).result.running
            except TransientError:
                running = {}
            if running == {"1.0.0": 2}:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the first version did not come up")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("agent")
    with agent(directory) as url:
        yield url, directory


@pytest.fixture
async def place(address: tuple[str, Path]) -> AsyncIterator[Place]:
    url, directory = address
    async with web.client() as http:
        around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=directory)
        options = {"url": url, "secret_file": "secret", "supports": ALL, "fences": True}
        deployer = DEPLOYERS.build("webhook", options, around)
        assert isinstance(deployer, WebhookDeployer)
        yield Place(url, http, deployer)


async def test_a_region_comes_up_deploys_goes_back_and_refuses_what_is_old(place: Place) -> None:
    await place.installed()
    rehearsed = await place.order("ro_1/1/0", Kind.REHEARSE, version="1.1.0")
    assert rehearsed.progress is Progress.SUCCEEDED
    share = {"version": "1.1.0", "from_version": "1.0.0", "weight": 50, "generation": 2}
    assert (await place.order("ro_1/2/0", Kind.DEPLOY, **share)).progress is Progress.SUCCEEDED
    read = await place.order("ro_1/2/1", Kind.VERIFY)
    assert read.result.running == {"1.0.0": 1, "1.1.0": 1}
    assert read.result.details["generation"] == 2
    back = await place.order("ro_1/3/0", Kind.RESTORE, version="1.0.0", generation=3)
    assert back.progress is Progress.SUCCEEDED
    with pytest.raises(PermanentError, match=r"409: Generation 2 .* lower than 3"):
        await place.order("ro_1/4/0", Kind.DEPLOY, **share)
    again = await place.order("ro_1/2/0", Kind.DEPLOY, **share)
    assert again.progress is Progress.SUCCEEDED
    assert (await place.order("ro_1/3/1", Kind.VERIFY)).result.running == {"1.0.0": 2}


async def test_instances_are_reached_through_the_agent(place: Place) -> None:
    await place.installed()
    found = await place.deployer.instances("mail-sender")
    assert [one.id for one in found] == ["1", "2"]
    for one in found:
        metrics = await place.http.get(f"{one.url}/metrics")
        assert f'slot="{one.id}"' in metrics.text
    sent = await place.http.post(f"{place.url}send", json={"to": "a@example.org", "subject": "x"})
    assert sent.status_code == 202
    assert (await place.http.get(f"{place.url}instances/9/metrics")).status_code == 503


async def test_it_says_that_it_lives_to_everybody(place: Place) -> None:
    answer = await place.http.get(f"{place.url}healthz")
    assert answer.json() == {"status": "ok", "region": "R3"}


@pytest.mark.parametrize("wrong", ["none", "forged", "old", "another body", "garbage"])
async def test_an_order_that_is_not_signed_by_us_now_is_refused(place: Place, wrong: str) -> None:
    body = json.dumps(
        {"action_id": "ro_9/1/0", "generation": 99, "action": "restore", "service": "mail-sender"}
    )
    at = SystemClock().now() - timedelta(seconds=600 if wrong == "old" else 0)
    other = "whsec_" + base64.b64encode(b"another secret of 32 bytes, said").decode()
    headers = signed("ro_9/1/0", at, body, (other if wrong == "forged" else SECRET,))
    headers |= {"webhook-signature": "garbage"} if wrong == "garbage" else {}
    sent = body + " " if wrong == "another body" else body
    answer = await place.http.post(place.url, content=sent, headers={} if wrong == "none" else headers)
    assert answer.status_code == 401
    assert (await place.http.get(f"{place.url}orders/ro_9%2F1%2F0")).status_code == 401


@pytest.mark.parametrize(
    ("body", "words"),
    [("{", "Invalid JSON"), ("{}", "action_id"), ('{"action_id": "a", "action": "explode"}', "generation")],
)
async def test_a_signed_order_that_makes_no_sense_is_refused_with_its_place(
    place: Place, body: str, words: str
) -> None:
    headers = signed("ro_9/1/0", SystemClock().now(), body, (SECRET,))
    answer = await place.http.post(place.url, content=body, headers=headers)
    assert answer.status_code == 422
    assert words in answer.json()["message"]


async def test_an_order_for_another_region_is_refused(place: Place) -> None:
    with pytest.raises(PermanentError, match="this is R3, not R1"):
        await place.deployer.apply(
            "ro_9/1/0", Action(kind=Kind.RESTORE, region="R1", service="mail-sender", version="1.0.0")
        )


async def test_after_a_restart_it_answers_from_memory_and_does_nothing_again(tmp_path: Path) -> None:
    said, ordered = [], []
    async with web.client() as http:
        around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=tmp_path)
        for turn in range(2):
            with agent(tmp_path) as url:
                options = {"url": url, "secret_file": "secret", "supports": ALL, "fences": True}
                deployer = DEPLOYERS.build("webhook", options, around)
                assert isinstance(deployer, WebhookDeployer)
                place = Place(url, http, deployer)
                if turn == 0:
                    await place.installed()
                said.append(await place.order("ro_1/2/0", Kind.RESTORE, version="1.1.0", generation=2))
                desired = tmp_path / "r3" / "region" / "mail-sender" / "desired.json"
                ordered.append(desired.stat().st_mtime_ns)
            remember(tmp_path / "r3" / "orders", "ro_1/2/0", message="as it was remembered")
    assert [reply.progress for reply in said] == [Progress.SUCCEEDED] * 2
    assert said[1].result.message == "as it was remembered"
    assert ordered[0] == ordered[1]


def remember(orders: Path, key: str, **changes: str) -> None:
    """Change a part of the answer that is kept, which nobody could come to by doing the order again."""
    (file,) = [file for file in orders.iterdir() if json.loads(file.read_text())["order"]["action_id"] == key]
    kept = json.loads(file.read_text())
    kept["answer"] |= changes
    file.write_text(json.dumps(kept))
