"""How the store's synchronous work is run beside an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Run(Protocol):
    """Runs one piece of work, which is one transaction, and returns what it returns."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Raises what `work` raises."""
        ...


class Threads:
    """Runs work in a few threads of its own, begun in the order of asking."""

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix="store")

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Wait for `work` without stopping the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Finish what was asked for and end the threads."""
        self._executor.shutdown()


async def inline(work: Callable[[], T], /) -> T:
    """Run in place, after letting others go first: tests and simulation can interleave every call."""
    await asyncio.sleep(0)
    return work()
