"""Laboratories for the deployer contract: one region, one service, made anew for each test."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import TransientError
from rollout.core.model import Kind
from rollout.demo.mail_queue import MailQueue, Owner
from rollout.deployers.process import ProcessDeployer
from rollout.ports import Deployer, Progress, Reply
from rollout.testing import FakeDeployer, ManualClock

COMMAND = [
    *("{python}", "-m", "rollout.demo.mail", "--version", "{version}", "--port", "{port}"),
    *("--slot", "{slot}", "--directory", "{directory}", "--lifeline"),
]


@dataclass(kw_only=True)
class Lab:
    """A region with three instances of `service`; `broken` is a version that cannot be deployed.

    `stall` makes two work items that nobody finishes. `effects` says how often something was really changed.
    """

    deployer: Deployer
    service: str = "mail"
    stall: Callable[[], None]
    effects: Callable[[], int]
    break_version: Callable[[str], None] = lambda _version: None
    good: str = "1.0.0"
    better: str = "1.1.0"
    broken: str = "9.9.9"

    async def order(self, key: str, kind: Kind, **fields: Any) -> Reply:
        """Apply under one key until it has ended, as the controller does."""
        action = Action(kind=kind, region="R3", service=self.service, **fields)
        for _ in range(400):
            reply = await self.deployer.apply(key, action)
            if reply.progress is not Progress.RUNNING:
                return reply
            await asyncio.sleep(0.05)
        raise AssertionError(f"{key} still runs after 20 s: {reply.result.message}")

    async def install(self) -> None:
        """Let the whole region run the good version, at generation 1."""
        await self.order("install", Kind.RESTORE, version=self.good, generation=1)

    async def deploy(self, key: str = "deploy", *, weight: int = 50, generation: int = 2) -> Reply:
        """Order a share of the better version."""
        return await self.order(
            key,
            Kind.DEPLOY,
            version=self.better,
            from_version=self.good,
            weight=weight,
            generation=generation,
        )

    async def started(self) -> list[tuple[str, str, datetime]]:
        """What runs in each place, and since when."""
        return [(one.id, one.version, one.started_at) for one in await self.deployer.instances(self.service)]


@contextmanager
def supervised(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real supervisor, which ends when the block does."""
    command = [sys.executable, "-m", "rollout.supervisor", "--directory", str(directory), "--lifeline"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as supervisor:
        try:
            yield supervisor
        finally:
            assert supervisor.stdin is not None
            supervisor.stdin.close()
            try:
                supervisor.wait(30)
            except subprocess.TimeoutExpired:
                supervisor.kill()  # its processes end with it
                raise


def process_options(name: str = "mail", **changes: Any) -> dict[str, Any]:
    service: dict[str, Any] = {"command": COMMAND, "instances": 3, "stalled": {}} | changes
    return {"directory": "R3", "services": {name: service}}


def fake_region() -> FakeDeployer:
    return FakeDeployer(ManualClock(datetime(2026, 3, 2, 10, 0, tzinfo=UTC)), "R3", size=3)


def fake_lab(fake: FakeDeployer) -> Lab:
    return Lab(
        deployer=fake,
        stall=lambda: fake.stall("mail", {"1": 400.0, "2": 400.0}, backlog=0),
        effects=lambda: len(fake.effects),
        break_version=lambda version: fake.fail_next(
            Kind.DEPLOY, f"{version} ended at once: unknown version"
        ),
    )


def process_lab(deployer: ProcessDeployer, directory: Path, service: str = "mail") -> Lab:
    def stall() -> None:
        """Two sends were claimed, 400 s ago, by a process that is no more."""
        long_ago = SystemClock().now().timestamp() - 400
        queue = MailQueue(directory / service / "data", lambda: long_ago)
        for _ in range(2):
            queue.accept(Owner("gone", "1.2.0"), "a@example.org", "stalled")
            queue.claim(Owner("gone", "1.2.0"), "dead")
        queue.close()

    def effects() -> int:
        return len((directory / service / "exits.jsonl").read_text().splitlines())

    return Lab(deployer=deployer, service=service, stall=stall, effects=effects)


def relayed_lab(deployer: Deployer, fake: FakeDeployer) -> Lab:
    """A region that is reached by the deployer under test, and is a fake itself."""
    near = fake_lab(fake)
    return replace(near, deployer=deployer)


async def ready(lab: Lab) -> Lab:
    """Wait until the region can be asked, and install."""
    for _ in range(100):
        try:
            await lab.install()
        except TransientError:
            await asyncio.sleep(0.05)
        else:
            return lab
    raise AssertionError("the region did not come up within 5 s")


def pids(directory: Path) -> list[int]:
    """The live processes whose command line names a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended while we looked
    return found
