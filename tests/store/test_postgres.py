"""What is PostgreSQL's alone: its URL, what it refuses, lost connections, unknown COMMITs, order."""

import asyncio
import math
import signal
import socket
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.schema import CreateIndex, CreateTable

from rollout.core.errors import OutcomeUnknown, StoreError
from rollout.ports import Change, Observed
from rollout.store import SqlStore, inline, open_store
from rollout.store.engine import open_database
from rollout.store.migrations import upgrade, versions
from rollout.store.postgres import MARK
from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import Server as Found
from rollout.store.tables import metadata
from tests.store import postgres_lab
from tests.store.builders import T0, intent, plan, rollout, transition
from tests.store.postgres_lab import PASSWORD, Server
from tests.store.test_concurrency import together
from tests.store.test_crash import before, decision, picture
from tests.store.test_history import samples
from tests.store.test_requests import CLAIM

DATABASES = ("postgresql",)


# ---------------------------------------------------------------------- the URL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s%40c@db/x", "postgresql://ann@db:5432/x"),
        ("postgresql+pg8000://ann@db:5433/x", "postgresql://ann@db:5433/x"),
        ("postgres://ann:p@a:1,b:2/x", "postgresql://ann@a:1,b:2/x"),
        ("postgresql://ann@/x?host=/run/pg&port=7", "postgresql://ann@/run/pg:7/x"),
        ("postgresql://ann@[::1]:9/x?target_session_attrs=read-write", "postgresql://ann@::1:9/x"),
    ],
)
def test_a_url_is_read_as_other_clients_read_it(url: str, shown: str) -> None:
    assert str(read_url(url)) == shown
    assert read_url("postgresql://ann:s%40c@db/x").password == "s@c"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql:ann:secret", "no URL of PostgreSQL"),
        ("postgresql://:secret@db/x", "names no user"),
        ("postgresql://ann:secret@db", "names no database"),
        ("postgresql://ann:secret@db/x?colour=red", "options colour, which are not known"),
        ("postgresql://ann:secret@db/x?sslmode=maybe", "sslmode.*none of: disable"),
        ("postgresql://ann:secret@db/x?target_session_attrs=any", "target_session_attrs"),
        ("postgresql://ann:secret@db:y/x", "host that cannot be read"),
        ("postgresql://ann:secret@db/x?connect_timeout=0", "connect_timeout"),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as refused:
        open_database(url)
    assert "secret" not in str(refused.value)


def test_a_password_is_in_no_repr() -> None:
    assert "secret" not in repr(read_url("postgresql://ann:secret@db/x"))


# ---------------------------------------------------------------------- what is refused


def test_a_wrong_password_is_said_and_not_shown(postgres: Server) -> None:
    with pytest.raises(StoreError, match=r"refuses the password.*ROLLOUT_DATABASE_URL") as refused:
        open_database(postgres.tcp("postgres", password="guessed"))
    assert "guessed" not in str(refused.value)


def test_the_right_password_opens_and_is_shown_nowhere(postgres: Server, migrated: str) -> None:
    url = postgres.tcp(postgres.database(migrated))
    with structlog.testing.capture_logs() as logged:
        store = open_store(url, run=inline)
    assert asyncio.run(store.rollouts()) == ()
    shown = f"{logged} {store.database!r} {vars(store.database)} {store.database.name} {store.database.about}"
    assert PASSWORD not in shown
    assert store.database.about.startswith("PostgreSQL 1")
    store.close()


def test_a_database_that_is_missing_is_said(postgres: Server) -> None:
    with pytest.raises(StoreError, match=r"/nothing' is not there. Make it with: createdb"):
        open_database(postgres.url("nothing"))


def test_a_server_that_cannot_be_reached_is_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        StoreError, match=rf"127.0.0.1:{port}/x' cannot be reached.*See whether the server runs"
    ):
        open_database(f"postgresql://ann:secret@127.0.0.1:{port}/x?connect_timeout=1")


