"""What may not begin any more does not, stays visible, and is done when it may."""

from typing import Any

from rollout.core.model import ActionState, Kind, Phase, RegionPhase
from rollout.reconciler import by_service
from tests.scenarios.world import DANA, World


async def test_no_deploy_begins_after_a_rollback_was_decided_though_it_was_found_due_before(
    world: World,
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    deploys: list[str] = []
    stored = world.store.due_actions

    async def stale(*arguments: Any, **keywords: Any) -> Any:
        """The answer is from before the decision, as it may be when both happen at once."""
        found = await stored(*arguments, **keywords)
        if "lane" in keywords and any(r.action.kind is Kind.DEPLOY for r in found) and not deploys:
            deploys.extend(r.key for r in found if r.action.kind is Kind.DEPLOY)
            await world.commands.rollback(rollout_id, DANA, "now")
            await world.reconciler._take_further(rollout_id, by_service(await world.store.observed()))
        return found

    world.store.due_actions = stale  # type: ignore[method-assign]
    deployer, asked = world.plugins.fake_deployer("R3"), set[str]()
    apply = deployer.apply

    async def watched(key: str, action: Any) -> Any:
        asked.add(key)
        return await apply(key, action)

    deployer.apply = watched  # type: ignore[method-assign]
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert deploys
    assert not asked & set(deploys), "a target that does not fence would have done it"
    dropped = [r for r in (await world.case(rollout_id)).actions if r.key in deploys]
    assert [(r.state, r.attempts) for r in dropped] == [(ActionState.DROPPED, 0)]


async def test_a_deploy_that_waits_for_a_held_rollout_says_so_and_has_its_whole_time_afterwards(
    world: World,
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    held: list[str] = []
    stored = world.store.due_actions

    async def stale(*arguments: Any, **keywords: Any) -> Any:
        found = await stored(*arguments, **keywords)
        if any(r.action.kind is Kind.DEPLOY for r in found) and not held:
            held.extend(r.key for r in found if r.action.kind is Kind.DEPLOY)
            await world.commands.hold(rollout_id, DANA, "let me look")
            await world.reconciler._take_further(rollout_id, by_service(await world.store.observed()))
        return found

    world.store.due_actions = stale  # type: ignore[method-assign]
    ordered = len(world.effects("R3", "deploy"))
    await world.until(rollout_id, Phase.HELD)
    await world.run(60)  # three times the deadline of a deploy
    (waiting,) = [r for r in (await world.case(rollout_id)).actions if r.key in held]
    assert waiting.open
    assert "held" in waiting.result.message
    assert "held" in (await world.view(rollout_id)).regions[0].message
    assert len(world.effects("R3", "deploy")) == ordered
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 3)
    await world.commands.resume(rollout_id, DANA, "it is fine")
    await world.until_region(rollout_id, "R3", RegionPhase.PASSED)
    assert len(world.effects("R3", "deploy")) == ordered + 1
