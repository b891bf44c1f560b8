"""Harm of a check that is not critical stops a release and wakes somebody; what they resumed goes on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from api.reads import Reads
from rollout.core.judge import judge
from rollout.core.model import ObligationKind, ObligationState, Outcome, Phase, RegionPhase, Service
from rollout.core.signals import Judgement
from rollout.ports import Token
from tests.scenarios.world import ADMIN, DANA, HEALTHY, NAMES, START, Health, World

MakeWorld = Callable[[Mapping[str, object]], World]
MINOR = {
    "steps": [{"set_weight": 75}, {"bake": "30s"}],  # long enough for the evidence to come together
    "checks": [{"signal": "errors", "critical": False}, {"signal": "restarts"}],
}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}


async def given_suspected(world: World) -> str:
    """A rollout that is held in R3 by suspected harm; its id."""
    rollout_id = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.HELD)
    return rollout_id


def pages(world: World) -> list[str]:
    return [page for page in world.pages() if "Suspected" in page]


async def test_suspected_harm_holds_pages_once_and_says_what_to_do(make_world: MakeWorld) -> None:
    world = make_world(MINOR)
    rollout_id = await given_suspected(world)
    await world.run(60)
    view = await world.view(rollout_id)
    assert (view.phase, view.reason.code) == (Phase.HELD, "check.suspected")
    assert view.sentence == "mail 1.1.0 is held by controller: harm is suspected in R3."
    assert view.needs_person
    assert "R3 failed requests 30.00 %" in view.reason.text
    assert "as the check is not critical." in view.reason.text
    assert view.reason.text.endswith(f"rollout resume {rollout_id}; go back: rollout rollback {rollout_id}")
    assert pages(world) == [f"mail is held: {view.reason.text}"]
    assert world.effects("R1", "deploy") == []
    (check,) = [check for check in view.checks if check.suspected]
    assert (check.region, check.signal, check.critical) == ("R3", "errors", False)
    assert view.against


async def test_what_a_person_resumed_goes_on_and_is_watched_without_another_page(
    make_world: MakeWorld,
) -> None:
    world = make_world(MINOR)
    rollout_id = await given_suspected(world)
    await world.commands.resume(rollout_id, DANA, "a known fault of the client")
    await world.run(2)
    going = await world.view(rollout_id)
    assert going.phase is Phase.PROGRESSING
    assert f"Suspected: R3 failed requests, resumed by {DANA.name}; evidence " in going.sentence
    assert going.against.startswith("R3 failed requests")
    assert "Evidence of harm" in going.against
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.PROMOTED
    await world.run(40)
    assert len(pages(world)) == 1
    assert "Suspected" not in (await world.view(rollout_id)).sentence, "the watch is over"
    r3 = next(o for o in (await world.case(rollout_id)).obligations if o.region == "R3")
    assert r3.state is ObligationState.MET
    assert r3.reason is not None
    assert r3.reason.text.endswith("no harm to act on, and failed requests still suspected.")


async def test_the_same_harm_in_the_next_region_holds_again(make_world: MakeWorld) -> None:
    world = make_world(MINOR)
    rollout_id = await given_suspected(world)
    world.given_harm("R1", "1.1.0")
    await world.commands.resume(rollout_id, DANA, "a known fault of the client")
    await world.until_region(rollout_id, "R1", RegionPhase.BAKING)
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.region == "R1"
    assert len(pages(world)) == 2
    assert world.effects("R2", "deploy") == []


async def test_a_guard_still_acts_where_harm_was_only_suspected(make_world: MakeWorld) -> None:
    world = make_world({**MINOR, "guards": {"success": {"below": 50, "for": "5s"}}})
    rollout_id = await given_suspected(world)
    world.given_harm("R3", "1.1.0", BROKEN)
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.reason.code == "rollback.done" or view.outcome is Outcome.ROLLED_BACK
    cause = (await world.rollout(rollout_id)).cause
    assert cause is not None
    assert cause.code == "guard.success"


async def test_suspected_harm_in_the_watch_pages_once_and_the_watch_goes_on(make_world: MakeWorld) -> None:
    world = make_world({**MINOR, "watch": "60s"})
    rollout_id = await world.given_succeeded()
    world.given_harm("R1", "1.1.0")
    await world.run(50)
    assert (await world.rollout(rollout_id)).phase is Phase.SUCCEEDED
    (page,) = pages(world)
    assert page.startswith("mail 1.1.0: R1 failed requests")
    assert page.endswith(f"The watch goes on; go back: rollout rollback {rollout_id}")
    await world.run(30)
    watches = [o for o in (await world.case(rollout_id)).obligations if o.kind is ObligationKind.WATCH]
    assert {o.state for o in watches} == {ObligationState.MET}


async def test_when_releases_overlap_the_page_and_why_rank_them(make_world: MakeWorld) -> None:
    world = make_world(MINOR)
    for name in NAMES:
        world.plugins.fake_deployer(name).install("billing", "7.0.0")
    await world.store.put_service(Service(name="billing", policy="standard"))
    await world.given_known_good()
    await world.commands.adopt("billing", ADMIN, "it bills well")
    other = await world.start("7.1.0", service="billing")
    await world.until_region(other, "R3", RegionPhase.BAKING)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.BAKING)
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.HELD)
    view = await world.view(rollout_id)
    assert [(s.service, s.version) for s in view.suspects] == [("mail", "1.1.0"), ("billing", "7.1.0")]
    assert view.suspects[0].text.endswith("only its own instances show it")
    (page,) = pages(world)
    assert "Suspects, most likely first: 1. mail 1.1.0" in page
    assert f"2. billing 7.1.0 ({other})" in page
    assert (await world.view(other)).suspects == ()
    mine = Token(id="t", name="dana", role="viewer", services=("mail",), created_at=START)
    assert [s.service for s in (await Reads(world.queries, mine).rollout(rollout_id)).suspects] == ["mail"]
    everything = Reads(world.queries, replace(mine, services=()))
    assert len((await everything.rollout(rollout_id)).suspects) == 2


PAST = {"low": 5.0, "high": 100.0, "baseline_kind": "the past of R3 by time of day"}


@pytest.fixture
def on_its_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every culprit in R3 rests on the past of R3, as where nothing runs beside it."""

    def judged(*given: Any, **more: Any) -> Judgement:
        found = judge(*given, **more)
        return replace(found, culprits=tuple(replace(v, **PAST) for v in found.culprits))

    monkeypatch.setattr("rollout.reconciler.judge", judged)


