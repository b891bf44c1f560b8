"""The app behind a real server on a free port of this machine, in the loop of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from tests.serving import Server

STOP_S = 5


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The URL of the app while it is served; ended in order, with what is open given 5 s."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        server = Server(
            uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=STOP_S, lifespan="off")
        )
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        app.state.controller.tail.close()
        server.should_exit = True
        await running
