"""Waiting for news of history: one look for everybody, and nobody looks while nobody waits."""

import asyncio

from rollout.core.errors import StoreError
from rollout.tail import Tail


class Book:
    """Where history ends, and how often that was asked."""

    def __init__(self) -> None:
        self.end, self.asked, self.broken = 5, 0, False

    async def newest(self) -> int:
        self.asked += 1
        if self.broken:
            raise StoreError("the disk is full")
        return self.end


async def test_what_was_written_before_is_told_at_once() -> None:
    book = Book()
    assert await Tail(book.newest, look_s=60).after(4, 60) == 5


async def test_a_ring_is_heard_by_everybody_with_one_look() -> None:
    book = Book()
    tail = Tail(book.newest, look_s=60)
    waiting = [asyncio.create_task(tail.after(5, 60)) for _ in range(50)]
    for _ in range(10):
        await asyncio.sleep(0)
    asked, book.end = book.asked, 7
    tail.ring()
    assert await asyncio.gather(*waiting) == [7] * 50
    assert asked + 1 == book.asked <= 3


async def test_without_a_ring_it_looks_by_itself() -> None:
    book = Book()
    tail = Tail(book.newest, look_s=0.01)
    waiting = asyncio.create_task(tail.after(5, 60))
    await asyncio.sleep(0)
    book.end = 6
    assert await asyncio.wait_for(waiting, 5) == 6


async def test_a_time_that_is_over_gives_the_place_itself() -> None:
    assert await Tail(Book().newest, look_s=60).after(5, 0.01) == 5


async def test_nobody_looks_while_nobody_waits() -> None:
    book = Book()
    tail = Tail(book.newest, look_s=0.001)
    await tail.after(5, 0.01)
    await asyncio.sleep(0.01)  # the look under way ends
    asked = book.asked
    await asyncio.sleep(0.02)
    assert book.asked == asked


async def test_a_database_that_fails_for_a_while_is_asked_again() -> None:
    book = Book()
    book.broken = True
    tail = Tail(book.newest, look_s=0.01)
    waiting = asyncio.create_task(tail.after(5, 60))
    await asyncio.sleep(0.02)
    book.broken, book.end = False, 6
    assert await asyncio.wait_for(waiting, 5) == 6


async def test_closing_lets_everybody_go_and_nobody_wait_again() -> None:
    tail = Tail(Book().newest, look_s=60)
    waiting = asyncio.create_task(tail.after(5, 60))
    await asyncio.sleep(0)
    tail.close()
    assert await asyncio.wait_for(waiting, 5) == 5
    assert await asyncio.wait_for(tail.after(5, 60), 5) == 5
