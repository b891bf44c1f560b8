"""Cases of the database: PostgreSQL killed and restarted, a standby promoted, a full disk."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.faults.asking import AsksPostgres
from tests.faults.figures import Figures
from tests.faults.people import people
from tests.faults.processes import eventually
from tests.faults.world import World
from tests.store.postgres_lab import Server

BACK_S = 30.0


def database_killed(world: World, server: Server, cycles: int, seed: int = 2) -> Figures:
    """Kill every process of the server, by turns with an immediate shutdown, and start it again."""
    figures, chance = Figures("PostgreSQL killed, restarted"), random.Random(seed)
    services = [world.declare("two"), world.declare("one")]
    noted = world.start(services[0])
    with people(world, services, seed=seed):
        for cycle in range(cycles):
            time.sleep(chance.uniform(0.2, 1.5))
            kill(server) if cycle % 2 == 0 else server.stop(signal.SIGQUIT)
            began = time.monotonic()
            time.sleep(chance.uniform(0.1, 0.8))
            server.start()
            up = time.monotonic()
            _wait_acknowledged(world, noted)
            figures.took("killed → acknowledged again", time.monotonic() - began)
            figures.took("up again → acknowledged again", time.monotonic() - up)
            figures.cycles += 1
    kept = world.acknowledged
    figures.said.append(f"acknowledged: {len(kept.starts)} starts and {len(kept.notes)} intents")
    return figures


def kill(server: Server) -> None:
    """SIGKILL the server and all of its children, as a lost machine would."""
    assert server._process is not None
    first = psutil.Process(server._process.pid)
    family = [first, *first.children(recursive=True)]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    server._process.wait(30)
    server._process = None
    psutil.wait_procs(family, 10)


@dataclass
class Servers:
    """A primary, and two ports: the standby of now has the one that the primary has not."""

    primary: Server
    other: int
    every: list[Server] = field(default_factory=list)

    def follow(self) -> Server:
        """A standby of the primary of now, on the port of the one that was lost."""
        lost = self.other if self.primary.port == self.first else self.first
        self.every.append(follow(self.primary, self.place / f"standby-{len(self.every)}", lost))
        return self.every[-1]

    def __post_init__(self) -> None:
        self.first, self.place = self.primary.port, self.primary.directory

    def stop(self) -> None:
        """End every standby, promoted or not."""
        for each in self.every:
            each.stop()


def standby_promoted(
    world: World, ask: AsksPostgres, servers: Servers, cycles: int, seed: int = 3
) -> Figures:
    """Kill the primary with COMMITs that nobody confirmed under way, and promote its standby by hand."""
    figures, chance = Figures("primary killed, standby promoted"), random.Random(seed)
    service = world.declare("two")
    for _ in range(cycles):
        standby = servers.follow()
        with people(world, [service], seed=seed) as busy:
            _wait_synchronous(servers.primary)
            eventually(lambda: service in busy.under_way, 30, "a rollout")
            time.sleep(chance.uniform(0.5, 1.5))
            receiver = _receiver(standby)
            receiver.suspend()  # from here on no COMMIT is confirmed
            asked = [Unsure(world, busy.under_way[service]) for _ in range(4)]
            time.sleep(0.5)
            kill(servers.primary)
            began = time.monotonic()
            receiver.resume()
            standby.promote()
            ask.server = servers.primary = standby
            _wait_acknowledged(world, busy.under_way[service])
            figures.took("killed → acknowledged by the new primary", time.monotonic() - began)
            figures.wrong += [line for each in asked for line in each.lies(figures)]
            figures.cycles += 1
    return figures


def _wait_acknowledged(world: World, rollout: str) -> None:
    """Until somebody says yes to an intent again."""
    eventually(lambda: any(world.note(rollout, at) for at in world.replicas), BACK_S, "acknowledged again")


class Unsure:
    """A request whose COMMIT hangs when its server dies: it must get an error, never an acknowledgement."""

    def __init__(self, world: World, rollout: str) -> None:
        self._world, self._rollout, self._text = world, rollout, f"unsure {time.monotonic_ns()}"
        self.answer: httpx.Response | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        replica = self._world.replicas[0]
        headers = {"Authorization": f"Bearer {self._world.token}"}
        url = f"{replica.url}/v1/rollouts/{self._rollout}/notes"
        with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False, timeout=45) as http:
            self.answer = http.post(url, json={"text": self._text}, headers=headers)

    def lies(self, figures: Figures) -> list[str]:
        """What its answer says that is not so."""
        self._thread.join(60)
        found = f"SELECT count(*) FROM intents WHERE kind = 'note' AND body LIKE '%{self._text}%'"
        there = self._world.ask(found)[0][0]
        code = self.answer.status_code if self.answer is not None else 0
        figures.said.append(f"unknown COMMIT: answered {code or 'nothing'}, recorded {there}")
        if code == 202 and there != 1:
            return [f"'{self._text}' was acknowledged and is recorded {there} times"]
        if code and code != 202 and code < 500:
            return [f"'{self._text}' was refused with {code}, and nobody knew what became of it"]
        return []


def _receiver(standby: Server) -> psutil.Process:
    assert standby._process is not None
    children = psutil.Process(standby._process.pid).children()
    return next(each for each in children if "walreceiver" in " ".join(each.cmdline()))


def _wait_synchronous(primary: Server) -> None:
    sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND replay_lsn = sent_lsn"
    eventually(lambda: primary.ask(sync), 20, "the standby confirms every COMMIT")


def follow(primary: Server, directory: Path, port: int) -> Server:
    """A new standby that runs, and without which nothing is acknowledged."""
    primary.ask("ALTER SYSTEM RESET synchronous_standby_names")
    standby = primary.standby(directory)
    standby.port = port
    standby.start()
    primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.ask("SELECT pg_reload_conf()")
    return standby


# --------------------------------------------------------------------------- a full disk

FULL_S = 120  # within which the part of the log that SQLite writes again is used up


def disk_full(world: World, fill: Callable[[], None], free: Callable[[], None], cycles: int) -> Figures:
    """The disk of the database takes no more, and after a while it does again."""
    figures = Figures("disk full")
    services = [world.declare("two"), world.declare("one")]
    replica = world.replicas[0]
    with people(world, services) as busy:
        for _ in range(cycles):
            eventually(lambda: len(busy.under_way) == 2, 30, "rollouts")
            time.sleep(0.7)
            fill()
            began = time.monotonic()
            said = eventually(lambda: _not_ready(world), FULL_S, "/readyz says that the disk is full")
            figures.took("full → not ready", time.monotonic() - began)
            count_ = "SELECT (SELECT count(*) FROM transitions), (SELECT count(*) FROM intents)"
            before = world.ask(count_)
            assert not any(world.note(busy.under_way[services[0]], replica) for _ in range(3)), "acknowledged"
            time.sleep(1.5)
            stood = world.ask(count_) == before
            free()
            began = time.monotonic()
            eventually(replica.ready, 30, "ready again")
            figures.took("room again → ready", time.monotonic() - began)
            figures.wrong += [] if stood else ["something was recorded on a full disk"]
            figures.said = [f"/readyz: {said}"]
            figures.cycles += 1
    return figures


def _not_ready(world: World) -> str:
    answer = world.http.get(f"{world.replicas[0].url}/readyz")
    return "" if answer.status_code == 200 else str(answer.json()["detail"])
