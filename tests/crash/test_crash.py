"""Whatever point a controller is killed at, the next one brings every story to the same end.

Here a few points of each story, chosen by a fixed rule; `make crash` takes every one (docs/crash.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.actions import Action
from rollout.ports import Change, Reply
from rollout.store import SqlStore, actions
from rollout.testing import FakeDeployer
from tests.crash.campaign import Campaign
from tests.crash.grounds import Ground, SqliteGround
from tests.crash.points import turns
from tests.crash.stories import STORIES

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
PLACES = [(name, "sqlite") for name in STORIES] + [(name, "postgresql") for name in list(STORIES)[1::6]]


def one_of(names: Sequence[str], story: int) -> int:
    """A point beside a commit, an effect or a notice; each story has its own, from the first to the last."""
    beside = turns(names)
    return beside[(2 * story + 1) * len(beside) // (2 * len(STORIES))]


@pytest.mark.parametrize(("name", "ground"), PLACES, indirect=["ground"])
def test_a_controller_that_is_killed_changes_nothing_about_the_end_of(name: str, ground: Ground) -> None:
    story = list(STORIES).index(name)
    tally = Campaign(STORIES[name], ground).run(lambda names: [one_of(names, story)])
    assert tally.bad == []
    assert tally.kills == 1


@pytest.mark.parametrize("late", [0, 1], ids=["before it takes effect", "before it is noted"])
@pytest.mark.parametrize(
    ("name", "kind"), [("a good release", "deploy"), ("harm in the first region", "restore")]
)
def test_an_order_whose_controller_dies_beside_it_is_carried_out_once(
    tmp_path: Path, name: str, kind: str, late: int
) -> None:
    tally = Campaign(STORIES[name], SqliteGround(tmp_path)).run(beside_the_first(kind, late))
    assert tally.bad == []
    assert tally.kills == 1


class Doubling(FakeDeployer):
    """A target that says that it knows keys, and does everything again."""

    async def apply(self, key: str, action: Action) -> Reply:
        """Do it, whatever was done before."""
        self._replies.clear()
        return await super().apply(key, action)


def test_an_effect_that_takes_place_twice_is_found(tmp_path: Path) -> None:
    story = replace(STORIES["a good release"], target=Doubling)
    tally = Campaign(story, SqliteGround(tmp_path)).run(beside_the_first("deploy", 1))
    assert "took effect 2 times" in tally.bad[0]


def test_an_action_that_is_recorded_after_its_decision_is_found_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SqlStore.commit

    async def torn(store: SqlStore, change: Change, *more: Any) -> Any:
        written = await whole(store, replace(change, actions=()), *more)
        await store._unmarked(actions.record, change.actions)
        return written

    monkeypatch.setattr(SqlStore, "commit", torn)
    tally = Campaign(STORIES["a good release"], SqliteGround(tmp_path)).run(between_two_parts)
    assert len(tally.bad) > 0


def beside_the_first(kind: str, late: int) -> Any:
    """The point just before the first effect of this kind, or the one after it, when nobody has noted it."""
    return lambda names: [next(n for n, name in enumerate(names) if name.startswith(f"effect {kind}")) + late]


def between_two_parts(names: Sequence[str]) -> list[int]:
    """After the first part of the decision that orders the first deploy, and before its second part."""
    (effect,) = beside_the_first("deploy", 0)(names)
    recorded = max(n for n in range(effect) if names[n].startswith("before INSERT INTO actions"))
    return [max(n for n in range(recorded) if names[n] == "before COMMIT") + 1]
