"""The way back is proven before anything is touched; adoption gives the first one."""

from collections.abc import Callable

import pytest

from rollout.core.errors import Conflict, PermanentError, TransientError
from rollout.core.model import Kind, Phase, Service
from tests.scenarios.world import ADMIN, DANA, NAMES, QUICK, World, with_policies

MakeWorld = Callable[[dict[str, object]], World]


async def then_held_untouched(world: World, rollout_id: str) -> str:
    """Wait for the hold; nothing was touched, and somebody was paged. The sentence."""
    view = await world.until(rollout_id, Phase.HELD)
    assert [world.effects(name, "deploy") for name in NAMES] == [[]] * 3
    assert any(view.reason.text in page for page in world.pages())
    return view.reason.text


async def test_without_a_known_good_it_is_held_and_adoption_lets_it_go_on(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    for name in NAMES:
        world.plugins.fake_deployer(name).install("mail", "1.0.0")
    await world.store.put_service(Service(name="mail", policy="standard"))
    await world.run(3)
    rollout_id = await world.start("1.1.0")
    said = await then_held_untouched(world, rollout_id)
    assert said.startswith("R3 has no known good release of mail to go back to.")
    adopted = await world.commands.adopt("mail", ADMIN, "it serves well")
    assert {good.release.version for good in adopted} == {"1.0.0"}
    await world.commands.resume(rollout_id, DANA, "adopted")
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_the_adoption_that_is_named_is_refused_for_no_other_region(world: World) -> None:
    two = {**QUICK, "name": "two", "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}], "watch": "10m"}
    with_policies(world, two)
    await world.given_known_good(regions=["R3", "R1"])
    await world.until(await world.start("1.1.0", policy="two"), Phase.SUCCEEDED)
    view = await world.until(await world.start("1.2.0"), Phase.HELD)
    assert "adopt it (rollout adopt mail --region R2 --reason …), then resume" in view.reason.text
    with pytest.raises(Conflict, match="Only a region that runs one version alone"):
        await world.commands.adopt("mail", ADMIN, "it serves well")
    (good,) = await world.commands.adopt("mail", ADMIN, "it serves well", ["R2"])
    assert good.release.version == "1.0.0"


async def test_a_region_that_runs_two_versions_cannot_be_adopted(world: World) -> None:
    await world.given_baking("1.1.0")
    await world.run(2)
    with pytest.raises(Conflict, match=r"R3: 3 × 1\.0\.0, 1 × 1\.1\.0"):
        await world.commands.adopt("mail", ADMIN, "whatever")


async def test_a_region_under_a_rollout_cannot_be_adopted(world: World) -> None:
    await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").install("mail", "9.9.9")
    await world.run(2)
    with pytest.raises(Conflict, match="is under way in R3"):
        await world.commands.adopt("mail", ADMIN, "whatever")


async def test_a_rehearsal_that_fails_holds(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R1").fail_next(Kind.REHEARSE, PermanentError("The artifact is gone."))
    said = await then_held_untouched(world, await world.start("1.1.0"))
    assert said == (
        "R1 could not rehearse 1.0.0, the release it would go back to: The artifact is gone. "
        "Nothing was touched. Mend it and resume."
    )


async def test_a_rehearsal_that_never_ends_holds_at_its_deadline(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R1").slow(Kind.REHEARSE, 10_000)
    said = await then_held_untouched(world, await world.start("1.1.0"))
    assert "not done within 20 s" in said


async def test_a_region_that_does_not_answer_holds_at_the_deadline(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R2").unreachable = True
    said = await then_held_untouched(world, await world.start("1.1.0"))
    assert "R2 cannot be reached." in said


@pytest.mark.parametrize("count", [4, 1])
async def test_what_somebody_changed_by_hand_holds(world: World, count: int) -> None:
    await world.given_known_good()
    deployer = world.plugins.fake_deployer("R2")
    deployer._arrange("mail", ["9.9.9"] * count + ["1.0.0"] * (4 - count))
    said = await then_held_untouched(world, await world.start("1.1.0"))
    assert "its known good is 1.0.0: somebody changed it without a release" in said


async def test_a_region_whose_known_good_is_the_release_itself_has_no_way_back(world: World) -> None:
    await world.given_known_good()
    world.plugins.fake_deployer("R1").install("mail", "1.1.0")
    await world.run(2)
    await world.commands.adopt("mail", ADMIN, "moved by hand", regions=["R1"])
    said = await then_held_untouched(world, await world.start("1.1.0"))
    assert "R1 has 1.1.0 as its known good already" in said


async def test_resuming_proves_the_way_back_anew(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    world.plugins.fake_deployer("R1").fail_next(Kind.REHEARSE, PermanentError("The artifact is gone."))
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "the artifact is back")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R1", "rehearse") == ["1.0.0"]


async def test_a_rehearsal_that_gets_no_answer_is_said_while_it_is_tried_again(world: World) -> None:
    await world.given_known_good()
    for _ in range(4):
        world.plugins.fake_deployer("R1").fail_next(
            Kind.REHEARSE, TransientError("R1 did not answer within 2 s.")
        )
    rollout_id = await world.start("1.1.0")
    await world.run(4)
    view = await world.view(rollout_id)
    assert view.phase is Phase.PREFLIGHT
    said = {region.region: region.message for region in view.regions}
    assert said == {"R3": "", "R1": "R1 did not answer within 2 s.", "R2": ""}
