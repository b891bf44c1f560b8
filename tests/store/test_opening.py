import inspect
import os
import resource
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TypeVar

import pytest
import structlog
from sqlalchemy import event

from rollout.core.errors import StoreError, Unwritable
from rollout.ports import Change, Store
from rollout.store import SqlStore, Threads, inline, open_store, postgres_faults, sqlite_faults
from rollout.store.sqlite import FIXED, SqliteDatabase, open_sqlite, sqlite_module
from tests.store.builders import plan, rollout, transition
from tests.store.postgres_lab import missing

DATABASES = ("sqlite",)
T = TypeVar("T")


def pragmas(database: SqliteDatabase) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "application_id")
    with database.write.begin() as conn:
        return {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}


def module_like(version: tuple[int, int, int]) -> ModuleType:
    """The standard module that says it has another SQLite."""
    found = {name: getattr(sqlite3, name) for name in dir(sqlite3)}
    found["sqlite_version_info"] = version
    return SimpleNamespace(**found)  # type: ignore[return-value]


def test_the_store_has_every_method_of_its_protocol_with_the_same_parameters() -> None:
    names = [name for name in vars(Store) if not name.startswith("_")]
    assert len(names) > 25
    for name in names:
        ours, theirs = vars(SqlStore)[name], vars(Store)[name]
        assert inspect.signature(ours).parameters.keys() == inspect.signature(theirs).parameters.keys(), name


def test_a_new_enough_sqlite_uses_wal_and_survives_a_power_cut(url: str) -> None:
    if sqlite_module().sqlite_version_info < FIXED:
        missing("no SQLite without the WAL-reset bug is installed")
    store = open_store(url, run=inline)
    found = pragmas(store.database)
    store.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 3,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "application_id": 0x524F4C4C,
    }


def test_an_sqlite_with_the_wal_reset_bug_uses_the_rollback_journal(url: str) -> None:
    with structlog.testing.capture_logs() as logged:
        database = open_sqlite(url, module=module_like((3, 51, 2)))
    assert database.journal == pragmas(database)["journal_mode"] == "delete"
    database.close()
    assert any("rollback journal" in line["event"] for line in logged)


def test_the_standard_module_is_preferred_once_it_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", FIXED)
    assert sqlite_module() is sqlite3


def test_without_a_newer_module_the_standard_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setitem(__import__("sys").modules, "pysqlite3", None)
    assert sqlite_module() is sqlite3


