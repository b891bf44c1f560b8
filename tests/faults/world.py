"""The world of the fault tests: real controllers on one database, regions that outlive them, a network.

Policies have bakes of seconds. What the API acknowledged is kept here, to be looked for in the database.
"""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.faults.asking import Ask
from tests.faults.checks import others
from tests.faults.facts import Acknowledged, Facts, read_facts
from tests.faults.figures import Figures
from tests.faults.processes import Process, Replica, ended, eventually
from tests.faults.proxy import Proxy, Rules, proxy
from tests.faults.target import FENCES, REGIONS

BAKE_S = 2
LEASE_S, TICK_S = 2, 0.2
READ_S = 30.0  # within which the database knows what runs, after the last rollout ended
ORDER_S = 1.0  # how long an answer of a region is waited for
GOOD, BAD = "succeeded", "rolled_back"
UNFINISHED = (  # of those that went back, late orders are looked for longer
    "SELECT id, service, phase, next_due_at FROM rollouts WHERE (phase NOT IN ('succeeded', 'rolled_back') "
    "OR phase = 'succeeded' AND (next_due_at IS NOT NULL "
    "OR id IN (SELECT rollout_id FROM actions WHERE state = 'pending')) "
    "OR id IN (SELECT rollout_id FROM obligations WHERE state = 'open'))"
)
SIGNALS: dict[str, Any] = {
    "errors": {
        "kind": "ratio",
        "title": "failed requests",
        "http_json": {"rows": "rows[*]", "version": "build", "bad": "failed", "total": "requests"},
    }
}
POLICY: dict[str, Any] = {
    "apiVersion": "rollout/v1",
    "holdback": "25%",
    "steps": [{"set_weight": "75%"}, {"bake": f"{BAKE_S}s"}],
    "checks": ["errors"],
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "5s", "min_requests": 50},
    "guards": {"success": {"below": "60%", "for": "3s"}, "silence": "20s"},
    "watch": "1s",
    "recovery": {"stalled_after": "5s", "check_every": "1s", "within": "60s"},
    "deadlines": {"preflight": "5m", "deploy": "5m", "collect": "2s", "restore": "10m", "blind": "5m"},
}
STAGES = {"three": [["R3"], ["R1"], ["R2"]], "two": [["R3"], ["R1"]], "one": [["R3"]], "soft": [["R2"]]}
_NUMBERS = count(1)


def _secret(name: str) -> str:
    return "whsec_" + base64.b64encode(f"the secret of replica {name:>10}".encode()).decode()


