"""What a view offers and says: nothing that cannot be done, and no word that only the program knows."""

from dataclasses import replace

import httpx
import pytest
from api_world import OURS, T0, World, touched

from rollout.core.actions import Action, ActionRecord, ActionResult
from rollout.core.errors import Conflict
from rollout.core.model import (
    ActionState,
    Kind,
    Obligation,
    ObligationKind,
    ObligationState,
    Phase,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
)
from rollout.ports import Change
from rollout.possible import Actor

OLDER = Release(service=OURS, version="2.4.9")
NEWER = Release(service=OURS, version="2.6.0")


def everywhere() -> tuple[RegionRollout, ...]:
    """R3, R1 and R2 have all passed."""
    r3 = touched()[0]
    return tuple(
        replace(r3, region=name, stage=stage, phase=RegionPhase.PASSED)
        for stage, name in enumerate(("R3", "R1", "R2"))
    )


async def replaced(world: World, *regions: str) -> None:
    """ro_A has succeeded everywhere, and newer releases have taken these regions over."""
    rollout = await world.put("ro_A", phase=Phase.SUCCEEDED, regions=everywhere())
    watches = tuple(
        Obligation(
            id=f"ro_A/watch/{name}",
            rollout_id="ro_A",
            service=OURS,
            region=name,
            kind=ObligationKind.WATCH,
            state=ObligationState.TAKEN_OVER if name in regions else ObligationState.OPEN,
            since=T0,
            until=T0,
        )
        for name in ("R3", "R1", "R2")
    )
    await world.store.commit(Change(rollout=rollout, obligations=watches))
    there = tuple(replace(r, touched_at=r.touched_at if r.region in regions else None) for r in everywhere())
    await world.put("ro_B", phase=Phase.SUCCEEDED, release=NEWER, regions=there)


async def test_a_release_that_runs_nowhere_offers_no_rollback(world: World, admin: httpx.AsyncClient) -> None:
    await replaced(world, "R3", "R1", "R2")
    view = (await admin.get("/v1/rollouts/ro_A")).json()
    assert (view["possible"], view["rollback_effect"]) == ([], "")
    answer = await admin.post("/v1/rollouts/ro_A/rollback", json={"reason": "because"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/replaced")


async def test_a_refusal_does_not_offer_the_rollback_either(world: World, admin: httpx.AsyncClient) -> None:
    await replaced(world, "R3", "R1", "R2")
    answer = await admin.post("/v1/rollouts/ro_A/resume", json={"reason": "because"})
    assert "Possible here: nothing" in answer.json()["detail"]


async def test_a_rollback_names_only_the_regions_that_the_release_still_holds(
    world: World, admin: httpx.AsyncClient
) -> None:
    await replaced(world, "R3")
    view = (await admin.get("/v1/rollouts/ro_A")).json()
    assert (view["possible"], view["rollback_effect"]) == (["rollback"], "Roll back R1, R2 to 2.4.1")
    assert (await admin.post("/v1/rollouts/ro_A/rollback", json={"reason": "because"})).status_code == 202


async def going_back(world: World, phase: Phase) -> Rollout:
    """An older release that goes back in R3 and R1, late."""
    regions = tuple(
        replace(r, phase=RegionPhase.RESTORING) if r.region != "R2" else replace(r, touched_at=None)
        for r in everywhere()
    )
    return await world.put("ro_OLD", phase=phase, release=OLDER, regions=regions)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.ROLLING_BACK, "ro_OLD (2.4.9) is being rolled back in R3, R1"),
        (Phase.ROLLBACK_FAILED, "ro_OLD (2.4.9) could not be rolled back in R3, R1"),
    ],
)
async def test_what_waits_in_the_queue_names_who_is_being_restored_and_where(
    world: World, admin: httpx.AsyncClient, phase: Phase, words: str
) -> None:
    await going_back(world, phase)
    await world.put("ro_NEW", phase=Phase.QUEUED)
    assert (await admin.get("/v1/rollouts/ro_NEW")).json()["blocked_by"] == [words]


async def test_what_is_under_way_names_who_is_being_restored_in_its_next_region(
    world: World, admin: httpx.AsyncClient
) -> None:
    await going_back(world, Phase.ROLLING_BACK)
    r3, r1, r2 = touched()
    passed = replace(r3, phase=RegionPhase.PASSED)
    await world.put("ro_R1", phase=Phase.PROGRESSING, stage=1, regions=(passed, r1, r2))
    await world.put("ro_R2", phase=Phase.PROGRESSING, stage=2, regions=(passed, r1, r2))
    waits = (await admin.get("/v1/rollouts/ro_R1")).json()["blocked_by"]
    assert waits == ["ro_OLD (2.4.9) is being rolled back in R3, R1"]
    assert (await admin.get("/v1/rollouts/ro_R2")).json()["blocked_by"] == []


@pytest.mark.parametrize(
    ("phase", "message", "words"),
    [
        (RegionPhase.RESTORE_FAILED, "slot 2 is on fire", "R3 could not be restored: slot 2 is on fire"),
        (RegionPhase.UNREACHABLE, "no route to it", "R3 does not answer: no route to it"),
        (RegionPhase.UNREACHABLE, "", "R3 does not answer"),
    ],
)
async def test_trouble_in_a_region_is_said_in_words(
    world: World, admin: httpx.AsyncClient, phase: RegionPhase, message: str, words: str
) -> None:
    r3, *rest = touched()
    rollout = await world.put(
        "ro_A", phase=Phase.ROLLBACK_FAILED, regions=(replace(r3, phase=phase, generation=4), *rest)
    )
    restore = ActionRecord(
        key="ro_A/1/0",
        rollout_id="ro_A",
        action=Action(kind=Kind.RESTORE, region="R3", service=OURS, version="2.4.1", generation=4),
        recorded_at=T0,
        due_at=T0,
    )
    await world.store.commit(Change(rollout=rollout, actions=(restore,)))
    failed = replace(restore, state=ActionState.FAILED, ended_at=T0, result=ActionResult(message=message))
    assert await world.store.save_action(failed)
    assert (await admin.get("/v1/rollouts/ro_A")).json()["blocked_by"] == [words]


async def test_a_plan_says_in_words_what_is_under_way(world: World, admin: httpx.AsyncClient) -> None:
    await world.put_awaiting("ro_A")
    body = {"service": OURS, "version": "3.0.0"}
    warnings = (await admin.post("/v1/rollouts/plan", json=body)).json()["warnings"]
    assert any(warning.startswith("ro_A (2.5.0) waits for approval: ") for warning in warnings)


async def test_the_rule_for_what_is_replaced_is_one(world: World) -> None:
    await replaced(world, "R3", "R1", "R2")
    with pytest.raises(Conflict, match=r"2\.5\.0 runs nowhere any more: .* in R1, R2, R3\."):
        await world.controller.commands.rollback("ro_A", Actor(name="ann", role="admin"), "because")
