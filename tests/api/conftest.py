from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from api_world import World, declare, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A controller on a database of its own; its store works in place."""
    opened, store = open_world(tmp_path)
    await declare(opened)
    yield opened
    store.close()


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may do everything."""
    async with await world.client("admin", "root") as client:
        yield client
