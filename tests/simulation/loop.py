"""A virtual-time event loop, and processes on it that can be killed or stopped at any await, as by a signal.

Time jumps to the next timer; nothing waits. Every task of a process runs in a context that names it, so the
loop knows whose turn a callback is: those of a dead process never run again (no `finally`, no cancellation:
SIGKILL), those of a stopped one run when it goes on (SIGSTOP, SIGCONT), late timers and all.

What must not live here: anything about rollouts, or chance.
"""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
RUNNING, STOPPED, DEAD = "running", "stopped", "dead"


class Process:
    """Something that can be stopped and killed from outside. `parked` waits for its turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = RUNNING
        self.parked: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._context = copy_context()
        self._context.run(CURRENT.set, self)

    @property
    def runs(self) -> bool:
        """Whether its callbacks get their turn."""
        return self.state is RUNNING

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task of this process."""
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self.tasks.append(task)
        return task

    def stop(self) -> None:
        """As SIGSTOP."""
        assert self.state is RUNNING, f"{self.name} is {self.state}"
        self.state = STOPPED

    def go_on(self) -> None:
        """As SIGCONT."""
        if self.state is STOPPED:
            self.state = RUNNING
            self._release()

    def kill(self) -> None:
        """As SIGKILL."""
        self.state = DEAD

    def bury(self) -> None:
        """When all is over: let what is left unwind, so that nothing is reported as forgotten."""
        self.state = RUNNING
        for task in self.tasks:
            task.cancel()
        self._release()

    def _release(self) -> None:
        parked, self.parked = self.parked, []
        loop = asyncio.get_running_loop()
        loop._ready.extend(parked)  # type: ignore[attr-defined]


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing is left to happen, and somebody waits."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run, and then jumps to the next timer. No threads, no sockets."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self.now = 0.0
        self.outside: Context = copy_context()  # of what is no process: the world itself
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Let the world do something, whoever asks for it."""
        self.call_later(seconds, work, context=self.outside)

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """In place: a thread would not know what time it is."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        """One round. Overrides the heart of asyncio: no selector is asked, and no real time passes."""
        scheduled, ready = self._scheduled, self._ready  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise Stuck
            self.now = max(self.now, scheduled[0]._when)
        end = self.now + self._clock_resolution
        while scheduled and scheduled[0]._when < end:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        for _ in range(len(ready)):
            _run(ready.popleft())


def _run(handle: asyncio.Handle) -> None:
    if handle._cancelled:
        return
    process = handle._context.get(CURRENT)  # type: ignore[attr-defined]
    if process is None or process.state is RUNNING:
        handle._run()
    else:
        process.parked.append(handle)
