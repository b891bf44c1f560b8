"""A stage waits for what a pipeline reports: passed goes on, failed and silence have a stated outcome."""

from collections.abc import Callable

import pytest

from rollout.core.errors import Conflict, NotFound
from rollout.core.model import Outcome, Phase
from tests.scenarios.world import DANA, DEPLOYER, NAMES, ONE, POLICY, QUICK, World, configuration

MakeWorld = Callable[[dict[str, object]], World]
BAKED = [{"set_weight": 75}, {"bake": "6s"}]


def gated(gate: object, *, first: bool = False) -> dict[str, object]:
    """Two stages; R3 has the gate, after its bake or before it is touched."""
    steps = [{"gate": gate}, *BAKED] if first else [*BAKED, {"gate": gate}]
    return {**QUICK, "stages": [{"regions": ["R3"], "steps": steps}, {"regions": ["R1"]}]}


async def given_at_gate(world: World) -> str:
    """A rollout that stands at its gate; its id."""
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    for _ in range(60):
        if (await world.rollout(rollout_id)).gate:
            return rollout_id
        await world.tick()
    raise AssertionError("never at the gate")


async def report(world: World, rollout_id: str, status: str, message: str = "") -> None:
    """The pipeline says how smoke went."""
    await world.commands.report_gate(
        rollout_id, DEPLOYER, "smoke", status, url="https://ci.example/7", message=message
    )


async def test_a_stage_waits_at_its_gate_and_says_for_what_and_until_when(make_world: MakeWorld) -> None:
    world = make_world(gated({"name": "smoke", "within": "40s"}))
    rollout_id = await given_at_gate(world)
    view = await world.view(rollout_id)
    assert view.phase is Phase.PROGRESSING
    assert view.gates[0].status == "waiting"
    assert view.gates[0].deadline is not None
    assert view.blocked_by[0].startswith("gate smoke of R3: nothing reported yet; held at ")
    assert view.next is not None
    assert view.next.what == "Waits for gate smoke of R3, then it is held"
    assert view.next.at == view.gates[0].deadline
    assert not (await world.rollout(rollout_id)).region("R1").touched


