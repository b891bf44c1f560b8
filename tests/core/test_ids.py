"""Ids sort as the times at which they were made."""

from datetime import UTC, datetime, timedelta

from rollout.ids import new_id

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def test_ids_sort_by_time_to_the_millisecond():
    ids = [new_id("ro", START + timedelta(milliseconds=step)) for step in (0, 1, 2, 999, 1000, 10**9)]
    assert ids == sorted(ids)


def test_ids_of_one_moment_differ_and_share_their_beginning():
    made = {new_id("in", START) for _ in range(200)}
    assert len(made) == 200
    assert len({one[:13] for one in made}) == 1
    assert {len(one) for one in made} == {len("in_") + 16}
