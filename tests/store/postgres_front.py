"""What stands between a client and a server: it encrypts, or cuts a connection at a word. Loopback only."""

import contextlib
import selectors
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from tests.store.postgres_lab import Server, missing

_ENCRYPT = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # the first word of a client that wants TLS


@dataclass
class Front:
    """Passes bytes on. `cut` ends one connection: at a word of the client, or of the server's answer."""

    target: int
    context: ssl.SSLContext | None = None
    asked: bytes = b""
    answered: bytes = b""
    cuts: int = 0
    encrypted: int = 0
    port: int = field(default=0, init=False)

    def cut(self, *, asked: bytes = b"", answered: bytes = b"") -> None:
        """The next chunk with this word is not passed on, and its connection ends."""
        self.asked, self.answered = asked, answered

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = listener.accept()
                Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.target))
        with contextlib.suppress(OSError), contextlib.closing(server):
            inner = self._secured(client) if self.context else client
            with contextlib.closing(inner), selectors.DefaultSelector() as either:
                either.register(inner, selectors.EVENT_READ, (inner, server, "asked"))
                either.register(server, selectors.EVENT_READ, (server, inner, "answered"))
                while all(self._moved(*key.data) for key, _ in either.select()):
                    pass

    def _moved(self, source: socket.socket, goal: socket.socket, way: str) -> bool:
        chunk = source.recv(65536)
        while isinstance(source, ssl.SSLSocket) and source.pending():
            chunk += source.recv(65536)
        word = getattr(self, way)
        if word and word in chunk:
            self.cut()
            self.cuts += 1
            return False
        goal.sendall(chunk)
        return bool(chunk)

    def _secured(self, client: socket.socket) -> socket.socket:
        assert self.context is not None
        first = client.recv(8, socket.MSG_PEEK)
        if first != _ENCRYPT:
            return client
        client.recv(8)
        client.sendall(b"S")
        inner = self.context.wrap_socket(client, server_side=True)
        self.encrypted += 1
        return inner


@contextmanager
def front(server: Server, context: ssl.SSLContext | None = None) -> Iterator[Front]:
    """A front of a server, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Front(server.port, context)
        made.port = listener.getsockname()[1]
        thread = Thread(target=made.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def certificate(directory: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for a host, which signs itself, and what a server serves it with."""
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    about = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2")
    try:
        done = subprocess.run(
            ["openssl", *made, *about, "-keyout", key, "-out", cert],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        missing("the program openssl is not installed, so no certificate can be made")
    assert done.returncode == 0, done.stderr
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return cert, context
