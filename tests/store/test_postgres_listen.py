"""Being woken when another replica wrote: who is told of what, and a listener whose server goes away."""

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from threading import enumerate as threads
from typing import Any

import pytest
import structlog

from rollout.ports import Change
from rollout.store import SqlStore, inline, open_store
from rollout.store.postgres_listen import CHANNEL, _has_read_more, _taken
from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import connect
from tests.store import postgres_lab
from tests.store.builders import action, intent, plan, rollout, transition
from tests.store.postgres_lab import Server

DATABASES = ("postgresql",)
LONG_S = 60  # nothing here takes as long, however busy the machine is


class Heard:
    """What a listener was told, for a test to wait for."""

    def __init__(self) -> None:
        self.wrote, self.asked = Event(), Event()
        self.times = {"wrote": 0, "asked": 0}

    def note(self, what: str) -> None:
        self.times[what] += 1
        getattr(self, what).set()

    def wait(self, what: str) -> None:
        assert getattr(self, what).wait(LONG_S), f"never told: {what}"
        getattr(self, what).clear()


@contextmanager
def listening(store: SqlStore) -> Iterator[Heard]:
    """A listener that is connected, and has made the calls that every new connection makes."""
    heard = Heard()
    calls = {"wrote": lambda: heard.note("wrote"), "asked": lambda: heard.note("asked")}
    with store.database.listening(**calls):
        heard.wait("wrote")
        heard.wait("asked")
        yield heard


@pytest.fixture
def two(place: Any) -> Iterator[tuple[SqlStore, SqlStore]]:
    """Two replicas of one database, which knows a rollout."""
    url = place.empty()
    stores = (open_store(url, run=inline), open_store(url, run=inline))
    asyncio.run(stores[0].add(rollout(), plan(), transition(1)))
    yield stores
    for store in stores:
        store.close()


def an_event(store: SqlStore) -> None:
    """A decision with one row of history."""
    found = asyncio.run(store.case("ro_01")).rollout
    change = Change(rollout=found, transitions=(transition(found.transitions + 1),))
    asyncio.run(store.commit(change))


# ---------------------------------------------------------------------- who is told of what


async def test_asking_and_adding_ask_for_a_look_history_is_told_and_the_rest_is_not(place: Any) -> None:
    url = place.empty()
    store = open_store(url, run=inline)
    ear = connect(read_url(url), 5.0)
    ear.autocommit = True
    cursor = ear.cursor()
    cursor.execute(f"LISTEN {CHANNEL}")

    def told() -> list[str]:
        cursor.execute("SELECT 1")
        found = [payload.split()[1] for _, _, payload in ear.notifications]
        ear.notifications.clear()
        return found

    await store.add(rollout(), plan(), transition(1))
    assert told() == ["asked"]
    await store.ask(intent())
    assert told() == ["asked"]
    found = (await store.case("ro_01")).rollout
    found = await store.commit(Change(rollout=found, transitions=(transition(2),)))
    assert told() == ["wrote"]
    found = await store.commit(Change(rollout=found, actions=(action("ro_01/2/0"),)))
    assert told() == [], "most decisions only add evidence, and nobody else need know"
    both = Change(rollout=found, transitions=(transition(3),), intents_new=(intent("in_2"),))
    await store.commit(both)
    assert told() == ["asked"], "one word for one transaction, the stronger"
    ear.close()
    store.close()


async def test_what_a_failed_transaction_would_have_told_is_told_by_no_later_one(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))
    found = (await store.case("ro_01")).rollout
    twice = Change(rollout=found, intents_new=(intent(), intent()))
    with pytest.raises(Exception, match="already recorded"):
        await store.commit(twice)
    said: list[Any] = []
    monitored = store.database._last_words  # type: ignore[attr-defined]

    def last_words(conn: Any) -> Any:
        said.append(conn.info.get("rollout news"))
        return monitored(conn)

    store.database._last_words = last_words  # type: ignore[attr-defined]
    await store.commit(Change(rollout=found))
    assert said == [None]


@pytest.mark.real
def test_a_write_of_one_store_wakes_a_listener_of_another(two: tuple[SqlStore, SqlStore]) -> None:
    writer, other = two
    with listening(other) as heard:
        asyncio.run(writer.ask(intent()))
        heard.wait("asked")
        heard.wait("wrote")
        an_event(writer)
        heard.wait("wrote")
        assert heard.times["asked"] == 2, "history alone asks nobody for a look"


@pytest.mark.real
def test_nobody_is_woken_by_its_own_writes(two: tuple[SqlStore, SqlStore]) -> None:
    own, other = two
    with listening(own) as heard:
        asyncio.run(own.ask(intent()))
        an_event(other)
        heard.wait("wrote")
        assert heard.times["asked"] == 1, "the call at the beginning, and none for what it asked itself"


