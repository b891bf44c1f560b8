"""A real server on loopback: the real controller over fakes, with policies of seconds.

What `rollout serve` wires is wired here too; only regions, sources and the clock are replaced: a second of
the controller passes with each of its looks. A version that ends in `-bad` fails four of five requests.
"""

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml

from api.app import create_app
from rollout import bootstrap
from rollout.client import Client
from rollout.clock import SystemClock
from rollout.settings import load_settings
from rollout.testing import FakePlugins, ManualClock
from tests.serving import Server

ROOT = Path(__file__).parents[2]
GOOD, KNOWN = "1.1.0", "1.0.0"
BAD = "1.2.0-bad"
PAUSE_S = 0.04  # of ours between two seconds of the controller
HEALTHY = {"errors": (0.0, 500.0), "restarts": (0.0, 4 / 3600)}
FAILING = {"errors": (400.0, 500.0), "restarts": (0.0, 4 / 3600)}
POLICY: dict[str, Any] = {
    "apiVersion": "rollout/v1",
    "name": "quick",
    "holdback": "25%",
    "steps": [{"set_weight": "75%"}, {"bake": "14s"}],
    "stages": [{"regions": ["R3"]}],
    "checks": ["errors", "restarts"],
    "judging": {"interval": "1s", "block": "2s", "warmup": "2s", "max_age": "5s", "min_requests": 50},
    "guards": {"crash_loop": {"restarts": 3, "within": "60s"}, "silence": "15s"},
    "watch": "30s",
    "recovery": {"stalled_after": "10s", "check_every": "2s", "within": "60s"},
    "deadlines": {"preflight": "20s", "deploy": "20s", "collect": "3s", "restore": "30s", "blind": "20s"},
}
POLICIES: tuple[dict[str, Any], ...] = (
    POLICY,
    {**POLICY, "name": "gated", "steps": [*POLICY["steps"], {"gate": "smoke"}]},
    {
        **POLICY,
        "name": "asking",
        "steps": [{"approval": {"min": 1, "within": "1h"}}, *POLICY["steps"]],
        "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}],
    },
    {**POLICY, "name": "slow", "steps": [{"set_weight": "75%"}, {"bake": "1h"}]},
)


class Plugins(FakePlugins):
    """Fakes in the place of what regions.yaml names."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, lambda _region: _numbers)
        self.sends = self.notifier

    def __call__(self, *_wired: object, **_named: object) -> "Wired":
        return Wired(self)


@dataclass
class Wired:
    """What rollout/bootstrap.py asks of its plugins."""

    fakes: Plugins

    def deployer(self, region: Any) -> Any:
        return self.fakes.deployer(region)

    def source(self, region: Any) -> Any:
        return self.fakes.source(region)

    def notifier(self) -> Any:
        return self.fakes.notifier

    def channels(self) -> dict[str, Any]:
        return {}


@dataclass
class Lab:
    """The server, and what a test works with."""

    url: str
    directory: Path
    plugins: Plugins
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, name: str = "admin") -> Client:
        return Client(self.url, self.tokens[name])

    def declare(
        self, service: str, policy: str = "quick", *, regions: tuple[str, ...] = ("R3", "R1")
    ) -> None:
        """A service that runs KNOWN, adopted, in the regions of its policy."""
        wanted = [name for name in regions if name == "R3" or policy == "asking"]
        for region in wanted:
            self.plugins.fake_deployer(region).install(service, KNOWN)
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        body = {"policy": policy, "regions": wanted}
        put = httpx.put(f"{self.url}/v1/services/{service}", json=body, headers=headers, trust_env=False)
        assert put.status_code == 201, put.text
        with self.client() as client:
            eventually(lambda: all(row.running for row in client.running(service)))
            client.adopt(service, "it serves well")


def eventually(holds: Any, within_s: float = 10.0) -> Any:
    """Wait until `holds()` gives something; real servers take real time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.03)
    raise AssertionError(f"not within {within_s} s: {holds}")


@contextmanager
def serving(directory: Path) -> Iterator[Lab]:
    """Run the server in a thread until the block ends."""
    config = directory / "config"
    (config / "policies").mkdir(parents=True)
    shutil.copy(ROOT / "regions.yaml", config / "regions.yaml")
    shutil.copy(ROOT / "policies" / "signals.yaml", config / "policies" / "signals.yaml")
    for policy in POLICIES:
        (config / "policies" / f"{policy['name']}.yaml").write_text(yaml.safe_dump(policy))
    clock = ManualClock(SystemClock().now())
    lab = Lab(url="", directory=directory, plugins=Plugins(clock))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lab.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        runner = _Thread(lab, clock, listening)
        with pytest.MonkeyPatch.context() as patch:  # while it is wired: other tests of this process wire too
            patch.setattr(bootstrap, "SteadyClock", lambda: clock)
            patch.setattr(bootstrap, "Plugins", lab.plugins)
            runner.start()
            runner.ready.wait(20)
        try:
            assert runner.failed is None, runner.failed
            yield lab
        finally:
            runner.stop()


class _Thread(threading.Thread):
    """The server's own thread and event loop."""

    def __init__(self, lab: Lab, clock: ManualClock, listening: socket.socket) -> None:
        super().__init__(daemon=True)
        self._lab, self._clock, self._listening = lab, clock, listening
        self._server: Server | None = None
        self.ready, self.failed = threading.Event(), None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # shown by the test that waits
            self.failed = error
        finally:
            self.ready.set()

    async def _serve(self) -> None:
        settings = load_settings(
            config=self._lab.directory / "config",
            data=self._lab.directory / "data",
            url=self._lab.url,
            collect_s=60,
        )
        async with bootstrap.controller(settings) as built:
            for role, name in (("admin", "admin"), ("deployer", "pipeline"), ("approver", "dana")):
                _, self._lab.tokens[name] = await built.access.create_token(name, role)
            _, self._lab.tokens["viewer"] = await built.access.create_token("viewer", "viewer")
            app = create_app(built)
            server = Server(
                uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
            )
            self._server = server
            asyncio.get_running_loop().call_later(0.2, self.ready.set)
            beating = asyncio.create_task(self._beat(built))
            await server.serve(sockets=[self._listening])
            beating.cancel()

    async def _beat(self, built: bootstrap.Controller) -> None:
        """Look once in each second of the controller, however slow this machine is."""
        while True:
            await built.reconciler.tick()
            await built.reconciler.settle()
            built.heartbeat.last_tick = self._clock.now()
            self._clock.advance(1)
            await asyncio.sleep(PAUSE_S)

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self.join(15)


def _numbers(ask: Any) -> Any:
    versions = {instance.version for instance in ask.instances}
    return {version: FAILING if version.endswith("-bad") else HEALTHY for version in versions}
