"""One slot: a place that outlives the processes in it. It keeps what is wanted running there."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import httpx

from rollout.clock import SystemClock
from rollout.supervisor import files
from rollout.supervisor.files import Exit, Failure, InstanceStatus
from rollout.supervisor.life import GRACE_S, Life, Place, Wish

DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # before a restart, by how many quick deaths came in a row
QUICK_S = 5.0  # a life shorter than this is a quick death
TRIES = 3  # deaths before it was ever healthy that make a version one that cannot run
LOOK_S = 1.0  # between two looks at a healthy process
LOOK_STARTING_S = 0.1
DRAIN_S = 0.2  # between reporting a process as unhealthy and asking it to end


class Slot:
    """Give it a wish with `want`; `keep` runs until the wish is None and the process is gone.

    `restarts` counts the deaths that nobody ordered. `proved` says whether the wish was ever healthy.
    """

    def __init__(
        self,
        place: Place,
        http: httpx.AsyncClient,
        clock: SystemClock,
        on_exit: Callable[[Exit], None] | None = None,
        restarts: int = 0,
    ) -> None:
        self.place = place
        self.restarts = restarts
        self.wish: Wish | None = None
        self.life: Life | None = None
        self._newest: Life | None = None  # also after its end
        self.healthy = False
        self.proved = False
        self._http = http
        self._clock = clock
        self._on_exit = on_exit
        self._exits: deque[Exit] = deque(maxlen=5)
        self._changed = asyncio.Event()
        self._started_at = clock.now()
        self._wanted_at = time.monotonic()
        self._tries = 0
        self._quick = 0
        self._trouble = ""

    def want(self, wish: Wish | None) -> None:
        """Say what should run here from now on; None empties the slot."""
        if wish == self.wish:
            return
        self.wish = wish
        self.proved = False
        self._wanted_at = time.monotonic()
        self._tries = self._quick = 0
        self._trouble = ""
        self._changed.set()

    @property
    def serving(self) -> bool:
        """Whether a healthy process runs here, of whatever version."""
        return self.life is not None and self.healthy

    @property
    def ready(self) -> bool:
        """Whether what is wanted runs here and is healthy."""
        return self.serving and self.life is not None and self.life.wish == self.wish

    def failure(self) -> Failure | None:
        """Why what is wanted cannot run here, once that is clear."""
        if self.wish is None or self.proved:
            return None
        limit = self.wish.launch.start_within_s
        if self._tries >= TRIES:
            reason = f"ended {self._tries} times before it was healthy: {self._trouble}"
        elif time.monotonic() - self._wanted_at > limit + DRAIN_S + GRACE_S:
            reason = f"was not healthy within {limit:g} s: {self._trouble or 'it has not answered yet'}"
        elif self.life and self.life.wish == self.wish and self.life.answers not in (None, self.wish.version):
            reason = f"is something else: {self._trouble}"
        else:
            return None
        words = self._words()
        silent = "" if words or self._newest is None else "; it wrote nothing"
        return Failure(
            slot=self.place.slot, version=self.wish.version, reason=reason + silent, last_lines=words
        )

    def _words(self) -> tuple[str, ...]:
        """The last lines of the newest process that was started for what is wanted."""
        newest = self._newest
        return files.lines(newest.words) if newest and newest.wish == self.wish else ()

    def status(self) -> InstanceStatus | None:
        """What there is to say of this slot; None before anything was wanted here."""
        wish = self.life.wish if self.life else self.wish
        if wish is None:
            return None
        life = None if self.life is None or self.life.over else self.life
        return InstanceStatus(
            slot=self.place.slot,
            version=wish.version,
            answers=life.answers if life else None,
            pid=life.pid if life else None,
            port=life.port if life else None,
            url=life.url if life else "",
            started_at=self._started_at,
            healthy=life is not None and self.healthy,
            restarts=self.restarts,
            exits=tuple(self._exits),
        )

    async def keep(self) -> None:
        """Run what is wanted, and again when it dies, until nothing is wanted."""
        while self.wish is not None:
            self._changed.clear()
            try:
                life = await Life.start(self.wish, self.place, self._clock.now())
            except OSError as error:
                self._newest = None
                await self._not_started(f"the command cannot be run: {error}")
                continue
            self.life, self._newest, self._started_at = life, life, life.started_at
            await self._watch(life)
            await self._end(life)

    async def _watch(self, life: Life) -> None:
        """Look at it again and again until it ends or is no longer wanted."""
        while self.wish == life.wish and not life.over:
            trouble = await life.trouble(self._http)
            if self.wish != life.wish or life.over:
                return
            self._trouble, self.healthy = trouble, not trouble
            self.proved |= self.healthy
            await life.wait(self._changed, LOOK_S if self.healthy else LOOK_STARTING_S)

    async def _end(self, life: Life) -> None:
        planned = not life.over
        self.healthy = False
        lasted = life.lasted_s
        if planned:
            if self.wish is not None:
                await asyncio.sleep(DRAIN_S)  # who sends it traffic sees that it is going
            await life.stop()
        ended = await life.exit(self._clock.now(), planned=planned)
        self._exits.append(ended)
        if self._on_exit:
            self._on_exit(ended)
        if not planned:
            self.restarts += 1
            self._quick = self._quick + 1 if lasted < QUICK_S else 0
            await self._not_started(ended.reason)
        self.life = None

    async def _not_started(self, trouble: str) -> None:
        """Wait before the next try, the longer the more often it died at once."""
        self._trouble = trouble
        self._tries += 1
        delay = DELAYS_S[min(max(self._quick - 1, 0), len(DELAYS_S) - 1)]
        try:
            await asyncio.wait_for(self._changed.wait(), delay)
        except TimeoutError:
            return
