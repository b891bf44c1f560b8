from collections.abc import AsyncIterator

import httpx
import pytest
from page_app import Stage


@pytest.fixture
def stage() -> Stage:
    """A pretend controller with one progressing rollout, and the app over it."""
    return Stage()


@pytest.fixture
async def admin(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with an admin's session."""
    async with await stage.logged_in() as client:
        yield client