def test_a_schema_of_another_program_is_refused_and_not_touched(postgres: Server, url: str) -> None:
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    postgres.ask("CREATE SCHEMA rollout", name)
    postgres.ask("CREATE TABLE rollout.alembic_version (photos text)", name)
    with pytest.raises(StoreError, match=r"schema 'rollout'.*belongs to another program.*not touched"):
        open_store(url, run=inline)
    found = postgres.ask("SELECT relname FROM pg_class WHERE relnamespace = 'rollout'::regnamespace", name)
    assert found == [("alembic_version",)]


def test_other_tables_of_the_database_are_left_alone(postgres: Server, url: str) -> None:
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    for table in ("tokens", "alembic_version", "backup_info"):
        postgres.ask(f"CREATE TABLE {table} (own text)", name)
    store = open_store(url, run=inline)
    asyncio.run(store.distrust_if_old(CLAIM.at, 7))
    store.close()
    found = postgres.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name)
    assert found == [(3,)]


def test_a_newer_schema_is_refused(postgres: Server, place: Any) -> None:
    url = place.empty()
    name = url.split("/")[3].split("?")[0]
    postgres.ask("UPDATE rollout.alembic_version SET version_num = '9999'", name)
    postgres.ask("UPDATE rollout.schema_floor SET floor = '9999'", name)
    with pytest.raises(StoreError, match=r"written by a newer version.*'9999'"):
        open_store(url, run=inline)


