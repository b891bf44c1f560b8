"""The heartbeat: the only file that knows APScheduler. No job store: the database is the queue.

One job calls `tick` every few seconds; deleting it and starting again changes latency only. Jobs never
expire (`misfire_grace_time=None`), never pile up (`coalesce`, one instance), and times are UTC.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import UTC, datetime

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from rollout.clock import SystemClock
from rollout.config import ConfigurationFiles
from rollout.core import reason as say
from rollout.core.errors import InvalidInput, StoreError
from rollout.ports import Clock
from rollout.reconciler import Reconciler
from rollout.telemetry.onlooker import NOBODY, Onlooker

log = structlog.get_logger(__name__)

DEAD_AFTER_S = 15.0
OVERSLEPT_S = 2.0
FAILING_AFTER_S = 3.0  # one look that fails is tried again, and is no news
REPEAT_S = 60.0  # between two lines about beats that were missed
_JOB = "tick"


async def _nothing() -> None:
    """Nothing comes before a tick."""


class Heartbeat:
    """Calls the reconciler, again at once after `wake`, and reloads changed configuration files.

    `before` comes before every tick, which is not made where that raises.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        files: ConfigurationFiles,
        clock: Clock,
        *,
        tick_s: float,
        onlooker: Onlooker = NOBODY,
        before: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._reconciler, self._files, self._clock, self._tick_s = reconciler, files, clock, tick_s
        self._onlooker, self._before = onlooker, before
        self._wall = SystemClock()  # APScheduler knows no other
        self._watchdog: asyncio.TimerHandle | None = None
        self._again = self._ticking = False
        self._started_at: datetime | None = None
        self._reload_error = ""
        self.last_tick: datetime | None = None
        self._failed_since: datetime | None = None
        self._failed_by: Exception | None = None
        self._missed = 0  # beats since the last line about them
        self._missed_since: datetime | None = None
        self._said_at: datetime | None = None
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(
            self._report, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        )

    async def start(self) -> None:
        """Begin to beat, the first time at once."""
        self._started_at = self._clock.now()
        self._scheduler.add_job(
            self.beat, "interval", seconds=self._tick_s, id=_JOB, next_run_time=self._wall.now()
        )
        self._scheduler.start()
        self._watch()

    async def stop(self) -> None:
        """Stop beating; what is due stays recorded."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def wake(self) -> None:
        """Beat now. During a beat: once more right after it."""
        if self._ticking:
            self._again = True
        elif self._scheduler.running:  # in no context: a beat is nobody's request, whoever woke it
            Context().run(self._scheduler.modify_job, _JOB, next_run_time=self._wall.now())

    def _watch(self) -> None:
        """Wake a scheduler that sleeps too long, since the machine's clock was set back under it."""
        last = self.last_tick or self._started_at or self._clock.now()
        if (self._clock.now() - last).total_seconds() > OVERSLEPT_S + self._tick_s:
            self.wake()
        self._watchdog = asyncio.get_running_loop().call_later(OVERSLEPT_S, self._watch)

    @property
    def quiet_since(self) -> datetime | None:
        """When the last whole tick ended; before the first one, when it began to beat, if it did."""
        return self.last_tick or self._started_at

    def alive(self) -> bool:
        """Whether a whole tick ended within the last 15 s (or the start is not longer ago)."""
        last = self.quiet_since
        limit = max(DEAD_AFTER_S, 5 * self._tick_s)
        return last is not None and (self._clock.now() - last).total_seconds() <= limit

    @property
    def failing_since(self) -> datetime | None:
        """Since when every tick has failed, if that is more than 3 s ago."""
        since = self._failed_since
        failing = since is not None and (self._clock.now() - since).total_seconds() > FAILING_AFTER_S
        return since if failing else None

    @property
    def reload_error(self) -> str:
        """Why the newest configuration on disk is not in use, or empty."""
        return self._reload_error

    async def beat(self) -> None:
        """Reload what changed on disk, then tick until nobody asked for more. Raises what a tick raises."""
        self._ticking = True
        try:
            self._again = True
            while self._again:
                self._again = False
                await self._reload()
                await self._before()
                began = asyncio.get_running_loop().time()
                await self._reconciler.tick()
                self._looked(asyncio.get_running_loop().time() - began)
        except Exception as error:
            self._failed_since, self._failed_by = self._failed_since or self._clock.now(), error
            raise
        finally:
            self._ticking = False

    def _looked(self, took_s: float) -> None:
        if self.last_tick is None and took_s > self._tick_s:
            log.info(f"the first look took {took_s:.1f} s, more than a tick")
        if self._failed_since is not None:
            self._well_again(self._failed_since)
        self.last_tick, self._failed_since = self._clock.now(), None
        self._onlooker.ticked(took_s)

    def _well_again(self, since: datetime) -> None:
        what = "the database answers" if isinstance(self._failed_by, StoreError) else "looks end well"
        log.info(f"{what} again after {say.span((self._clock.now() - since).total_seconds())}")
        self._missed, self._missed_since, self._said_at = 0, None, None

    async def _reload(self) -> None:
        if not self._files.changed():
            return
        try:
            before, found = self._files.current, await asyncio.to_thread(self._files.reload)
            if found is not None:
                said = "is whole again, unchanged" if found is before else "reloaded"
                log.info(f"configuration {said}", digest=found.digest[:12])
            self._reload_error = ""
        except InvalidInput as error:
            self._reload_error = self._files.kept(error)
            log.error(self._reload_error)

    def _report(self, event: JobEvent) -> None:
        """Say that beats were missed, at once and then each minute; the first look may be a long one."""
        if event.code == EVENT_JOB_MAX_INSTANCES and self.last_tick is None:
            return
        now, error = self._clock.now(), getattr(event, "exception", None)
        self._missed, self._missed_since = self._missed + 1, self._missed_since or now
        if self._said_at is not None and (now - self._said_at).total_seconds() < REPEAT_S:
            return
        log.error(
            "heartbeat missed a beat",
            code=event.code,
            error=str(error or ""),
            beats=self._missed,
            since=f"{self._failed_since or self._missed_since:%H:%M:%S} UTC",
        )
        self._missed, self._missed_since, self._said_at = 0, None, now
