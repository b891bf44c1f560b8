"""uvicorn for tests that serve a real app in this process."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """Leaves signals to the test runner, and no connection open behind it.

    uvicorn waits for `timeout_graceful_shutdown` and then leaves what still hangs to the end of the
    process. The tests' process goes on, and whichever test runs when it is collected would be blamed.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
