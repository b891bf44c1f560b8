"""Two versions of the program on one PostgreSQL with rollouts in flight, and back to the older one."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import rollout
from rollout.clock import SystemClock
from rollout.commands import Commands, StartRequest
from rollout.core.errors import StoreError
from rollout.core.model import Phase, Release, Service
from rollout.store import SqlStore, inline, open_store
from rollout.store.floor import KNOWN
from tests.scenarios.world import ADMIN, configuration
from tests.store.places import PostgresPlace
from tests.upgrade import worker

DATABASES = ("postgresql",)
COUNT = 20
NEXT = f"{int(KNOWN) + 1:04}"
MIGRATION = '''"""What a later version adds, or takes away."""
import sqlalchemy as sa
from alembic import op
from rollout.store.floor import raise_floor

revision, down_revision, branch_labels, depends_on = "{next}", "{known}", None, None
kind = "{kind}"


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("later", sa.String(), nullable=True))
    op.create_table("later", sa.Column("name", sa.String(), primary_key=True))
    op.create_index("ix_rollouts_later", "rollouts", ["later"])
    {floor}
'''
HERE, ROOT = Path(worker.__file__), Path(rollout.__file__).parents[1]
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Replica:
    process: subprocess.Popen[str]
    said: Path

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said.read_text()


def later(place: Path, kind: str) -> Path:
    """The next version of the program: this one with one more migration."""
    shutil.copytree(ROOT / "rollout", place / "rollout", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    floor = f'raise_floor(op.get_bind(), "{NEXT}")' if kind == "contract" else ""
    text = MIGRATION.format(next=NEXT, known=KNOWN, kind=kind, floor=floor)
    (place / "rollout/store/migrations/versions" / f"{NEXT}_later.py").write_text(text)
    return place


@contextmanager
def replica(name: str, program: Path, url: str, place: Path) -> Iterator[Replica]:
    """A replica of some version of the program."""
    said = place / f"{name}.log"
    around = {"PYTHONPATH": f"{program}{os.pathsep}{ROOT}", "PATH": os.defpath}
    with said.open("w") as log:
        command = [sys.executable, str(HERE), url, str(place), name]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=around, text=True)
    try:
        yield Replica(process, said)
    finally:
        process.kill()
        process.wait()


async def until(done: Callable[[], bool], replica: Replica, within_s: float = 100) -> None:
    """Wait while a replica works."""
    end = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end, replica.said.read_text()
        assert replica.process.poll() is None, replica.said.read_text()
        await asyncio.sleep(0.1)


def states(place: Path) -> list[dict[str, list[str]]]:
    return [json.loads(file.read_text()) for file in sorted(place.glob("mail-*.json"))]


def acted(place: Path, name: str) -> int:
    """How many orders a replica brought to the regions."""
    return sum(state["by"].count(name) for state in states(place))


async def begun(store: SqlStore, place: Path) -> list[str]:
    """Twenty services, each with a release on its way."""
    found, clock, target = configuration(worker.SHORT), SystemClock(), worker.SharedTarget(place)
    commands, ids = Commands(store, clock, lambda: found), []
    names = [f"mail-{number:02}" for number in range(COUNT)]
    for name in names:
        target.install(name, "1.0.0")
        await store.put_service(Service(name=name, policy="standard", regions=("R3",)))
    heart = worker.reconciler(store, place, "given")
    while {row.service for row in await store.observed() if row.collected_at} != set(names):
        await heart.tick()
        await heart.settle()
    for name in names:
        await commands.adopt(name, ADMIN, "it serves", ["R3"])
        request = StartRequest(release=Release(service=name, version="1.1.0"))
        ids.append((await commands.start(request, ADMIN)).id)
    await heart.stop()
    await heart.leave()
    return ids


async def phases(store: SqlStore, ids: list[str]) -> set[Phase]:
    return {(await store.case(one)).rollout.phase for one in ids}


def schema(store: SqlStore) -> str:
    with store.database.read.connect() as conn:
        return str(conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


async def test_an_older_version_a_newer_one_and_the_older_one_again_lose_no_rollout(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url, newer = place.empty(), later(tmp_path / "newer", "expand")
    with closing(open_store(url)) as store, replica("older", ROOT, url, tmp_path) as older:
        ids = await begun(store, tmp_path)
        await until(lambda: acted(tmp_path, "older") >= 1, older)
        with replica("newer", newer, url, tmp_path) as other:
            await until(lambda: acted(tmp_path, "newer") >= 3, other)
            assert schema(store) == NEXT
            other.end()
        with closing(open_store(url, run=inline)):  # the older one may start again, too
            pass
        end = time.monotonic() + 100
        while await phases(store, ids) != {Phase.SUCCEEDED}:
            assert time.monotonic() < end, await phases(store, ids)
            await asyncio.sleep(0.5)
        assert "refused" not in older.said.read_text()
        older.end()
    for state in states(tmp_path):
        assert len(state["done"]) == len(set(state["done"]))
        assert "1.1.0" in state["running"]


async def test_a_version_below_the_floor_writes_no_more_and_the_newer_one_goes_on(
    place: PostgresPlace, tmp_path: Path
) -> None:
    url, newer = place.empty(), later(tmp_path / "newer", "contract")
    with closing(open_store(url)) as store, replica("older", ROOT, url, tmp_path) as older:
        ids = await begun(store, tmp_path)
        await until(lambda: acted(tmp_path, "older") >= 1, older)
        with replica("newer", newer, url, tmp_path):
            await until(lambda: f"know the schema '{NEXT}' may write" in older.said.read_text(), older)
            with pytest.raises(StoreError, match="install the newer program"):
                await store.put_service(Service(name="late", policy="standard"))
            with pytest.raises(StoreError, match="written by a newer version"):
                open_store(url, run=inline)
            end = time.monotonic() + 100
            while await phases(store, ids) != {Phase.SUCCEEDED}:
                assert time.monotonic() < end, await phases(store, ids)
                await asyncio.sleep(0.5)
    for state in states(tmp_path):
        assert len(state["done"]) == len(set(state["done"]))