async def test_a_report_that_it_passed_lets_the_stage_go_on(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke"))
    rollout_id = await given_at_gate(world)
    await report(world, rollout_id, "passed", "40 of 40")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.outcome is Outcome.PROMOTED
    assert (view.gates[0].status, view.gates[0].by) == ("passed", "pipeline")
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    row = next(row for row in rows if row.trigger == "gate_reported")
    assert row.from_phase == row.to_phase == "progressing"
    assert row.reason.text == (
        "pipeline reports that gate smoke of R3 passed: 40 of 40 (https://ci.example/7)."
    )


async def test_a_report_that_comes_early_counts_once_the_stage_stands_there(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke"))
    rollout_id = await world.given_baking("1.1.0")
    await report(world, rollout_id, "passed")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    rows = await world.store.events(rollout_id=rollout_id, limit=1000)
    assert "gate_awaited" not in {row.transition.trigger for row in rows}
    assert view.gates[0].status == "passed"


async def test_a_failed_gate_takes_every_touched_region_back(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke"))
    rollout_id = await given_at_gate(world)
    await report(world, rollout_id, "failed", "3 of 40 tests")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome is Outcome.ROLLED_BACK
    assert view.reason.text == (
        "gate smoke of R3 failed: 3 of 40 tests (https://ci.example/7), reported by pipeline."
    )
    assert [await world.running(name) for name in NAMES] == [{"1.0.0": 4}] * 3


async def test_a_failed_gate_before_anything_is_touched_holds(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke", first=True))
    rollout_id = await given_at_gate(world)
    await report(world, rollout_id, "failed")
    view = await world.until(rollout_id, Phase.HELD)
    assert "cancel" in view.reason.text
    assert view.sentence.endswith("is held by controller: a gate failed.")
    assert world.effects("R3", "deploy") == []


async def test_a_failed_gate_is_held_where_the_policy_says_so_and_goes_on_once_it_passed(
    make_world: MakeWorld,
) -> None:
    world = make_world(gated({"name": "smoke", "failed": "hold"}))
    rollout_id = await given_at_gate(world)
    await report(world, rollout_id, "failed", "flaky")
    await world.until(rollout_id, Phase.HELD)
    await report(world, rollout_id, "passed")
    await world.run(3)
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
    assert any("gate smoke of R3 passed now" in text for text in world.notices())
    await world.commands.resume(rollout_id, DANA, "it was flaky")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert view.gates[0].status == "passed"


async def test_resumed_after_a_failure_it_waits_for_a_new_report(make_world: MakeWorld) -> None:
    world = make_world(gated({"name": "smoke", "failed": "hold", "within": "30s"}))
    rollout_id = await given_at_gate(world)
    await report(world, rollout_id, "failed", "flaky")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "run it again")
    await world.run(5)
    view = await world.view(rollout_id)
    assert view.phase is Phase.PROGRESSING
    assert "a new report is awaited" in view.blocked_by[0]
    await report(world, rollout_id, "failed", "still")
    view = await world.until(rollout_id, Phase.HELD)
    assert "failed: still" in view.reason.text


@pytest.mark.parametrize(
    ("otherwise", "phase", "outcome"),
    [("hold", Phase.HELD, None), ("rollback", Phase.ROLLED_BACK, Outcome.ROLLED_BACK)],
)
async def test_at_its_deadline_comes_the_stated_outcome(
    make_world: MakeWorld, otherwise: str, phase: Phase, outcome: Outcome | None
) -> None:
    world = make_world(gated({"name": "smoke", "within": "10s", "otherwise": otherwise}))
    rollout_id = await given_at_gate(world)
    view = await world.until(rollout_id, phase, within=40)
    assert view.outcome is outcome
    assert "nothing was reported in 1" in view.reason.text


async def test_each_stage_waits_for_a_report_of_its_own(make_world: MakeWorld) -> None:
    steps = [*BAKED, {"gate": "smoke"}]
    world = make_world({"steps": steps, "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}]})
    rollout_id = await given_at_gate(world)
    with pytest.raises(Conflict, match="in 2 stages: say which by region, R3 or R1"):
        await report(world, rollout_id, "passed")
    for _ in range(2):  # the answer was lost, and the pipeline says it again, later
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "passed", region="R3")
        await world.run(40)
    rollout = await world.rollout(rollout_id)
    assert rollout.gate is not None
    assert rollout.gate.stage == 1
    await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "passed", region="R1")
    view = await world.until(rollout_id, Phase.SUCCEEDED)
    assert [gate.status for gate in view.gates] == ["passed", "passed"]


async def test_harm_acts_while_a_gate_is_awaited(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke"))
    rollout_id = await given_at_gate(world)
    world.given_harm("R3", "1.1.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert "failed requests" in view.reason.text
    assert (await world.rollout(rollout_id)).gate is None


async def test_a_hold_at_a_gate_gives_it_its_whole_time_again(make_world: MakeWorld) -> None:
    world = make_world(gated({"name": "smoke", "within": "20s"}))
    rollout_id = await given_at_gate(world)
    await world.commands.hold(rollout_id, DANA, "lunch")
    await world.run(30)
    assert (await world.rollout(rollout_id)).gate is None
    await world.commands.resume(rollout_id, DANA, "go on")
    await world.run(10)
    assert (await world.rollout(rollout_id)).phase is Phase.PROGRESSING


async def test_a_gate_that_the_plan_does_not_have_is_refused_by_name(make_world: MakeWorld) -> None:
    world = make_world(gated("smoke"))
    rollout_id = await world.given_baking("1.1.0")
    with pytest.raises(NotFound, match="known: smoke"):
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoek", "passed")


async def test_a_remark_is_a_row_that_moves_nothing_also_when_all_is_over(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.note(rollout_id, DANA, "looks fine on my phone")
    before = await world.rollout(rollout_id)
    await world.tick()
    after = await world.rollout(rollout_id)
    assert (after.phase, after.since, after.reason) == (before.phase, before.since, before.reason)
    await world.commands.rollback(rollout_id, DANA, "enough")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    ended = await world.rollout(rollout_id)
    await world.commands.note(rollout_id, DANA, "the cause was a cache")
    await world.run(2)
    rollout = await world.rollout(rollout_id)
    assert (rollout.phase, rollout.finished_at, rollout.reason) == (
        ended.phase,
        ended.finished_at,
        ended.reason,
    )
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    notes = [(row.from_phase, row.reason.text) for row in rows if row.trigger == "note"]
    assert notes == [
        ("progressing", "dana: looks fine on my phone"),
        ("rolled_back", "dana: the cause was a cache"),
    ]
    with pytest.raises(Conflict):
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "passed")


async def test_a_failure_reported_after_a_gate_was_passed_is_told_once(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "steps": [{"set_weight": 75}, {"gate": "smoke"}, {"bake": "20s"}]})
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "passed")
    await world.run(5)
    for _ in range(2):
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", "failed", message="3 of 40")
        await world.run(1)
    (told,) = [text for text in world.notices() if "smoke" in text]
    assert told == (
        "mail 1.1.0: pipeline reports that gate smoke of R3 failed: 3 of 40. It had passed before, and the "
        f"stage went on; nothing is done by itself. If it holds: `rollout rollback {rollout_id}`; to look "
        f"first: `rollout hold {rollout_id}`."
    )
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_failure_reported_before_its_stage_went_on_is_acted_on_and_not_told_twice(
    make_world: MakeWorld,
) -> None:
    world = make_world({**ONE, "steps": [{"set_weight": 75}, {"bake": "20s"}, {"gate": "smoke"}]})
    rollout_id = await world.given_baking("1.1.0")
    for status in ("passed", "failed"):
        await world.commands.report_gate(rollout_id, DEPLOYER, "smoke", status)
        await world.run(1)
    assert not [text for text in world.notices() if "smoke" in text]
    await world.until(rollout_id, Phase.ROLLED_BACK)


async def test_a_report_by_a_clock_that_was_set_back_stands_in_history(make_world: MakeWorld) -> None:
    world = make_world({**ONE, "steps": [{"set_weight": 75}, {"bake": "20s"}, {"gate": "smoke"}]})
    rollout_id = await world.given_baking("1.1.0")
    await report(world, rollout_id, "passed")
    await world.tick()
    world.clock.advance(-3)
    await report(world, rollout_id, "failed", "3 of 40")
    await world.run(6)
    rows = [e.transition for e in await world.store.events(rollout_id=rollout_id, limit=1000)]
    (said,) = [row.reason.text for row in rows if row.trigger == "note"]
    assert said.startswith("pipeline reports that gate smoke of R3 failed: 3 of 40")
    assert said.endswith("It counts as older than the last.")


def test_a_gate_stands_once_in_a_stage_since_one_report_would_pass_it_twice() -> None:
    gate = {"gate": "smoke"}
    steps = [{"set_weight": 25}, {"bake": "6s"}, gate, {"set_weight": 75}, {"bake": "6s"}, gate]
    with pytest.raises(ValueError, match=r"stages\.0: 'gate smoke' is named more than once, and one report"):
        configuration({**POLICY, **gated("smoke"), "stages": [{"regions": ["R3"], "steps": steps}]})
