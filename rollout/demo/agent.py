"""A small region agent: `python -m rollout.demo.agent --region R3 --directory D --secret-file F ...`.

It receives the orders of the deployer `webhook` (docs/deployers.md) and carries them out with a supervisor of
its own, which runs the sample mail service. Signed: POST / takes an order, GET /orders/K says how far it is.
Open to all: GET /healthz; POST /send, given to the instances in turn; /instances/S/..., given to one of them.
"""

import argparse
import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from rollout import http as web
from rollout.demo.agent_orders import Agent, Answer, NotSigned
from rollout.supervisor import lifeline

COMMAND = (
    *("{python}", "-m", "rollout.demo.mail", "--version", "{version}", "--port", "{port}"),
    *("--slot", "{slot}", "--directory", "{directory}", "--lifeline"),
)
LARGEST_BODY = 1_000_000
PASS_ON_S = 10.0  # for an instance to answer


class Handler(BaseHTTPRequestHandler):
    """Parses, calls one function, answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30.0  # of an idle connection, seconds
    agent: Agent  # these three are set by the server's own subclass
    loop: asyncio.AbstractEventLoop
    http: httpx.Client
    turn = itertools.count()

    def do_GET(self) -> None:
        """Say how far an order is, or pass a question on to an instance."""
        if self.path == "/healthz":
            self._answer(Answer(200, {"status": "ok", "region": self.agent.region}))
        elif self.path.startswith("/orders/"):
            self._signed("", lambda _: self.agent.progress(self.path.removeprefix("/orders/")))
        else:
            self._pass_on("GET", b"")

    def do_POST(self) -> None:
        """Take an order, or pass a request on to an instance."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._answer(Answer(413, {"message": f"a body has at most {LARGEST_BODY} bytes, and a length"}))
            return
        body = self.rfile.read(int(length))
        if self.path == "/":
            self._signed(body.decode("utf-8", errors="replace"), self.agent.take)
        else:
            self._pass_on("POST", body)

    def _signed(self, body: str, then: Any) -> None:
        try:
            self.agent.check_signature(body, dict(self.headers.items()))
        except NotSigned as error:
            self._answer(Answer(401, {"status": "failed", "message": str(error)}))
            return
        self._answer(asyncio.run_coroutine_threadsafe(then(body), self.loop).result())

    def _pass_on(self, method: str, body: bytes) -> None:
        """Give a request to the named instance, or to the next one, and its answer back."""
        slot, path = None, self.path
        if path.startswith("/instances/"):
            slot, _, rest = path.removeprefix("/instances/").partition("/")
            path = f"/{rest}"
        urls = self.agent.healthy(slot)
        if not urls:
            self._answer(Answer(503, {"error": f"no healthy instance {slot or ''}".strip()}))
            return
        url = urls[next(self.turn) % len(urls)]
        try:
            found = self.http.request(method, url + path, content=body or None)
        except httpx.HTTPError as error:
            self._answer(Answer(502, {"error": f"the instance broke off: {type(error).__name__}"}))
            return
        self._write(found.status_code, found.content, found.headers.get("content-type", "text/plain"))

    def _answer(self, answer: Answer) -> None:
        body = json.dumps(answer.content).encode()
        place = {"Location": f"/orders/{quote(answer.order, safe='')}"} if answer.order else {}
        self._write(answer.code, body, "application/json", **place)

    def _write(self, code: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Be silent: orders are logged by what they did."""


class Server(ThreadingHTTPServer):
    """Many requests at a time; none outlives the process."""

    daemon_threads = True
    request_queue_size = 128


def supervisor(directory: Path) -> subprocess.Popen[bytes]:
    """Keep the region's processes running; ends when this process does."""
    command = [sys.executable, "-m", "rollout.supervisor", "--directory", str(directory), "--lifeline"]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module, no shell


async def serve(arguments: argparse.Namespace) -> int:
    """Run until asked to end, or until the supervisor ends by itself."""
    region_directory = arguments.directory / "region"
    region_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.lifeline:
        lifeline.on_close(lambda: loop.call_soon_threadsafe(stop.set))
    child = supervisor(region_directory)
    async with web.client() as http:
        agent = Agent(arguments, http, COMMAND)
        own = {"agent": agent, "loop": loop, "http": web.blocking_client(PASS_ON_S)}
        server = Server((arguments.host, arguments.port), type("AgentHandler", (Handler,), own))
        agent.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        say(f"agent of {arguments.region} listens on port {agent.port}")
        first = asyncio.create_task(agent.install(arguments.first_version))
        while child.poll() is None and not stop.is_set():
            await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=0.5)
        first.cancel()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
    return end(child)


def end(child: subprocess.Popen[bytes]) -> int:
    """End the supervisor with all of its processes; 1 when it had ended by itself."""
    failed = child.poll() is not None
    assert child.stdin is not None
    child.stdin.close()
    child.wait(30)
    say("agent ends: its supervisor ended" if failed else "agent ends: as asked")
    return int(failed)


def say(text: str) -> None:
    """Write one line to the log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollout.demo.agent", description=__doc__)
    parser.add_argument("--region", required=True)
    parser.add_argument("--service", default="mail-sender")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all")
    parser.add_argument("--port", type=int, default=0, help="0: one that the system gives")
    parser.add_argument("--public-host", default="127.0.0.1", help="by which the controller reaches it")
    parser.add_argument("--directory", type=Path, required=True, help="of everything that it keeps")
    parser.add_argument("--secret-file", type=Path, required=True, help="one secret, or two in a rotation")
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--first-version", default="", help="what runs before there is any order")
    parser.add_argument("--key-lifetime", type=float, default=45.0, help="seconds, of 1.2.0's signing key")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input closes")
    return asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
