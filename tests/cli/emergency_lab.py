"""One region that a program of ours moves, a controller that knows it, and the command as a process."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout.bootstrap import Controller, controller
from rollout.core.model import KnownGood, Release, Service
from rollout.settings import Settings, load_settings

DIGEST = "pkg:oci/mail@sha256:aa11"
SINCE = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
CODE = "import sys; from rollout.cli import main; sys.exit(main())"
TARGET = """\
#!{python} -IS
import fcntl, json, os, sys
place = {place!r}
said = {{name[8:].lower(): value for name, value in os.environ.items() if name.startswith("ROLLOUT_")}}
lock = open(place + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.path.exists(place + "/down"):
    print("nobody answers", file=sys.stderr)
    sys.exit(75)
with open(place + "/state.json") as file:
    state = json.load(file)
generation = int(said["generation"])
if said["action"] in ("deploy", "restore"):
    state["orders"].append([said["action_id"], generation, said["action"], said["version"], said["artifact"]])
    if generation < state["generation"]:
        print(f"generation {{generation}} is lower than {{state['generation']}}", file=sys.stderr)
        sys.exit(1)
    state["generation"], state["running"] = generation, {{said["version"]: 4}}
    with open(place + "/state.json", "w") as file:
        json.dump(state, file)
print(json.dumps({{"status": "succeeded", "running": state["running"],
                   "details": {{"generation": state["generation"]}}}}))
"""
REGIONS = """\
apiVersion: rollout/v1
regions:
  - name: R3
    title: APAC
    time_zone: Asia/Tokyo
    order: 1
    traffic_share: 100%
    deployer:
      kind: command
      options:
        fences: true
        commands: {{deploy: [{script}], restore: [{script}], verify: [{script}]}}
    source: {{kind: scrape}}
"""
SIGNALS = """\
apiVersion: rollout/v1
signals:
  errors:
    kind: ratio
    title: failed requests
    scrape: {total: {metric: mails_total}, bad: {metric: mails_total, where: {outcome: failed}}}
"""
POLICY = """\
apiVersion: rollout/v1
name: standard
steps: [{set_weight: 25%}, {bake: 15m}, {set_weight: 90%}, {bake: 15m}]
stages: [{regions: [R3]}]
checks: [{signal: errors, accept_unseen: the test has no traffic}]
"""


@dataclass(frozen=True)
class Lab:
    """`place` is the target's; `settings` are those of the controller and of the command."""

    settings: Settings
    place: Path

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.place / "state.json").read_text())  # type: ignore[no-any-return]

    def runs(self, version: str, generation: int = 0) -> None:
        """Put the target into a state, by other hands."""
        state = {"generation": generation, "running": {version: 4}, "orders": []}
        (self.place / "state.json").write_text(json.dumps(state))

    def unreachable(self, down: bool = True) -> None:
        (self.place / "down").touch() if down else (self.place / "down").unlink()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", CODE, "emergency", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")},
            "ROLLOUT_DATA": str(self.settings.data),
            "ROLLOUT_CONFIG": str(self.settings.config),
            "ROLLOUT_DATABASE_URL": self.settings.database_url,
            "ROLLOUT_URL": "http://127.0.0.1:9",  # nobody listens there
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, in a process of its own that knows only the environment."""
        command, around = self.command(*arguments), self.environment
        return subprocess.run(command, env=around, capture_output=True, text=True, timeout=60, check=False)

    def restore(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "restore", "mail", "--region", "R3", "--reason", "it burns", "--yes", "--by", "ana", *more
        )

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[Controller]:
        """A real controller on what is there, without its heartbeat."""
        async with controller(self.settings) as built:
            yield built

    async def known(self, *versions: str, generation: int = 0) -> None:
        """A controller learns, in this order, what is good, and keeps its file."""
        async with self.controller() as built:
            await built.store.put_service(Service(name="mail", policy="standard"))
            for version in versions:
                await built.store.adopt([good(version)])
            for _ in range(max(0, generation - len(versions))):
                await built.store.adopt([good(versions[-1])])
            assert built.emergencies is not None
            await built.emergencies.note()


def good(version: str) -> KnownGood:
    release = Release(service="mail", version=version, artifact=f"{DIGEST}-{version}")
    return KnownGood(service="mail", region="R3", release=release, since=SINCE, how="adopted", by="bob")


def made(directory: Path, url: str = "") -> Lab:
    """A region that runs 2.0.0, in a directory."""
    place, config = directory / "target", directory / "config"
    for each in (place, config / "policies"):
        each.mkdir(parents=True)
    script = place / "order.py"
    script.write_text(TARGET.format(python=sys.executable, place=str(place)))
    script.chmod(0o755)
    (config / "regions.yaml").write_text(REGIONS.format(script=script))
    (config / "policies" / "signals.yaml").write_text(SIGNALS)
    (config / "policies" / "standard.yaml").write_text(POLICY)
    lab = Lab(load_settings(config=config, data=directory / "data", database_url=url or None), place)
    lab.runs("2.0.0", generation=2)
    return lab
