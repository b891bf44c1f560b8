"""Known good is earned by a whole bake, pinned, kept for two releases more, and never the failing release."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rollout.commands import StartRequest
from rollout.core.errors import InvalidInput
from rollout.core.model import Kind, KnownGood, Phase, RegionPhase, Release
from rollout.possible import Actor
from rollout.store import services
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, HEALTHY, NAMES, ONE, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
SHORT = {**ONE, "watch": "5s"}


def pin(digit: str, name: str = "mail") -> str:
    """An artifact that is named by its digest."""
    return f"pkg:oci/{name}@sha256%3A{digit * 64}"


async def release(
    world: World, version: str, artifact: str | None, *, override: str = "", actor: Actor = DEPLOYER
) -> str:
    """A pipeline asks for a version that is this artifact."""
    wanted = Release(service="mail", version=version, artifact=artifact, author="ana")
    return (await world.commands.start(StartRequest(release=wanted, override=override), actor)).id


async def known_good(world: World, region: str = "R3") -> tuple[KnownGood, ...]:
    """What a region can go back to, newest first."""
    return next(p.known_good for p in await world.store.service_regions("mail") if p.region == region)


async def versions(world: World, region: str = "R3") -> list[str]:
    return [each.release.version for each in await known_good(world, region)]


async def orders(world: World, rollout_id: str, kind: Kind) -> list[tuple[str, str | None]]:
    """What was ordered of one kind: versions and artifacts."""
    case = await world.case(rollout_id)
    return [(r.action.version, r.action.artifact) for r in case.actions if r.action.kind is kind]


async def test_a_release_is_known_good_only_after_its_whole_bake_and_region_by_region(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    for _ in range(200):
        await world.tick()
        rollout = await world.rollout(rollout_id)
        for region in rollout.regions:
            passed = region.phase is RegionPhase.PASSED
            assert ("1.1.0" in await versions(world, region.region)) is passed
        if rollout.phase is Phase.SUCCEEDED:
            return
    raise AssertionError(f"still {rollout.phase}")


async def test_a_bake_that_a_person_ended_earns_it_only_by_a_watch_that_is_met(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "steps": [{"set_weight": 75}, {"bake": "300s"}], "watch": "20s"})
    rollout_id = await world.given_baking("1.1.0")
    await world.run(5)
    await world.commands.promote(rollout_id, DANA, "hurry")
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert await versions(world) == ["1.0.0"]
    await world.run(30)
    assert await versions(world) == ["1.1.0", "1.0.0"]


async def test_two_generations_are_kept_besides_and_one_is_left_to_go_on_from(make_world: MakeWorld) -> None:
    world = make_world(SHORT)
    await world.given_known_good()
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        await world.until(await world.start(version), Phase.SUCCEEDED)
        await world.run(10)
    assert await versions(world) == ["1.3.0", "1.2.0", "1.1.0"]
    last = await world.start("1.4.0")
    await world.until(last, Phase.SUCCEEDED)
    assert await versions(world) == ["1.4.0", "1.3.0", "1.2.0"]
    await world.commands.rollback(last, DANA, "users complain")
    await world.until(last, Phase.ROLLED_BACK)
    assert await versions(world) == ["1.3.0", "1.2.0"]
    assert await world.running("R3") == {"1.3.0": 4}


async def test_a_rehearsal_and_a_restore_carry_exactly_the_artifact_that_was_recorded(
    make_world: MakeWorld,
) -> None:
    world = make_world(SHORT)
    await world.given_known_good()
    await world.until(await release(world, "1.1.0", pin("a")), Phase.SUCCEEDED)
    await world.run(10)
    second = await release(world, "1.2.0", pin("b"))
    await world.until_region(second, "R3", RegionPhase.BAKING)
    await world.commands.rollback(second, DANA, "users complain")
    await world.until(second, Phase.ROLLED_BACK)
    assert await orders(world, second, Kind.REHEARSE) == [("1.1.0", pin("a"))]
    assert await orders(world, second, Kind.DEPLOY) == [("1.2.0", pin("b"))]
    assert await orders(world, second, Kind.RESTORE) == [("1.1.0", pin("a"))]


@pytest.mark.parametrize(
    "artifact",
    [
        None,
        "registry.test/mail:1.1.0",
        "registry.test/sha256-mail:latest",
        "registry.test/mail@sha256:abc123",
        "registry.test/mail@sha256:" + "g" * 64,
        "registry.test/mail@sha256:" + "a" * 65,
    ],
)
async def test_a_policy_that_wants_digests_refuses_what_is_not_pinned(
    make_world: MakeWorld, artifact: str | None
) -> None:
    world = make_world({**ONE, "require_digest": True})
    await world.given_known_good()
    with pytest.raises(InvalidInput) as refused:
        await release(world, "1.1.0", artifact)
    (problem,) = refused.value.problems
    assert problem.place == "/artifact"
    assert "all 64 digits" in problem.message
    assert await world.store.rollouts() == ()


@pytest.mark.parametrize("artifact", [pin("a"), "registry.test/mail@sha256:" + "0123456789abcdef" * 4])
async def test_it_takes_what_is(make_world: MakeWorld, artifact: str) -> None:
    world = make_world({**ONE, "require_digest": True})
    await world.given_known_good()
    assert await release(world, "1.1.0", artifact)


async def test_where_tags_are_allowed_history_says_that_the_way_back_is_not_pinned(
    make_world: MakeWorld,
) -> None:
    world = make_world(SHORT)
    await world.given_known_good()
    await world.until(await release(world, "1.1.0", "registry.test/mail:1.1.0"), Phase.SUCCEEDED)
    await world.run(10)
    second = await release(world, "1.2.0", pin("b"))
    await world.until_region(second, "R3", RegionPhase.BAKING)
    said = [e.transition.reason.text for e in await world.store.events(rollout_id=second)]
    assert any(
        "Not pinned by digest, so they may have changed: registry.test/mail:1.1.0." in each for each in said
    )


async def test_the_same_version_with_another_digest_has_no_way_back_and_touches_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world(QUICK)
    await world.given_known_good()
    first = await release(world, "1.1.0", pin("a"))
    await world.until_region(first, "R1", RegionPhase.BAKING)
    await world.commands.hold(first, DANA, "wait")
    other = await release(world, "1.1.0", pin("b"))
    await world.run(3)
    assert (await world.rollout(other)).phase is Phase.QUEUED
    await world.commands.resume(first, DANA, "go on")
    await world.until(first, Phase.SUCCEEDED)
    view = await world.until(other, Phase.HELD)
    assert "R3 has 1.1.0 as its known good already, so it would have no way back" in view.reason.text
    assert await orders(world, other, Kind.DEPLOY) == []


async def test_a_failing_version_that_is_released_again_goes_back_to_what_was_good_before_both(
    make_world: MakeWorld,
) -> None:
    world = make_world({**ONE, "steps": [{"set_weight": 75}, {"bake": "20s"}]})
    first = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(first, Phase.ROLLED_BACK)
    again = await release(world, "1.1.0", pin("b"), override="it was the network", actor=ADMIN)
    await world.until_region(again, "R3", RegionPhase.BAKING)
    await world.until(again, Phase.ROLLED_BACK)
    assert [version for version, _ in await orders(world, again, Kind.RESTORE)] == ["1.0.0"]
    assert await versions(world) == ["1.0.0"]


async def test_what_passed_some_regions_and_goes_back_is_known_good_nowhere(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0", "R1")
    assert await versions(world) == ["1.1.0", "1.0.0"]
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert [await versions(world, name) for name in NAMES] == [["1.0.0"]] * 3


async def given_the_one_before_is_revoked(world: World) -> str:
    """1.2.0 bakes in R3 over 1.1.0, which turns out harmful in R1 and is nobody's known good any more."""
    await world.given_known_good()
    await world.until(await world.start("1.1.0"), Phase.SUCCEEDED)
    newer = await world.start("1.2.0")
    await world.until_region(newer, "R3", RegionPhase.BAKING)
    await world.commands.hold(newer, DANA, "a look at it")
    world.given_harm("R1", "1.1.0")
    for _ in range(60):
        await world.tick()
        if await versions(world) == ["1.0.0"]:
            return newer
    raise AssertionError("1.1.0 is still known good")


