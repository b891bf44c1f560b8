"""A backup is the database at one moment, in one file; put back, it is doubted; broken, it is refused."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from rollout.core.errors import StoreError
from rollout.core.model import KnownGood
from rollout.store import SqlStore, inline, open_store
from rollout.store.backup import UnusableBackup, back_up, restore, verify
from rollout.store.floor import KNOWN
from tests.store.builders import SERVICE, T0, at, plan, release, rollout, transition
from tests.upgrade.test_floor import LATER, upgraded

DATABASES = ("sqlite",)


async def filled(store: SqlStore, count: int = 3) -> None:
    for number in range(count):
        await store.add(rollout(f"ro_{number}"), plan(), transition(1, f"ro_{number}"))
    good = KnownGood(
        service=SERVICE, region="R3", release=release("2.4.1"), since=T0, how="adopted", by="ann"
    )
    await store.adopt([good])


def test_there_is_no_backup_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no database at"):
        back_up(tmp_path / "missing.db", tmp_path / "copy", {}, T0)


async def test_a_backup_is_one_file_that_says_what_it_holds(store: SqlStore, tmp_path: Path) -> None:
    await filled(store)
    revisions = tmp_path / "policy-revisions.json"
    revisions.write_text("{}")
    made = back_up(store.database.path, tmp_path / "copy", {revisions.name: revisions}, T0)
    assert (made.rollouts, made.under_way, made.events, made.files) == (3, 3, 3, ("policy-revisions.json",))
    assert made.taken_at.startswith("2026-03-02T09:30:00")
    assert verify(tmp_path / "copy") == made
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / ".copy.part").exists()


async def test_it_is_one_moment_while_others_write(tmp_path: Path, url: str) -> None:
    writing = open_store(url)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            await filled_one(writing, number)
            number += 1

    async def filled_one(store: SqlStore, number: int) -> None:
        await store.add(rollout(f"ro_{number:05}"), plan(), transition(1, f"ro_{number:05}"))

    task = asyncio.create_task(write())
    try:
        for copy in range(5):
            made = await asyncio.to_thread(back_up, writing.database.path, tmp_path / f"copy-{copy}", {}, T0)
            assert made.rollouts == made.events  # a rollout and its first row are one transaction
    finally:
        stop.set()
        await task
        writing.close()


async def test_a_file_that_is_there_is_never_replaced_by_a_backup(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        back_up(store.database.path, tmp_path / "copy", {}, T0)
    assert (tmp_path / "copy").read_text() == "mine"


async def test_a_damaged_backup_is_refused_and_nothing_is_replaced(store: SqlStore, tmp_path: Path) -> None:
    await filled(store, 40)
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    content = bytearray((tmp_path / "copy").read_bytes())
    for place in range(8192, len(content) - 4096, 4096):
        content[place : place + 64] = b"\xff" * 64
    (tmp_path / "copy").write_bytes(content)
    target = tmp_path / "elsewhere" / "rollout.db"
    with pytest.raises(StoreError, match=r"damaged|refused"):
        restore(tmp_path / "copy", target, tmp_path, T0)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"\xff" * 4096, b"no database at all" * 99])
def test_a_damaged_backup_says_so_and_to_take_an_older_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.db").write_bytes(content)
    for refuse in (verify, lambda path: restore(path, tmp_path / "rollout.db", tmp_path, T0)):
        with pytest.raises(StoreError) as told:
            refuse(tmp_path / "bad.db")
        assert str(told.value).startswith(f"'{tmp_path}/bad.db' is damaged: ")
        assert "Nothing was changed. If it is a backup, take an older one; if it is the database, " in str(
            told.value
        )


async def test_a_backup_in_which_one_letter_of_a_row_is_another_is_refused(
    store: SqlStore, tmp_path: Path
) -> None:
    await filled(store)
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    content = (tmp_path / "copy").read_bytes()
    assert content.count(b"2.4.1") > 0
    (tmp_path / "copy").write_bytes(content.replace(b"2.4.1", b"2.4.7"))
    with pytest.raises(StoreError, match="its rows are not those that were written into it"):
        verify(tmp_path / "copy")


async def test_a_backup_that_was_cut_off_is_refused(store: SqlStore, tmp_path: Path) -> None:
    await filled(store)
    size = back_up(store.database.path, tmp_path / "copy", {}, T0).bytes
    with (tmp_path / "copy").open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(StoreError, match=f"cut off: {size - 1} of {size} bytes|malformed"):
        verify(tmp_path / "copy")


async def test_a_log_that_its_database_left_behind_is_not_played_into_what_is_put_back(
    store: SqlStore, tmp_path: Path
) -> None:
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    await filled(store)
    path = store.database.path
    log = path.with_name(f"{path.name}-wal")
    kept = log.read_bytes()
    assert kept
    store.close()
    path.unlink()
    log.write_bytes(kept)
    restore(tmp_path / "copy", path, tmp_path, T0)
    assert verify(path).rollouts == 0
    assert verify(path).taken_at
    assert not log.exists()


async def test_a_database_that_was_put_back_may_change_and_is_still_whole(
    store: SqlStore, tmp_path: Path
) -> None:
    await filled(store)
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    store.close()
    restore(tmp_path / "copy", store.database.path, tmp_path, T0)
    with sqlite3.connect(store.database.path) as conn:
        conn.execute("UPDATE rollouts SET phase = 'held'")
    assert verify(store.database.path).taken_at == verify(tmp_path / "copy").taken_at


async def test_a_database_that_was_put_back_and_is_in_use_is_not_taken_to_be_cut_off(
    store: SqlStore, tmp_path: Path
) -> None:
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    restore(tmp_path / "copy", tmp_path / "new" / "rollout.db", tmp_path, T0)
    again = open_store(f"sqlite:///{tmp_path}/new/rollout.db", run=inline)
    await filled(again, 40)  # into the log; the file itself grows later
    assert verify(tmp_path / "new" / "rollout.db").rollouts == 40
    again.close()


async def test_a_backup_that_only_a_newer_program_may_write_is_refused_before_anything_is_moved(
    store: SqlStore, tmp_path: Path
) -> None:
    target = tmp_path / "here" / "rollout.db"
    back_up(store.database.path, tmp_path / "old", {}, T0)
    restore(tmp_path / "old", target, tmp_path, T0)
    before = sorted(path.name for path in target.parent.iterdir())
    upgraded(store, contracts=True)
    made = back_up(store.database.path, tmp_path / "copy", {}, T0)
    assert made.newer == f"it has schema {LATER}, and this program knows up to {KNOWN}"
    with pytest.raises(UnusableBackup, match=f"newer than this program: it has schema {LATER}"):
        restore(tmp_path / "copy", target, tmp_path, T0)
    assert sorted(path.name for path in target.parent.iterdir()) == before
    open_store(f"sqlite:///{target}", run=inline).close()


async def test_a_backup_of_a_newer_schema_that_this_program_may_write_is_taken(
    store: SqlStore, tmp_path: Path
) -> None:
    upgraded(store, contracts=False)
    made = back_up(store.database.path, tmp_path / "copy", {}, T0)
    restore(tmp_path / "copy", tmp_path / "rollout.db", tmp_path, T0)
    open_store(f"sqlite:///{tmp_path}/rollout.db", run=inline).close()
    assert made.newer


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="no database of this program"):
        verify(tmp_path / "other.db")


async def test_a_plain_database_is_verified_and_not_restored(store: SqlStore, tmp_path: Path) -> None:
    assert verify(store.database.path).taken_at == ""
    with pytest.raises(StoreError, match="no backup"):
        restore(store.database.path, tmp_path / "new.db", tmp_path, T0)


async def test_what_is_put_back_is_what_was_taken_and_the_old_one_is_kept(
    store: SqlStore, tmp_path: Path
) -> None:
    await filled(store)
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    await store.add(rollout("ro_later"), plan(), transition(1, "ro_later"))
    store.close()
    _, aside = restore(tmp_path / "copy", store.database.path, tmp_path, at(60))
    assert aside is not None
    assert verify(aside).rollouts == 4
    again = open_store(f"sqlite:///{store.database.path}", run=inline)
    assert {one.id for one in await again.rollouts()} == {"ro_0", "ro_1", "ro_2"}
    again.close()


async def test_files_of_the_backup_come_back_where_there_are_none(store: SqlStore, tmp_path: Path) -> None:
    for name in ("there", "missing"):
        (tmp_path / name).write_text(f"{name} then")
    names = {name: tmp_path / name for name in ("there", "missing", "never")}
    back_up(store.database.path, tmp_path / "copy", names, T0)
    (tmp_path / "there").write_text("there now")
    (tmp_path / "missing").unlink()
    restore(tmp_path / "copy", tmp_path / "new" / "rollout.db", tmp_path, T0)
    assert [(tmp_path / name).read_text() for name in ("there", "missing")] == ["there now", "missing then"]
    assert not (tmp_path / "never").exists()


async def test_a_database_that_was_put_back_is_doubted_once(store: SqlStore, tmp_path: Path) -> None:
    await filled(store)
    back_up(store.database.path, tmp_path / "copy", {}, T0)
    restore(tmp_path / "copy", tmp_path / "new" / "rollout.db", tmp_path, at(60))
    again = open_store(f"sqlite:///{tmp_path}/new/rollout.db", run=inline)
    assert "put back from the backup of 2026-03-02 09:30:00 UTC" in await again.distrust_if_old(at(90), 0)
    (pair,) = await again.doubted()
    assert (pair.service, pair.region, pair.doubt.generation) == (SERVICE, "R3", 1)  # type: ignore[union-attr]
    assert await again.distrust_if_old(at(95), 0) == ""
    again.close()


async def test_an_older_copy_is_seen_by_the_newest_event_that_was_noted(store: SqlStore) -> None:
    await filled(store)
    assert await store.distrust_if_old(at(5), 3) == ""
    assert "ends with event 3, and 9 was recorded here" in await store.distrust_if_old(at(5), 9)


async def test_adopting_ends_a_doubt_and_goes_beyond_what_the_target_has_seen(store: SqlStore) -> None:
    await filled(store)
    await store.distrust_if_old(at(5), 99)
    (pair,) = await store.doubted()
    assert pair.doubt is not None
    from dataclasses import replace

    await store.settle_doubt(SERVICE, "R3", replace(pair.doubt, seen=40, found="differs"))
    good = KnownGood(
        service=SERVICE, region="R3", release=release("2.6.0"), since=at(9), how="adopted", by="ann"
    )
    await store.adopt([good])
    (known,) = await store.service_regions(SERVICE)
    assert (known.doubt, known.generation) == (None, 41)
