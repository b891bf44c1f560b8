"""What the story asks of its world."""

import os
from pathlib import Path

from rollout.demo.world import KEY_LIFETIME_S, World


def test_a_retired_key_is_as_old_as_it_may_be(tmp_path: Path) -> None:
    key = tmp_path / "signing-key-1.2.0"
    key.write_text("key")
    os.utime(key, (2e9, 2e9))
    World(tmp_path).retire_key("1.2.0")
    assert key.stat().st_mtime < 2e9 - KEY_LIFETIME_S


def test_the_key_of_a_version_that_never_started_is_not_missed(tmp_path: Path) -> None:
    World(tmp_path).retire_key("1.2.0")
    assert list(tmp_path.iterdir()) == []
