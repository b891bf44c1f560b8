"""A backup of PostgreSQL is one moment in one file; put back in one transaction, and doubted."""

import asyncio
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import structlog.testing
from sqlalchemy import text

from rollout.core.errors import StoreError
from rollout.store import SqlStore, backup, inline, open_store
from rollout.store.backup_postgres import back_up, restore
from tests.store.builders import T0, at, plan, rollout, transition
from tests.store.places import PostgresPlace
from tests.store.test_backup import filled
from tests.upgrade.rows import fill, rows_of, tables_of
from tests.upgrade.test_floor import upgraded

DATABASES = ("postgresql",)


def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but of the tables that say that it is a backup."""
    with closing(open_store(url, run=inline)) as opened, opened.database.read.connect() as conn:
        tables = [table for table in tables_of(conn) if not table.name.startswith("backup_")]
        return rows_of(conn, tables)


async def test_every_row_of_every_table_comes_back(place: PostgresPlace, tmp_path: Path) -> None:
    url, other = place.empty(), place.empty()
    with closing(open_store(url, run=inline)) as opened, opened.database.write.begin() as conn:
        filled_in = fill(conn)
    made = back_up(url, tmp_path / "copy", {}, T0)
    assert backup.verify(tmp_path / "copy") == made
    assert (made.rollouts, made.services, made.events) == (3, 3, 3)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    place.settle(other)
    restore(tmp_path / "copy", other, tmp_path, at(60))
    assert everything(other) == everything(url)
    assert len(filled_in) > 20


async def test_it_goes_back_into_sqlite_too(place: PostgresPlace, tmp_path: Path) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as opened, opened.database.write.begin() as conn:
        fill(conn)
    back_up(url, tmp_path / "copy", {}, T0)
    backup.restore(tmp_path / "copy", tmp_path / "there" / "rollout.db", tmp_path, at(60))
    assert everything(f"sqlite:///{tmp_path}/there/rollout.db") == everything(url)


async def test_the_number_of_a_table_that_was_emptied_comes_back_too(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url, other = place.empty(), place.empty()
    with closing(open_store(url, run=inline)) as opened, opened.database.write.begin() as conn:
        conn.execute(text("SELECT setval(pg_get_serial_sequence('rollout.samples', 'sequence'), 232)"))
    back_up(url, tmp_path / "copy", {}, T0)
    place.settle(other)
    restore(tmp_path / "copy", other, tmp_path, at(60))
    with closing(open_store(other, run=inline)) as opened, opened.database.write.begin() as conn:
        following = text("SELECT nextval(pg_get_serial_sequence('rollout.samples', 'sequence'))")
        assert conn.execute(following).scalar_one() == 233


async def test_a_backup_of_sqlite_moves_to_postgresql(place: PostgresPlace, tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/rollout.db", run=inline)) as embedded:
        await filled(embedded)
    backup.back_up(tmp_path / "rollout.db", tmp_path / "copy", {}, T0)
    url = place.new()
    _, aside = restore(tmp_path / "copy", url, tmp_path, at(60))
    assert aside is None  # there was nothing
    with closing(open_store(url, run=inline)) as opened:
        assert {one.id for one in await opened.rollouts()} == {"ro_0", "ro_1", "ro_2"}
        await opened.add(rollout("ro_new"), plan(), transition(1, "ro_new"))
        assert await opened.newest_sequence() == 4


async def test_it_is_one_moment_while_others_write(place: PostgresPlace, tmp_path: Path) -> None:
    url = place.empty()
    writing, stop = open_store(url), asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            await writing.add(rollout(f"ro_{number:05}"), plan(), transition(1, f"ro_{number:05}"))
            number += 1

    task = asyncio.create_task(write())
    try:
        counts = []
        for copy in range(3):
            made = await asyncio.to_thread(back_up, url, tmp_path / f"copy-{copy}", {}, T0)
            counts.append(made.rollouts)
            assert made.rollouts == made.events  # a rollout and its first row are one transaction
        assert counts[0] < counts[2]
    finally:
        stop.set()
        await task
        writing.close()


async def test_what_is_put_back_is_doubted_once_and_numbers_go_on(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as opened:
        await filled(opened)
    back_up(url, tmp_path / "copy", {}, T0)
    with closing(open_store(url, run=inline)) as opened:
        await opened.add(rollout("ro_later"), plan(), transition(1, "ro_later"))
    place.settle(url)
    _, aside = restore(tmp_path / "copy", url, tmp_path, at(60))
    assert aside == "rollout_before_20260302t093100"
    with closing(open_store(url, run=inline)) as again:
        assert {one.id for one in await again.rollouts()} == {"ro_0", "ro_1", "ro_2"}
        assert "put back from the backup of 2026-03-02 09:30:00 UTC" in await again.distrust_if_old(at(90), 0)
        assert [pair.region for pair in await again.doubted()] == ["R3"]
        assert await again.distrust_if_old(at(95), 0) == ""
        await again.add(rollout("ro_new"), plan(), transition(1, "ro_new"))
        assert await again.newest_sequence() == 4
        with again.database.read.connect() as conn:
            kept = conn.execute(text(f"SELECT count(*) FROM {aside}.rollouts")).scalar_one()
    assert kept == 4


async def test_numbers_of_rows_that_were_deleted_are_not_used_again(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as opened:
        await filled(opened, 5)
        with opened.database.write.begin() as conn:
            conn.execute(text("DELETE FROM transitions WHERE sequence > 3"))
    back_up(url, tmp_path / "copy", {}, T0)
    place.settle(url)
    restore(tmp_path / "copy", url, tmp_path, at(60))
    with closing(open_store(url, run=inline)) as again:
        await again.add(rollout("ro_new"), plan(), transition(1, "ro_new"))
        assert await again.newest_sequence() == 6


async def test_while_a_controller_is_connected_nothing_is_changed(
    place: PostgresPlace, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.store.backup_postgres._LEAVING", 1)
    await filled(store)
    name = store.database.name.rsplit("/", 1)[1]
    address = place.server.url(name)
    back_up(address, tmp_path / "copy", {}, T0)
    with pytest.raises(StoreError, match=r"\d+ connections of controllers are open"):
        restore(tmp_path / "copy", address, tmp_path, at(60))
    assert len(await store.rollouts()) == 3


async def test_a_backup_of_a_newer_schema_is_refused_and_not_called_writable(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url, file = place.empty(), f"sqlite:///{tmp_path}/newer.db"
    with closing(open_store(file, run=inline)) as newer:
        upgraded(newer, contracts=False)
    backup.back_up(tmp_path / "newer.db", tmp_path / "copy", {}, T0)
    with structlog.testing.capture_logs() as logs, pytest.raises(StoreError, match="newer than this program"):
        restore(tmp_path / "copy", url, tmp_path, T0)
    assert not [entry for entry in logs if "may be written" in entry["event"]]


async def test_a_restore_that_fails_half_way_changes_nothing(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as opened:
        await filled(opened)
    back_up(url, tmp_path / "copy", {}, T0)
    before = everything(url)
    place.settle(url)

    def pulled(*_: object) -> None:
        raise OSError("pulled the plug")

    monkeypatch.setattr("rollout.store.backup_postgres._mark", pulled)
    with pytest.raises(OSError, match="pulled the plug"):
        restore(tmp_path / "copy", url, tmp_path, at(60))
    assert everything(url) == before
    with closing(open_store(url, run=inline)) as again:
        assert await again.distrust_if_old(at(90), 0) == ""


async def test_the_three_verbs_work_on_postgresql(place: PostgresPlace, tmp_path: Path) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as opened:
        await filled(opened)
    place.settle(url)

    def run(*arguments: str) -> dict[str, object]:
        code = "import sys; from rollout.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, "db", *arguments, str(tmp_path / "copy"), "--json"],
            env={"ROLLOUT_DATABASE_URL": url, "ROLLOUT_DATA": str(tmp_path / "data"), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    assert run("backup")["rollouts"] == 3
    assert run("verify")["under_way"] == 3
    assert str(run("restore")["kept"]).startswith("rollout_before_")
