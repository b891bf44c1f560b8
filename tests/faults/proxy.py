"""The network between the controllers and their regions: a TCP proxy that fails as it is told. Loopback only.

A rule looks at each order and names what happens to it; None passes it on. A connection carries one request.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """The network faults of an effect."""

    REFUSED = "refused"  # nobody listens, for a while
    BEFORE = "timeout before"  # the order never arrives, and nobody says so
    LOST = "answer lost"  # it worked, and the connection ends without an answer
    HALF = "half body"  # it worked, and half of the answer arrives
    SLOW = "slow"  # it worked, and the answer trickles for longer than anybody waits
    ONE_WAY = "one-way drop"  # orders arrive, answers do not
    LOSS = "30 % loss"  # of orders and of answers, at random
    FLAP = "flap"  # up and down, several times a second


Order = dict[str, Any]
Rule = Callable[[Order], Fault | None]
GOING_BACK = frozenset({"collect", "restore"})
AWAY_S = 0.4  # how long nobody listens
UP_S, DOWN_S = 0.6, 0.2
SILENT_S = 8.0  # longer than anybody waits


@dataclass
class Rules:
    """Which orders fail: each service may have a fault of its own, at the first request of every key."""

    faults: dict[str, Fault] = field(default_factory=dict)  # by service
    cut: set[tuple[str, str]] = field(default_factory=set)  # (region, service): nothing goes through
    cut_going_back: set[str] = field(default_factory=set)  # services: cut off from the first way back on
    seed: int = 0
    met: Counter[tuple[Fault, str]] = field(default_factory=Counter)  # fault, kind → how often
    _seen: set[str] = field(default_factory=set)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, order: Order) -> Fault | None:
        found = self._of(order)
        if found is not None:
            self.met[found, order["action"]] += 1
        return found

    def _of(self, order: Order) -> Fault | None:
        if order["action"] in GOING_BACK and order["service"] in self.cut_going_back:
            self.cut.add((order["region"], order["service"]))
        if (order["region"], order["service"]) in self.cut:
            return Fault.BEFORE
        fault, key = self.faults.get(order["service"]), order["action_id"]
        if fault is None:
            return None
        if fault is Fault.LOSS:
            return fault if self._random.random() < 0.3 else None
        if fault is Fault.FLAP:
            return fault
        if key.startswith("reading/") or key in self._seen:
            return None
        self._seen.add(key)
        return fault


class Proxy:
    """Runs in a thread of its own."""

    def __init__(self, target: int, rule: Rule) -> None:
        self._target, self.rule, self._random = target, rule, random.Random(0)
        self._listener = _listening(0)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._away = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut every connection, and stop."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cut(self) -> None:
        self._deaf()
        for _ in range(2):  # one that has not begun would not be closed
            await asyncio.sleep(0.05)
            for task in tuple(self._tasks):
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.05)

    def _run(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
        self._loop.run_forever()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            task = self._loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _deaf(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.closing(connection):
            reader, writer = await asyncio.open_connection(sock=connection)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                body = await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                fault = self.rule(json.loads(body)) if body else None
                await self._pass(fault, head + body, reader, writer)
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _pass(
        self, fault: Fault | None, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault is Fault.REFUSED:
            await self._refuse(writer)
        elif fault is Fault.BEFORE or (fault is Fault.LOSS and self._random.random() < 0.5):
            await self._silence(reader)
        elif fault is Fault.FLAP and not self._is_up():
            _reset(writer)
        else:
            said = await self._ask(request)
            await self._answer(fault, said, reader, writer)

    async def _answer(
        self, fault: Fault | None, said: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault in (Fault.ONE_WAY, Fault.LOSS):
            await self._silence(reader)
        elif fault is Fault.LOST or (fault is Fault.FLAP and not self._is_up()):
            _reset(writer)
        elif fault is Fault.HALF:
            head = said.index(b"\r\n\r\n") + 4
            writer.write(said[: (head + len(said)) // 2])
        elif fault is Fault.SLOW:
            for piece in (said[at : at + 16] for at in range(0, len(said), 16)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.3)
        else:
            writer.write(said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.closing(writer):
            writer.write(request)
            return await reader.read()

    async def _silence(self, reader: asyncio.StreamReader) -> None:
        """Until the other side gives up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), SILENT_S)

    async def _refuse(self, writer: asyncio.StreamWriter) -> None:
        """Hang up, and listen to nobody for a while."""
        _reset(writer)
        if self._away:
            return
        self._away = True
        self._deaf()
        await asyncio.sleep(AWAY_S)
        self._listener = _listening(self.port)
        self._loop.add_reader(self._listener, self._accept)
        self._away = False

    def _is_up(self) -> bool:
        return self._loop.time() % (UP_S + DOWN_S) < UP_S


def _listening(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    listener.setblocking(False)
    return listener


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def proxy(target: int, rule: Rule) -> Iterator[Proxy]:
    """A proxy before a port."""
    made = Proxy(target, rule)
    try:
        yield made
    finally:
        made.close()
