"""The two tables: nothing is unreachable, nothing ends by accident, and the way back is always open."""

import pytest

from rollout.core.errors import IllegalTransition
from rollout.core.machine import (
    PHASES,
    REGION_PHASES,
    RegionTrigger,
    Trigger,
    advance,
    advance_region,
)
from rollout.core.model import FINISHED, Phase, RegionPhase
from tests.core.render_state_machine import PAGE, page

GOING_BACK = {Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED}
AFTER_TOUCH = {Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.HELD, Phase.SUCCEEDED}
BY_HARM = {Trigger.HARM, Trigger.ROLLBACK}


def reachable(table: dict, start: object) -> set:
    """Every phase that some row of triggers leads to."""
    seen, open_ = {start}, [start]
    while open_:
        for target in table[open_.pop()].values():
            if target not in seen:
                seen.add(target)
                open_.append(target)
    return seen


def test_every_phase_has_a_row_and_is_reachable():
    assert set(PHASES) == set(Phase) == reachable(dict(PHASES), Phase.QUEUED)
    assert set(REGION_PHASES) == set(RegionPhase) == reachable(dict(REGION_PHASES), RegionPhase.PENDING)


def test_every_trigger_is_used_but_the_one_that_begins_history():
    used = {trigger for row in PHASES.values() for trigger in row}
    assert used == set(Trigger) - {Trigger.START}
    assert {trigger for row in REGION_PHASES.values() for trigger in row} == set(RegionTrigger)


def test_only_the_finished_phases_are_terminal_and_what_has_ended_can_still_go_back():
    terminal = {phase for phase, row in PHASES.items() if not row}
    assert terminal == FINISHED - {Phase.SUCCEEDED, Phase.ROLLED_BACK}
    assert PHASES[Phase.ROLLED_BACK] == {Trigger.ROLLBACK: Phase.ROLLING_BACK}  # by a person, once more
    assert set(PHASES[Phase.SUCCEEDED].values()) == {Phase.ROLLING_BACK, Phase.SUCCEEDED}
    assert set(REGION_PHASES[RegionPhase.RESTORED]) == {RegionTrigger.DRIFTED}  # nothing else moves it


@pytest.mark.parametrize("phase", sorted(AFTER_TOUCH))
def test_harm_and_people_lead_back_from_every_phase_after_touch(phase: Phase):
    assert {advance(phase, trigger) for trigger in BY_HARM} == {Phase.ROLLING_BACK}


def test_a_rollback_is_never_itself_rolled_back_and_leads_nowhere_but_back():
    for phase in GOING_BACK:
        led = {trigger: to for trigger, to in PHASES[phase].items() if trigger is not Trigger.DISOWN}
        assert set(led.values()) <= GOING_BACK | {Phase.ROLLED_BACK}


def test_what_a_database_that_was_put_back_believes_can_be_ended_in_every_phase_under_way():
    assert {phase for phase, row in PHASES.items() if Trigger.DISOWN in row} == set(Phase) - FINISHED


@pytest.mark.parametrize("phase", sorted(set(RegionPhase) - {RegionPhase.PENDING, RegionPhase.RESTORED}))
def test_every_touched_region_can_be_restored(phase: RegionPhase):
    assert RegionPhase.RESTORED in reachable(dict(REGION_PHASES), phase)


def test_an_illegal_trigger_is_refused_naming_phase_trigger_and_what_is_possible():
    with pytest.raises(IllegalTransition) as refused:
        advance(Phase.ROLLED_BACK, Trigger.RESUME)
    assert str(refused.value) == (
        "The rollout is rolled_back, where 'resume' is not possible. Possible here: rollback."
    )
    with pytest.raises(IllegalTransition, match="Region R1 is pending, where 'restored' is not possible"):
        advance_region("R1", RegionPhase.PENDING, RegionTrigger.RESTORED)


def test_every_pair_that_is_not_in_the_table_is_refused():
    for phase in Phase:
        for trigger in set(Trigger) - set(PHASES[phase]):
            with pytest.raises(IllegalTransition):
                advance(phase, trigger)


def test_the_documented_diagrams_are_those_of_the_tables():
    hint = "the tables changed: run `python -m tests.core.render_state_machine`"
    written = PAGE.read_text(encoding="utf-8")
    assert written.count("```mermaid") == 2
    assert written == page(), hint