@dataclass
class World:
    """Everything that runs, and what was asked of it."""

    directory: Path
    database_url: str
    ask: Ask
    rules: Rules = field(default_factory=Rules)
    names: tuple[str, ...] = ("a", "b")
    lease_s: float = LEASE_S
    processes: dict[str, Process] = field(default_factory=dict)
    acknowledged: Acknowledged = field(default_factory=Acknowledged)
    proxy: Proxy = field(init=False)
    http: httpx.Client = field(init=False)

    # ------------------------------------------------------------------ life

    def replica(self, name: str) -> Replica:
        found = self.processes[name]
        assert isinstance(found, Replica)
        return found

    @property
    def replicas(self) -> list[Replica]:
        return [self.replica(name) for name in self.names]

    def start_target(self) -> int:
        """Start the regions, and return their port."""
        settings = {"secrets": {name: _secret(name) for name in self.names}, "takes_s": 0.1}
        (self.directory / "target.json").write_text(json.dumps(settings))
        command = ["-m", "tests.faults.target", str(self.directory)]
        self.processes["target"] = Process("target", command, {}, self.directory / "target.log")
        self.processes["target"].start()
        port = self.directory / "target.port"
        eventually(port.exists, 10, "the regions listen", 0.02)
        return int(port.read_text())

    def start_replicas(self, target: int) -> None:
        write_configuration(self.directory / "config", self.proxy.port, target)
        for name in self.names:
            own = {
                "ROLLOUT_CONFIG": str(self.directory / "config"),
                "ROLLOUT_DATABASE_URL": self.database_url,
                "ROLLOUT_TICK_S": str(TICK_S),
                "ROLLOUT_COLLECT_S": "2",
                "ROLLOUT_LEASE_S": str(self.lease_s),
                "ROLLOUT_LOG_FORMAT": "json",
                "FAULTS_SECRET": _secret(name),
                "FAULTS_CLOCK": str(self.clock_of(name)),
                "PYTHONPATH": str(Path(__file__).parent / "skewed"),
            }
            self.processes[name] = Replica(name, self.directory, own)
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.wait_ready()

    def clock_of(self, name: str) -> Path:
        """The file that says by how many seconds the clock of a replica is off."""
        return self.directory / f"{name}.clock"

    # ------------------------------------------------------------------ asking

    @property
    def token(self) -> str:
        """The first admin token, in the data directory of whoever made it."""
        files = [replica.data / "admin-token" for replica in self.replicas]
        return next(file.read_text("ascii").strip() for file in files if file.exists())

    def once(self, method: str, path: str, body: Any = None, *, at: Replica, key: str = "") -> httpx.Response:
        """One request to one replica, and no second try. Raises httpx.HTTPError."""
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        return self.http.request(method, at.url + path, json=body, headers=headers)

    def sure(self, method: str, path: str, body: Any = None, *, within_s: float = 90) -> Any:
        """Ask, one replica after the other, with the same key until it is acknowledged."""
        key = f"k-{next(_NUMBERS)}" if method == "POST" else ""
        ends, found = time.monotonic() + within_s, "nobody lives"
        while time.monotonic() < ends:
            for replica in [one for one in self.replicas if one.alive]:
                try:
                    answer = self.once(method, path, body, at=replica, key=key)
                except httpx.HTTPError as error:
                    found = repr(error)
                    continue
                found = f"{answer.status_code} {answer.text[:500]}"
                if answer.status_code < 300:
                    return answer.json()
                assert answer.status_code >= 500 or answer.status_code in {409, 429}, found
            time.sleep(0.1)
        raise AssertionError(f"{method} {path} was not acknowledged within {within_s:g} s: {found}")

    # ------------------------------------------------------------------ what people do

    def declare(self, policy: str = "three", name: str = "") -> str:
        """A new service that runs FIRST, adopted, everywhere."""
        service = name or f"mail-{next(_NUMBERS)}"
        regions = [region for stage in STAGES[policy] for region in stage]
        self.sure("PUT", f"/v1/services/{service}", {"policy": policy, "regions": regions})
        rows = f"SELECT 1 FROM service_regions WHERE service = '{service}' AND running_at IS NOT NULL"
        eventually(lambda: len(self.ask(rows)) == len(regions), 20, f"{service} was read back")
        self.sure("POST", f"/v1/services/{service}/adopt", {"reason": "it serves well"})
        return service

    def start(self, service: str, version: str = "", *, ends: str = GOOD) -> str:
        """A release, and the id of its rollout once that is acknowledged; `ends`: how it must end."""
        named = version or f"{next(_NUMBERS)}.0.0" + ("-bad" if ends == BAD else "")
        found: str = self.sure("POST", "/v1/rollouts", {"service": service, "version": named})["id"]
        self.acknowledged.starts[found] = (service, named, ends)
        return found

    def note(self, rollout_id: str, at: Replica) -> bool:
        """An intent by one request; kept only when it was acknowledged."""
        text = f"note {next(_NUMBERS)}"
        with contextlib.suppress(httpx.HTTPError):
            answer = self.once("POST", f"/v1/rollouts/{rollout_id}/notes", {"text": text}, at=at)
            if answer.status_code == 202:
                self.acknowledged.notes.append((rollout_id, text))
                return True
        return False

    # ------------------------------------------------------------------ looking

    def phase(self, rollout_id: str) -> str:
        return str(self.ask(f"SELECT phase FROM rollouts WHERE id = '{rollout_id}'")[0][0])

    def is_over(self, rollout_id: str) -> bool:
        """Whether it has ended and owes nothing."""
        return not self.ask(f"{UNFINISHED} AND id = '{rollout_id}'")

    def wait(self, rollout_id: str, phase: str, within_s: float = 60) -> None:
        def reached() -> bool:
            found = self.phase(rollout_id)
            assert found == phase or found not in (GOOD, BAD), f"{rollout_id}: {found}, not {phase}"
            return found == phase

        eventually(reached, within_s, f"{rollout_id} is {phase}")

    def holder(self, service: str) -> Replica | None:
        """Who works on a service now, as the database says."""
        rows = self.ask(f"SELECT owner FROM claims WHERE service = '{service}'")
        by_id = {(one.data / "replica-id").read_text().strip(): one for one in self.replicas}
        return by_id.get(rows[0][0]) if rows else None

    def journal(self) -> list[dict[str, Any]]:
        """What the regions wrote down."""
        lines = (self.directory / "journal.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def standing(self) -> Any:
        port = (self.directory / "target.port").read_text()
        return self.http.get(f"http://127.0.0.1:{port}/standing").json()["places"]

    def finish(self, within_s: float = 90) -> None:
        """Wait until every rollout has ended and nothing is owed any more."""
        try:
            eventually(lambda: not self.unfinished(), within_s, "every rollout ends")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.unfinished()}") from error
        with contextlib.suppress(AssertionError):  # the check says what differs
            eventually(lambda: not list(others(self.facts())), READ_S, "each region is read once more", 0.3)

    def unfinished(self) -> str:
        """A line for each rollout that is not over, or still owes something."""
        return "\n".join(map(str, self.ask(UNFINISHED)))

    def conclude(self, figures: Figures) -> Figures:
        """The same check at the end of every case."""
        self.finish()
        figures.check(self.facts())
        return figures

    def facts(self) -> Facts:
        return read_facts(self.ask, self.journal(), self.standing(), self.acknowledged)


