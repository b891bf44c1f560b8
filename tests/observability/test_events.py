"""What a decision, an attempt and a reading become in numbers; and that a whole story is counted right."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Approval, Phase
from rollout.core.signals import Judgement, Verdict, VerdictKind
from rollout.ports import Change
from rollout.reconciler import Reconciler
from rollout.telemetry import Decided, Onlooker, Telemetry
from rollout.telemetry.events import Figure, error_kind, of_decision
from rollout.telemetry.scrape import scrape
from tests.scenarios.world import DANA, ONE, POLICY, START, World, configuration, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = new_store(tmp_path)
    made = World(store, ONE)
    yield observed_by(made, Telemetry())
    store.close()


def observed_by(world: World, onlooker: Onlooker) -> World:
    world.reconciler = Reconciler(
        store=world.store,
        clock=world.clock,
        configuration=lambda: world.configuration,
        deployer=world.plugins.deployer,
        source=world.plugins.source,
        notifier=world.plugins.notifier,
        collect_s=1.0,
        onlooker=onlooker,
    )
    world.onlooker = onlooker  # type: ignore[attr-defined]
    return world


async def scraped(world: World) -> dict[str, float]:
    telemetry: Telemetry = world.onlooker  # type: ignore[attr-defined]
    regions = tuple(world.configuration.regions.values())
    text = (await scrape(telemetry.meters, world.store, regions, world.clock.now(), ())).decode()
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(number) for name, number in rows}


def of(numbers: dict[str, float], start: str) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if name.startswith(start) and number}


async def test_a_good_release_is_counted_with_its_bakes_and_its_stage(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    during = await scraped(world)
    assert during['rollout_check_verdict{region="R3",service="mail",signal="errors",verdict="fail"}'] == 0
    await world.until(rollout_id, Phase.SUCCEEDED)
    numbers = await scraped(world)
    assert of(numbers, "rollout_rollouts_ended_total") == {
        'rollout_rollouts_ended_total{outcome="promoted",service="mail"}': 1
    }
    assert of(numbers, "rollout_rollbacks_total") == {}
    ended = 'ended="passed",region="R3",service="mail"'
    assert numbers[f"rollout_bake_seconds_count{{{ended}}}"] == 1
    assert 6 <= numbers[f"rollout_bake_seconds_sum{{{ended}}}"] <= 30
    assert numbers['rollout_stage_seconds_count{service="mail"}'] == 1
    assert numbers['rollout_actions_total{kind="deploy",state="succeeded"}'] >= 1
    assert numbers['rollout_rollouts{phase="succeeded"}'] == 1


async def test_a_rollback_by_checks_is_counted_with_its_cause_and_its_times(world: World) -> None:
    world.configuration = configuration({**POLICY, "stages": [{"regions": ["R3"]}]})
    world.given_harm("R3", "1.1.0")
    rollout_id = await world.given_baking("1.1.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.outcome == "rolled_back"
    numbers = await scraped(world)
    assert of(numbers, "rollout_rollbacks_total") == {
        'rollout_rollbacks_total{cause="harm",region="R3",service="mail"}': 1
    }
    assert numbers['rollout_rollouts_ended_total{outcome="rolled_back",service="mail"}'] == 1
    rollout = await world.rollout(rollout_id)
    assert rollout.decided_at is not None
    assert rollout.harm_since is not None
    detected = (rollout.decided_at - rollout.harm_since).total_seconds()
    assert numbers['rollout_time_to_detect_seconds_sum{service="mail"}'] == pytest.approx(detected)
    assert numbers['rollout_time_to_rollback_seconds_count{service="mail"}'] == 1
    assert of(numbers, "rollout_bake_seconds_count{") == {
        'rollout_bake_seconds_count{ended="cut_short",region="R3",service="mail"}': 1
    }


async def test_what_its_watch_took_back_counts_as_promoted_and_as_rolled_back(world: World) -> None:
    rollout_id = await world.given_succeeded()
    world.given_harm("R3", "1.1.0")
    await world.until(rollout_id, Phase.ROLLED_BACK)
    assert of(await scraped(world), "rollout_rollouts_ended_total") == {
        'rollout_rollouts_ended_total{outcome="promoted",service="mail"}': 1,
        'rollout_rollouts_ended_total{outcome="rolled_back",service="mail"}': 1,
    }


async def test_the_numbers_of_checks_disappear_with_their_rollout_and_never_carry_its_id(
    world: World,
) -> None:
    world.given_harm("R3", "1.1.0")
    rollout_id = await world.given_baking("1.1.0")
    await world.run(4)
    during = await scraped(world)
    key = '{region="R3",service="mail",signal="errors"}'
    assert during[f"rollout_check_value{key}"] == pytest.approx(0.3, abs=0.05)
    assert f"rollout_check_baseline{key}" in during
    await world.until(rollout_id, Phase.ROLLED_BACK)
    await world.run(5)
    after = await scraped(world)
    assert of(after, "rollout_check_value") == of(after, "rollout_check_verdict") == {}
    assert not [name for name in (*during, *after) if rollout_id in name or "1.1.0" in name]


async def test_what_a_controller_that_died_knew_of_checks_is_known_again_by_the_next(world: World) -> None:
    await world.given_baking("1.1.0")
    await world.run(2)
    assert of(await scraped(world), "rollout_check_verdict")
    observed_by(world, Telemetry())
    assert of(await scraped(world), "rollout_check_verdict") == {}
    await world.run(2)
    numbers = await scraped(world)
    assert of(numbers, "rollout_check_verdict")
    assert numbers['rollout_rollouts{phase="progressing"}'] == 1


async def test_a_held_rollout_a_silent_target_and_a_blind_region_show_their_age(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    await world.commands.hold(rollout_id, DANA, "let me look")
    world.plugins.fake_deployer("R3").unreachable = True
    await world.run(10)
    numbers = await scraped(world)
    assert numbers['rollout_held_seconds{service="mail"}'] == pytest.approx(10, abs=2)
    assert numbers['rollout_holds_total{cause="hold",service="mail"}'] == 1
    assert numbers['rollout_source_blind_seconds{region="R3",service="mail"}'] == pytest.approx(10, abs=2)
    assert numbers['rollout_source_blind_seconds{region="R1",service="mail"}'] == 0
    assert numbers['rollout_blind_rollouts{service="mail"}'] == 1
    errors = of(numbers, "rollout_source_errors_total")
    assert set(errors) == {'rollout_source_errors_total{kind="transient",region="R3",service="mail"}'}
    await world.commands.rollback(rollout_id, DANA, "enough")
    await world.run(10)
    numbers = await scraped(world)
    assert numbers['rollout_rollback_age_seconds{service="mail"}'] == pytest.approx(10, abs=2)
    assert numbers['rollout_target_silent_seconds{region="R3"}'] > 5
    assert numbers['rollout_actions_pending{kind="restore"}'] == 1
    retried = of(numbers, "rollout_action_retries_total")
    assert retried['rollout_action_retries_total{kind="restore",region="R3"}'] >= 1


async def test_counters_stand_at_zero_before_their_first_event(world: World) -> None:
    await world.given_known_good()
    numbers = await scraped(world)
    for cause in ("harm", "rollback", "deploy_failed", "gate_failed"):
        for region in ("R1", "R2", "R3"):
            assert (
                numbers[f'rollout_rollbacks_total{{cause="{cause}",region="{region}",service="mail"}}'] == 0
            )
    assert numbers['rollout_rollouts_ended_total{outcome="aborted",service="mail"}'] == 0


async def test_an_answered_approval_is_timed_once_with_how_it_ended(world: World) -> None:
    rollout_id = await world.given_baking("1.1.0")
    case = await world.case(rollout_id)
    later = START + timedelta(minutes=5)
    answered = Approval(
        id="ap_1", stage=0, step=0, minimum=1, groups=(), self_approval=False,
        asked_at=START, deadline=later, state="expired", ended_at=later,
    )  # fmt: skip
    known = replace(case.rollout, answered=(replace(answered, id="ap_0"),))
    after = replace(known, answered=(*known.answered, answered))
    figures = of_decision(
        Decided(
            case=replace(case, rollout=known),
            change=Change(rollout=after),
            judgement=Judgement(verdicts=(Verdict(region="R3", signal="errors", kind=VerdictKind.PASS),)),
            now=world.clock.now(),
        )
    )
    found = [figure for figure in figures if "lag" not in figure.metric]
    assert found == [
        Figure("rollout_checks", ("pass",)),
        Figure("rollout_approval_wait_seconds", ("mail", "expired"), 300.0),
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (TransientError("no"), "transient"),
        (PermanentError("never"), "refused"),
        (ValueError("?"), "unforeseen"),
    ],
)
def test_an_error_of_a_source_is_one_of_four_words(error: Exception, kind: str) -> None:
    assert error_kind(error) == kind


async def test_a_telemetry_that_fails_stops_no_rollout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no room for numbers")

    monkeypatch.setattr("rollout.telemetry.meters.Meters.take", broken)
    monkeypatch.setattr("rollout.telemetry.spans.Spans.decided", broken)
    rollout_id = await world.given_baking("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)


async def test_a_database_that_does_not_answer_takes_only_its_own_numbers_away(world: World) -> None:
    await world.given_known_good()
    before = await scraped(world)
    world.store.close()  # type: ignore[attr-defined]

    async def services() -> None:
        raise TimeoutError

    world.store.services = services  # type: ignore[method-assign,assignment]
    numbers = await scraped(world)
    assert (before["rollout_database_up"], numbers["rollout_database_up"]) == (1, 0)
    assert not [name for name in numbers if re.match(r"rollout_rollouts\{", name)]
    readings = 'rollout_source_readings_total{region="R3",service="mail"}'
    assert numbers[readings] == before[readings] > 0
