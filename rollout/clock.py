"""The clocks. Nothing else may call datetime.now (a lint rule holds this)."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

FOLLOW = 0.1  # of the time that passes: how fast a steady clock follows the machine's


def stopwatch() -> float:
    """Seconds since some moment: nobody sets them, and where it can tell they pass while a machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SystemClock:
    """The machine's clock in UTC, which people and time servers may set forwards and back."""

    def now(self) -> datetime:
        """The present time."""
        return datetime.now(UTC)


class SteadyClock:
    """Passes as a stopwatch does: never backwards, and at most a tenth faster or slower than time itself.

    It starts at the machine's clock and follows it. A jump of that clock therefore ends no bake early, delays
    no rollback, and is made up for slowly.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall or SystemClock().now
        self._stopwatch = stopwatch
        self._now, self._at = self._wall(), stopwatch()
        self._ahead: timedelta | None = None  # of the machine's clock, the one that is followed

    def follow(self, told: datetime, at_once: bool = False) -> None:
        """Go by a clock that several processes share, and that says `told` now.

        What one process has counted is then true for the next, whatever the clock of its machine says. The
        first time at once; later only forwards and `at_once`, when work of others is taken over: a machine
        that was paused has lost time that they have counted.
        """
        if self._ahead is None or (at_once and told > self.now()):
            self._now, self._at = told, self._stopwatch()
        self._ahead = told - self._wall()

    def now(self) -> datetime:
        """The present time, UTC."""
        at = self._stopwatch()
        passed = at - self._at
        steady = self._now + timedelta(seconds=passed)
        behind = (self._wall() + (self._ahead or timedelta(0)) - steady).total_seconds()
        follow = max(-FOLLOW * passed, min(FOLLOW * passed, behind))
        self._now, self._at = steady + timedelta(seconds=follow), at
        return self._now