def test_a_missing_directory_is_made_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "deep" / "rollout.db"
    open_sqlite(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_rights_of_others_are_taken_away_from_our_file(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    (tmp_path / "rollout.db").chmod(0o644)
    open_store(url, run=inline).close()
    assert (tmp_path / "rollout.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://ann:secret@db/x", "sqlite:///a?b=c"],
)
def test_an_url_of_another_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///") as refused:
        open_sqlite(url)
    assert "secret" not in str(refused.value)


def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        open_sqlite(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_refused_and_not_touched(url: str, tmp_path: Path) -> None:
    path = tmp_path / "rollout.db"
    path.write_text("name,value\n" * 400)
    path.chmod(0o644)
    with pytest.raises(StoreError, match=r"rollout\.db' is not a database\. Name another file"):
        open_store(url, run=inline)
    assert path.read_text() == "name,value\n" * 400
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("application_id", [0, 77])
def test_a_database_of_another_program_is_refused_and_not_touched(
    url: str, tmp_path: Path, application_id: int
) -> None:
    path = tmp_path / "rollout.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE photos (name TEXT)")
        other.execute(f"PRAGMA application_id={application_id}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"rollout\.db' belongs to another program"):
        open_store(url, run=inline)
    assert path.read_bytes() == before


async def test_a_full_disk_is_said_and_changes_nothing(store: SqlStore, tmp_path: Path) -> None:
    await store.add(rollout(), plan(), transition(1))

    @event.listens_for(store.database.write, "begin")
    def _no_room(conn: object) -> None:
        conn.exec_driver_sql("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

    with pytest.raises(StoreError, match=r"rollout\.db' cannot grow: the disk is full.*free space") as said:
        await store.commit(Change(rollout=rollout(note="x" * 400_000)))
    assert "Nothing was changed" in str(said.value)
    assert (await store.case("ro_01")).rollout == rollout()


@pytest.mark.real
def test_a_real_limit_on_the_size_of_files_is_said_and_changes_nothing(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    child = os.fork()
    if child == 0:
        os._exit(_write_beyond_a_limit(url, tmp_path / "rollout.db"))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    open_store(url, run=inline).close()


def _write_beyond_a_limit(url: str, path: Path) -> int:
    """In a process of its own, since a limit once set stays. 0: refused with our sentence, nothing stored."""
    import asyncio
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, path.stat().st_size))
    store = open_store(url, run=inline)
    try:
        asyncio.run(store.add(rollout(note="x" * 2_000_000), plan(), transition(1)))
    except StoreError as error:
        stored = asyncio.run(store.rollouts())
        return 0 if str(path) in str(error) and stored == () else 2
    return 1


async def test_a_file_that_cannot_be_written_is_said(store: SqlStore) -> None:
    @event.listens_for(store.database.write, "begin")
    def _read_only(conn: object) -> None:
        conn.exec_driver_sql("PRAGMA query_only=ON")  # type: ignore[attr-defined]

    with pytest.raises(StoreError, match=r"cannot be written.*right to write.*rollout\.db"):
        await store.add(rollout(), plan(), transition(1))


async def test_a_lock_that_is_never_given_is_an_error_after_a_bounded_number_of_tries(url: str) -> None:
    tries = []

    async def counted(work: Callable[[], T]) -> T:
        tries.append(work)
        return await inline(work)

    holder, waiter = open_store(url, run=inline), open_store(url, run=counted, busy_s=0.01)
    with holder.database.write.begin(), pytest.raises(StoreError, match="locked by another process"):
        await waiter.add(rollout(), plan(), transition(1))
    assert len(tries) == len(waiter.database.pauses_s) + 1
    await waiter.add(rollout(), plan(), transition(1))
    holder.close()
    waiter.close()


async def test_a_lock_that_is_given_late_is_waited_for(url: str) -> None:
    holder = open_store(url, run=inline)
    held = holder.database.write.connect()
    held.begin()
    tries = []

    async def counted(work: Callable[[], T]) -> T:
        tries.append(work)
        if len(tries) == 3:
            held.close()
        return await inline(work)

    waiter = open_store(url, run=counted, busy_s=0.01)
    await waiter.add(rollout(), plan(), transition(1))
    assert len(tries) == 3
    holder.close()
    waiter.close()


async def test_a_reader_does_not_wait_for_a_writer(url: str) -> None:
    holder, reader = open_store(url, run=inline), open_store(url, run=inline, busy_s=0.0)
    if holder.database.journal != "wal":
        missing("no SQLite without the WAL-reset bug is installed, and only WAL lets readers go on")
    with holder.database.write.begin():
        assert await reader.rollouts() == ()
    holder.close()
    reader.close()


async def test_the_thread_of_its_own_does_the_work_in_order(url: str) -> None:
    store = open_store(url)
    await store.add(rollout(), plan(), transition(1))
    assert (await store.case("ro_01")).rollout == rollout()
    store.close()


async def test_work_outside_the_loop_raises_what_it_raises() -> None:
    thread = Threads(1)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await thread(fail)
    thread.close()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("'postgresql://rollout:hunter2@db/rollout'", "begins with a quote"),
        (" postgresql://rollout:hunter2@db/rollout", "begins or ends with a blank"),
        ("postgresql//rollout:hunter2@db/rollout", "is of no known kind"),
        ("POSTGRESQL://rollout:hunter2@db/rollout", "is of no known kind"),
        ("mysql://rollout@db/x?password=hunter2", "is of no known kind"),
        ("jdbc:postgresql://h/db?user=u&password=hunter2", "is of no known kind"),
        ("mysql://rollout@db:hunter2/x", "is of no known kind"),
        ("sqlite:///rollout.db?password=hunter2", "names no file of SQLite, or more than a file"),
    ],
)
def test_a_url_that_cannot_be_read_is_never_repeated_for_a_password_may_be_in_it(
    written: str, says: str
) -> None:
    with pytest.raises(
        StoreError, match=rf"URL {says}.*not repeated.*postgresql://user:password@host"
    ) as refused:
        open_store(written, run=inline)
    told = "".join(traceback.format_exception(refused.value, limit=0))
    assert "hunter2" not in told


def test_only_what_stops_every_write_is_called_unwritable(tmp_path: Path) -> None:
    def of_sqlite(code: int) -> bool:
        error = sqlite3.OperationalError("x")
        error.sqlite_errorcode = code
        return isinstance(sqlite_faults.store_error(tmp_path, error), Unwritable)

    def of_postgres(code: str) -> bool:
        return isinstance(postgres_faults.store_error("x", Exception({"C": code, "M": "m"})), Unwritable)

    assert all(map(of_sqlite, (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT)))
    assert not any(map(of_sqlite, (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)))
    assert all(map(of_postgres, ("53100", "25006", "42P01")))
    assert not any(map(of_postgres, ("22003", "40001", "57014", "XX000")))
