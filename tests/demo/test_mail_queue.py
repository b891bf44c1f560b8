"""The durable queue of the sample service: nothing is lost or done twice, and what stalls can be seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.demo.mail_queue import Delivery, MailQueue, Owner, Resumed, SlotLocks

GOOD = Owner("1", "1.0.0")
BAD = Owner("2", "1.2.0")
LATE_S = 2.0


class Region:
    """A queue with a clock that a test moves."""

    def __init__(self, directory: Path) -> None:
        self.at = 1000.0
        self.directory = directory
        self.queue = self.open()

    def open(self) -> MailQueue:
        return MailQueue(self.directory, lambda: self.at)

    def send(self, owner: Owner = GOOD) -> int:
        return self.queue.accept(owner, "a@example.org", "hello")

    def stall(self, owner: Owner = BAD) -> int:
        """A send whose worker dies with it in hand."""
        send = self.send(owner)
        assert self.queue.claim(owner, "dead") == send
        return send


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.queue.close()


def test_a_send_is_delivered_once_and_the_books_balance(region: Region) -> None:
    send = region.send()
    assert region.queue.claim(GOOD, "t") == send
    assert region.queue.claim(GOOD, "t") is None
    assert region.queue.deliver(send, "t", LATE_S) is Delivery.DONE
    assert region.queue.deliver(send, "t", LATE_S) is Delivery.NOT_OURS
    assert region.queue.totals(LATE_S) == {
        "accepted": 1,
        "delivered": 1,
        "unfinished": 0,
        "duplicates": 0,
        "late": 0,
    }


def test_what_was_accepted_is_there_after_a_restart(region: Region) -> None:
    send = region.send()
    region.queue.close()
    region.queue = region.open()
    assert region.queue.claim(GOOD, "t") == send


def test_sends_are_taken_oldest_first_and_only_from_the_own_slot(region: Region) -> None:
    first, second = region.send(), region.send()
    region.send(BAD)
    assert [region.queue.claim(GOOD, "t") for _ in range(3)] == [first, second, None]


def test_unclaimed_sends_of_a_slot_that_runs_no_more_may_be_taken_by_anybody(region: Region) -> None:
    send = region.send(BAD)
    assert region.queue.release_slots(lambda slot: True) == 0
    assert region.queue.claim(GOOD, "t") is None
    assert region.queue.release_slots(lambda slot: slot == "1") == 1
    assert region.queue.claim(GOOD, "t") == send


def test_a_claimed_send_of_a_dead_process_stays_claimed_and_new_ones_flow(region: Region) -> None:
    stalled = region.stall()
    fresh = region.send(BAD)
    region.queue.release_slots(lambda slot: False)
    assert region.queue.claim(BAD, "next") == fresh
    region.queue.deliver(fresh, "next", LATE_S)
    region.at += 60
    found = region.queue.stalled(30)
    assert found == {
        "items": [{"id": str(stalled), "age_s": 60.0, "version": "1.2.0"}],
        "backlog": 1,
        "oldest_age_s": 60.0,
    }


def test_a_send_that_is_being_worked_on_is_neither_stalled_nor_taken_away(region: Region) -> None:
    send = region.stall(GOOD)
    region.at += 0.5
    assert region.queue.stalled(0)["items"] == []
    assert region.queue.resume([(str(send), "k")]) == Resumed(0, 1, ())
    assert region.queue.deliver(send, "dead", LATE_S) is Delivery.DONE


def test_resuming_puts_a_send_back_for_anybody_and_the_same_key_does_it_once(region: Region) -> None:
    send = region.stall()
    region.at += 60
    assert region.queue.resume([(str(send), "k")]) == Resumed(1, 0, ())
    assert region.queue.claim(GOOD, "t") == send
    region.at += 60
    assert region.queue.resume([(str(send), "k")]) == Resumed(0, 1, ())
    assert region.queue.resume([(str(send), "another")]) == Resumed(1, 0, ())


def test_a_worker_that_wakes_up_late_delivers_nothing_that_was_resumed(region: Region) -> None:
    send = region.stall()
    region.at += 60
    region.queue.resume([(str(send), "k")])
    assert region.queue.deliver(send, "dead", LATE_S) is Delivery.NOT_OURS
    region.queue.claim(GOOD, "t")
    assert region.queue.deliver(send, "t", LATE_S) is Delivery.DONE
    assert region.queue.totals(LATE_S)["duplicates"] == 0


def test_items_that_do_not_exist_are_named(region: Region) -> None:
    assert region.queue.resume([("77", "k"), ("drop table", "l")]) == Resumed(0, 0, ("77", "drop table"))


def test_a_stalled_send_is_counted_late_once_by_its_own_slot_and_version(region: Region) -> None:
    region.stall()
    region.at += 2.1
    assert region.queue.newly_late(GOOD, LATE_S) == 0
    assert region.queue.newly_late(Owner("2", "1.0.0"), LATE_S) == 0
    assert region.queue.newly_late(BAD, LATE_S) == 1
    assert region.queue.newly_late(BAD, LATE_S) == 0


def test_a_send_that_is_delivered_late_is_counted_once(region: Region) -> None:
    first, second = region.send(), region.send()
    region.at += 2.1
    region.queue.claim(GOOD, "t")
    region.queue.claim(GOOD, "t")
    assert region.queue.deliver(first, "t", LATE_S) is Delivery.LATE
    assert region.queue.newly_late(GOOD, LATE_S) == 1
    assert region.queue.deliver(second, "t", LATE_S) is Delivery.DONE
    assert region.queue.totals(LATE_S)["late"] == 2


def test_who_finishes_a_resumed_send_is_not_blamed_for_its_age(region: Region) -> None:
    send = region.stall()
    region.at += 600
    region.queue.resume([(str(send), "k")])
    region.queue.claim(GOOD, "t")
    assert region.queue.unfinished(GOOD) == (1, 0.0)
    assert region.queue.newly_late(GOOD, LATE_S) == 0
    assert region.queue.totals(LATE_S)["late"] == 1
    assert region.queue.deliver(send, "t", LATE_S) is Delivery.DONE


def test_depth_and_age_are_of_the_own_slot_and_version(region: Region) -> None:
    region.stall()
    region.at += 7
    region.send(BAD)
    assert region.queue.unfinished(BAD) == (2, 7.0)
    assert region.queue.unfinished(GOOD) == (0, 0.0)


def test_a_slot_runs_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    mine, other = SlotLocks(tmp_path), SlotLocks(tmp_path)
    mine.hold("1")
    assert (mine.runs("1"), other.runs("1"), other.runs("2")) == (True, True, False)
