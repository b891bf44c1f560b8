"""A server on this machine that answers as a test says, byte by byte, and counts what it sent."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Misbehaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
CHUNK = b" " * 65536


@dataclass
class BadServer:
    """`does` is what happens to each request from now on; `asked` are their first lines."""

    does: Misbehaviour
    port: int = 0
    sent: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            write = writer.write

            def counting(data: bytes) -> None:
                self.sent += len(data)
                write(data)

            writer.write = counting  # type: ignore[method-assign, assignment]
            await self.does(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(does: Misbehaviour) -> AsyncIterator[BadServer]:
    """The server, on a port of its own."""
    bad = BadServer(does)
    server = await asyncio.start_server(bad.serve, "127.0.0.1", 0)
    bad.port = server.sockets[0].getsockname()[1]
    tasks = asyncio.all_tasks()
    try:
        yield bad
    finally:
        server.close()
        for task in asyncio.all_tasks() - tasks - {asyncio.current_task()}:
            task.cancel()


def answer(
    body: bytes, status: str = "200 OK", kind: str = "application/json", **headers: str
) -> Misbehaviour:
    """A whole answer. Underscores in names of headers are hyphens."""

    async def whole(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, kind, {"content-length": str(len(body)), **headers}) + body)

    return whole


async def says_nothing(_: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.Event().wait()


async def drips(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single wait is long."""
    writer.write(_head("200 OK", "application/json", {"content-length": "1000000"}))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def hangs_in_the_body(writer: asyncio.StreamWriter) -> None:
    """Half a body, and then nothing more."""
    writer.write(_head("200 OK", "application/json", {"content-length": "1000"}) + b'{"status":"succ')
    await asyncio.Event().wait()


async def ends_in_the_body(writer: asyncio.StreamWriter) -> None:
    """Half a body, and then the connection is gone."""
    writer.write(_head("200 OK", "application/json", {"content-length": "1000"}) + b'{"status":"succ')


async def hangs_up(_: asyncio.StreamWriter) -> None:
    """Takes the request and closes."""


async def is_endless(writer: asyncio.StreamWriter) -> None:
    """A body without an end."""
    writer.write(_head("200 OK", "application/json", {}))
    while True:
        writer.write(CHUNK)
        await writer.drain()


async def speaks_no_http(writer: asyncio.StreamWriter) -> None:
    """Another protocol."""
    writer.write(b"220 mail.example.org ESMTP\r\n")


async def has_an_endless_head(writer: asyncio.StreamWriter) -> None:
    """Headers without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"a" * 8000 + b"\r\n")
        await writer.drain()


def bomb() -> Misbehaviour:
    """A few kilobytes that would become many megabytes."""
    return answer(gzip.compress(b" " * 50_000_000), content_encoding="gzip")


def _head(status: str, kind: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", "connection: close"]
    lines += [f"content-type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
