"""What compose.yaml mounts and names exists, and what it mounts can be used; needs no engine."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.config import load_configuration
from rollout.demo.load import target_of
from rollout.deployers.haproxy_options import HaproxyOptions
from rollout.deployers.webhook import WebhookOptions

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
REPLICAS = ("controller", "controller-2")


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As the controller's container sees it."""
    directory = tmp_path_factory.mktemp("config")
    (directory / "policies").mkdir()
    for mount in SERVICES["controller"]["volumes"]:
        place, inside, *_ = mount.split(":")
        if inside.startswith("/config/"):
            shutil.copyfile(ROOT / place, directory / inside.removeprefix("/config/"))
    return load_configuration(directory)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_read_only_and_gains_no_right(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges"]
    assert "privileged" not in service


def test_what_is_mounted_is_there():
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            place = mount.split(":")[0]
            there = (ROOT / place).exists() if place.startswith(".") else place in COMPOSE["volumes"]
            assert there, f"{name}: {mount}"


def test_only_this_machine_reaches_what_is_published():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_regions_order_from_the_agents_and_the_fronts_that_are_started(configuration: Any):
    assert list(configuration.regions) == ["R3", "R1", "R2"]
    backend = (HERE / "haproxy.cfg").read_text("utf-8").partition("\nbackend mail")[2].partition("\n\n")[0]
    assert re.findall(r"^  server (\S+)", backend, re.M) == ["1", "2", "3", "4"]
    for region in configuration.regions.values():
        options = HaproxyOptions.model_validate(region.deployer.options)
        name = region.name.lower()
        assert options.through is not None
        assert options.socket == f"{name}-front:9999"
        assert SERVICES[f"{name}-front"]["environment"]["AGENT"] == f"{name}:9000"
        assert WebhookOptions.model_validate(options.through.options).url == f"http://{name}:9000/"
        assert SERVICES[name]["command"] == ["--region", region.name, "--public-host", name]


def test_every_process_of_every_region_is_scraped_under_a_name_of_its_own(configuration: Any):
    jobs = {
        job["job_name"]: job["static_configs"]
        for job in yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    }
    seen = {(one["labels"]["region"], one["labels"]["instance"]) for one in jobs["mail-sender"]}
    assert seen == {(name, f"{name.lower()}-{n}") for name in configuration.regions for n in (1, 2, 3, 4)}
    assert jobs["rollout"] == [{"targets": [f"{name}:8080" for name in REPLICAS]}]


def test_the_replicas_share_one_database_and_nothing_else():
    assert [SERVICES[name]["environment"]["ROLLOUT_DATABASE_URL_FILE"] for name in REPLICAS] == [
        "/run/secrets/database"
    ] * 2
    own = [{mount.split(":")[0] for mount in SERVICES[name]["volumes"]} for name in REPLICAS]
    assert {place for place in own[0] & own[1] if not place.startswith("./")} == set()
    servers = re.findall(r"^  server (\S+) (\S+)", (HERE / "front.cfg").read_text("utf-8"), re.M)
    assert servers == [(name, f"{name}:8080") for name in REPLICAS]


def test_the_users_of_every_region_send_to_its_front(configuration: Any):
    targets = [target_of(HERE / "users" / f"{name}.json") for name in configuration.regions]
    assert [target.url for target in targets] == [
        f"http://{name.lower()}-front:8000" for name in configuration.regions
    ]
    zones = {name: region.time_zone for name, region in configuration.regions.items()}
    assert {target.region: target.time_zone for target in targets} == zones


@pytest.mark.real
@pytest.mark.parametrize(
    ("program", "file"),
    [("haproxy", "haproxy.cfg"), ("haproxy", "front.cfg"), ("promtool", "prometheus.yml")],
)
def test_the_programs_themselves_accept_their_configuration(program: str, file: str, tmp_path: Path):
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        why = f"{program} is not installed (Debian: apt-get install haproxy prometheus)"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(why)
        pytest.skip(why)
    if program == "haproxy":
        command = [found, "-c", "-f", str(HERE / file)]
    else:
        written = (HERE / file).read_text("utf-8")
        secret = tmp_path / "metrics"
        secret.write_bytes(base64.b64encode(b"token"))
        written = written.replace("/run/secrets/metrics", str(secret))
        written = written.replace("/etc/rollout/rules.yml", str(ROOT / "deploy" / "prometheus" / "rules.yml"))
        (tmp_path / "prometheus.yml").write_text(written)
        command = [found, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"AGENT": "127.0.0.1:9000", "PATH": "/bin"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