async def test_a_known_good_that_is_revoked_meanwhile_is_no_target_any_more(make_world: MakeWorld) -> None:
    world = make_world({**QUICK, "watch": "600s"})
    newer = await given_the_one_before_is_revoked(world)
    assert (await world.rollout(newer)).region("R3").back_to is not None
    await world.commands.rollback(newer, DANA, "both are bad")
    await world.until(newer, Phase.ROLLED_BACK)
    assert world.effects("R3", "restore") == ["1.0.0"]
    assert await world.running("R3") == {"1.0.0": 4}


async def test_when_every_known_good_is_revoked_people_choose_and_nothing_harmful_is_brought_back(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "watch": "600s"})
    newer = await given_the_one_before_is_revoked(world)
    for pair in await world.store.service_regions("mail"):
        await forget_known_goods(world, pair.known_good)
    await world.commands.rollback(newer, DANA, "both are bad")
    view = await world.until(newer, Phase.ROLLBACK_FAILED)
    assert "R3 cannot go back: no known good release is left" in view.reason.text
    assert world.effects("R3", "restore") == []
    assert any("no known good release is left" in page for page in world.pages())
    world.plugins.fake_deployer("R3").install("mail", "1.0.1")
    await world.run(3)
    await world.commands.adopt("mail", ADMIN, "brought by hand", regions=["R3"])
    await world.until(newer, Phase.ROLLED_BACK)


async def forget_known_goods(world: World, goods: tuple[KnownGood, ...]) -> None:
    """As further rollbacks would do; no command arranges it without touching what runs."""
    for good in goods:
        for pair in [p for p in await world.store.service_regions("mail") if p.region == good.region]:
            empty = replace(pair, known_good=())
            await world.store._write(services._save, [empty])  # type: ignore[attr-defined]


async def test_what_is_adopted_keeps_the_artifact_that_it_was_released_with(make_world: MakeWorld) -> None:
    world = make_world(SHORT)
    await world.given_known_good()
    await world.until(await release(world, "1.1.0", pin("a")), Phase.SUCCEEDED)
    await world.run(20)
    await world.commands.adopt("mail", ADMIN, "it serves well", regions=["R3"])
    newest = (await known_good(world))[0]
    assert (newest.how, newest.release.version, newest.release.artifact) == ("adopted", "1.1.0", pin("a"))


async def test_a_version_that_was_released_as_two_artifacts_is_adopted_by_its_name_alone(
    make_world: MakeWorld,
) -> None:
    world = make_world(SHORT)
    first = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(first, Phase.ROLLED_BACK)
    world.given_harm("R3", "1.1.0", HEALTHY)
    again = await release(world, "1.1.0", pin("b"), override="rebuilt", actor=ADMIN)
    await world.until(again, Phase.SUCCEEDED)
    await world.run(20)
    await world.commands.adopt("mail", ADMIN, "it serves well", regions=["R3"])
    assert (await known_good(world))[0].release.artifact is None