# ---------------------------------------------------------------------- when the connection goes


def listener_of(postgres: Server) -> int:
    ((pid,),) = postgres.ask(
        f"SELECT pid FROM pg_stat_activity WHERE query IN ('LISTEN {CHANNEL}', 'SELECT 1') "
        "AND application_name = 'rollout'"
    )
    return int(pid)


@pytest.mark.real
def test_a_listener_whose_connection_is_killed_listens_again_and_says_so_once(
    two: tuple[SqlStore, SqlStore], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, other = two
    monkeypatch.setattr("rollout.store.postgres_listen.PAUSE_S", 0.01)
    with structlog.testing.capture_logs() as logged, listening(other) as heard:
        postgres.ask(f"SELECT pg_terminate_backend({listener_of(postgres)}, 5000)")
        heard.wait("wrote")  # as after every new connection: nobody knows what was missed
        heard.wait("asked")
        asyncio.run(writer.ask(intent()))
        heard.wait("asked")
    assert [each["event"][:31] for each in logged if "woken" in each["event"]] == [
        "not woken by other replicas; wh",
        "woken by other replicas again",
    ]


@pytest.mark.real
def test_a_listener_finds_the_standby_that_was_promoted_however_long_that_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollout.store.postgres_listen.PAUSE_S", 0.01)
    monkeypatch.setattr("rollout.store.postgres_listen.PAUSE_CAP_S", 0.05)
    with postgres_lab.server() as own:
        name = own.database()
        open_store(own.url(name), run=inline).close()
        standby = own.standby(own.directory / "standby")
        standby.start()
        try:
            url = own.tcp(name).replace("@", f"@127.0.0.1:{standby.port},")
            writer, other = open_store(url, run=inline), open_store(url, run=inline)
            with structlog.testing.capture_logs() as logged, listening(other) as heard:
                own.stop(signal.SIGQUIT)
                assert not heard.wrote.wait(0.5), "there is no server yet that can be written"
                standby.promote()
                heard.wait("wrote")
                heard.wait("asked")
                asyncio.run(writer.add(rollout(), plan(), transition(1)))
                heard.wait("asked")
            assert len([each for each in logged if each["log_level"] == "warning"]) == 1
            writer.close()
            other.close()
        finally:
            standby.stop()


@pytest.mark.real
def test_a_listener_ends_in_order_while_its_server_is_silent(
    two: tuple[SqlStore, SqlStore], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = two
    monkeypatch.setattr("rollout.store.postgres_listen._END_S", LONG_S)
    ended = Event()
    heard = Heard()
    closable: Any = other.database.listening(wrote=lambda: heard.note("wrote"), asked=lambda: None)
    heard.wait("wrote")
    listener, pid = closable.thing, listener_of(postgres)
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr("rollout.store.postgres_listen.LOOK_S", 0.01)
        Thread(target=lambda: (listener.close(), ended.set())).start()
        assert ended.wait(LONG_S / 2)
        assert not listener._thread.is_alive()
    finally:
        os.kill(pid, signal.SIGCONT)


def test_on_a_database_that_nobody_shares_there_is_nothing_to_hear(tmp_path: Any) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'rollout.db'}", run=inline)
    heard: list[str] = []
    before = threads()
    with store.database.listening(wrote=lambda: heard.append("wrote"), asked=lambda: heard.append("asked")):
        assert threads() == before
        asyncio.run(store.add(rollout(), plan(), transition(1)))
    assert heard == []
    store.close()


# ---------------------------------------------------------------------- small parts


def test_where_more_was_told_than_the_driver_keeps_a_look_is_asked_for() -> None:
    few = deque([(1, CHANNEL, "a wrote"), (1, "another", "a asked")], maxlen=3)
    assert _taken(few) == ("a wrote",)
    assert not few
    many = deque([(1, CHANNEL, "a wrote")] * 3, maxlen=3)
    assert _taken(many) == ("a wrote",) * 3 + (" asked",)


class Pair:
    """What the listener uses of a driver's connection, on a socket of the test."""

    def __init__(self, sock: socket.socket) -> None:
        self._usock, self._sock = sock, sock.makefile(mode="rwb")


def test_what_the_driver_has_read_ahead_is_seen_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(40)
    connection = Pair(ours)
    assert not _has_read_more(connection)
    theirs.sendall(b"answernews")
    assert connection._sock.read(6) == b"answer"  # and has taken all there was from the socket
    assert _has_read_more(connection)
    assert connection._sock.read(4) == b"news"
    assert not _has_read_more(connection)
    assert ours.gettimeout() == 40
    for each in (connection._sock, ours, theirs):
        each.close()
