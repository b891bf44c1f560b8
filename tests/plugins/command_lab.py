"""Programs for the deployer `command`: a script that hands each order to the fake deployer of the test."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from webhook_lab import Target

from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Kind

SCRIPT = """\
#!{python} -IS
import json, os, socket, sys
order = {{name[8:].lower(): value for name, value in os.environ.items() if name.startswith("ROLLOUT_")}}
order["details"] = json.load(open(order.pop("details_file")))
with socket.socket(socket.AF_UNIX) as line:
    line.connect({socket!r})
    line.sendall(json.dumps(order).encode() + b"\\n")
    code, told = json.loads(line.makefile().readline())
print(told if code else json.dumps(told), file=sys.stderr if code else sys.stdout)
sys.exit(code)
"""


def program(place: Path) -> dict[str, list[str]]:
    """The commands of every action: one script, which listens to what it is told by its environment."""
    script = place / "order.py"
    script.write_text(SCRIPT.format(python=sys.executable, socket=str(place / "line")))
    script.chmod(0o755)
    return {kind.value: [str(script)] for kind in Kind if kind is not Kind.NOTIFY}


@asynccontextmanager
async def obeying(target: Target, place: Path) -> AsyncIterator[None]:
    """Take the orders of the script."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            said = await _obey(target, json.loads(await reader.readline()))
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()

    assert len(str(place / "line")) < 100, f"{place} is too long for a socket"
    server = await asyncio.start_unix_server(one, place / "line")
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _obey(target: Target, told: dict[str, Any]) -> tuple[int, Any]:
    """The exit code, and what is printed."""
    order = {name: told[name] or None for name in ("artifact", "from_version", "region")}
    numbers = {name: int(told[name]) for name in ("weight", "generation")}
    same = {name: told[name] for name in ("action", "action_id", "service", "version", "details")}
    try:
        return 0, await target.do({**same, **numbers, **order})
    except PermanentError as error:
        return 1, str(error)
    except TransientError as error:
        return 75, str(error)
