"""The image, run for real: no root, nothing to write on, no network at its start, and killed.

The whole story in three regions is `deploy/compose/try.py`: it takes minutes, so it is no part of the tests.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
BASE, IMAGE, NAME = "localhost/rollout-base:1", "localhost/rollout:test", "rollout-test"
HARD = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def podman(*words: str, check: bool = True, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0 or not check, f"podman {' '.join(words)}: {done.stdout}{done.stderr}"
    return done


def needs(program: str) -> None:
    if shutil.which(program) is None:
        why = f"{program} is not installed (Debian: apt-get install podman runc netavark debootstrap)"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Built from this tree, on a base of Debian's packages; both stay for the next time."""
    needs("podman")
    if podman("image", "exists", BASE, check=False).returncode != 0:
        needs("debootstrap")
    before = os.environ.get("CONTAINERS_CONF")
    if podman("info", "--format", "{{.Host.CgroupsVersion}}").stdout.strip() == "v1":
        os.environ["CONTAINERS_CONF"] = str(COMPOSE / "containers.conf")
    subprocess.run([COMPOSE / "base.sh", BASE], check=True, capture_output=True, timeout=600)
    podman("build", "--format=docker", f"--build-arg=BASE={BASE}", f"--tag={IMAGE}", str(ROOT))
    yield IMAGE
    os.environ.pop("CONTAINERS_CONF", None)
    if before is not None:
        os.environ["CONTAINERS_CONF"] = before


@pytest.fixture
def controller(image: str) -> Iterator[str]:
    """A controller with the shipped configuration, without any network."""
    podman("run", "--detach", f"--name={NAME}", "--network=none", f"--volume={NAME}:/data", *HARD, image)
    try:
        yield NAME
    finally:
        podman("rm", "--force", "--time=2", NAME, check=False)
        podman("volume", "rm", "--force", NAME, check=False)


def inside(*words: str) -> subprocess.CompletedProcess[str]:
    return podman("exec", NAME, *words, check=False)


def ready(within_s: float = 60) -> float:
    """Seconds until its own health check holds."""
    began = time.monotonic()
    while podman("healthcheck", "run", NAME, check=False).returncode != 0:
        running = podman("inspect", "--format={{.State.Running}}", NAME).stdout.strip() == "true"
        assert running, podman("logs", NAME).stderr[-2000:]
        assert time.monotonic() - began < within_s, podman("logs", NAME).stderr[-2000:]
        time.sleep(0.2)
    return time.monotonic() - began


def test_it_starts_without_root_without_network_and_with_nothing_to_write_on(controller: str):
    ready()
    shown = json.loads(podman("inspect", controller).stdout)[0]
    assert shown["HostConfig"]["ReadonlyRootfs"] is True
    assert inside("id", "-u").stdout.strip() == "10001"
    status = inside("python3", "-c", "print(open('/proc/1/status').read())").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for place in ("/opt/rollout/x", "/config/x", "/x"):
        assert inside("python3", "-c", f"open('{place}', 'w')").returncode != 0, place
    assert inside("python3", "-m", "pip", "--version").returncode != 0, "what installs is no part of it"


def test_it_is_killed_and_goes_on_with_what_it_kept_and_ends_in_order(controller: str):
    ready()
    token = ("--token-file", "/data/admin-token")
    made = inside("rollout", "service", "put", "mail-sender", "--policy", "standard", *token)
    assert made.returncode == 0, made.stderr
    podman("kill", "--signal=KILL", controller)
    podman("start", controller)
    ready()
    listed = inside("rollout", "service", "list", *token)
    assert "mail-sender" in listed.stdout
    podman("stop", "--time=20", controller)
    state = json.loads(podman("inspect", controller).stdout)[0]["State"]
    assert state["ExitCode"] == 0, podman("logs", controller).stderr[-2000:]


def test_its_labels_say_what_it_is(image: str):
    shown = json.loads(podman("inspect", image).stdout)[0]
    labels = shown["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "rollout"
    assert shown["Config"]["User"] == "10001:10001"
    assert shown["Config"]["Entrypoint"] == ["rollout"]
