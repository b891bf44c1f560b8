"""The steady clock: what a jump of the machine's clock does, and does not."""

from datetime import UTC, datetime, timedelta

from rollout.clock import SteadyClock

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Machine:
    """A wall clock that can be set, and a stopwatch that cannot."""

    def __init__(self) -> None:
        self.wall, self.seconds = NOON, 0.0
        self.clock = SteadyClock(lambda: self.wall, lambda: self.seconds)

    def pass_(self, seconds: float) -> datetime:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds
        return self.clock.now()


def test_it_shows_the_time_of_the_machine_while_nobody_sets_that() -> None:
    machine = Machine()
    assert machine.pass_(3600) == NOON + timedelta(hours=1)


def test_an_hour_forwards_ends_no_wait_early() -> None:
    machine = Machine()
    machine.wall += timedelta(hours=1)
    assert machine.pass_(600) <= NOON + timedelta(seconds=600 * 1.1)


def test_ten_minutes_back_stop_nothing() -> None:
    machine = Machine()
    machine.wall -= timedelta(minutes=10)
    before = machine.clock.now()
    for _ in range(60):
        after = machine.pass_(1)
        assert after - before >= timedelta(seconds=0.89)
        before = after


def test_it_follows_the_machine_in_the_end() -> None:
    machine = Machine()
    machine.wall += timedelta(seconds=30)
    for _ in range(400):
        machine.pass_(1)
    assert machine.clock.now() == machine.wall


def test_what_is_shared_is_gone_by_at_once_and_followed_slowly_after_that() -> None:
    machine = Machine()  # a minute ahead of the others
    shared = NOON - timedelta(minutes=1)
    machine.clock.follow(shared)
    assert machine.clock.now() == shared
    assert machine.pass_(10) == shared + timedelta(seconds=10)
    machine.wall += timedelta(hours=1)  # somebody sets this machine's clock
    machine.clock.follow(shared + timedelta(seconds=10))
    assert machine.pass_(10) == shared + timedelta(seconds=20)
    machine.clock.follow(shared + timedelta(seconds=80))  # the shared one was set
    assert machine.pass_(10) == shared + timedelta(seconds=31)


def test_a_machine_that_was_paused_goes_by_the_shared_time_when_it_takes_over_work() -> None:
    machine = Machine()
    machine.clock.follow(NOON)
    later = NOON + timedelta(hours=1)  # nothing of which this machine counted
    machine.clock.follow(later)
    assert machine.clock.now() == NOON
    machine.clock.follow(later, at_once=True)
    assert machine.clock.now() == later
    machine.clock.follow(NOON, at_once=True)
    assert machine.clock.now() == later