def test_a_server_that_is_too_old_is_refused(
    postgres: Server, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.store.postgres_wire.OLDEST", 990000)
    with pytest.raises(StoreError, match=r"is PostgreSQL 1\d\.\d.*must be 13 or newer"):
        open_database(place.empty())


def test_a_user_who_may_create_nothing_is_told_what_is_needed(postgres: Server, url: str) -> None:
    postgres.ask("DROP ROLE IF EXISTS guest")
    postgres.ask("CREATE ROLE guest LOGIN")
    with pytest.raises(StoreError, match=r"does not permit that to this user. It needs CREATE"):
        open_store(url.replace("//postgres@", "//guest@"), run=inline)


# ---------------------------------------------------------------------- the schema


def test_the_migrated_schema_is_the_schema_of_the_tables(url: str, postgres: Server) -> None:
    database = open_database(url)
    assert versions(database)[0] is None
    upgrade(database)
    migrated = _columns(database)
    with database.write.begin() as conn:
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")  # compiling takes its time
        conn.exec_driver_sql("CREATE SCHEMA wanted")
        conn.exec_driver_sql("SET LOCAL search_path = wanted")
        for table in metadata.sorted_tables:
            conn.execute(CreateTable(table))
            for index in table.indexes:
                conn.execute(CreateIndex(index))
    wanted = _columns(database, "wanted")
    assert {name: what for name, what in migrated.items() if "alembic" not in name} == wanted
    assert len(wanted) > 60
    database.close()


def _columns(database: Any, schema: str = "rollout") -> dict[str, object]:
    """Tables with their columns, indexes, and constraints, as the server says them."""
    columns = """SELECT table_name,
        string_agg(concat_ws(' ', column_name, data_type, is_nullable, collation_name,
        replace(column_default, 'wanted.', '')), ', ' ORDER BY column_name)
        FROM information_schema.columns WHERE table_schema = :schema GROUP BY 1"""
    indexes = """SELECT indexname, replace(replace(indexdef, 'wanted.', ''), 'rollout.', '')
        FROM pg_indexes WHERE schemaname = :schema"""
    constraints = """SELECT conname,
        replace(replace(pg_get_constraintdef(oid), 'wanted.', ''), 'rollout.', '')
        FROM pg_constraint WHERE connamespace = CAST(:schema AS regnamespace)"""
    with database.read.begin() as conn:
        found = {}
        for part in (columns, indexes, constraints):
            for name, what in conn.execute(text(part), {"schema": schema}):
                found[f"{name}"] = (*found.get(f"{name}", ()), what)
        return found


def test_processes_that_start_together_migrate_once(url: str) -> None:
    stores: list[SqlStore] = []
    together(lambda _: stores.append(open_store(url, run=inline)), 3)
    with stores[0].database.read.begin() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar_one() == 1
        said = conn.exec_driver_sql("SELECT obj_description('alembic_version'::regclass)").scalar_one()
    assert said == MARK
    for store in stores:
        store.close()


async def test_numbers_that_are_none_and_characters_that_cannot_be_come_back(store: SqlStore) -> None:
    found = [replace(each, value=math.nan, exposure=math.inf) for each in samples(T0, 1)[:1]]
    seen = Observed(service="mail-sender", region="R3", error="a\0b")
    await store.save_reading(seen, found, None)
    ((_, given),) = await store.samples("mail-sender", ["R3"])
    assert math.isnan(given.value)
    assert given.exposure == math.inf
    assert (await store.observed())[0].error == "a\ufffdb"


# ---------------------------------------------------------------------- order, and others at the same time


async def test_events_become_visible_in_the_order_of_their_numbers(place: Any) -> None:
    url = place.empty()
    first, second, reader = (open_store(url, run=inline) for _ in range(3))
    for name in ("ro_01", "ro_02"):
        await first.add(rollout(name), plan(), transition(1, name))
    numbered, go = threading.Event(), threading.Event()

    def slow(_conn: Connection, _cursor: Any, said: str, *_: Any) -> None:
        if said.startswith("INSERT INTO transitions"):
            numbered.set()
            assert go.wait(20)

    event.listen(first.database.write, "after_cursor_execute", slow)
    done: list[str] = []

    def write(store: SqlStore, name: str) -> None:
        found = asyncio.run(store.case(name)).rollout
        asyncio.run(store.commit(Change(rollout=found, transitions=(transition(2, name),))))
        done.append(name)

    one = threading.Thread(target=write, args=(first, "ro_01"))
    two = threading.Thread(target=write, args=(second, "ro_02"))
    one.start()
    assert numbered.wait(20)
    two.start()
    two.join(0.5)
    assert done == [], "the second has no number before the first, which took one, has committed"
    assert [each.sequence for each in await reader.events()] == [1, 2]
    go.set()
    one.join(20)
    two.join(20)
    assert [each.transition.rollout_id for each in await reader.events(after=2)] == ["ro_01", "ro_02"]
    for store in (first, second, reader):
        store.close()


async def test_a_long_write_stops_no_reader(place: Any) -> None:
    url = place.empty()
    store = open_store(url)
    await store.add(rollout(), plan(), transition(1))
    with store.database.write.begin() as conn:
        conn.execute(text("LOCK TABLE rollouts IN EXCLUSIVE MODE"))
        async with asyncio.timeout(5):
            assert (await store.case("ro_01")).rollout == rollout()
    store.close()


async def test_a_lock_that_is_never_given_is_an_error_after_a_bounded_time(place: Any) -> None:
    url = place.empty()
    holder, waiter = open_store(url, run=inline), open_store(url, run=inline, busy_s=0.02)
    with holder.database.write.begin() as conn:
        conn.execute(text("LOCK TABLE rollouts IN EXCLUSIVE MODE"))
        with pytest.raises(StoreError, match=r"locked by another session for too long"):
            await waiter.add(rollout(), plan(), transition(1))
    await waiter.add(rollout(), plan(), transition(1))
    holder.close()
    waiter.close()


# ---------------------------------------------------------------------- what breaks


def _end_backend(postgres: Server, conn: Any) -> None:
    """As the server ends a session: by its process, seen by the client at its next word."""
    pid = conn._backend_key_data[:4]
    postgres.ask(f"SELECT pg_terminate_backend({int.from_bytes(pid, 'big')}, 5000)")


def test_a_session_that_is_ended_at_any_statement_loses_and_doubles_nothing(
    place: Any, postgres: Server
) -> None:
    prepared = place.empty()
    store = open_store(prepared, run=inline)
    asyncio.run(before(store))
    store.close()
    wanted, point, reached = None, 0, True
    while reached:
        store = open_store(place.copy(prepared), run=inline)
        passed, reached = 0, False

        def step(conn: Connection, *_: Any, point: int = point) -> None:
            nonlocal passed, reached
            passed += 1
            if passed == point + 1:
                reached = True
                _end_backend(postgres, conn.connection.dbapi_connection)

        found = asyncio.run(store.case("ro_01")).rollout
        event.listen(store.database.write, "before_cursor_execute", step)
        event.listen(store.database.write, "commit", step)
        asyncio.run(store.commit(decision(found)))
        seen = asyncio.run(picture(store))
        wanted = wanted or seen
        assert seen == wanted, f"ended at point {point}"
        store.close()
        point += 3
    assert point > 15


@pytest.mark.parametrize("landed", [True, False])
async def test_the_unknown_result_of_a_commit_is_asked_of_the_server(
    place: Any, postgres: Server, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(place.empty(), run=inline)
    await store.add(rollout(), plan(), transition(1))
    dialect, cut = store.database.write.dialect, []
    real = dialect.do_commit

    def commit(conn: Any) -> None:
        if cut:
            real(conn)
            return
        cut.append(1)
        if landed:
            real(conn)
        _end_backend(postgres, conn.driver_connection)
        real(conn)  # finds the connection gone

    monkeypatch.setattr(dialect, "do_commit", commit)
    with structlog.testing.capture_logs() as logged:
        await store.ask(intent())
    assert [each["became"] for each in logged if "became" in each] == ["committed" if landed else "aborted"]
    case = await store.case("ro_01")
    assert [each.id for each in case.intents] == ["in_1"]
    assert case.rollout.wakes == 1, "the wake-up is counted once"
    store.close()


def test_a_server_that_was_restarted_between_two_calls_is_used_again() -> None:
    with postgres_lab.server() as own:
        store = open_store(own.url(own.database()), run=inline)
        asyncio.run(store.add(rollout(), plan(), transition(1)))
        own.stop(signal.SIGQUIT)
        with pytest.raises(StoreError, match=r"cannot be reached|was lost"):
            asyncio.run(store.case("ro_01"))
        own.start()
        found = asyncio.run(store.case("ro_01")).rollout
        own.stop()
        own.start()
        assert asyncio.run(store.commit(Change(rollout=found, transitions=(transition(2),)))).version == 1
        store.close()


def test_of_several_servers_the_one_that_can_be_written_is_taken_also_after_a_failover() -> None:
    with postgres_lab.server(synchronous_standby_names="*", synchronous_commit="local") as own:
        name = own.database()
        standby = own.standby(own.directory / "standby")
        standby.start()
        try:
            url = own.tcp(name).replace("@", f"@127.0.0.1:{standby.port},")
            with pytest.raises(StoreError, match=r"is a read-only standby. Name the primary too"):
                open_database(standby.tcp("postgres"))
            store = open_store(url, run=inline)
            asyncio.run(store.add(rollout(), plan(), transition(1)))
            _caught_up(own)
            own.stop(signal.SIGQUIT)
            standby.promote()
            found = asyncio.run(store.case("ro_01")).rollout
            assert asyncio.run(store.commit(Change(rollout=found, transitions=(transition(2),)))).version == 1
            store.close()
        finally:
            standby.stop()


def _caught_up(primary: Server) -> None:
    for _ in range(500):
        if primary.ask("SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"):
            return
        time.sleep(0.01)
    raise AssertionError("the standby never caught up")


async def test_a_commit_that_no_server_can_tell_of_is_never_guessed(
    place: Any, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(place.empty(), run=inline)
    await store.add(rollout(), plan(), transition(1))
    dialect = store.database.write.dialect

    def commit(conn: Any) -> None:
        _end_backend(postgres, conn.driver_connection)
        other = Found("15", "00000009", "another life")
        monkeypatch.setattr("rollout.store.postgres._server", lambda _conn: other)
        real(conn)

    real = dialect.do_commit
    monkeypatch.setattr(dialect, "do_commit", commit)
    with pytest.raises(OutcomeUnknown, match=r"lost during a COMMIT.*Read again before deciding again"):
        await store.ask(intent())
    store.close()
