"""haproxy for tests: a pretend one behind a socket, and the real one before servers that say their name."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.model import Kind
from rollout.deployers.haproxy import HaproxyDeployer
from rollout.ports import Clock, Deployer, Reply
from rollout.registry import DEPLOYERS, Surroundings, load_plugins
from rollout.supervisor.life import free_port
from rollout.testing import FakeDeployer

GOOD, NEW = "1.0.0", "1.1.0"
SERVICE = "mail"
PROGRAM = "haproxy"


def needs_haproxy() -> str:
    """The program; without it the test is skipped, or fails where everything has to be there."""
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        why = "haproxy is not installed (Debian: apt-get install haproxy)"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


# --------------------------------------------------------------------------- a pretend haproxy


@dataclass
class Pretend:
    """What a pretend haproxy holds; `answers` replaces what it says to commands that begin so."""

    servers: dict[str, list[Any]] = field(
        default_factory=dict
    )  # name → [status, weight, initial weight, address]
    pid: int = 1
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Callable[[], bytes | None]] = field(default_factory=dict)

    def add(self, name: str, status: str = "UP", weight: int = 100, address: str = "10.0.0.1:80") -> None:
        self.servers[name] = [status, weight, weight, address]

    def restart(self) -> None:
        self.pid += 1
        for server in self.servers.values():
            server[1] = server[2]

    def weights(self) -> dict[str, int]:
        return {name: server[1] for name, server in self.servers.items()}

    def sets(self) -> list[str]:
        return [line.removeprefix("set server b/") for line in self.asked if line.startswith("set server")]

    def answer(self, line: str) -> bytes | None:
        """None is silence."""
        self.asked.append(line)
        for begin, say in self.answers.items():
            if line.startswith(begin):
                return say()
        return (self._said(line) + "\n").encode()

    def _said(self, line: str) -> str:
        if line == "show info":
            return f"Name: HAProxy\nPid: {self.pid}\nStart_time_sec: 1700000000\n"
        if line == "show backend":
            return "# name\nb\nother\n"
        words = line.replace("/", " ").split()
        if line.startswith("show stat"):
            return self._stat() if words[2] == "b" else "No such proxy.\n"
        backend, name = (words[2], words[3])
        if backend != "b":
            return "No such backend.\n"
        if name not in self.servers:
            return "No such server.\n"
        server = self.servers[name]
        if words[0] == "get":
            return f"{server[1]} (initial {server[2]})\n"
        if words[4] == "addr":
            server[3] = f"{words[5]}:{words[7]}"
            return "IP changed from 'x' to 'y' by 'stats socket command'\n"
        server[1] = int(words[5])
        return ""

    def _stat(self) -> str:
        rows = ["# pxname,svname,status,weight,act,bck,lastchg,check_status,last_chk,addr,uweight,"]
        for name, (status, weight, _, address) in self.servers.items():
            backup = int(name.startswith("backup"))
            rows.append(f"b,{name},{status},{weight},{1 - backup},{backup},5,L7OK,,{address},{weight},")
        return "\n".join(rows) + "\n"


@asynccontextmanager
async def listening(pretend: Pretend, path: Path) -> AsyncIterator[str]:
    """Answer at a unix socket, one command for each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = pretend.answer((await reader.readline()).decode().strip())
        if answer is None:
            await reader.read()  # until the other side gives up
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield str(path)


# --------------------------------------------------------------------------- orders


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed(Surroundings):
    """Surroundings in which the other deployer is one that a test has made."""

    inner: Deployer

    def deployer(self, kind: str, written: Mapping[str, Any]) -> Deployer:
        return self.inner


def compose(inner: Deployer, *, around: Surroundings, **options: Any) -> HaproxyDeployer:
    """The deployer `haproxy` through another one; what is written of that is only checked."""
    load_plugins()
    shared = {name: getattr(around, name) for name in ("region", "http", "clock", "directory")}
    through = {"kind": "process", "options": {"directory": "R3", "services": {}}}
    return built(Composed(**shared, inner=inner), through=through, **options)


