"""A server that crashed gives numbers of transactions again: what it says of ours may be of another one."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import structlog

from rollout.core.errors import OutcomeUnknown, StoreError
from rollout.store import SqlStore, inline, open_store
from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import connect
from tests.store import postgres_lab
from tests.store.builders import intent, plan, rollout, transition
from tests.store.postgres_lab import Server

pytestmark = pytest.mark.real
LAZY = {"wal_writer_delay": "10s"}  # what was not committed is in memory alone


@pytest.fixture
def own() -> Iterator[Server]:
    with postgres_lab.server(**LAZY) as made:
        yield made


def crashing(own: Server, store: SqlStore, then: Callable[[str], None], patch: pytest.MonkeyPatch) -> None:
    """The server crashes before it has heard the next COMMIT, and `then` comes with its number."""
    dialect = store.database.write.dialect
    real = dialect.do_commit

    def commit(conn: Any) -> None:
        patch.setattr(dialect, "do_commit", real)
        cursor = conn.cursor()
        cursor.execute("SELECT pg_current_xact_id()::text")
        ((xid,),) = cursor.fetchall()
        own.stop(signal.SIGQUIT)
        own.start(**LAZY)
        then(xid)
        real(conn)

    patch.setattr(dialect, "do_commit", commit)


async def test_a_number_that_another_transaction_was_given_since_is_not_taken_for_ours(
    own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(own.url(own.database()), run=inline)
    await store.add(rollout(), plan(), transition(1))

    def given_again(xid: str) -> None:
        while int(own.ask("SELECT pg_current_xact_id()::text")[0][0]) < int(xid):
            pass
        assert own.ask(f"SELECT pg_xact_status('{xid}')") == [("committed",)]

    crashing(own, store, given_again, monkeypatch)
    with pytest.raises(OutcomeUnknown, match=r"lost during a COMMIT.*Read again before deciding again"):
        await store.ask(intent())
    assert (await store.case("ro_01")).intents == ()
    store.close()


async def test_a_number_that_was_forgotten_is_of_a_transaction_that_changed_nothing(
    own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(own.url(own.database()), run=inline)
    await store.add(rollout(), plan(), transition(1))
    crashing(own, store, lambda _: None, monkeypatch)
    began = time.monotonic()
    with structlog.testing.capture_logs() as logged:
        await store.ask(intent())
    assert [each["became"] for each in logged if "became" in each] == ["aborted"]
    assert time.monotonic() - began < 10, "nobody waits for what never comes"
    assert [each.id for each in (await store.case("ro_01")).intents] == ["in_1"]
    store.close()


def test_a_server_has_another_life_after_each_crash_also_where_its_first_process_lives_on(
    own: Server,
) -> None:
    first = life(own)
    assert life(own) == first
    with closing(connect(read_url(own.url("postgres")), 1.0)) as victim:
        cursor = victim.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        os.kill(cursor.fetchall()[0][0], signal.SIGKILL)
    crashed = other_than(own, first)
    own.stop()
    own.start()
    assert life(own) not in (first, crashed)


def life(own: Server) -> str:
    with closing(connect(read_url(own.url("postgres")), 1.0)) as connection:
        found: str = connection.server.life
        return found


def other_than(own: Server, before: str) -> str:
    """The life of a server that is about to lose its memory."""
    for _ in range(500):
        with contextlib.suppress(StoreError):
            if (found := life(own)) != before:
                return found
        time.sleep(0.02)
    raise AssertionError("it lives on")
