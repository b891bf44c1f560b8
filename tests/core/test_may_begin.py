"""At its effect an action is asked again whether it may begin: the rollout may have moved on meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.core.actions import Action, ActionRecord
from rollout.core.invariants import may_begin
from rollout.core.model import ActionState, Kind, Phase, RegionPhase, RegionRollout, Release
from tests.core.decisions import NEW, OLD, action, good, passed, pending, record, region, rollout

FORWARD = (Phase.PROGRESSING, Phase.AWAITING_APPROVAL)
BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)


def deploy(**changes: Any) -> ActionRecord:
    order = action(
        Kind.DEPLOY, version=NEW.version, artifact=NEW.artifact, weight=75, from_version=OLD.version
    )
    return record(replace(order, **changes))


def restore(**changes: Any) -> ActionRecord:
    order = action(Kind.RESTORE, version=OLD.version, artifact=OLD.artifact, weight=100)
    return record(replace(order, **changes))


def baking(phase: Phase) -> Any:
    return rollout(region("R3", RegionPhase.DEPLOYING, step=0), pending("R1"), phase=phase)


def returning(phase: Phase, back_to: Release = OLD) -> Any:
    there: RegionRollout = region("R3", RegionPhase.RESTORING, back_to=good("R3", back_to))
    return rollout(there, pending("R1"), phase=phase)


def test_a_deploy_begins_only_where_its_rollout_goes_forward() -> None:
    told = {phase: may_begin(deploy(), baking(phase)) for phase in Phase}
    assert {phase for phase, why in told.items() if not why} == set(FORWARD)
    assert all(told[phase].startswith("S8: ro_1 is roll") for phase in BACK)
    assert told[Phase.HELD] == "S11: ro_1 is held; this deploy begins when it goes on."


def test_a_deploy_that_had_begun_before_the_hold_is_followed_and_never_on_the_way_back() -> None:
    begun = replace(deploy(), attempts=1)
    assert may_begin(begun, baking(Phase.HELD)) == ""
    assert may_begin(begun, baking(Phase.ROLLING_BACK)).startswith("S8")


def test_after_the_end_only_the_slice_that_was_held_back_follows() -> None:
    whole = replace(deploy(), action=replace(deploy().action, weight=100))
    ended = rollout(passed("R3"), passed("R1"), phase=Phase.SUCCEEDED)
    assert may_begin(whole, ended).startswith("S8")
    released = rollout(passed("R3", weight=100, holdback_released=True), phase=Phase.SUCCEEDED)
    assert may_begin(whole, released) == ""


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"version": "1.2.0"}, "S4"),
        ({"artifact": "pkg:oci/mail@sha256%3Aother"}, "S4"),
        ({"weight": 76}, "S10"),
        ({"generation": 1}, "S3"),
        ({"generation": 3}, "S3"),
        ({"region": "R9"}, "S3"),
    ],
)
def test_a_deploy_is_what_was_decided(changes: dict[str, Any], number: str) -> None:
    assert may_begin(deploy(**changes), baking(Phase.PROGRESSING)).startswith(number)


def test_a_restore_begins_only_on_the_way_back() -> None:
    told = {phase: may_begin(restore(), returning(phase)) for phase in Phase}
    assert {phase for phase, why in told.items() if not why} == set(BACK)


@pytest.mark.parametrize(
    "changes",
    [{"version": NEW.version}, {"version": "0.9.0"}, {"artifact": NEW.artifact}, {"artifact": None}],
)
def test_a_restore_goes_to_what_was_recorded_as_known_good(changes: dict[str, Any]) -> None:
    assert may_begin(restore(**changes), returning(Phase.ROLLING_BACK)).startswith("S6")


def test_the_failing_version_is_never_restored_whatever_is_recorded() -> None:
    order = restore(version=NEW.version, artifact=NEW.artifact)
    assert may_begin(order, returning(Phase.ROLLING_BACK, NEW)).startswith("S6")


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.DEPLOY, Kind.RESTORE}))
def test_what_reads_and_tells_may_always_begin(kind: Kind) -> None:
    order = Action(kind=kind, region="R3", service="mail", generation=1)
    assert {may_begin(record(order), baking(phase)) for phase in Phase} == {""}


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ro_1/8/0"},  # of a transition that is not committed
        {"key": "ro_2/7/0"},
        {"key": "ro_1"},
        {"rollout_id": "ro_2"},
        {"state": ActionState.DROPPED},
    ],
)
def test_only_what_was_committed_and_is_open_begins(changes: dict[str, Any]) -> None:
    spoiled = replace(deploy(), **changes)
    assert may_begin(spoiled, baking(Phase.PROGRESSING)).startswith("S2")
