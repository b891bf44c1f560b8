"""A program that is too old to write is refused in every transaction; one that is only older goes on."""

from contextlib import closing

import pytest

from rollout.core.errors import StoreError
from rollout.core.model import Service
from rollout.store import SqlStore, inline, open_store
from rollout.store.floor import KNOWN, raise_floor
from tests.store.places import Place

LATER = f"{int(KNOWN) + 1:04}"


def upgraded(store: SqlStore, *, contracts: bool) -> None:
    """What the migration of a later version leaves behind, while this program runs."""
    with store.database.write.begin() as conn:
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{LATER}'")
        if contracts:
            raise_floor(conn, LATER)


async def test_an_older_program_above_the_floor_starts_and_writes(place: Place) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as running:
        upgraded(running, contracts=False)
        await running.put_service(Service(name="mail", policy="standard"))
        with closing(open_store(url, run=inline)) as started:
            assert [one.name for one in await started.services()] == ["mail"]
            await started.put_service(Service(name="chat", policy="standard"))


async def test_below_the_floor_a_running_program_writes_nothing_more_and_still_reads(place: Place) -> None:
    with closing(open_store(place.empty(), run=inline)) as running:
        await running.put_service(Service(name="mail", policy="standard"))
        upgraded(running, contracts=True)
        with pytest.raises(
            StoreError, match=f"know the schema '{LATER}' may write, and this one .* '{KNOWN}'"
        ):
            await running.put_service(Service(name="chat", policy="standard"))
        assert [one.name for one in await running.services()] == ["mail"]


async def test_below_the_floor_a_program_does_not_start(place: Place) -> None:
    url = place.empty()
    with closing(open_store(url, run=inline)) as running:
        upgraded(running, contracts=True)
    with pytest.raises(StoreError, match="was written by a newer version of this program") as refused:
        open_store(url, run=inline)
    offers = "or restore the backup" in str(refused.value)
    assert offers == url.startswith("sqlite"), "a backup would throw away what others wrote who share it"


async def test_the_first_program_that_reads_the_floor_is_the_oldest_that_may_write(place: Place) -> None:
    with closing(open_store(place.empty(), run=inline)) as running, running.database.read.begin() as conn:
        assert conn.exec_driver_sql("SELECT floor FROM schema_floor").scalar_one() == "0006"
