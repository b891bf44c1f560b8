"""After the emergency: with a new database, with the old one, and with a PostgreSQL that was away."""

from pathlib import Path

import pytest

from api.health import checks
from api.metrics import text
from rollout.core.model import KnownGood
from rollout.emergency.restoring import ABOVE
from tests.cli.emergency_lab import Lab, good, made
from tests.store.conftest import empty, migrated, postgres  # noqa: F401  # fixtures
from tests.store.postgres_lab import Server

pytestmark = pytest.mark.real


def database(lab: Lab) -> Path:
    return lab.settings.data / "rollout.db"


def away(lab: Lab) -> Path:
    """Take the database away; where it is kept."""
    kept = lab.settings.data / "taken-away"
    kept.mkdir()
    for file in lab.settings.data.glob("rollout.db*"):
        file.rename(kept / file.name)
    return kept


def versions(known: tuple[KnownGood, ...]) -> list[str]:
    return [one.release.version for one in known]


async def test_a_new_database_learns_the_fence_the_known_goods_and_what_was_done(tmp_path: Path) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0", "2.0.0", generation=7)
    away(lab)
    assert lab.restore("--to", "1.0.0").returncode == 0
    async with lab.controller() as built:
        (pair,) = await built.store.service_regions("mail")
        assert (pair.generation, versions(pair.known_good)) == (7 + ABOVE, ["1.0.0", "2.0.0"])
        assert pair.doubt is not None
        assert "ana restored R3 to 1.0.0 in an emergency" in pair.doubt.text
        assert dict(pair.doubt.believed) == {"1.0.0": 4}
        assert "in an emergency: it burns" in pair.known_good[0].by


async def test_a_new_database_does_not_empty_the_file(tmp_path: Path) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0", "2.0.0")
    away(lab)
    async with lab.controller():
        pass
    assert '"2.0.0"' in lab.settings.known_good.read_text()
    (pair,) = [row for row in (await _pairs(lab)) if row.doubt]
    assert "this database did not know it" in pair.doubt.text  # type: ignore[union-attr]


async def _pairs(lab: Lab):  # type: ignore[no-untyped-def]
    async with lab.controller() as built:
        return await built.store.service_regions("mail")


async def test_the_old_database_is_not_lowered_and_the_controller_says_so_once(tmp_path: Path) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0", "2.0.0")
    kept = away(lab)
    assert lab.restore("--to", "1.0.0").returncode == 0
    for file in kept.iterdir():
        file.rename(lab.settings.data / file.name)
    async with lab.controller() as built:
        (pair,) = await built.store.service_regions("mail")
        assert (pair.generation, versions(pair.known_good)) == (2 + ABOVE, ["1.0.0", "2.0.0"])
        await built.heartbeat.beat()
        await built.reconciler.settle()
        assert await built.store.doubted() == ()  # it was read back as it was recorded
    async with lab.controller() as built:
        assert await built.store.doubted() == ()
        (pair,) = await built.store.service_regions("mail")
        assert pair.generation == 2 + ABOVE


async def test_a_controller_that_runs_takes_it_in_before_its_next_tick(tmp_path: Path) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0", "2.0.0")
    async with lab.controller() as built:
        await built.heartbeat.beat()
        assert lab.restore("--to", "1.0.0").returncode == 0
        await built.heartbeat.beat()
        await built.reconciler.settle()
        (pair,) = await built.store.service_regions("mail")
        assert (pair.generation, versions(pair.known_good)[0]) == (2 + ABOVE, "1.0.0")


async def test_a_record_that_is_not_as_it_was_signed_is_seen_by_people_until_it_is_moved_away(
    tmp_path: Path,
) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0", "2.0.0")
    assert lab.restore("--to", "1.0.0", "--even-so").returncode == 0
    file = lab.settings.emergencies
    file.write_text(file.read_text().replace("it burns", "all well"))
    async with lab.controller() as built:
        await built.heartbeat.beat()
        (told,) = [check for check in await checks(built) if check.name == "emergencies"]
        assert (told.ok, told.warn) == (True, True)
        assert "not as it was signed, so none of it is taken in" in told.detail
        assert str(tmp_path) not in told.detail
        assert b"rollout_emergencies_up 0.0" in await text(built)
        file.rename(tmp_path / "moved-away")
        await built.heartbeat.beat()
        assert "emergencies" not in {check.name for check in await checks(built)}
        assert b"rollout_emergencies_up 1.0" in await text(built)


async def test_with_postgresql_away_and_back(tmp_path: Path, postgres: Server) -> None:  # noqa: F811
    name = postgres.database()
    lab = made(tmp_path, postgres.url(name))
    await lab.known("1.0.0", "2.0.0")
    postgres.stop()
    try:
        done = lab.restore("--to", "1.0.0")
    finally:
        postgres.start()
    assert done.returncode == 0, done.stderr
    async with lab.controller() as built:
        (pair,) = await built.store.service_regions("mail")
        assert (pair.generation, versions(pair.known_good)) == (2 + ABOVE, ["1.0.0", "2.0.0"])
    postgres.drop(name)


async def test_the_file_follows_every_known_good(tmp_path: Path) -> None:
    lab = made(tmp_path)
    await lab.known("1.0.0")
    async with lab.controller() as built:
        assert built.emergencies is not None
        before = lab.settings.known_good.read_bytes()
        await built.emergencies.note()
        assert lab.settings.known_good.read_bytes() == before  # nothing changed
        await built.store.adopt([good("1.1.0")])
        await built.emergencies.note()
        assert b'"1.1.0"' in lab.settings.known_good.read_bytes()
