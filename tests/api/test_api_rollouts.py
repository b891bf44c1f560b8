"""Starting, reading, listing and acting on rollouts over HTTP."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from api_world import OURS, T0, World, touched
from test_api_problems import assert_problem

from rollout.core.model import IntentKind, KnownGood, Phase, Release

START = {"service": OURS, "version": "3.0.0", "change_url": "https://code.example/pull/7"}
ACT = {"reason": "because"}


async def _kinds(world: World, rollout_id: str) -> list[IntentKind]:
    return [intent.kind for intent in (await world.store.case(rollout_id)).intents]


async def test_a_start_is_accepted_and_leads_to_its_rollout(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", json={**START, "note": "first"})
    assert answer.status_code == 202
    found = await admin.get(answer.headers["location"])
    assert found.json() == answer.json()
    assert found.headers["etag"] == answer.headers["etag"] == '"1"'
    body = found.json()
    assert (body["phase"], body["created_by"], body["note"]) == ("queued", "root", "first")
    assert {"reason", "next", "blocked_by", "exposure", "stages", "policy"} <= set(body)


async def test_a_service_that_was_never_declared_cannot_be_started(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", json={**START, "service": "nowhere"})
    assert "nowhere" in assert_problem(answer, 404, "not-found")["detail"]


async def test_an_unknown_policy_lists_the_known_ones(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", json={**START, "policy": "none"})
    assert "standard" in assert_problem(answer, 404, "not-found")["detail"]


async def test_a_version_that_already_runs_is_not_started_again(
    world: World, admin: httpx.AsyncClient
) -> None:
    release = Release(service=OURS, version="3.0.0")
    await world.store.adopt(
        [
            KnownGood(service=OURS, region=region, release=release, since=T0, how="adopted", by="ann")
            for region in ("R3", "R1", "R2")
        ]
    )
    answer = await admin.post("/v1/rollouts", json=START)
    assert "3.0.0 already runs" in assert_problem(answer, 409, "already-running")["detail"]


async def test_a_policy_that_wants_a_digest_says_where(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", json={**START, "policy": "careful"})
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == "/artifact"


async def test_a_plan_starts_nothing(world: World, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts/plan", json=START)
    assert answer.status_code == 200
    assert [stage["regions"] for stage in answer.json()["stages"]] == [["R3"], ["R1"], ["R2"]]
    assert any("rollout adopt" in warning for warning in answer.json()["warnings"])
    assert await world.store.rollouts() == ()


async def test_an_id_may_be_cut_while_it_is_the_only_one(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ABC1")
    assert (await admin.get("/v1/rollouts/ro_AB")).json()["id"] == "ro_ABC1"
    await world.put("ro_ABC2")
    answer = assert_problem(await admin.get("/v1/rollouts/ro_AB"), 409, "ambiguous")
    assert "ro_ABC1, ro_ABC2" in answer["detail"]


async def test_an_unchanged_rollout_is_not_sent_again(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE")
    tag = (await admin.get("/v1/rollouts/ro_ONE")).headers["etag"]
    for sent in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        answer = await admin.get("/v1/rollouts/ro_ONE", headers={"if-none-match": sent})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    answer = await admin.get("/v1/rollouts/ro_ONE", headers={"if-none-match": '"0"'})
    assert answer.status_code == 200


# ------------------------------------------------------------------ lists


async def test_a_list_is_paged_newest_first_and_links_to_its_next_page(
    world: World, admin: httpx.AsyncClient
) -> None:
    for number in range(5):
        await world.put(f"ro_{number}")
    found: list[str] = []
    url: str | None = "/v1/rollouts?limit=2&phase=queued&phase=held"
    while url:
        answer = await admin.get(url)
        found += [item["id"] for item in answer.json()["items"]]
        url = answer.links["next"]["url"] if "next" in answer.links else None
        assert (url is None) == (answer.json()["next_cursor"] is None)
    assert found == ["ro_4", "ro_3", "ro_2", "ro_1", "ro_0"]


async def test_a_list_shows_what_was_asked_for(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_QUEUED")
    await world.put("ro_DONE", "billing", phase=Phase.SUCCEEDED, finished_at=T0)
    await world.put_awaiting("ro_WAITS")

    async def ids(**query: str) -> list[str]:
        return [item["id"] for item in (await admin.get("/v1/rollouts", params=query)).json()["items"]]

    assert await ids(needs="me") == ["ro_WAITS"]
    assert await ids(phase="succeeded") == ["ro_DONE"]
    assert await ids(service=OURS) == ["ro_WAITS", "ro_QUEUED"]
    assert await ids(service="nowhere") == []


async def test_events_go_on_where_the_last_answer_ended(world: World, admin: httpx.AsyncClient) -> None:
    for number in range(3):
        await world.put(f"ro_{number}")
    first = (await admin.get("/v1/events", params={"limit": 2})).json()
    rest = (await admin.get("/v1/events", params={"after": first["last"], "limit": 2})).json()
    assert [e["rollout_id"] for e in first["items"] + rest["items"]] == ["ro_0", "ro_1", "ro_2"]
    assert first["next_cursor"] == str(first["last"])
    assert rest["next_cursor"] is None
    nothing = (await admin.get("/v1/events", params={"after": rest["last"]})).json()
    assert nothing == {"items": [], "next_cursor": None, "last": rest["last"]}
    own = (await admin.get("/v1/rollouts/ro_1/events")).json()
    assert [e["rollout_id"] for e in own["items"]] == ["ro_1"]


# ------------------------------------------------------------------ acts


@pytest.mark.parametrize(
    ("act", "kind", "given"),
    [
        ("hold", IntentKind.HOLD, {}),
        ("resume", IntentKind.RESUME, {"phase": Phase.HELD}),
        ("cancel", IntentKind.CANCEL, {}),
        ("rollback", IntentKind.ROLLBACK, {"phase": Phase.PROGRESSING, "regions": touched()}),
        ("reject", IntentKind.REJECT, {"phase": Phase.HELD}),
    ],
)
async def test_an_act_is_recorded_with_its_reason_and_its_actor(
    world: World, admin: httpx.AsyncClient, act: str, kind: IntentKind, given: dict[str, Any]
) -> None:
    await world.put("ro_ONE", **given)
    answer = await admin.post(f"/v1/rollouts/ro_ONE/{act}", json={"reason": "  it is late "})
    assert answer.status_code == 202, answer.text
    assert answer.json()["id"] == "ro_ONE"
    assert answer.headers["location"] == "/v1/rollouts/ro_ONE"
    (intent,) = (await world.store.case("ro_ONE")).intents
    assert (intent.kind, intent.actor, intent.reason) == (kind, "root", "it is late")


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  \n"}, {"reason": "x" * 501}])
async def test_an_act_needs_a_reason(world: World, admin: httpx.AsyncClient, body: dict[str, str]) -> None:
    await world.put("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/hold", json=body)
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == "/reason"
    assert await _kinds(world, "ro_ONE") == []


@pytest.mark.parametrize(
    ("sent", "seconds"), [({"for": "15m"}, 900), ({"for": 60}, 60), ({"for_s": 90}, 90), ({}, None)]
)
async def test_a_hold_may_end_by_itself(
    world: World, admin: httpx.AsyncClient, sent: dict[str, Any], seconds: int | None
) -> None:
    await world.put("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/hold", json={**ACT, **sent, "then": "resume"})
    assert answer.status_code == 202
    (intent,) = (await world.store.case("ro_ONE")).intents
    assert intent.then == "resume"
    assert (intent.until and (intent.until - intent.at).total_seconds()) == seconds


@pytest.mark.parametrize(
    "sent",
    [{"for": "soon"}, {"for": True}, {"for": 0}, {"for_s": True}, {"for_s": 0}, {"for": "1m", "for_s": 60}],
)
async def test_a_hold_of_no_length_is_refused(
    world: World, admin: httpx.AsyncClient, sent: dict[str, Any]
) -> None:
    await world.put("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/hold", json={**ACT, **sent})
    assert_problem(answer, 422, "invalid-input")


async def test_an_act_that_does_not_fit_says_what_does(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE")
    answer = await admin.post("/v1/rollouts/ro_ONE/resume", json=ACT)
    assert "Possible here: hold, cancel" in assert_problem(answer, 409, "illegal-transition")["detail"]


async def test_a_touched_rollout_cannot_be_canceled_and_rollback_is_named(
    world: World, admin: httpx.AsyncClient
) -> None:
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    answer = await admin.post("/v1/rollouts/ro_ONE/cancel", json=ACT)
    assert "use rollback" in assert_problem(answer, 409, "touched")["detail"]


# ------------------------------------------------------------------ approvals


@pytest.mark.parametrize(("route", "more"), [("approve", {}), ("decisions", {"decision": "approve"})])
async def test_an_approval_needs_the_version_that_was_looked_at(
    world: World, admin: httpx.AsyncClient, route: str, more: dict[str, str]
) -> None:
    await world.put_awaiting("ro_ONE")
    url, body = f"/v1/rollouts/ro_ONE/{route}", {**ACT, **more}
    assert_problem(await admin.post(url, json=body), 428, "precondition-required")
    stale = await admin.post(url, json=body, headers={"if-match": '"99"'})
    assert '"1"' in assert_problem(stale, 412, "stale")["detail"]
    assert await _kinds(world, "ro_ONE") == []
    seen = (await admin.get("/v1/rollouts/ro_ONE")).headers["etag"]
    assert (await admin.post(url, json=body, headers={"if-match": seen})).status_code == 202
    assert await _kinds(world, "ro_ONE") == [IntentKind.APPROVE]


async def test_a_rejection_needs_no_version(world: World, admin: httpx.AsyncClient) -> None:
    await world.put_awaiting("ro_ONE")
    body = {**ACT, "decision": "reject"}
    assert (await admin.post("/v1/rollouts/ro_ONE/decisions", json=body)).status_code == 202
    assert await _kinds(world, "ro_ONE") == [IntentKind.REJECT]


@pytest.mark.parametrize("act", ["hold", "rollback"])
async def test_hold_and_rollback_need_no_version_and_honour_one(
    world: World, admin: httpx.AsyncClient, act: str
) -> None:
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    url = f"/v1/rollouts/ro_ONE/{act}"
    assert_problem(await admin.post(url, json=ACT, headers={"if-match": '"99"'}), 412, "stale")
    assert (await admin.post(url, json=ACT)).status_code == 202


@pytest.mark.parametrize("name", ["ci", "ann"])
async def test_nobody_approves_what_they_requested_or_wrote(world: World, name: str) -> None:
    await world.put_awaiting("ro_ONE")
    async with await world.client("approver", name) as client:
        answer = await client.post("/v1/rollouts/ro_ONE/approve", json=ACT, headers={"if-match": '"1"'})
    assert name in assert_problem(answer, 403, "not-allowed")["detail"]
    assert await _kinds(world, "ro_ONE") == []


async def test_an_approval_for_a_group_is_given_by_the_group(world: World) -> None:
    approval = (await world.put_awaiting("ro_OTHER", service="billing")).approval
    assert approval is not None
    approval = replace(approval, groups=("mail",))
    await world.put("ro_ONE", phase=Phase.AWAITING_APPROVAL, approval=approval, regions=touched())
    async with (
        await world.client("approver", "bob") as outside,
        await world.client("approver", "eve", groups=["mail"]) as inside,
    ):
        url, seen = "/v1/rollouts/ro_ONE/approve", {"if-match": '"1"'}
        assert_problem(await outside.post(url, json=ACT, headers=seen), 403, "not-allowed")
        assert (await inside.post(url, json=ACT, headers=seen)).status_code == 202


async def test_a_tolerance_that_no_bake_can_see_is_a_problem_with_its_place(
    world: World, admin: httpx.AsyncClient
) -> None:
    asked = {**START, "policy": "careful", "artifact": "pkg:oci/mail-sender@sha256%3A" + "0" * 64}
    await world.put_served("R3", failed=0.1, requests=2)
    plan = (await admin.post("/v1/rollouts/plan", json=asked)).json()
    (shown,) = plan["problems"]
    assert shown["place"] == "checks.0.tolerance"
    errors = plan["stages"][0]["steps"][1]["detectable"][0]
    assert errors["signal"] == "errors"
    assert errors["rise"] > errors["tolerance"] == 1.5
    assert errors["needed_s"] > 12 * 3600
    refused = assert_problem(await admin.post("/v1/rollouts", json=asked), 422, "invalid-input")
    assert refused["errors"] == [{"pointer": shown["place"], "detail": shown["message"]}]
    assert await world.store.rollouts() == ()
