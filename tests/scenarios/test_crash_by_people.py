"""Whatever point a controller dies at: a promote, a gate or an observation comes to the same end."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from rollout.core.model import Kind, Outcome, Phase, RegionPhase
from tests.scenarios.crashing import Fuse
from tests.scenarios.test_crash import BROKEN, SHORT, Story, at_rest, played
from tests.scenarios.world import DANA, DEPLOYER, World

LONG_BAKE = {**SHORT, "steps": [{"set_weight": 75}, {"bake": "60s"}]}
GATED = {**SHORT, "steps": [*SHORT["steps"], {"gate": "smoke"}]}  # type: ignore[has-type, misc]
OBSERVED = {**SHORT, "mode": "observe"}


async def promoted(world: World, rollout_id: str) -> bool:
    """A person ends both bakes early; the release earns its known good in its watch."""
    case = await world.case(rollout_id)
    for region in case.rollout.regions:
        if region.phase is RegionPhase.BAKING and not region.skipped_by and not case.intents:
            await world.commands.promote(rollout_id, DANA, "urgent", region=region.region)
    return case.rollout.outcome is Outcome.FAST_PROMOTED and at_rest(case)


async def gated(world: World, rollout_id: str) -> bool:
    """R3 passes its gate, R1 fails it, and everything goes back."""
    case = await world.case(rollout_id)
    gate = case.rollout.gate
    if (
        gate is not None
        and not case.intents
        and gate.stage not in {each.stage for each in case.rollout.gates}
    ):
        status = "passed" if gate.stage == 0 else "failed"
        region = case.plan.stages[gate.stage].regions[0]
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", status, region=region)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def observed(world: World, rollout_id: str) -> bool:
    """Somebody else deploys it; it turns out harmful in its second region, and nothing is touched."""
    world.health["R1", "1.1.0"] = BROKEN
    case = await world.case(rollout_id)
    for region in case.rollout.regions:
        deployer = world.plugins.fake_deployer(region.region)
        if region.phase is RegionPhase.DEPLOYING:
            deployer._arrange("mail", ["1.1.0"] * 2 + ["1.0.0"] * 2)
        assert {action.kind for _, action in deployer.calls} <= {Kind.VERIFY}
    return case.rollout.outcome is Outcome.WOULD_ROLL_BACK and at_rest(case)


STORIES = {promoted: LONG_BAKE, gated: GATED, observed: OBSERVED}


@pytest.mark.parametrize(
    ("story", "policy"), STORIES.items(), ids=lambda found: getattr(found, "__name__", "")
)
@pytest.mark.parametrize(("points", "every"), [(("commit",), 7), (("save_action", "apply"), 11)])
async def test_a_crash_at_any_point_changes_nothing_about_the_end(
    tmp_path: Path, story: Story, policy: Mapping[str, object], points: tuple[str, ...], every: int
) -> None:
    counting = Fuse(only=points)
    undisturbed, _ = await played(tmp_path / "undisturbed", story, counting, policy)
    assert undisturbed.phase is (Phase.ROLLED_BACK if story is gated else Phase.SUCCEEDED)
    assert len(counting.places) > every
    for point in range(0, len(counting.places), every):
        found, crashed = await played(tmp_path / f"{point}", story, Fuse(point, only=points), policy)
        assert crashed, f"point {point} was not reached"
        assert found == undisturbed, f"crash {counting.places[point]}, point {point}"
