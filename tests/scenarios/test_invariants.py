"""A controller whose decisions are wrong: each promise stops the rollout and pages; nothing is done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout import reconciler as shell
from rollout.core.actions import ActionResult
from rollout.core.decide import Decision, Facts
from rollout.core.invariants import Broken, refusal
from rollout.core.model import ActionState, Kind, KnownGood, Phase, RegionPhase, Rollout
from rollout.core.plan import Plan
from rollout.core.signals import Judgement, VerdictKind
from rollout.reconciling import effects
from tests.scenarios.world import DANA, ONE, World

MakeWorld = Callable[[dict[str, object]], World]
Decide = Callable[[Rollout, Plan, Facts, Any], Decision]
Spoil = Callable[[Decision], Decision]
ASKS = {**ONE, "steps": [*ONE["steps"], {"approval": {"min": 1}}]}  # type: ignore[misc]


def orders(decision: Decision, kind: Kind, **changes: Any) -> Decision:
    """The decision with its orders of one kind changed."""
    actions = tuple(
        replace(r, action=replace(r.action, **changes)) if r.action.kind is kind else r
        for r in decision.actions
    )
    return replace(decision, actions=actions)


def earned_early(decision: Decision) -> Decision:
    region = decision.rollout.region("R3")
    if region.phase is not RegionPhase.BAKING:
        return decision
    early = KnownGood(
        service="mail",
        region="R3",
        release=decision.rollout.release,
        since=region.since,
        how="earned",
        by=decision.rollout.id,
    )
    return replace(decision, known_good=(early,))


def where_deployed(spoil: Spoil) -> Spoil:
    """Only decisions that deploy are spoiled."""
    return lambda decision: spoil(decision) if any(decision.generations) and _deploys(decision) else decision


def _deploys(decision: Decision) -> bool:
    return any(record.action.kind is Kind.DEPLOY for record in decision.actions)


SPOILED: dict[str, Spoil] = {
    "S1": where_deployed(lambda d: replace(d, claim=())),
    "S2": where_deployed(
        lambda d: replace(d, actions=tuple(replace(r, key=f"{d.rollout.id}/2/0") for r in d.actions))
    ),
    "S3": where_deployed(lambda d: orders(d, Kind.DEPLOY, generation=1)),
    "S4": where_deployed(lambda d: orders(d, Kind.DEPLOY, artifact="another")),
    "S7": earned_early,
    "S10": where_deployed(lambda d: orders(d, Kind.DEPLOY, weight=100)),
    "S13": where_deployed(lambda d: replace(d, transitions=d.transitions[:-1])),
    "S14": where_deployed(lambda d: replace(d, rollout=replace(d.rollout, version=d.rollout.version - 1))),
    "S15": where_deployed(lambda d: replace(d, rollout=replace(d.rollout, next_due_at=None))),
}


def optimist(rollout: Rollout, facts: Facts) -> tuple[Rollout, Facts]:
    """Takes what was not seen for good."""
    good = tuple(
        replace(v, kind=VerdictKind.PASS, value=0.0, baseline=0.0, seen=1e6) for v in facts.judgement.verdicts
    )
    return rollout, replace(facts, judgement=Judgement(verdicts=good))


def believer(rollout: Rollout, facts: Facts) -> tuple[Rollout, Facts]:
    """Takes every read-back for what was ordered."""
    as_ordered = ActionResult(running={"1.1.0": 3, "1.0.0": 1})
    read = tuple(replace(r, result=as_ordered) if r.action.weight else r for r in facts.actions)
    return rollout, replace(facts, actions=read)


def deaf(rollout: Rollout, facts: Facts) -> tuple[Rollout, Facts]:
    """Does not know that it is held."""
    if rollout.phase is Phase.HELD:
        rollout = replace(rollout, phase=Phase.PROGRESSING, hold=None)
    return rollout, facts


def hasty(rollout: Rollout, facts: Facts) -> tuple[Rollout, Facts]:
    """Takes an approval for given."""
    return replace(rollout, approved=((0, 2),)), facts


Fool = Callable[[Rollout, Facts], tuple[Rollout, Facts]]


def broken_decide(
    monkeypatch: pytest.MonkeyPatch, *, fool: Fool | None = None, spoil: Spoil | None = None
) -> None:
    """From now on every decision rests on the wrong facts, or is spoiled afterwards."""
    real: Decide = shell.decide

    def decide(rollout: Rollout, plan: Plan, facts: Facts, now: Any) -> Decision:
        if fool is not None:
            rollout, facts = fool(rollout, facts)
        decision = real(rollout, plan, facts, now)
        return spoil(decision) if spoil is not None else decision

    monkeypatch.setattr(shell, "decide", decide)


async def then_held(world: World, rollout_id: str, number: str) -> None:
    """It is held for this promise, and somebody was woken with the same sentence."""
    view = await world.until(rollout_id, Phase.HELD, within=80)
    assert f"{number} would be broken: " in view.reason.text, view.reason.text
    assert any(view.reason.text in page for page in world.pages())
    rows = [event.transition.trigger for event in await world.store.events(rollout_id=rollout_id)]
    assert rows[-1] == "invariant_broken"


@pytest.mark.parametrize("number", sorted(SPOILED))
async def test_a_spoiled_decision_is_not_taken(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    world = make_world(ONE)
    await world.given_known_good(history_s=3)
    broken_decide(monkeypatch, spoil=SPOILED[number])
    rollout_id = await world.start("1.1.0")
    await then_held(world, rollout_id, number)
    before = world.effects("R3", "deploy")
    assert before == (["1.1.0"] if number == "S7" else [])
    await world.run(5)
    assert world.effects("R3", "deploy") == before
    known = await world.store.service_regions("mail")
    assert {good.release.version for pair in known for good in pair.known_good} == {"1.0.0"}


async def test_once_the_controller_is_mended_a_person_lets_it_go_on(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    await world.given_known_good(history_s=3)
    broken_decide(monkeypatch, spoil=SPOILED["S10"])
    rollout_id = await world.start("1.1.0")
    await then_held(world, rollout_id, "S10")
    pages = len(world.pages())
    await world.run(70)
    assert len(world.pages()) == pages
    monkeypatch.undo()
    await world.commands.resume(rollout_id, DANA, "the controller was mended")
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_s5_what_was_not_measured_does_not_pass(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world({**ONE, "guards": {"silence": "1h"}})
    await world.given_known_good(history_s=3)
    world.silent.add(("R3", "1.1.0"))
    broken_decide(monkeypatch, fool=optimist)
    rollout_id = await world.start("1.1.0")
    await then_held(world, rollout_id, "S5")
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.BAKING


async def test_s9_what_was_not_read_back_is_not_deployed(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    await world.given_known_good(history_s=3)
    world.plugins.fake_deployer("R3")._wanted = lambda action: ["1.0.0"] * 4  # type: ignore[method-assign]
    broken_decide(monkeypatch, fool=believer)
    rollout_id = await world.start("1.1.0")
    await then_held(world, rollout_id, "S9")
    assert (await world.rollout(rollout_id)).region("R3").phase is RegionPhase.DEPLOYING


async def test_s11_what_is_held_promotes_nothing(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world({**ONE, "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}]})
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "wait")
    await world.until(rollout_id, Phase.HELD)
    broken_decide(monkeypatch, fool=deaf)
    await world.run(30)
    view = await world.view(rollout_id)
    assert view.phase is Phase.HELD
    assert any("would be broken" in page for page in world.pages())
    assert world.effects("R1", "deploy") == []


async def test_s12_an_approval_that_nobody_gave_does_not_count(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ASKS)
    await world.given_known_good(history_s=3)
    broken_decide(monkeypatch, fool=hasty)
    await then_held(world, await world.start("1.1.0"), "S12")


# ------------------------------------------------------------------ the way back is never stopped


async def test_s6_the_failing_version_is_not_restored_and_the_rollback_goes_on(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    broken_decide(monkeypatch, spoil=lambda d: orders(d, Kind.RESTORE, version="1.1.0"))
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(5)
    assert (await world.rollout(rollout_id)).phase is Phase.ROLLING_BACK
    assert world.effects("R3", "restore") == []
    pages = [page for page in world.pages() if "S6 would be broken" in page]
    assert len(pages) == 1
    assert "That part was left out, and the rest goes on." in pages[0]
    monkeypatch.undo()
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert world.effects("R3", "restore") == ["1.0.0"]


async def test_s8_a_deploy_under_way_is_dropped_on_the_way_back_whatever_was_decided(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    await world.given_known_good(history_s=3)
    world.plugins.fake_deployer("R3").slow(Kind.DEPLOY, 10_000)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.tick()
    broken_decide(monkeypatch, spoil=lambda d: replace(d, drop_actions=()))
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    deploys = [r for r in (await world.case(rollout_id)).actions if r.action.kind is Kind.DEPLOY]
    assert [record.state for record in deploys] == [ActionState.DROPPED]
    assert any("S8 would be broken: it goes back, and 1 deploys go on" in page for page in world.pages())


@pytest.mark.parametrize("number", ["S13", "S15"])
async def test_a_false_alarm_does_not_stop_a_rollback(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    alarm = Broken(number=number, text="a false alarm")
    monkeypatch.setattr(refusal, "_CHECKS", (lambda _: iter([alarm]),))
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert await world.running("R3") == {"1.0.0": 4}


# ------------------------------------------------------------------ an assertion that fails itself


def _fails(*_: Any) -> Any:
    raise ZeroDivisionError("a fault of the assertion")


async def test_an_assertion_that_fails_itself_holds_what_goes_forward_pages_and_is_counted(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, counted = make_world(ONE), list[int]()
    await world.given_known_good(history_s=3)
    monkeypatch.setattr(world.reconciler._onlooker, "undecided", lambda: counted.append(1))
    monkeypatch.setattr(refusal, "_CHECKS", (*refusal._CHECKS, _fails))
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.HELD, within=80)
    text = "the assertion _fails failed itself (ZeroDivisionError: a fault of the assertion)"
    assert text in view.reason.text
    assert view.reason.code == "invariant.unproven"
    assert any(text in page and "report it" in page for page in world.pages())
    assert counted
    assert world.effects("R3", "deploy") == []


async def test_an_assertion_that_fails_itself_delays_no_way_back(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    monkeypatch.setattr(refusal, "_CHECKS", (_fails, *refusal._CHECKS))
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK, within=10)
    assert await world.running("R3") == {"1.0.0": 4}
    assert any("That part was left out, and the rest goes on." in page for page in world.pages())


async def test_where_nobody_can_say_whether_an_action_may_begin_only_what_goes_back_does(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world({**ONE, "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}]})
    rollout_id, counted = await world.given_baking("1.1.0"), list[int]()
    monkeypatch.setattr(effects, "may_begin", _fails)
    monkeypatch.setattr(world.reconciler._effects._onlooker, "undecided", lambda: counted.append(1))
    await world.until_region(rollout_id, "R1", RegionPhase.DEPLOYING)
    await world.run(10)
    assert world.effects("R1", "deploy") == []
    view = await world.view(rollout_id)
    assert "ZeroDivisionError" in str(view)
    assert counted
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK, within=10)
    assert await world.running("R3") == {"1.0.0": 4}
