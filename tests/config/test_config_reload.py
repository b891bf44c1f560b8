"""Files are reloaded whole or not at all, and each text of a policy has one revision."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.config import Configuration, ConfigurationFiles, Revisions, load_configuration
from rollout.config.revisions import read_file
from rollout.core.errors import InvalidInput, StoreError


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 3, 1, 10, 2, tzinfo=UTC)


def edit(directory: Path, old: str, new: str) -> None:
    path = directory / "policies/standard.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def revision(found: Configuration | None) -> int:
    assert found is not None
    return found.policies["standard"].revision


def test_nothing_is_reloaded_when_nothing_changed(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    assert not files.changed()
    assert files.reload() is None


def test_a_change_is_seen_and_raises_the_revision(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    edit(directory, "bake: 15m", "bake: 20m")
    assert files.changed()
    assert revision(files.reload()) == 2
    assert not files.changed()
    assert files.current.policies["standard"].policy.steps[1].bake.max == 1200


def test_a_touched_file_with_the_same_text_is_no_change(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    os.utime(directory / "regions.yaml", (1, 1))
    assert files.changed()
    assert files.reload() is None
    assert not files.changed()


def test_a_new_and_a_vanished_file_are_changes(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    text = (directory / "policies/standard.yaml").read_text()
    (directory / "policies/other.yaml").write_text(text.replace("name: standard", "name: other"))
    fresh = files.reload()
    assert fresh is not None
    assert set(fresh.policies) == {"standard", "other"}
    (directory / "policies/other.yaml").unlink()
    assert files.changed()
    assert set((files.reload() or fresh).policies) == {"standard"}


def test_a_wrong_change_is_told_once_and_the_old_configuration_stays(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    before = files.current
    edit(directory, "bake: 15m", "bake: x")
    with pytest.raises(InvalidInput) as caught:
        files.reload()
    assert files.current is before
    assert files.reload() is None
    assert files.kept(caught.value) == (
        "configuration not reloaded: policies/standard.yaml:5: steps.1.bake.max: 'x' is not a duration; "
        "write for example 90s, 15m, 6h or 2d; still using the one of 2026-03-01 10:02 UTC"
    )


def test_a_mended_change_is_used(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    edit(directory, "bake: 15m", "bake: x")
    with pytest.raises(InvalidInput):
        files.reload()
    edit(directory, "bake: x", "bake: 25m")
    assert revision(files.reload()) == 2


def test_files_that_are_whole_again_and_unchanged_give_the_configuration_in_use_once(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    before = files.current
    for wrong in ("x", "y"):
        edit(directory, "bake: 15m", f"bake: {wrong}")
        with pytest.raises(InvalidInput):
            files.reload()
        edit(directory, f"bake: {wrong}", "bake: 15m")
        assert files.reload() is before
        assert files.reload() is None
    os.utime(directory / "regions.yaml", (1, 1))
    assert files.reload() is None
    assert files.current is before


def test_a_wrong_file_changes_nothing_of_the_good_ones(directory: Path) -> None:
    files = ConfigurationFiles(directory, FixedClock())
    edit(directory, "bake: 15m", "bake: 20m")
    (directory / "regions.yaml").write_text("regions: 5")
    with pytest.raises(InvalidInput):
        files.reload()
    assert files.current.policies["standard"].policy.steps[1].bake.max == 900


def test_every_text_has_one_revision_also_when_somebody_goes_back_to_it(directory: Path) -> None:
    book = Revisions()
    assert revision(load_configuration(directory, book)) == 1
    edit(directory, "bake: 15m", "bake: 20m")
    assert revision(load_configuration(directory, book)) == 2
    edit(directory, "bake: 20m", "bake: 15m")
    assert revision(load_configuration(directory, book)) == 1


def test_a_configuration_that_cannot_be_used_takes_no_revision(directory: Path) -> None:
    book = Revisions()
    load_configuration(directory, book)
    edit(directory, "bake: 15m", "bake: x")
    with pytest.raises(InvalidInput):
        load_configuration(directory, book)
    edit(directory, "bake: x", "bake: 20m")
    assert revision(load_configuration(directory, book)) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", '{"standard": []}', '{"standard": [1]}', '{"a": "b"}', "[" * 100_000]
)
def test_revisions_that_are_not_ours_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "revisions.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"does not hold policy revisions. Restore it from a backup"):
        read_file(path)


def test_a_database_that_is_away_keeps_the_old_configuration_and_says_so_once(directory: Path) -> None:
    book = Away()
    files = ConfigurationFiles(directory, FixedClock(), book)
    edit(directory, "bake: 15m", "bake: 20m")
    book.away = True
    with pytest.raises(InvalidInput, match="The database is away") as caught:
        files.reload()
    assert files.reload() is None
    assert revision(files.current) == 1
    assert files.kept(caught.value).startswith("configuration not reloaded: The database is away")
    book.away = False
    edit(directory, "bake: 20m", "bake: 25m")
    assert revision(files.reload()) == 2


class Away(Revisions):
    """A book that can be out of reach."""

    away = False

    def assign(self, digests: Mapping[str, str]) -> Mapping[str, int]:
        if self.away:
            raise StoreError("The database is away.")
        return super().assign(digests)
