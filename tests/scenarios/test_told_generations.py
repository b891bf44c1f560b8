"""A target tells a generation above which none could be ordered: not believed, it stops nobody else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.actions import HIGHEST_TOLD, Action, ActionResult
from rollout.core.model import Doubt, Kind, Phase, RegionPhase
from rollout.emergency.reconciled import Emergencies
from rollout.emergency.record import Record
from rollout.emergency.seal import make_seal
from rollout.ports import Progress, Reply
from rollout.reconciling.outside import target_of
from rollout.testing import FakeDeployer, ManualClock
from tests.scenarios.test_emergency import ordered
from tests.scenarios.test_unstored import given_two
from tests.scenarios.world import ADMIN, DANA, ONE, START, World

MakeWorld = Callable[[dict[str, object]], World]
LONG = {"steps": [{"set_weight": 75}, {"bake": "60s"}]}
MILLISECONDS = 1_772_453_000_000  # a time, where a generation was meant


def _tells(world: World, generation: int) -> None:
    """From now on R3 tells it of mail; it runs and refuses as before."""
    deployer = world.plugins.fake_deployer("R3")
    answers = deployer.apply

    async def told(key: str, action: Action) -> Reply:
        reply = await answers(key, action)
        if (action.kind, action.service) != (Kind.VERIFY, "mail"):
            return reply
        return replace(reply, result=replace(reply.result, details={"generation": generation}))

    deployer.apply = told  # type: ignore[method-assign]


@pytest.mark.parametrize(("told", "progress"), [(0, "succeeded"), (1, "failed")])
async def test_the_largest_generation_that_is_taken_leaves_room_for_orders_above_it(
    told: int, progress: str
) -> None:
    deployer = FakeDeployer(ManualClock(START), "R3")
    deployer.install("mail", "1.0.0")
    deployer._services["mail"].generation = HIGHEST_TOLD + told
    order = Action(kind=Kind.VERIFY, region="R3", service="mail", generation=7)
    reply = await target_of(deployer).apply("k", order)
    assert HIGHEST_TOLD + 1_000 * 1_000 == 2**31 - 1
    assert (reply.progress, dict(reply.result.running)) == (progress, {"1.0.0": 4})
    assert reply.result.details == ({} if told else {"generation": HIGHEST_TOLD})
    if told:
        assert reply.result.message == (
            "The target of R3 tells that it has seen generation 2,146,483,648 of mail, which is not "
            "believed: 2,146,483,647 is the largest that is taken. Let it tell the generation of the newest "
            "order that it took (7 is the newest from here), and nothing else, such as a time; set back what "
            "it remembers."
        )


async def test_what_is_no_reading_is_left_as_it_is() -> None:
    class Deploys(FakeDeployer):
        async def apply(self, _key: str, _action: Action) -> Reply:
            return Reply(
                progress=Progress.SUCCEEDED, result=ActionResult(details={"generation": MILLISECONDS})
            )

    order = Action(kind=Kind.DEPLOY, region="R3", service="mail", version="1.1.0")
    reply = await target_of(Deploys(ManualClock(START), "R3")).apply("k", order)
    assert (reply.progress, reply.result.details) == ("succeeded", {"generation": MILLISECONDS})


async def test_people_hear_of_it_on_the_way_back_and_other_services_go_back_meanwhile(
    make_world: MakeWorld,
) -> None:
    world = make_world(LONG)
    mail, web = await given_two(world)
    _tells(world, MILLISECONDS)
    await world.commands.rollback(mail, DANA, "users complain")
    await world.commands.rollback(web, DANA, "users complain")
    await world.until(web, Phase.ROLLED_BACK, within=10)
    await world.until(mail, Phase.ROLLBACK_FAILED, within=100)
    (page,) = [page for page in world.pages() if page.startswith("mail 1.1.0: The rollback failed in R3")]
    assert "): The target of R3 tells that it has seen generation 1,772,453,000,000" in page
    (pair,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert pair.generation < 100


@pytest.mark.parametrize("begun", [False, True])
async def test_a_release_goes_no_further_there_and_the_number_is_said(
    make_world: MakeWorld, begun: bool
) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    if begun:
        await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    _tells(world, MILLISECONDS)
    view = await world.until(rollout_id, Phase.ROLLING_BACK if begun else Phase.HELD)
    assert ("not read back in" if begun else "could not be read back") in view.reason.text
    assert "generation 1,772,453,000,000 of mail, which is not believed" in view.reason.text


async def test_a_doubt_that_kept_one_can_be_ended_by_a_person(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    await world.store.distrust_if_old(world.clock.now(), 10**6)
    (pair,) = [one for one in await world.store.doubted() if one.region == "R3"]
    doubt = Doubt(
        since=START, text="put back", believed={}, generation=pair.generation, seen=MILLISECONDS, found="x"
    )
    await world.store.settle_doubt("mail", "R3", doubt)
    await world.commands.adopt("mail", ADMIN, "it is right")
    (after,) = [one for one in await world.store.service_regions("mail") if one.region == "R3"]
    assert (after.doubt, after.generation) == (None, pair.generation + 1)


async def test_a_controller_starts_with_an_emergency_of_one_on_its_record(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    before = {one.region: one.generation for one in await world.store.service_regions("mail")}
    seal = make_seal(tmp_path / "key")
    record = Record(tmp_path / "emergencies.jsonl", seal)
    record.append(replace(await ordered(world, "1.0.0"), generation=2**63))
    known = tmp_path / "known-good.json"
    emergencies = Emergencies(
        world.store, world.clock, lambda: world.configuration.regions, known, record, seal
    )
    await emergencies.begin()
    (pair,) = await world.store.doubted()
    assert (pair.region, pair.generation) == ("R3", before["R3"])
    assert pair.doubt is not None
    assert "restored R3 to 1.0.0 in an emergency" in pair.doubt.text
