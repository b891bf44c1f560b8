"""Real engines on this machine, each scraping what a test says: Prometheus and VictoriaMetrics."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rollout.supervisor.life import free_port

ENGINES = {
    "prometheus": (
        "--config.file={config}", "--storage.tsdb.path={data}", "--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ),
    "victoria-metrics": (
        "-promscrape.config={config}", "-storageDataPath={data}", "-httpListenAddr=127.0.0.1:{port}",
        "-loggerLevel=ERROR",
    ),
}  # fmt: skip
READY = {"prometheus": "/-/ready", "victoria-metrics": "/health"}


@contextmanager
def scraping(kind: str, config: str, directory: Path) -> Iterator[str]:
    """The address of a real engine in a directory of its own; `config` is in Prometheus's form."""
    binary = shutil.which(kind)
    if binary is None:
        reason = f"{kind} is missing, so our differences were not compared with its series"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    file, port = directory / "scrape.yml", free_port()
    file.write_text(config)
    places = {"config": file, "data": directory / "data", "port": port}
    command = [binary, *(argument.format(**places) for argument in ENGINES[kind])]
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            ready(f"{url}{READY[kind]}")
            yield url
        finally:
            end(process)


def ready(url: str) -> None:
    """Wait until `url` answers 200."""
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{url} did not become ready"
        time.sleep(0.1)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that this test started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
