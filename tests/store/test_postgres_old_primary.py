"""An old primary that is started again after a standby took over can be written too, and must not be."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from rollout.core.errors import StoreError
from rollout.core.model import Service
from rollout.store import SqlStore, inline, open_store
from rollout.store import postgres_wire as wire
from rollout.store.postgres_url import read_url
from tests.store import postgres_lab
from tests.store.postgres_lab import Server
from tests.store.test_postgres import _caught_up

FIRST, SECOND = (wire.Server("17", f"0000000{number}", "a life") for number in "12")


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary, and a standby that follows it."""
    with postgres_lab.server(synchronous_standby_names="*", synchronous_commit="local") as old:
        new = old.standby(old.directory / "standby")
        new.start()
        try:
            yield old, new
        finally:
            new.stop()


def _timelines(engine: Any) -> list[int]:
    """Of two connections of a pool."""
    with engine.connect() as one, engine.connect() as other:
        found = (conn.connection.dbapi_connection.server.timeline for conn in (one, other))
        return [int(timeline, 16) for timeline in found]


async def _names(store: SqlStore) -> set[str]:
    return {service.name for service in await store.services()}


async def test_after_a_failover_the_old_primary_is_not_used_though_it_can_be_written(
    pair: tuple[Server, Server],
) -> None:
    old, new = pair
    url = old.tcp(old.database()).replace("/t", f",127.0.0.1:{new.port}/t")
    store = open_store(url, run=inline)
    await store.put_service(Service(name="before", policy="standard"))
    _caught_up(old)
    old.stop(signal.SIGQUIT)
    new.promote()
    await store.put_service(Service(name="after", policy="standard"))
    old.start()
    assert [_timelines(engine) for engine in (store.database.write, store.database.read)] == [[2, 2]] * 2
    listens = wire.connect(read_url(url), 5)
    assert listens.server.timeline == "00000002"
    listens.close()
    await store.put_service(Service(name="later", policy="standard"))
    assert await _names(store) == {"before", "after", "later"}
    new.stop()
    with pytest.raises(
        StoreError, match=r"is an old primary: it is on timeline 1, .* on timeline 2\. .*pg_re"
    ):
        await store.services()
    store.close()


async def test_a_connection_from_before_a_failover_is_left_once_the_new_primary_was_seen(
    pair: tuple[Server, Server],
) -> None:
    old, new = pair
    url = old.tcp(old.database()).replace("/t", f",127.0.0.1:{new.port}/t")
    store = open_store(url, run=inline)
    _caught_up(old)
    assert _timelines(store.database.write) == [1, 1]
    new.promote()  # while the old one still works: a network was cut
    wire.left_behind(read_url(url), SECOND)
    assert _timelines(store.database.write) == [2, 2]
    store.close()


def test_the_highest_timeline_is_remembered_for_each_address_and_read_as_a_number() -> None:
    ours, other = (read_url(f"postgresql://ann@{name}/timelines") for name in ("a,b", "a"))
    tenth = wire.Server("17", "00000010", "a life")
    assert [wire.left_behind(ours, server) for server in (FIRST, SECOND, FIRST)] == [0, 0, 2]
    assert [wire.left_behind(ours, server) for server in (tenth, SECOND)] == [0, 16]
    assert wire.left_behind(other, FIRST) == 0
