"""What is tried again is shown, with since when and why, and no more once it was answered."""

from rollout.core.errors import TransientError
from rollout.core.model import Phase
from tests.scenarios.world import DANA, World


async def test_an_order_that_its_target_does_not_answer_is_shown_while_it_is_tried(world: World) -> None:
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    deployer = world.plugins.fake_deployer("R3")
    real = deployer.apply

    async def deaf(key: str, action: object) -> object:
        if getattr(action, "kind", None) == "deploy":
            raise TransientError("https://deploy.r3 did not answer within 10 s.")
        return await real(key, action)  # type: ignore[arg-type]

    deployer.apply = deaf  # type: ignore[assignment,method-assign]
    for _ in range(12):
        await world.tick()
    (line,) = [line for line in (await world.view(rollout_id)).blocked_by if "deploy unanswered" in line]
    assert line.startswith("R3: deploy unanswered for ")
    assert line.endswith("times and on: https://deploy.r3 did not answer within 10 s.")
    deployer.apply = real  # type: ignore[method-assign]
    await world.run(20)
    assert not any("unanswered" in line for line in (await world.view(rollout_id)).blocked_by)


async def test_notices_that_nobody_takes_are_shown_also_after_the_end(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.notifier.error = TransientError("The notice could not be written: No space left on device.")
    await world.commands.rollback(rollout_id, DANA, "now")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    (line,) = [line for line in view.blocked_by if "by log" in line]
    assert "notices by log unanswered for" in line
    assert "No space left on device" in line
    world.plugins.notifier.error = None
    await world.run(61)
    assert (await world.view(rollout_id)).blocked_by == ()
