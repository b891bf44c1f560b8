"""The background worker of one mail process: claims a send, works on it, delivers it."""

import threading
import time
from collections.abc import Callable
from random import Random

from rollout.demo.mail_metrics import Meters
from rollout.demo.mail_queue import Delivery, MailQueue, Owner, SlotLocks
from rollout.demo.mail_versions import SIGNED_TOGETHER, Behaviour

IDLE_S = 0.25  # between two looks at an empty queue; an accepted send wakes the worker at once
RELEASE_EVERY_S = 1.0
SIGNING_S = 1.0  # how long sends wait for a signature before the process gives up


class Worker(threading.Thread):
    """Works until `stop`. `stops_at` says when it meets an expired key, by the clock of `now`; None never."""

    def __init__(
        self,
        queue: MailQueue,
        locks: SlotLocks,
        owner: Owner,
        behaviour: Behaviour,
        meters: Meters,
        *,
        token: str,
        late_after: float,
        now: Callable[[], float],
        stops_at: Callable[[], float] | None,
        end: Callable[[], None],
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._queue, self._locks, self._owner, self._behaviour = queue, locks, owner, behaviour
        self._meters, self._token, self._late_after = meters, token, late_after
        self._now, self._stops_at, self._end = now, stops_at, end
        self._chance = Random(token)  # noqa: S311 - a pace, no secret
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._released_at = 0.0

    def wake(self) -> None:
        """There is something in the queue."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the send in hand, then end."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Claim, work, deliver, again and again."""
        while not self._stopping.is_set():
            self._wake.clear()
            if not self.step():
                self._wake.wait(IDLE_S)

    def step(self) -> bool:
        """One send; False when there was none."""
        self._release()
        send = self._queue.claim(self._owner, self._token)
        if send is None:
            return False
        if self._stops_at is not None and self._now() >= self._stops_at():
            self._meet_expired_key()
            return True
        time.sleep(self._chance.uniform(*self._behaviour.work_s))
        delivery = self._queue.deliver(send, self._token, self._late_after)
        if delivery is not Delivery.NOT_OURS:
            self._meters.delivered.inc()
        if delivery is Delivery.LATE:
            self._meters.late.inc()
        return True

    def _release(self) -> None:
        if time.monotonic() - self._released_at >= RELEASE_EVERY_S:
            self._queue.release_slots(self._locks.runs)
            self._released_at = time.monotonic()

    def _meet_expired_key(self) -> None:
        """Hold on to sends that cannot be signed, and end with them in hand."""
        held, limit = 1, time.monotonic() + SIGNING_S
        while held < SIGNED_TOGETHER and time.monotonic() < limit and not self._stopping.is_set():
            held += self._queue.claim(self._owner, self._token) is not None
            self._wake.clear()
            self._wake.wait(0.05)
        self._end()
        self._stopping.set()
