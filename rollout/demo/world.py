"""The demo's world on this machine: three regions, their users, and one controller, all real processes.

Every process holds a pipe to this one and ends when it closes, so nothing is left behind, however this ends.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from rollout import http as web
from rollout.clock import SystemClock
from rollout.config import load_configuration
from rollout.core.errors import RolloutError, TransientError
from rollout.core.model import Region
from rollout.ports import Deployer
from rollout.registry import DEPLOYERS, Surroundings
from rollout.settings import default_directory
from rollout.supervisor import files, install

SERVICE = "mail-sender"
FIRST = "1.0.0"
INSTANCES = 4
PER_MINUTE = 600  # sends per region and minute, on average
KEY_LIFETIME_S = 86_400  # of 1.2.0's signing key, unless it is retired before its time
REGIONS = {  # in the order of promotion
    "R3": ("APAC", "Asia/Tokyo", 0.2),
    "R1": ("Europe", "Europe/Berlin", 0.35),
    "R2": ("North America", "America/New_York", 0.45),
}
# The standard policy with its hours as seconds: the same steps, checks and budget. Harm of the kind that the
# incident had weighs more.
POLICY = """\
apiVersion: rollout/v1
name: demo
description: The standard way with its hours as seconds.
holdback: 25%
false_rollback_budget: 1%
steps:
  - set_weight: 25%
  - bake: 2s
  - set_weight: 75%
  - bake: 3s
stages:
  - regions: [R3]
  - regions: [R1]
    steps: [{set_weight: 25%}, {bake: 3s}, {set_weight: 75%}, {bake: 15s}]
  - regions: [R2]
checks:
  - errors
  - latency
  - {signal: restarts, weight: 4}
  - {signal: work_age, weight: 4}
  - {signal: oldest_age, limit: 60, no_data: ignore}
judging: {interval: 1s, block: 1s, warmup: 1s, max_age: 5s, min_requests: 3}
guards:
  crash_loop: {restarts: 3, within: 7s}
  success: {below: 50%, for: 5s}
  silence: 10s
watch: 3s
recovery: {stalled_after: 3s, check_every: 1s, within: 60s}
deadlines: {preflight: 60s, deploy: 60s, collect: 5s, restore: 60s, blind: 20s, queue: 10m}
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a region's durable queue says: nothing may be missing between accepted and delivered."""

    accepted: int
    delivered: int
    unfinished: int
    duplicates: int
    late: int


