"""Promote, retry, notes, gates and approvals over HTTP, and the version that a decision was made on."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from api_world import OURS, THEIRS, World, touched
from test_api_events import move
from test_api_problems import assert_problem

from rollout.commands import Commands
from rollout.core.model import IntentKind, Phase
from rollout.core.plan import Plan

ACT = {"reason": "because"}
SEEN = {"if-match": '"1"'}


async def _intents(world: World, rollout_id: str = "ro_ONE") -> list[Any]:
    return list((await world.store.case(rollout_id)).intents)


async def _put_baking(world: World, rollout_id: str = "ro_ONE", service: str = OURS) -> None:
    """R3 stands at the first bake of the policy."""
    bakes, *later = touched()
    regions = (replace(bakes, step=1), *later)
    await world.put(rollout_id, service, phase=Phase.PROGRESSING, stage=0, regions=regions)


# ------------------------------------------------------------------ promote


async def test_a_promotion_names_its_region_its_reason_and_what_was_seen(
    world: World, admin: httpx.AsyncClient
) -> None:
    await _put_baking(world)
    body = {"reason": "The fix is urgent.", "region": "R3"}
    answer = await admin.post("/v1/rollouts/ro_ONE/promote", json=body, headers=SEEN)
    assert answer.status_code == 202
    assert answer.headers["location"] == "/v1/rollouts/ro_ONE"
    (intent,) = await _intents(world)
    assert (intent.kind, intent.region, intent.reason, intent.seen, intent.actor) == (
        IntentKind.PROMOTE,
        "R3",
        "The fix is urgent.",
        1,
        "root",
    )


async def test_a_promotion_needs_the_version_that_was_looked_at(
    world: World, admin: httpx.AsyncClient
) -> None:
    await _put_baking(world)
    for headers in ({}, {"if-match": "*"}):
        answer = await admin.post("/v1/rollouts/ro_ONE/promote", json=ACT, headers=headers)
        assert_problem(answer, 428, "precondition-required")
    assert await _intents(world) == []


async def test_a_promotion_without_a_bake_says_so(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    answer = await admin.post("/v1/rollouts/ro_ONE/promote", json=ACT, headers=SEEN)
    assert_problem(answer, 409, "no-bake")


@pytest.mark.parametrize(("role", "status"), [("deployer", 403), ("approver", 202), ("admin", 202)])
async def test_approvers_and_admins_promote(world: World, role: str, status: int) -> None:
    await _put_baking(world)
    async with await world.client(role) as client:
        answer = await client.post("/v1/rollouts/ro_ONE/promote", json=ACT, headers=SEEN)
    assert answer.status_code == status


# ------------------------------------------------------------------ the version that was seen


class Late(Commands):
    """Somebody else writes between the look at the rollout and the transaction of the act."""

    world: World

    async def plan(self, request: Any) -> Plan:
        raise AssertionError("nothing is started here")

    async def _ask(self, kind: IntentKind, rollout_id: str, *given: Any, **more: Any) -> Any:
        await move(self.world, rollout_id)
        return await super()._ask(kind, rollout_id, *given, **more)


@pytest.mark.parametrize("act", ["approve", "reject", "decisions"])
async def test_a_decision_that_was_overtaken_is_refused_in_the_transaction(
    world: World, admin: httpx.AsyncClient, act: str
) -> None:
    await world.put_awaiting("ro_ONE")
    controller = world.controller
    late = Late(world.store, world.clock, lambda: controller.files.current)
    late.world = world
    object.__setattr__(controller, "commands", late)
    body = {**ACT, "decision": "approve"} if act == "decisions" else ACT
    answer = await admin.post(f"/v1/rollouts/ro_ONE/{act}", json=body, headers=SEEN)
    detail = assert_problem(answer, 412, "stale")["detail"]
    assert detail == 'You looked at version "1", and it is at "2" now. Read it again and decide again.'
    assert await _intents(world) == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [('"7", "1"', 202), ('W/"1"', 412), ('"0"', 412), ("1", 422), ('"1', 422), ("", 422), (",", 422)],
)
async def test_if_match_is_read_strictly(
    world: World, admin: httpx.AsyncClient, sent: str, status: int
) -> None:
    await world.put_awaiting("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/approve", json=ACT, headers={"if-match": sent})
    assert answer.status_code == status, answer.text
    assert len(await _intents(world)) == (status == 202)


async def test_notes_need_no_version_even_of_one_that_has_ended(
    world: World, admin: httpx.AsyncClient
) -> None:
    await world.put("ro_ONE", phase=Phase.CANCELED)
    answer = await admin.post("/v1/rollouts/ro_ONE/notes", json={"text": "  The tests were red.  "})
    assert answer.status_code == 202
    (intent,) = await _intents(world)
    assert (intent.kind, intent.reason, intent.seen) == (IntentKind.NOTE, "The tests were red.", None)


# ------------------------------------------------------------------ retry


@pytest.mark.parametrize(("role", "status"), [("deployer", 202), ("approver", 403), ("admin", 202)])
async def test_a_retry_leads_to_the_new_rollout(world: World, role: str, status: int) -> None:
    await world.put("ro_ONE", phase=Phase.CANCELED)
    async with await world.client(role) as client:
        answer = await client.post("/v1/rollouts/ro_ONE/retry", json=ACT)
        assert answer.status_code == status
        if status == 202:
            new = answer.json()
            assert new["id"] != "ro_ONE"
            assert answer.headers["location"] == f"/v1/rollouts/{new['id']}"
            assert (new["version"], new["phase"]) == ("2.5.0", "queued")
            assert "ro_ONE" in new["note"]


async def test_a_failed_way_back_is_tried_again_in_the_same_rollout(
    world: World, admin: httpx.AsyncClient
) -> None:
    await world.put("ro_ONE", phase=Phase.ROLLBACK_FAILED, regions=touched())
    answer = await admin.post("/v1/rollouts/ro_ONE/retry", json=ACT)
    assert (answer.status_code, answer.headers["location"]) == (202, "/v1/rollouts/ro_ONE")
    assert [each.kind for each in await _intents(world)] == [IntentKind.ROLLBACK]


async def test_what_has_not_ended_cannot_be_tried_again(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/retry", json=ACT)
    assert_problem(answer, 409, "illegal-transition")


# ------------------------------------------------------------------ gates


async def test_a_gate_that_the_plan_does_not_have_is_named(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE")
    answer = await admin.put("/v1/rollouts/ro_ONE/gates/smoke", json={"status": "passed"})
    assert "'smoke'" in assert_problem(answer, 404, "not-found")["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "green"}, "/status"),
        ({}, "/status"),
        ({"status": "passed", "url": "javascript:alert(1)"}, "/url"),
        ({"status": "passed", "stage": 1}, "/stage"),
    ],
)
async def test_a_report_that_cannot_be_one_names_its_place(
    world: World, admin: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    await world.put("ro_ONE")
    answer = await admin.put("/v1/rollouts/ro_ONE/gates/smoke", json=body)
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == pointer


# ------------------------------------------------------------------ approvals


async def test_an_approval_is_found_shown_and_decided(world: World, admin: httpx.AsyncClient) -> None:
    await world.put_awaiting("ro_ONE")
    (item,) = (await admin.get("/v1/approvals?state=pending")).json()["items"]
    shown = await admin.get(f"/v1/approvals/{item['id']}")
    assert (shown.json()["rollout"], shown.json()["state"]) == ("ro_ONE", "pending")
    assert shown.headers["etag"] == '"1"'
    same = await admin.get(f"/v1/approvals/{item['id']}", headers={"if-none-match": '"1"'})
    assert same.status_code == 304
    url, body = f"/v1/approvals/{item['id']}/decisions", {**ACT, "decision": "approve"}
    assert_problem(await admin.post(url, json=body), 428, "precondition-required")
    assert await _intents(world) == []
    assert_problem(await admin.post(url, json=body, headers={"if-match": '"9"'}), 412, "stale")
    answer = await admin.post(url, json=body, headers={"if-match": shown.headers["etag"]})
    assert (answer.status_code, answer.headers["location"]) == (202, "/v1/rollouts/ro_ONE")
    assert [each.kind for each in await _intents(world)] == [IntentKind.APPROVE]


async def test_an_approval_of_a_foreign_service_is_answered_as_an_unknown_one(world: World) -> None:
    await world.put_awaiting("ro_THEIRS", service=THEIRS)
    async with await world.client("admin", services=[OURS]) as client:
        assert (await client.get("/v1/approvals")).json()["items"] == []
        answers = []
        for approval_id in ("ap_THEIRS-2", "ap_NOWHERE-2"):
            answer = await client.get(f"/v1/approvals/{approval_id}")
            answers.append((answer.status_code, answer.json()["detail"].replace(approval_id, "…")))
            body = {**ACT, "decision": "reject"}
            decided = await client.post(f"/v1/approvals/{approval_id}/decisions", json=body)
            assert decided.status_code == 404
    assert answers[0] == answers[1]
    assert await _intents(world, "ro_THEIRS") == []


async def test_pages_of_approvals_of_a_narrowed_token_lose_and_repeat_nothing(world: World) -> None:
    for number in range(7):
        await world.put_awaiting(f"ro_N{number}", service=THEIRS if number % 3 == 1 else OURS)
    async with await world.client("viewer", services=[OURS, THEIRS]) as client:
        found, url = [], "/v1/approvals?limit=2"
        while url:
            answer = await client.get(url)
            found += [item["rollout"] for item in answer.json()["items"]]
            url = answer.links.get("next", {}).get("url", "")
    assert sorted(found) == [f"ro_N{number}" for number in range(7)]


# ------------------------------------------------------------------ parts


async def test_parts_of_a_rollout_are_those_that_it_shows(world: World, admin: httpx.AsyncClient) -> None:
    await _put_baking(world)
    whole = (await admin.get("/v1/rollouts/ro_ONE")).json()
    assert (await admin.get("/v1/rollouts/ro_ONE/stages")).json()["items"] == whole["stages"]
    checks = [check for stage in whole["stages"] for region in stage["regions"] for check in region["checks"]]
    assert (await admin.get("/v1/rollouts/ro_ONE/checks")).json()["items"] == checks
