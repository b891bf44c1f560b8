"""The sample mail service: `python -m rollout.demo.mail --version V --port P --slot S --directory D`.

POST /send {to, subject} → 202 once the send is on disk. GET /healthz, /version, /metrics.
GET /admin/stalled?older_than=S, POST /admin/resume {items: [{id, key}]}, GET /admin/totals.
Listens on this machine only. Exit codes: 64 unknown version, 70 the signing key had expired (incident A).
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rollout.clock import SystemClock
from rollout.demo.mail_metrics import Meters
from rollout.demo.mail_queue import MailQueue, Owner, SlotLocks
from rollout.demo.mail_versions import Behaviour, UnknownVersion, behaviour_of, meets_expired_key_at
from rollout.demo.mail_worker import Worker
from rollout.supervisor import lifeline

LARGEST_BODY = 262_144
KEY_LIFETIME = "MAIL_KEY_LIFETIME_S"  # environment: seconds after a version's key was issued
KEY_DIRECTORY = "MAIL_KEY_DIRECTORY"  # environment: where keys are; regions that share it share them
TEXT = "text/plain; version=0.0.4; charset=utf-8"
Answer = tuple[int, Any]


def key_issued_at(directory: Path, version: str) -> float:
    """When the signing key of `version` was issued: at its first start; in seconds since the epoch."""
    key = directory / f"signing-key-{version}"
    with contextlib.suppress(FileExistsError):
        key.touch(mode=0o600, exist_ok=False)
    return key.stat().st_mtime


EXPIRED = 70  # exit code


class Refused(Exception):
    """What was sent cannot be used; the text says what is wrong."""


class Mail:
    """What the service does, apart from HTTP."""

    def __init__(self, owner: Owner, behaviour: Behaviour, directory: Path, late_after: float) -> None:
        self.owner = owner
        self.behaviour = behaviour
        self.late_after = late_after
        self.gave_up = False
        self._chance = Random()  # noqa: S311 - a pace, no secret
        locks = SlotLocks(directory)
        locks.hold(owner.slot)
        started_at = now()
        self.queue = MailQueue(directory, now)
        self.meters = Meters(owner, started_at)
        self._lifetime_s = float(os.environ.get(KEY_LIFETIME, "45"))
        self._keys = Path(os.environ.get(KEY_DIRECTORY, directory))
        key_issued_at(self._keys, owner.version)
        seed = uuid.uuid4().hex

        def stops_at() -> float:
            """Asked anew each time, since a key may be retired before its time."""
            chance = Random(seed)  # noqa: S311 - a pace, no secret
            return meets_expired_key_at(started_at, self.key_ends_at, owner.slot, chance)

        self.worker = Worker(
            self.queue,
            locks,
            owner,
            behaviour,
            self.meters,
            token=uuid.uuid4().hex,
            late_after=late_after,
            now=now,
            stops_at=stops_at if behaviour.signs_links else None,
            end=self._give_up,
        )

    @property
    def key_ends_at(self) -> float:
        """When the signing key of this version ends, in seconds since the epoch."""
        return key_issued_at(self._keys, self.owner.version) + self._lifetime_s

    def send(self, body: dict[str, Any]) -> Answer:
        """Take a send."""
        to, subject = body.get("to"), body.get("subject")
        if not isinstance(to, str) or not isinstance(subject, str) or not to:
            raise Refused("a send needs the texts `to` and `subject`")
        send = self.queue.accept(self.owner, to, subject)
        self.meters.accepted.inc()
        self.worker.wake()
        time.sleep(self._chance.uniform(*self.behaviour.answer_s))
        return 202, {"id": str(send)}

    def version(self, _query: dict[str, list[str]]) -> Answer:
        """What this process says that it is."""
        lies = self.behaviour.fault == "lie"
        return 200, {"version": "0.0.0" if lies else self.owner.version, "slot": self.owner.slot}

    def metrics(self, _query: dict[str, list[str]]) -> Answer:
        """The numbers, with the late sends counted up to now."""
        self.meters.late.inc(self.queue.newly_late(self.owner, self.late_after))
        depth, oldest = self.queue.unfinished(self.owner)
        self.meters.depth.set(depth)
        self.meters.oldest.set(oldest)
        return 200, self.meters.text()

    def stalled(self, query: dict[str, list[str]]) -> Answer:
        """What nobody is finishing."""
        try:
            older_than = float(query.get("older_than", ["60"])[0])
        except ValueError as error:
            raise Refused("older_than is a number of seconds") from error
        return 200, self.queue.stalled(older_than)

    def resume(self, body: dict[str, Any]) -> Answer:
        """Put stalled sends back into the queue."""
        items = body.get("items")
        if not isinstance(items, list) or not all(_is_item(item) for item in items):
            raise Refused("items is a list of {id, key}, both texts")
        found = self.queue.resume([(item["id"], item["key"]) for item in items])
        self.worker.wake()
        return 200, {"resumed": found.resumed, "already": found.already, "unknown": list(found.unknown)}

    def totals(self, _query: dict[str, list[str]]) -> Answer:
        """The books of the whole region."""
        return 200, self.queue.totals(self.late_after)

    def _give_up(self) -> None:
        since = now() - self.key_ends_at
        say(f"link tracking: signing key expired {since:.0f} s ago, cannot sign links; giving up")
        self.gave_up = True


def _is_item(item: object) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(name), str) for name in ("id", "key"))


class Handler(BaseHTTPRequestHandler):
    """Parses, calls one function, answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10.0  # of an idle connection, seconds
    mail: Mail  # set by the server's own subclass

    def do_GET(self) -> None:
        """Read something."""
        url = urlsplit(self.path)
        routes: dict[str, Callable[[dict[str, list[str]]], Answer]] = {
            "/healthz": lambda _query: (200, {"status": "ok"}),
            "/version": self.mail.version,
            "/metrics": self.mail.metrics,
            "/admin/stalled": self.mail.stalled,
            "/admin/totals": self.mail.totals,
        }
        route = routes.get(url.path)
        self._answer(lambda: route(parse_qs(url.query)) if route else (404, {"error": f"no {url.path}"}))

    def do_POST(self) -> None:
        """Change something."""
        began = time.monotonic()
        routes = {"/send": self.mail.send, "/admin/resume": self.mail.resume}
        route = routes.get(self.path)
        code = self._answer(lambda: route(self._body()) if route else (404, {"error": f"no {self.path}"}))
        if self.path == "/send":
            self.mail.meters.answered(code, time.monotonic() - began)

    def _answer(self, make: Callable[[], Answer]) -> int:
        try:
            code, content = make()
        except Refused as error:
            code, content = 400, {"error": str(error)}
            self.close_connection = True  # its body may be unread
        except sqlite3.Error as error:
            code, content = 503, {"error": f"the queue cannot be used: {error}"}
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", TEXT if isinstance(content, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return code

    def _body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 <= length <= LARGEST_BODY:
                raise Refused(f"a body has at most {LARGEST_BODY} bytes")
            body = json.loads(self.rfile.read(length))
        except ValueError as error:
            raise Refused("the body is not JSON") from error
        if not isinstance(body, dict):
            raise Refused("the body is not an object")
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Be silent: requests are counted, not logged."""


class Server(ThreadingHTTPServer):
    """Answers what already waits at its door before it closes."""

    request_queue_size = 128
    timeout = 0.0

    def drain(self) -> None:
        """Take every connection that is already there."""
        self._waiting = True
        while self._waiting:
            self.handle_request()

    def handle_timeout(self) -> None:
        """Note that nobody waits."""
        self._waiting = False


def now() -> float:
    """Seconds since 1970."""
    return SystemClock().now().timestamp()


def say(text: str) -> None:
    """Write one line to the log."""
    sys.stderr.write(f"{SystemClock().now().isoformat(timespec='milliseconds')} {text}\n")


def serve(mail: Mail, port: int, stop: threading.Event) -> int:
    """Answer until `stop`, then finish the answers that were begun; or until the worker ends by itself."""
    server = Server(("127.0.0.1", port), type("MailHandler", (Handler,), {"mail": mail}))
    mail.worker.start()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    say(f"mail {mail.owner.version} serves slot {mail.owner.slot} on port {port}")
    while mail.worker.is_alive() and not stop.wait(0.5):
        pass  # a service that answers and does no work would look healthy
    failed = not mail.worker.is_alive()
    server.shutdown()
    server.drain()
    server.socket.close()
    mail.worker.stop()
    mail.worker.join(2.0)
    time.sleep(mail.behaviour.answer_s[1] * 2)  # answers under way
    code = (EXPIRED if mail.gave_up else 1) if failed else 0
    why = "its worker ended" if failed else "as asked"
    say(f"mail {mail.owner.version} in slot {mail.owner.slot} ends: {why}")
    return code


def hang(port: int, stop: threading.Event) -> None:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", port), backlog=128):
        stop.wait()


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollout.demo.mail", description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--directory", type=Path, required=True, help="of the region's queue")
    parser.add_argument("--late-after", type=float, default=2.0, help="seconds")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.lifeline:
        lifeline.on_close(stop.set)
    try:
        behaviour = behaviour_of(arguments.version)
    except UnknownVersion as error:
        say(f"cannot start: {error}")
        return 64
    if behaviour.fault == "crash":
        say("cannot start: this build is broken")
        return 1
    if behaviour.fault == "hang":
        hang(arguments.port, stop)
        return 0
    owner = Owner(arguments.slot, arguments.version)
    mail = Mail(owner, behaviour, arguments.directory, arguments.late_after)
    return serve(mail, arguments.port, stop)


if __name__ == "__main__":
    raise SystemExit(main())
