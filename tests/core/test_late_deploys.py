"""A deploy that was under way when a rollback was decided may arrive after the restore: it is read on."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.actions import ActionRecord, ActionResult
from rollout.core.decide import Decision
from rollout.core.model import ActionState, Kind, Phase, RegionPhase
from tests.core.decisions import (
    BEGAN,
    NOW,
    action,
    decided,
    facts,
    pending,
    read_back,
    record,
    region,
    rollout,
)

SOON = NOW + timedelta(minutes=5)


def begun(**changes: Any) -> ActionRecord:
    """A deploy that its target had accepted, dropped by the decision to go back."""
    order = record(action(Kind.DEPLOY, version="1.1.0", weight=75, generation=1), key="ro_1/4/0")
    return replace(order, **{"attempts": 3, "state": ActionState.DROPPED, "deadline": SOON, **changes})


def shown(deploy: ActionRecord, *, generation: int = 0, since: timedelta = timedelta()) -> Decision:
    """What follows when the region was read back on its known good."""
    there = region("R3", RegionPhase.RESTORING, since=BEGAN - since)
    read = read_back({"1.0.0": 4})
    if generation:
        read = replace(read, result=ActionResult(running={"1.0.0": 4}, details={"generation": generation}))
    before = rollout(there, pending("R1"), phase=Phase.ROLLING_BACK, decided_at=BEGAN)
    return decided(before, facts(actions=(deploy, read)))


def test_where_nothing_fences_it_the_region_is_read_on_until_it_cannot_arrive() -> None:
    decision = shown(begun())
    assert decision.rollout.phase is Phase.ROLLING_BACK
    assert decision.rollout.region("R3").phase is RegionPhase.RESTORING
    assert [r.action.kind for r in decision.actions] == [Kind.VERIFY]
    assert decision.rollout.next_due_at is not None


@pytest.mark.parametrize(
    "over",
    [
        {"deadline": NOW},
        {"attempts": 0},  # it was never sent
        {"state": ActionState.SUCCEEDED},
        {"state": ActionState.FAILED},
    ],
)
def test_what_cannot_arrive_is_not_waited_for(over: dict[str, Any]) -> None:
    assert shown(begun(**over)).rollout.phase is Phase.ROLLED_BACK


def test_a_target_that_has_seen_the_restore_refuses_what_is_older() -> None:
    assert shown(begun(), generation=2).rollout.phase is Phase.ROLLED_BACK
    assert shown(begun(), generation=1).rollout.phase is Phase.ROLLING_BACK


def test_it_is_waited_for_half_of_the_time_for_a_restore_at_most() -> None:
    assert shown(begun(), since=timedelta(minutes=5)).rollout.phase is Phase.ROLLED_BACK
