"""Whatever point a controller dies at, the next one brings the rollout to the same end."""

import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout.core.model import Kind, Phase, RegionPhase
from rollout.ports import Case
from tests.scenarios.crashing import Fuse, fragile, tick
from tests.scenarios.world import HEALTHY, Health, World, new_store

SHORT = {
    "steps": [{"set_weight": 75}, {"bake": "3s"}],
    "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}],
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "5s", "min_requests": 50},
    "guards": {"success": {"below": 50, "for": "2s"}},
    "watch": "4s",
    "recovery": {"stalled_after": "10s", "check_every": "1s", "within": "60s"},
}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}
LONGEST = 90  # looks


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What must be the same however often a controller died."""

    phase: Phase
    regions: tuple[tuple[str, RegionPhase, int], ...]
    running: tuple[dict[str, int], ...]
    owed: tuple[tuple[str, str, str], ...]
    history: dict[str, tuple[str, ...]]  # region, or "" → its triggers in order
    orders: tuple[tuple[str, str, int], ...]  # what really changed something, per region in order


def at_rest(case: Case) -> bool:
    """Whether nothing is owed, and nothing that was decided is still to be done."""
    return case.rollout.next_due_at is None and not any(record.open for record in case.actions)


async def good(world: World, rollout_id: str) -> bool:
    """A release passes, and its watch ends."""
    case = await world.case(rollout_id)
    return case.rollout.phase is Phase.SUCCEEDED and at_rest(case)


async def bad(world: World, rollout_id: str) -> bool:
    """A release turns out harmful in its second region, goes back, and recovery is proven."""
    case = await world.case(rollout_id)
    if case.rollout.region("R1").phase is RegionPhase.BAKING:
        world.given_harm("R1", "1.1.0", BROKEN)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


Story = Callable[[World, str], Awaitable[bool]]


async def begun(database: Path, policy: Mapping[str, object]) -> World:
    """A world with a known good and a start, on a copy of a prepared database."""
    world = World(new_store(database), policy)
    await world.given_known_good(history_s=2)
    world.plugins.fake_deployer("R3").stall("mail", {"send-1": 40.0})
    return world


async def played(
    directory: Path, story: Story, fuse: Fuse, policy: Mapping[str, object] = SHORT
) -> tuple[End, bool]:
    """The end of a story with one crash at most, and whether there was one."""
    directory.mkdir()  # noqa: ASYNC240 - nothing else runs meanwhile
    world = await begun(directory, policy)
    rollout_id = await world.start("1.1.0")
    world.reconciler = fragile(world, fuse)
    crashed = False
    for _ in range(LONGEST):
        crashed = await tick(world) or crashed
        if await story(world, rollout_id):
            break
    try:
        return await end(world, rollout_id), crashed
    finally:
        world.store.close()
        shutil.rmtree(directory)


async def end(world: World, rollout_id: str) -> End:
    """The end; history without gaps and effects without repetition are asserted on the way."""
    case = await world.case(rollout_id)
    events = [e.transition for e in await world.store.events(rollout_id=rollout_id)]
    assert [t.number for t in events] == list(range(1, len(events) + 1))
    effects = [(name, e) for name in ("R3", "R1") for e in world.plugins.fake_deployer(name).effects]
    keys = [(name, e.key) for name, e in effects]
    assert len(keys) == len(set(keys)), "an effect took place twice"
    changes = (Kind.DEPLOY, Kind.RESTORE, Kind.RESUME_WORK)
    return End(
        phase=case.rollout.phase,
        regions=tuple((r.region, r.phase, r.weight) for r in case.rollout.regions),
        running=tuple([await world.running(name) for name in ("R3", "R1")]),
        owed=tuple(sorted((o.region, o.kind, o.state) for o in case.obligations)),
        history={
            name: tuple(t.trigger for t in events if (t.region or "") == name) for name in ("", "R3", "R1")
        },
        orders=tuple(
            (name, e.action.version, e.action.weight) for name, e in effects if e.action.kind in changes
        ),
    )


@pytest.mark.parametrize("story", [good, bad])
@pytest.mark.parametrize(
    ("points", "every"), [(("commit",), 3), (("save_action", "apply"), 5), (("save_reading",), 25)]
)
async def test_a_crash_at_any_point_changes_nothing_about_the_end(
    tmp_path: Path, story: Story, points: tuple[str, ...], every: int
) -> None:
    counting = Fuse(only=points)
    undisturbed, _ = await played(tmp_path / "undisturbed", story, counting)
    assert undisturbed.phase is (Phase.SUCCEEDED if story is good else Phase.ROLLED_BACK)
    assert len(counting.places) > every
    for point in range(0, len(counting.places), every):
        found, crashed = await played(tmp_path / f"{point}", story, Fuse(point, only=points))
        assert crashed, f"point {point} was not reached"
        assert found == undisturbed, f"crash {counting.places[point]}, point {point}"