class World:
    """Starts and ends everything. Use as a context manager."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.config, self.data = directory / "config", directory / "data"
        self.port = _free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "World":
        shutil.rmtree(self.directory, ignore_errors=True)
        for path in (self.config / "policies", self.data, *map(self.region_directory, REGIONS)):
            path.mkdir(parents=True, mode=0o700)
        self._write_configuration()
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._processes)):
            self.end(name)

    # ------------------------------------------------------------------ starting and ending

    def start_regions(self) -> None:
        """One supervisor a region."""
        for name in REGIONS:
            where = str(self.region_directory(name))
            self._start(f"region-{name}", "rollout.supervisor", "--directory", where, "--lifeline")

    def start_controller(self) -> None:
        """The controller, as `rollout serve` starts it."""
        self._start("controller", "rollout.demo.controller", "--port", str(self.port))

    def start_load(self) -> None:
        """The users of all regions."""
        targets = [str(self.directory / f"load-{name}.json") for name in REGIONS]
        options = ("--per-minute", str(PER_MINUTE), "--tally", str(self.tally), "--lifeline")
        self._start("users", "rollout.demo.load", "--regions", *targets, *options)

    def retire_key(self, version: str) -> None:
        """The signing key of `version` ends now, everywhere: what the bad release cannot bear.

        A version that never started has no key, and nothing ends.
        """
        issued = SystemClock().now().timestamp() - KEY_LIFETIME_S
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.directory / f"signing-key-{version}", (issued, issued))

    def end(self, name: str) -> None:
        """End one process: ask, wait, insist."""
        process = self._processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """End one process as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        if process.stdin:
            process.stdin.close()
        process.wait()

    def dead(self) -> list[str]:
        """The processes that ended by themselves, with where their output is."""
        return [
            f"{name} ended with code {process.returncode}; see {self.log_of(name)}"
            for name, process in self._processes.items()
            if process.poll() is not None
        ]

    # ------------------------------------------------------------------ looking

    @property
    def tally(self) -> Path:
        """Where the users count what they sent."""
        return self.directory / "users.jsonl"

    @property
    def token_file(self) -> Path:
        """The first admin token."""
        return self.data / "admin-token"

    def region_directory(self, name: str) -> Path:
        """Where a region's processes keep their files."""
        return self.directory / "regions" / name

    def log_of(self, name: str) -> Path:
        """The output of one process."""
        return self.directory / f"{name}.log"

    def statuses(self) -> dict[str, files.Status]:
        """What each supervisor reports now."""
        paths = {name: self.region_directory(name) / SERVICE / "status.json" for name in REGIONS}
        return {name: found for name, path in paths.items() if (found := files.read(path, files.Status))}

    def exits(self) -> dict[str, list[files.Exit]]:
        """Every end of a process that nobody ordered, oldest first."""
        found: dict[str, list[files.Exit]] = {}
        for name in REGIONS:
            path = self.region_directory(name) / SERVICE / "exits.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            exits = [files.Exit.model_validate_json(line) for line in lines]
            found[name] = [one for one in exits if not one.planned]
        return found

    async def totals(self, name: str) -> Totals:
        """Ask a region's queue through any healthy instance. Raises httpx.HTTPError, KeyError."""
        urls = [one.url for one in self.statuses()[name].instances if one.healthy]
        async with web.client(3.0) as http:
            answer = await http.get(f"{urls[0]}/admin/totals")
        return Totals(**{field: int(answer.json()[field]) for field in Totals.__slots__})

    def sent(self) -> dict[str, dict[str, int]]:
        """The newest count of the users of each region."""
        lines = self.tally.read_text(encoding="utf-8").splitlines() if self.tally.exists() else []
        return {row["region"]: row for row in map(json.loads, lines)}

    async def install(self, version: str) -> bool:
        """Let every region run `version`, as if it had always done so; False while a supervisor starts."""
        regions = load_configuration(self.config).regions
        async with web.client() as http:

            def deployer(region: Region) -> Deployer:
                around = Surroundings(region=region.name, http=http, clock=SystemClock(), directory=self.data)
                return DEPLOYERS.build(region.deployer.kind, region.deployer.options, around)

            try:
                await install.order(regions.values(), deployer, SERVICE, version)
            except TransientError:
                return False
        return True

    # ------------------------------------------------------------------ files

    def _deployer(self, name: str) -> dict[str, object]:
        command = ["{python}", "-m", "rollout.demo.mail", "--version", "{version}", "--port", "{port}"]
        command += ["--slot", "{slot}", "--directory", "{directory}", "--lifeline"]
        service = {
            "command": command,
            "instances": INSTANCES,
            "max_unavailable": 2,
            "stalled": {"find": "/admin/stalled", "resume": "/admin/resume"},
            "environment": {
                "MAIL_KEY_LIFETIME_S": str(KEY_LIFETIME_S),
                "MAIL_KEY_DIRECTORY": str(self.directory),
            },
        }
        return {"directory": str(self.region_directory(name)), "services": {SERVICE: service}}

    def _write_configuration(self) -> None:
        regions = [
            {
                "name": name,
                "title": title,
                "time_zone": zone,
                "order": order,
                "traffic_share": share,
                "deployer": {"kind": "process", "options": self._deployer(name)},
                "source": {"kind": "scrape"},
            }
            for order, (name, (title, zone, share)) in enumerate(REGIONS.items(), start=1)
        ]
        written = {"apiVersion": "rollout/v1", "regions": regions}
        (self.config / "regions.yaml").write_text(json.dumps(written, indent=1), encoding="utf-8")
        (self.config / "policies" / "demo.yaml").write_text(POLICY, encoding="utf-8")
        signals = default_directory() / "policies" / "signals.yaml"
        shutil.copyfile(signals, self.config / "policies" / "signals.yaml")
        for name, (_, zone, _) in REGIONS.items():
            status = self.region_directory(name) / SERVICE / "status.json"
            target = {"region": name, "time_zone": zone, "status": str(status)}
            (self.directory / f"load-{name}.json").write_text(json.dumps(target), encoding="utf-8")

    def _start(self, name: str, module: str, *arguments: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ROLLOUT_")}
        environment |= {
            "ROLLOUT_CONFIG": str(self.config),
            "ROLLOUT_DATA": str(self.data),
            "ROLLOUT_TICK_S": "0.5",
            "ROLLOUT_COLLECT_S": "1",
            "ROLLOUT_LOG_FORMAT": "json",
        }
        with self.log_of(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )


def _free_port(wanted: int) -> int:
    """`wanted`, or one that the system gives when it is taken or 0."""
    for port in dict.fromkeys((wanted, 0)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RolloutError("No free port on 127.0.0.1.")


async def ready(url: str, http: httpx.AsyncClient) -> bool:
    """Whether the controller answers that it is ready."""
    try:
        return (await http.get(f"{url}/readyz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