def write_configuration(directory: Path, orders: int, target: int) -> None:
    """Regions behind the proxy, policies of seconds."""
    (directory / "policies").mkdir(parents=True)
    regions = [
        {
            "name": name,
            "title": name,
            "time_zone": "UTC",
            "order": number,
            "traffic_share": share,
            "deployer": {
                "kind": "webhook",
                "options": {
                    "url": f"http://127.0.0.1:{orders}/{name}/{{service}}",
                    "secret_env": "FAULTS_SECRET",
                    "supports": ["deploy", "restore", "verify", "rehearse", "collect"],
                    "fences": name in FENCES,
                    "timeout_s": ORDER_S,
                },
            },
            "source": {
                "kind": "http_json",
                "options": {
                    "url": f"http://127.0.0.1:{target}/stats?service={{service}}&region={name}"
                    "&from={start}&to={end}"
                },
            },
        }
        for number, (name, share) in enumerate(zip(REGIONS, (0.2, 0.3, 0.5), strict=True), start=1)
    ]
    _write(directory / "regions.yaml", {"apiVersion": "rollout/v1", "regions": regions})
    _write(directory / "policies" / "signals.yaml", {"apiVersion": "rollout/v1", "signals": SIGNALS})
    for name, stages in STAGES.items():
        policy = {**POLICY, "name": name, "stages": [{"regions": regions} for regions in stages]}
        _write(directory / "policies" / f"{name}.yaml", policy)


def _write(file: Path, content: Any) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")


@contextmanager
def world(directory: Path, database_url: str, ask: Ask, **options: Any) -> Iterator[World]:
    """Start everything, and end everything."""
    made = World(directory, database_url, ask, **options)
    with ended(made.processes), httpx.Client(trust_env=False, timeout=5) as made.http:
        target = made.start_target()
        with proxy(target, made.rules) as made.proxy, ended(made.processes):
            made.start_replicas(target)
            yield made