@asynccontextmanager
async def haproxy_over(inner: FakeDeployer, place: Path) -> AsyncIterator[HaproxyDeployer]:
    """It splits the traffic of three instances, by a pretend haproxy that sees all of them up."""
    pretend = Pretend()
    for number in (1, 2, 3):
        pretend.add(f"{SERVICE}-{number}")
    async with httpx.AsyncClient() as http, listening(pretend, place / "ha.sock") as path:
        around = surroundings(place, SystemClock(), http)
        yield compose(inner, around=around, socket=path)


def built(around: Surroundings, *, socket: str, backend: str = "b", **options: Any) -> HaproxyDeployer:
    spot = {
        name: options.pop(name) for name in ("server", "servers", "version_at", "follow") if name in options
    }
    written = {"socket": socket, "services": {SERVICE: {"backend": backend, **spot}}, **options}
    made = DEPLOYERS.build("haproxy", written, around)
    assert isinstance(made, HaproxyDeployer)
    return made


def surroundings(directory: Path, clock: Clock, http: httpx.AsyncClient) -> Surroundings:
    return Surroundings(region="R3", http=http, clock=clock, directory=directory)


def order(kind: Kind, **fields: Any) -> Action:
    return Action(kind=kind, region="R3", service=SERVICE, **fields)


async def deploy(to: Deployer, weight: int, *, generation: int = 1, key: str = "") -> Reply:
    action = order(Kind.DEPLOY, version=NEW, from_version=GOOD, weight=weight, generation=generation)
    return await to.apply(key or f"deploy-{generation}", action)


async def restore(to: Deployer, *, generation: int = 9, key: str = "restore") -> Reply:
    action = order(Kind.RESTORE, version=GOOD, from_version=NEW, weight=100, generation=generation)
    return await to.apply(key, action)


async def verify(to: Deployer, *, weight: int = 0, generation: int = 1) -> Reply:
    action = order(Kind.VERIFY, version=NEW, from_version=GOOD, weight=weight, generation=generation)
    return await to.apply("verify", action)


# --------------------------------------------------------------------------- the real one

CONFIG = """
global
  stats socket {socket} mode 600 level admin
  stats socket 127.0.0.1:{admin} level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  timeout check 2s
  default-server check inter 100ms fall 3 rise 1
frontend users
  bind 127.0.0.1:{port}
  default_backend b
backend b
  balance roundrobin
  option httpchk GET /healthz
{servers}
backend fixed
  balance static-rr
  server s1 127.0.0.1:{port}
"""


class Named(ThreadingHTTPServer):
    """Answers every request with the version that it was made for."""

    daemon_threads = True

    def __init__(self, version: str, port: int = 0) -> None:
        answered = version.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b'{"version": "%s"}' % answered if self.path == "/version" else answered
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: Any) -> None:
        """haproxy's checks hang up as soon as they have seen the status."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()


@dataclass
class RealHaproxy:
    """haproxy on free ports of this machine; `begin` after `end` is a restart."""

    program: str
    directory: Path
    servers: dict[str, int]
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.directory / "ha.sock")

    def begin(self) -> None:
        lines = "\n".join(f"  server {name} 127.0.0.1:{port}" for name, port in self.servers.items())
        written = CONFIG.format(socket=self.socket, admin=self.admin, port=self.port, servers=lines)
        config = self.directory / "haproxy.cfg"
        config.write_text(written)
        self.process = subprocess.Popen([self.program, "-q", "-db", "-f", str(config)])
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("haproxy did not start within 4 s")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def real_haproxy(program: str, directory: Path, servers: dict[str, int]) -> Iterator[RealHaproxy]:
    haproxy = RealHaproxy(program, directory, servers)
    haproxy.begin()
    try:
        yield haproxy
    finally:
        haproxy.end()


async def answered_by(http: httpx.AsyncClient, port: int, times: int) -> Counter[str]:
    """Who answered `times` requests, through haproxy."""
    return Counter([(await http.get(f"http://127.0.0.1:{port}/")).text for _ in range(times)])
