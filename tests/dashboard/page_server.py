"""A real server on a free loopback port, in a thread of its own, that a test can stop."""

import socket
import threading
from dataclasses import dataclass

import uvicorn
from page_app import Stage

from tests.serving import Server


@dataclass(slots=True)
class Served:
    """A stage, where it is served, and the secret of an admin's token."""

    stage: Stage
    url: str
    secret: str
    _server: Server
    _thread: threading.Thread

    def stop(self) -> None:
        """Stop answering; a second time is harmless."""
        self.stage.tail.closed = True
        self._server.should_exit = True
        self._thread.join(timeout=10)


def serve(again: Served | None = None) -> Served:
    """Start, and return once it answers. With `again`, the same pages at the same place once more."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(again.url.rsplit(":", 1)[1]) if again else 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stage = again.stage if again else Stage(public_url=url)
    if again:
        stage.tail.closed = False
    config = uvicorn.Config(
        stage.served, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = Server(config)
    ready, secrets = threading.Event(), list[str]()
    original = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await original(sockets)
        secrets.append(again.secret if again else await stage.secret())
        ready.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    assert ready.wait(10), "the server did not start within 10 s"
    return Served(stage, url, secrets[0], server, thread)