@pytest.mark.usefixtures("on_its_past")
async def test_a_rise_that_is_seen_without_the_release_too_holds_instead_of_going_back(
    make_world: MakeWorld,
) -> None:
    world = make_world({**MINOR, "checks": ["errors", "restarts"]})
    for name in NAMES:
        world.given_harm(name, "1.0.0", {"errors": (1.0, 50.0), "restarts": HEALTHY["restarts"]})
    rollout_id = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.run(4)
    for name in ("R1", "R2"):
        world.given_harm(name, "1.0.0")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "check.suspected"
    assert "as the same rise is seen in R1, R2, where the release is not." in view.reason.text
    assert len(pages(world)) == 1


@pytest.mark.usefixtures("on_its_past")
async def test_a_rise_that_is_seen_nowhere_else_goes_back(make_world: MakeWorld) -> None:
    world = make_world({**MINOR, "checks": ["errors", "restarts"]})
    rollout_id = await world.given_baking("1.1.0")
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)


@pytest.mark.usefixtures("on_its_past")
async def test_a_guard_does_not_ask_what_is_seen_elsewhere(make_world: MakeWorld) -> None:
    guards = {"success": {"below": 50, "for": "2s"}}
    world = make_world({**MINOR, "checks": ["errors", "restarts"], "guards": guards})
    rollout_id = await world.given_baking("1.1.0")
    for name in NAMES:
        world.given_harm(name, "1.0.0", BROKEN)
    world.given_harm("R3", "1.1.0", BROKEN)
    await world.until(rollout_id, Phase.ROLLED_BACK)
    cause = (await world.rollout(rollout_id)).cause
    assert cause is not None
    assert cause.code == "guard.success"
