#!/usr/bin/env python3
"""The whole story in containers, with figures: a good release through a restart of haproxy and a killed
replica that stays dead, and a bad one that comes back by itself while PostgreSQL is killed and started again.

`deploy/compose/try.py [--keep]` starts compose.yaml, tells what it saw, and ends it. Exit code 0 only if all
of it is true. Needs Python alone; BASE and other images as for up.sh (docs/containers.md).
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENGINE = os.environ.get("ENGINE", "podman")
URL = f"http://127.0.0.1:{os.environ.get('ROLLOUT_PUBLISH', '8080')}"
SERVICE, GOOD, BETTER, BAD = "mail-sender", "1.0.0", "1.1.0", "1.2.0"
FRONTS = {"R3": "r3-front", "R1": "r1-front", "R2": "r2-front"}
PATIENCE_S = float(os.environ.get("PATIENCE_S", "900"))  # for one release
STATS = """
import socket, sys
with socket.create_connection((sys.argv[1], 9999), 5) as s:
    s.sendall(b"show stat mail 4 -1\\n")
    while part := s.recv(65536): sys.stdout.write(part.decode())
"""


class Untrue(Exception):
    """Something did not happen as it is told."""


# --------------------------------------------------------------------------- asking


def engine(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ENGINE, *words], check=check, capture_output=True, text=True)


def container(service: str) -> str:
    labels = ("com.docker.compose.project=rollout", f"com.docker.compose.service={service}")
    found = engine("ps", "-aq", *(f"--filter=label={label}" for label in labels)).stdout.split()
    if not found:
        raise Untrue(f"no container of {service} is there")
    return found[0]


REPLICAS = ("controller", "controller-2")


class Api:
    """The controller over HTTP, as the admin; a call is repeated while nobody answers."""

    def __init__(self) -> None:
        read = [engine("exec", container(name), "cat", "/data/admin-token", check=False) for name in REPLICAS]
        self._token = next(one.stdout.strip() for one in read if one.returncode == 0)
        self._calls = 0
        self.replicas: list[dict[str, Any]] = []  # as last told
        told = [engine("exec", container(name), "cat", "/data/replica-id", check=False) for name in REPLICAS]
        self.names = dict(zip((one.stdout.strip() for one in told), REPLICAS, strict=True))

    def __call__(self, path: str, body: Any = None, method: str = "") -> Any:
        self._calls += 1
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        headers["Idempotency-Key"] = f"try-{os.getpid()}-{self._calls}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(URL + path, data, headers, method=method or None)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=15) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code in (502, 503, 504) and time.monotonic() < deadline:
                    time.sleep(0.5)
                    continue
                raise Untrue(f"{path}: {error.code} {error.read().decode()[:300]}") from error
            except (OSError, ValueError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def weights(region: str) -> dict[str, int]:
    """Of the servers of one region's haproxy; empty while it does not answer."""
    command = ("exec", container("controller"), "python3", "-c", STATS, FRONTS[region])
    told = engine(*command, check=False).stdout
    rows = csv.DictReader(io.StringIO(told.removeprefix("# ").strip()))
    return {row["svname"]: int(row["uweight"]) for row in rows}


def until(what: str, holds: Callable[[], Any], within_s: float = 120) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise Untrue(f"{what}: not within {within_s:.0f} s")
        time.sleep(1)
    return found


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stdout.flush()


def true(claim: str, holds: bool) -> None:
    if not holds:
        raise Untrue(claim)
    say(f"✔ {claim}")


# --------------------------------------------------------------------------- the story


def is_hardened() -> None:
    """Nothing to write on, no root, no right to gain."""
    name = container("controller")
    shown = json.loads(engine("inspect", name).stdout)[0]
    user = engine("exec", name, "id", "-u").stdout.strip()
    true(f"the controller runs as user {user}, not as root", user == "10001")
    true("its root file system is read-only", shown["HostConfig"]["ReadonlyRootfs"])
    wrote = engine("exec", name, "python3", "-c", "open('/opt/rollout/x', 'w')", check=False)
    true("and refuses a write", wrote.returncode != 0)
    caps = "print(next(l.split()[1] for l in open('/proc/1/status') if l.startswith('CapEff')))"
    true("it holds no capability", int(engine("exec", name, "python3", "-c", caps).stdout, 16) == 0)


def regions_run(api: Api, version: str) -> bool:
    found = api(f"/v1/services/{SERVICE}/regions")["items"]
    return len(found) == 3 and all(one["running"] == {version: 4} for one in found)


def phase_of(view: dict[str, Any], region: str) -> str:
    parts = (one for stage in view["stages"] for one in stage["regions"])
    return next(str(one["phase"]) for one in parts if one["region"] == region)


