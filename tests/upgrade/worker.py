"""A replica as a process: the program of its PYTHONPATH on one PostgreSQL, with regions that all share.

It ends in order at SIGTERM. What it says: `ready`, then `refused: …` when the database lets it write no more.
"""

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollout.clock import SystemClock
from rollout.core.actions import Action, ActionResult
from rollout.core.errors import PermanentError, StoreError
from rollout.core.model import Instance, Kind, Region
from rollout.ports import Ask, Progress, Replica, Reply
from rollout.reconciler import Reconciler
from rollout.store import open_store
from rollout.testing import RecordingNotifier, ScriptedSource
from tests.scenarios.world import HEALTHY, ONE, POLICY, configuration

SIZE = 4
SHORT = {
    **POLICY,
    **ONE,
    "steps": [{"set_weight": 75}, {"bake": "6s"}],
    "watch": "3s",
    "guards": {"crash_loop": {"restarts": 3, "within": "60s"}, "silence": "60s"},
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "30s", "min_requests": 5},
    "deadlines": {
        "preflight": "90s",
        "deploy": "90s",
        "collect": "3s",
        "restore": "90s",
        "blind": "60s",
        "queue": "1h",
    },
}


class SharedTarget:
    """Instances in a file, so that every replica sees the same; each key once, and no lower generation."""

    supports = frozenset(Kind) - {Kind.NOTIFY}
    fences = True

    def __init__(self, place: Path) -> None:
        self._place = place

    async def apply(self, key: str, action: Action) -> Reply:
        with self.state(action.service) as state:
            if action.kind in (Kind.DEPLOY, Kind.RESTORE) and key not in state["done"]:
                if action.generation < state["generation"]:
                    raise PermanentError(
                        f"generation {action.generation} is lower than {state['generation']}"
                    )
                state["generation"] = action.generation
                state["done"].append(key)
                state["by"].append(os.environ.get("REPLICA", ""))
                new = SIZE if action.weight >= 100 else round(SIZE * action.weight / 100)
                state["running"] = {action.version: new}
                if action.from_version and new < SIZE:
                    state["running"][action.from_version] = SIZE - new
            details = {"generation": state["generation"], "items": [], "backlog": 0}
            result = ActionResult(running=dict(state["running"]), details=details)
        return Reply(progress=Progress.SUCCEEDED, result=result)

    async def instances(self, service: str) -> tuple[Instance, ...]:
        with self.state(service) as state:
            versions = [version for version, count in sorted(state["running"].items()) for _ in range(count)]
        at = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
        return tuple(
            Instance(id=str(n), version=version, url="", started_at=at, healthy=True)
            for n, version in enumerate(versions)
        )

    @contextmanager
    def state(self, service: str) -> Iterator[dict[str, Any]]:
        path = self._place / f"{service}.json"
        with (self._place / f"{service}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.read_text()
            state = json.loads(before)
            yield state
            after = json.dumps(state)
            if after != before:  # who looks from outside sees one or the other
                (self._place / f"{service}.part").write_text(after)
                (self._place / f"{service}.part").replace(path)

    def install(self, service: str, version: str) -> None:
        state = {"generation": 0, "running": {version: SIZE}, "done": [], "by": []}
        (self._place / f"{service}.json").write_text(json.dumps(state))


def reconciler(store: Any, place: Path, name: str) -> Reconciler:
    """The controller's heart on regions that are files."""
    target, source, notifier = SharedTarget(place), ScriptedSource(_healthy), RecordingNotifier()
    found = configuration(SHORT)

    def deployer(_: Region) -> SharedTarget:
        return target

    return Reconciler(
        store=store,
        clock=SystemClock(),
        configuration=lambda: found,
        deployer=deployer,
        source=lambda _: source,
        notifier=notifier,
        collect_s=1.0,
        replica=Replica(id=name, incarnation=f"in-{os.getpid()}", lease_s=3.0),
    )


def _healthy(ask: Ask) -> Any:
    return {one.version: HEALTHY for one in ask.instances}


async def run(url: str, place: Path, name: str) -> None:
    """Beat until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = open_store(url)
    heart = reconciler(store, place, name)
    print("ready", flush=True)
    while not stop.is_set():
        try:
            await heart.tick()
        except StoreError as error:
            print(f"refused: {error}", flush=True)
        await asyncio.sleep(0.2)
    await heart.stop()
    await heart.leave()
    store.close()


if __name__ == "__main__":
    os.environ["REPLICA"] = sys.argv[3]
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
