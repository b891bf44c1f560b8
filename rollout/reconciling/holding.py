"""What this replica may work on: the services that it holds, and until when by its own stopwatch.

The lease is counted from before it was asked for, and without its last tenth, so it never ends later here
than in the database. Who cannot renew stops acting, also while the database hangs: a timer says when. The
database refuses its writes then, and targets refuse its orders by the generation (S3).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import structlog

from rollout.clock import FOLLOW
from rollout.core.errors import Fenced
from rollout.ports import Fence, Replica, Store
from rollout.telemetry.onlooker import NOBODY, Onlooker

log = structlog.get_logger(__name__)

RENEW = 5  # times within a lease
LAST = 3  # nothing is begun in the last third of a lease
USED = 1 - FOLLOW  # of a lease: a clock may run so much slower than the one by which the database ends it
SOONEST_S = 0.001  # before the lease is looked at again


class Holding:
    """The claims of one replica. `renew` asks the database when it is time.

    `stopwatch` counts seconds, `over` is called when the lease has ended and nobody could renew it.
    """

    def __init__(
        self,
        store: Store,
        stopwatch: Callable[[], float],
        replica: Replica,
        onlooker: Onlooker = NOBODY,
        told_time: Callable[[datetime, bool], None] = lambda _told, _at_once: None,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._stopwatch, self._replica = store, stopwatch, replica
        self._onlooker, self._told_time, self._over = onlooker, told_time, over
        self._claims: Mapping[str, int] = {}
        self._granted_at: float | None = None
        self._instead_of: str | None = None  # the process whose place was taken; None: not yet
        self._watch: asyncio.TimerHandle | None = None
        self.replicas = 0  # that live, as of the last answer

    @property
    def owner(self) -> str:
        """The id of this replica."""
        return self._replica.id

    @property
    def services(self) -> Collection[str]:
        """What is held."""
        return self._claims.keys()

    @property
    def is_due(self) -> bool:
        """Whether a fifth of the lease has passed, or there is none."""
        if self._granted_at is None:
            return True
        return not 0 <= self._stopwatch() - self._granted_at < self._replica.lease_s / RENEW

    async def renew(self, busy: Collection[str] = (), *, at_once: bool = False) -> bool:
        """Ask for a longer lease when a fifth of it has passed, or something is free. True: new claims.

        `at_once` asks in any case: it is a write, which shows whether the database takes any.
        Raises StoreError, and Fenced when another process has the identity of this replica.
        """
        if not (at_once or self.is_due) and not await self._store.free():
            return False
        if self._claims and self._left() <= 0:  # its timer slept: what is under way waits for no answer
            self._over()
        asked_at = self._stopwatch()
        try:
            held = await self._store.hold(self._replica, instead_of=self._instead_of, busy=busy)
        except Fenced:  # another process is this replica now
            self._claims = {}
            raise
        self._instead_of = held.instead_of
        answered_in = self._stopwatch() - asked_at
        gained = held.claims.items() - self._claims.items()
        self._told_time(held.now, bool(gained))  # may set a clock that the stopwatch goes by
        self._granted_at = self._stopwatch() - answered_in
        before, self._claims, self.replicas = self._claims, held.claims, held.replicas
        lost = before.keys() - held.claims.keys()
        if gained or lost:
            log.info("claims", replica=self.owner, held=len(held.claims), gained=len(gained), lost=len(lost))
        self._look()
        return bool(gained)

    def rest(self) -> None:
        """Watch the lease no longer."""
        if self._watch is not None:
            self._watch.cancel()

    def fence(self, service: str) -> Fence:
        """What a write for a service carries. Raises Fenced when it is not held."""
        epoch = self._claims.get(service)
        if epoch is None:
            raise Fenced(
                f"This replica, '{self.owner}', does not hold service '{service}'; nothing was done."
            )
        return Fence(service=service, owner=self.owner, epoch=epoch)

    def may_act(self, service: str) -> bool:
        """Whether an effect may be begun: the service is held, and for long enough to be answered."""
        return service in self._claims and self._left() > self._replica.lease_s / LAST

    def is_over(self, service: str) -> bool:
        """Whether what is under way for a service must stop: another replica may hold it."""
        return service not in self._claims or self._left() <= 0

    def holds(self, fence: Fence) -> bool:
        """Whether what was begun with it may go on: it is not over, and no newer claim has followed it."""
        return not self.is_over(fence.service) and self._claims[fence.service] == fence.epoch

    def lost(self, fence: Fence) -> None:
        """A write with it was refused; a claim that was gained since is kept."""
        log.warning("fenced: another replica holds the service", service=fence.service, replica=self.owner)
        self._onlooker.fenced(fence.service)
        lost = (fence.service, fence.epoch)
        self._claims = {name: epoch for name, epoch in self._claims.items() if (name, epoch) != lost}

    def _left(self) -> float:
        """Seconds of the lease that may be used."""
        if self._granted_at is None:
            return 0.0
        return USED * self._replica.lease_s - (self._stopwatch() - self._granted_at)

    def _look(self) -> None:
        """Say that the lease is over once it is; look again as often as it is renewed, until then.

        Timers stand still while a machine sleeps, and the stopwatch does not.
        """
        self.rest()
        left = self._left()
        if left > 0:
            soon_s = max(SOONEST_S, min(left, self._replica.lease_s / RENEW))
            self._watch = asyncio.get_running_loop().call_later(soon_s, self._look)
        elif self._claims:
            log.error(
                "lease not renewed in time: what is under way is stopped, and nothing is begun until it is; "
                "see whether the database answers",
                replica=self.owner,
                held=len(self._claims),
                lease_s=self._replica.lease_s,
            )
            self._over()
