import multiprocessing
import sqlite3
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from alembic import command, op
from sqlalchemy import create_engine

from rollout.core.errors import StoreError
from rollout.core.model import Service
from rollout.core.signals import Sample
from rollout.store import inline, mapping, open_store, tables
from rollout.store.engine import open_database
from rollout.store.migrations import config_of, upgrade, versions
from rollout.store.sqlite import APPLICATION_ID
from rollout.store.tables import metadata
from rollout.store.writing import add
from tests.store.builders import T0, rollout
from tests.store.test_history import HOUR, expected, forget, read, samples, told

DATABASES = ("sqlite",)


def schema(path: Path) -> dict[str, str]:
    """Every table and index as SQLite has it."""
    database = sqlite3.connect(path)
    found = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    database.close()
    return {name: " ".join(sql.split()) for name, sql in found}


def test_the_migrated_schema_is_the_schema_of_the_tables(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    wanted = create_engine(f"sqlite:///{tmp_path / 'wanted.db'}")
    metadata.create_all(wanted)
    wanted.dispose()
    migrated = schema(tmp_path / "rollout.db")
    assert migrated.pop("alembic_version").startswith("CREATE TABLE alembic_version")
    assert migrated == schema(tmp_path / "wanted.db")
    assert len(migrated) > 20


def test_one_claim_per_service_and_region_is_a_rule_of_the_database(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    rule = schema(tmp_path / "rollout.db")["uq_rollout_regions_claimed"]
    assert rule.endswith("ON rollout_regions (service, region) WHERE claimed")
    assert rule.startswith("CREATE UNIQUE INDEX")


async def test_samples_of_the_first_schema_become_history(url: str, tmp_path: Path) -> None:
    path = tmp_path / "rollout.db"
    begin = T0.replace(minute=0, second=0, microsecond=0)
    found = samples(begin, 12)
    await first_schema(path, found)
    store = open_store(url, run=inline)
    assert [sample for _, sample in await store.samples("mail-sender", ["R3", "R1"])] == found
    assert told(await read(store, begin, begin + HOUR)) == expected(found, 60)
    await forget(store, begin + 30 * HOUR)
    assert told(await read(store, begin, begin + HOUR)) == expected(found, 60)
    assert await store.samples("mail-sender", ["R3", "R1"]) == ()
    with store.database.read.begin() as conn:
        assert conn.exec_driver_sql("SELECT sum(samples) FROM history_marks").scalar_one() == 0
    store.close()


async def test_that_a_version_was_rolled_back_outlives_the_reference_to_its_rollout(
    url: str, tmp_path: Path
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'rollout.db'}")
    with database.write.begin() as conn:
        conn.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        command.upgrade(config_of(conn), "0003")
        add(conn, tables.rollouts, [mapping.rollout_row(rollout("ro_1"))])
        row = {"service": "mail-sender", "version": "2.5.0", "rollout_id": "ro_1"}
        add(conn, tables.rolled_back_versions, [row])
    database.close()
    store = open_store(url, run=inline)
    assert await store.was_rolled_back("mail-sender", "2.5.0") == "ro_1"
    store.close()


async def first_schema(path: Path, found: list[Sample]) -> None:
    """A database as the first version wrote it, with samples of a service."""
    database = open_database(f"sqlite:///{path}")
    with database.write.begin() as conn:
        conn.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        command.upgrade(config_of(conn), "0001")
        add(conn, tables.samples, [mapping.SAMPLE.row(sample, service="mail-sender") for sample in found])
    database.close()
    assert "history" not in schema(path)


def test_upgrading_again_changes_nothing(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    before = (tmp_path / "rollout.db").read_bytes()
    open_store(url, run=inline).close()
    assert (tmp_path / "rollout.db").read_bytes() == before


def test_a_newer_schema_is_refused_and_not_touched(url: str, tmp_path: Path) -> None:
    open_store(url, run=inline).close()
    path = tmp_path / "rollout.db"
    with sqlite3.connect(path) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
        newer.execute("UPDATE schema_floor SET floor = '9999'")
    newer.close()
    with pytest.raises(
        StoreError, match=r"rollout\.db' was written by a newer version.*'9999'.*'\d{4}'"
    ) as said:
        open_store(url, run=inline)
    assert "install the newer program" in str(said.value)
    with sqlite3.connect(path) as after:
        assert after.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    after.close()


async def test_a_program_under_which_the_database_was_upgraded_beyond_it_writes_no_more(url: str) -> None:
    store = open_store(url, run=inline)
    with store.database.write.begin() as conn:
        conn.exec_driver_sql("UPDATE schema_floor SET floor = '9999'")
    with pytest.raises(StoreError, match=r"only programs that know the schema '9999' may write"):
        await store.put_service(Service(name="mail-sender", policy="standard"))
    assert await store.services() == ()
    store.close()


def test_an_upgrade_that_fails_half_way_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table = op.create_table

    def fail_late(name: str, *parts: Any, **options: Any) -> Any:
        if name == "services":
            raise OSError("pulled the plug")
        return create_table(name, *parts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", fail_late)
        with pytest.raises(OSError, match="pulled the plug"):
            open_store(url, run=inline)
    assert schema(tmp_path / "rollout.db") == {}
    open_store(url, run=inline).close()


async def test_a_database_that_is_up_to_date_opens_while_another_process_writes(url: str) -> None:
    holder = open_store(url, run=inline)
    with holder.database.write.begin():
        open_store(url, run=inline, busy_s=0.0).close()
    holder.close()


def test_two_threads_that_upgrade_together_both_succeed(url: str) -> None:
    ready, done = Barrier(2), []

    def start() -> None:
        ready.wait()
        database = open_database(url)
        upgrade(database)
        done.append(database)

    threads = [Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in done:
        database.close()
    assert len(done) == 2


@pytest.mark.real
def test_processes_that_start_together_all_succeed(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    for attempt in range(2):
        url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        with processes.Pool(3) as pool:
            assert pool.map(_open, [url] * 3) == [newest_revision(url)] * 3


def newest_revision(url: str) -> str | None:
    """The newest schema that this program knows."""
    database = open_database(url)
    _, newest = versions(database)
    database.close()
    return newest


def _open(url: str) -> str:
    store = open_store(url, run=inline)
    with store.database.read.begin() as conn:
        revision = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    store.close()
    return str(revision)


def test_a_store_is_closed_when_it_cannot_be_upgraded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_database: object) -> None:
        raise StoreError("no")

    closed = []
    monkeypatch.setattr("rollout.store.sql.upgrade", refuse)
    monkeypatch.setattr("rollout.store.sqlite.SqliteDatabase.close", lambda _self: closed.append(1))
    with pytest.raises(StoreError, match="no"):
        open_store(url, run=inline)
    assert closed == [1]


async def test_a_program_that_became_too_old_while_it_runs_writes_nothing_more(url: str) -> None:
    store = open_store(url, run=inline)
    await store.put_service(Service(name="mail", policy="standard"))
    with store.database.write.begin() as conn:
        conn.exec_driver_sql("UPDATE schema_floor SET floor = '9999'")
    with pytest.raises(StoreError, match="only programs that know the schema '9999' may write"):
        await store.put_service(Service(name="chat", policy="standard"))
    assert [one.name for one in await store.services()] == ["mail"]
    store.close()