def good_release(api: Api) -> None:
    began = time.monotonic()
    path = start(api, BETTER)
    until("R3 bakes", lambda: phase_of(api(path), "R3") == "baking", PATIENCE_S)
    split = weights("R3")
    share = min(split.values()) / sum(split.values())
    true(f"R3's haproxy gives {BETTER} {share:.1%} of the traffic: {split}", abs(share - 0.1) < 0.005)
    restart_of_haproxy(api, path, split)
    until("R1 is touched", lambda: phase_of(api(path), "R1") in ("deploying", "baking"), PATIENCE_S)
    dead = holder(api)
    engine("kill", "-s", "KILL", container(dead))
    killed = time.monotonic()
    engine("stop", "-t", "0", container(dead))  # also if its restart policy was quicker than the kill's note
    try:
        other = until("the other replica holds it", lambda: (now := holder(api)) != dead and now)
    except Untrue as error:
        raise Untrue(f"{dead} was killed; {error}; {api.replicas}") from error
    took = time.monotonic() - killed
    say(f"✔ {dead} was killed while it worked on {SERVICE}; {other} went on {took:.0f} s later")
    view = until("it ends", lambda: ended(api(path)), PATIENCE_S)
    engine("start", container(dead))
    numbers = [row["number"] for row in rows(api, path)]
    true("its history has no gap", numbers == list(range(1, len(numbers) + 1)))
    order = [row["region"] for row in rows(api, path) if row["to_phase"] == "passed" and row["region"]]
    took = time.monotonic() - began
    true(
        f"{BETTER} {view['phase']} over {' → '.join(order)} in {took:.0f} s",
        (view["phase"], order) == ("succeeded", ["R3", "R1", "R2"]),
    )


def holder(api: Api) -> str:
    """The replica that works on the service; empty while none does."""
    api.replicas = api("/v1/replicas")["items"]
    ids = {one["id"] for one in api.replicas if one["alive"] and SERVICE in one["services"]}
    return next((api.names[one] for one in ids if one in api.names), "")


def restart_of_haproxy(api: Api, path: str, split: dict[str, int]) -> None:
    """While the rollout is held, so that no next order sets the weights in place of the next reading."""
    api(f"{path}/hold", {"reason": "haproxy is restarted"})
    engine("restart", "-t", "1", container(FRONTS["R3"]))
    restarted = time.monotonic()
    until("the weights are set again", lambda: weights("R3") == split, 60)
    took = time.monotonic() - restarted
    say(f"✔ haproxy of R3 was restarted; its weights were right again after {took:.0f} s")
    until("it is held", lambda: api(path)["phase"] == "held")
    api(f"{path}/resume", {"reason": "its weights are as they were"})


def bad_release(api: Api) -> None:
    until("the watch of the good one is over", lambda: regions_run(api, BETTER), PATIENCE_S)
    path = start(api, BAD)
    until("R3 is touched", lambda: phase_of(api(path), "R3") != "pending", PATIENCE_S)
    engine("kill", "-s", "KILL", container("postgres"))
    engine("start", container("postgres"))
    say("✔ PostgreSQL was killed and started again")
    view = until("it ends", lambda: ended(api(path)), PATIENCE_S)
    true(
        f"{BAD} was {view['phase'].replace('_', ' ')} by itself: {view['reason']['text']}",
        (view["phase"], view["outcome"]) == ("rolled_back", "rolled_back"),
    )
    until(f"all run {BETTER} again", lambda: regions_run(api, BETTER))
    split = until("all servers of R3 carry traffic", lambda: set(weights("R3").values()) == {256})
    true("every region was read back, and every server of R3 carries its part again", bool(split))


def start(api: Api, version: str) -> str:
    made = api("/v1/rollouts", {"service": SERVICE, "version": version})
    say(f"{SERVICE} {version} is started: {made['id']}")
    return f"/v1/rollouts/{made['id']}"


def ended(view: dict[str, Any]) -> Any:
    if view["phase"] == "rollback_failed":
        raise Untrue(view["reason"]["text"])
    return view if view["finished_at"] else None


def rows(api: Api, path: str) -> list[dict[str, Any]]:
    return list(api(f"{path}/events?limit=500")["items"])


def users_account() -> None:
    lines = engine("exec", container("users"), "tail", "-n", "3", "/tmp/users.jsonl").stdout.splitlines()
    for one in map(json.loads, lines):
        say(
            f"users of {one['region']}: {one['sent']} sends, {one['accepted']} accepted, "
            f"{one['failed'] + one['broken']} not"
        )


def last_words() -> None:
    """What the controllers and their database logged at the end: they are gone soon."""
    for name in (*REPLICAS, "postgres"):
        told = engine("logs", "--tail", "40", container(name), check=False)
        say(f"{name} logged:\n{told.stdout}{told.stderr}")


def story() -> None:
    api = Api()
    is_hardened()
    api(f"/v1/services/{SERVICE}", {"policy": "quick"}, "PUT")
    until("every region runs 1.0.0", lambda: regions_run(api, GOOD))
    api(f"/v1/services/{SERVICE}/adopt", {"reason": "it is what runs, and it runs well"})
    good_release(api)
    bad_release(api)
    users_account()


def main() -> int:
    up = subprocess.run([HERE / "up.sh"], check=False, capture_output=True, text=True)
    if up.returncode != 0:
        say(f"✖ up.sh ended with {up.returncode}:\n{(up.stdout + up.stderr)[-3000:]}")
        return 1
    began = time.monotonic()
    try:
        story()
    except (Untrue, OSError, subprocess.CalledProcessError) as error:
        say(f"✖ {error}{getattr(error, 'stderr', '') or ''}")
        last_words()
        return 1
    finally:
        if "--keep" not in sys.argv:
            subprocess.run([HERE / "up.sh", "down", "-v"], check=False, capture_output=True)
    say(f"all of it is true; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
