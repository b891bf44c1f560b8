"""Services, regions, policies, tokens and the system routes over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_world import OURS, REPOSITORY, T0, THEIRS, World, declare, open_world, with_store
from test_api_permissions import filled
from test_api_problems import assert_problem

import rollout
from api.app import create_app
from rollout.config import policy_schema, regions_schema
from rollout.core.errors import InvalidInput, StoreError
from rollout.core.model import Phase
from rollout.ports import Replica
from rollout.store.floor import KNOWN, raise_floor

ACT = {"reason": "because"}
STANDARD = (REPOSITORY / "policies/standard.yaml").read_text(encoding="utf-8")


# ------------------------------------------------------------------ services


async def test_a_service_is_declared_once_and_then_replaced(admin: httpx.AsyncClient) -> None:
    body = {"policy": "standard", "owners": ["ann"], "regions": ["R3", "R1"]}
    made = await admin.put("/v1/services/search", json=body)
    assert (made.status_code, made.headers["etag"], made.headers["location"]) == (
        201,
        '"1"',
        "/v1/services/search",
    )
    again = await admin.put("/v1/services/search", json={"policy": "emergency"})
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')
    assert again.json()["owners"] == [], "a declaration is the whole of it"
    assert (await admin.get("/v1/services/search")).json() == again.json()


async def test_a_declaration_that_others_changed_is_not_overwritten(admin: httpx.AsyncClient) -> None:
    url, body = f"/v1/services/{OURS}", {"policy": "standard"}
    assert (await admin.put(url, json=body, headers={"if-match": '"1"'})).status_code == 200
    assert_problem(await admin.put(url, json=body, headers={"if-match": '"1"'}), 412, "stale")
    assert_problem(await admin.put("/v1/services/new", json=body, headers={"if-match": "*"}), 412, "stale")
    assert_problem(await admin.get("/v1/services/new"), 404, "not-found")


async def test_a_declaration_names_only_what_exists(admin: httpx.AsyncClient) -> None:
    regions = await admin.put(f"/v1/services/{OURS}", json={"policy": "standard", "regions": ["R9"]})
    assert assert_problem(regions, 422, "invalid-input")["errors"][0]["pointer"] == "/regions"
    policy = await admin.put(f"/v1/services/{OURS}", json={"policy": "none"})
    assert_problem(policy, 404, "not-found")
    name = await admin.put("/v1/services/Bad_Name", json={"policy": "standard"})
    assert assert_problem(name, 422, "invalid-input")["errors"][0]["pointer"] == "{name}"


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\ud800"', '"' + "x" * 20_000 + '"'])
async def test_signals_that_could_not_be_read_back_are_refused(admin: httpx.AsyncClient, value: str) -> None:
    content = '{"policy": "standard", "signals": {"errors": {"a": ' + value + "}}}"
    headers = {"content-type": "application/json"}
    answer = await admin.put(f"/v1/services/{OURS}", content=content, headers=headers)
    assert_problem(answer, 422, "invalid-input")


async def test_what_runs_is_shown_and_can_be_adopted(world: World, admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"/v1/services/{OURS}/adopt", json=ACT)
    assert_problem(answer, 409, "not-read")
    await world.put_running({"R3": {"2.4.1": 4}, "R1": {"2.4.1": 3, "2.5.0": 1}})
    both = {**ACT, "regions": ["R3", "R1"]}
    assert_problem(await admin.post(f"/v1/services/{OURS}/adopt", json=both), 409, "mixed")
    adopted = await admin.post(f"/v1/services/{OURS}/adopt", json={**ACT, "regions": ["R3"]})
    assert adopted.status_code == 200
    assert [(good["region"], good["how"], good["by"]) for good in adopted.json()["items"]] == [
        ("R3", "adopted", "root: because")
    ]
    rows = {row["region"]: row for row in (await admin.get(f"/v1/services/{OURS}/regions")).json()["items"]}
    assert (rows["R3"]["known_good"], rows["R1"]["running"]) == (["2.4.1"], {"2.4.1": 3, "2.5.0": 1})


async def test_replicas_are_listed_with_what_they_hold_and_a_narrowed_token_sees_its_own(
    world: World,
) -> None:
    await world.store.hold(Replica(id="ann", incarnation="1", about="process 7 on a"), instead_of=None)
    async with await world.client("admin") as client:
        (found,) = (await client.get("/v1/replicas")).json()["items"]
    assert (found["id"], found["about"], found["alive"]) == ("ann", "process 7 on a", True)
    assert found["services"] == [THEIRS, OURS]
    async with await world.client("viewer", services=[OURS]) as client:
        assert (await client.get("/v1/replicas")).json()["items"][0]["services"] == [OURS]


async def test_regions_are_listed_without_the_options_of_their_plugins(admin: httpx.AsyncClient) -> None:
    found = (await admin.get("/v1/regions")).json()["items"]
    assert [region["name"] for region in found] == ["R3", "R1", "R2"]
    assert found[0]["deployer"] == "process"
    assert "options" not in json.dumps(found)


# ------------------------------------------------------------------ policies


async def test_policies_are_shown_as_written(admin: httpx.AsyncClient) -> None:
    listed = (await admin.get("/v1/policies")).json()["items"]
    assert [policy["name"] for policy in listed] == ["careful", "emergency", "standard"]
    assert (await admin.get("/v1/policies/standard")).json()["text"] == STANDARD


@pytest.mark.parametrize("form", ["text", "json", "yaml"])
async def test_a_good_policy_is_valid_in_every_form(admin: httpx.AsyncClient, form: str) -> None:
    types = {"text": "text/plain", "yaml": "application/yaml", "json": "application/json; charset=utf-8"}
    content = json.dumps({"text": STANDARD}) if form == "json" else STANDARD
    headers = {"content-type": types[form]}
    answer = await admin.post("/v1/policies/validate", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["valid"] is True
    assert [stage["regions"] for stage in answer.json()["stages"]] == [["R3"], ["R1"], ["R2"]]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("name: standard", "nme: standard"), "nme"),
        (("[R3]", "[R9]"), "stages.0.regions"),
        (("[errors,", "[erors,"), "checks.0.signal"),
    ],
)
async def test_a_wrong_policy_is_told_with_its_line(
    admin: httpx.AsyncClient, change: tuple[str, str], place: str
) -> None:
    assert change[0] in STANDARD
    answer = await admin.post("/v1/policies/validate", content=STANDARD.replace(*change, 1))
    pointers = [each["pointer"] for each in assert_problem(answer, 422, "invalid-input")["errors"]]
    line = next(i for i, text in enumerate(STANDARD.splitlines(), 1) if change[0] in text)
    assert any(pointer.startswith(f"policy:{line}: ") and place in pointer for pointer in pointers), pointers


async def test_a_policy_that_cannot_be_read_is_told_so(admin: httpx.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    assert_problem(await admin.post("/v1/policies/validate", content=b"\xff"), 400, "malformed")
    assert_problem(
        await admin.post("/v1/policies/validate", content=b"{", headers=json_type), 400, "malformed"
    )
    answer = await admin.post("/v1/policies/validate", json={"txt": ""})
    pointers = {each["pointer"] for each in assert_problem(answer, 422, "invalid-input")["errors"]}
    assert pointers == {"/text", "/txt"}
    assert_problem(await admin.post("/v1/policies/validate", content=""), 422, "invalid-input")


# ------------------------------------------------------------------ tokens and secrets


async def test_a_new_token_is_shown_once_and_works(world: World, admin: httpx.AsyncClient) -> None:
    body = {"name": "ci", "role": "deployer", "groups": ["mail"], "services": [OURS], "days": 30}
    made = await admin.post("/v1/tokens", json=body)
    assert made.status_code == 201
    secret = made.json()["secret"]
    async with world.http({"authorization": f"Bearer {secret}"}) as client:
        who = (await client.get("/v1/whoami")).json()
    assert (who["token"]["name"], who["permissions"]) == ("ci", ["read", "report", "roll_back", "start"])
    assert secret not in (await admin.get("/v1/tokens")).text
    assert (await admin.delete(made.headers["location"])).status_code == 204
    assert_problem(await admin.delete("/v1/tokens/to_NONE"), 404, "not-found")


def _bytes_in(directory: Path) -> bytes:
    """Everything that is kept: the database and its side files."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_no_answer_ever_holds_a_secret(
    world: World, admin: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret = (await admin.post("/v1/tokens", json={"name": "canary", "role": "admin"})).json()["secret"]
    await world.put("ro_ONE")
    paths = [
        path
        for path, methods in (await admin.get("/openapi.json")).json()["paths"].items()
        if "get" in methods
    ]
    assert len(paths) > 15
    async with world.http({"authorization": f"Bearer {secret}"}) as client:
        answers = [await client.get(filled(p)) for p in paths]
        answers.append(await client.post("/v1/rollouts", json={"token": secret, "service": secret}))
        answers.append(await client.get(f"/v1/rollouts?cursor={secret}"))
    assert [answer.url.path for answer in answers if secret in answer.text + str(answer.headers)] == []
    assert secret not in capsys.readouterr().out
    stored = _bytes_in(tmp_path)
    assert b"canary" in stored, "the database was not found, so this would prove nothing"
    assert secret.encode() not in stored


# ------------------------------------------------------------------ system


async def test_readiness_needs_a_beating_heart(world: World) -> None:
    async with world.http() as nobody:
        ready = await nobody.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert {check["name"] for check in ready.json()["checks"]} == {"store", "configuration", "heartbeat"}
        world.clock.advance(60)
        dead = await nobody.get("/readyz")
        assert dead.status_code == 503
        assert "has not beaten since 2026-03-02 09:30:00 UTC" in dead.json()["detail"]
        assert (await nobody.get("/livez")).status_code == 200


class _Down:
    """A store that does not answer."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def services(self) -> None:
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()


async def test_readiness_says_that_this_program_is_too_old_and_not_that_the_database_is_silent(
    world: World,
) -> None:
    with world.store.database.write.begin() as conn:  # type: ignore[attr-defined]
        raise_floor(conn, "9999")
    async with world.http() as nobody:
        answer = await nobody.get("/readyz")
    assert answer.status_code == 503
    said = answer.json()["detail"]
    assert f"too old to write (it knows {KNOWN}, the database wants 9999)" in said
    assert "rollout replicas. Install the newer version." in said
    assert "does not answer" not in said


@pytest.mark.parametrize("error", [StoreError("'/secret/path' is full"), None], ids=["fails", "hangs"])
async def test_readiness_needs_a_database_that_answers(
    world: World, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.health.ANSWER_S", 0.01)
    transport = httpx.ASGITransport(with_store(world, _Down(error)))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as nobody:
        answer = await nobody.get("/readyz")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.json()["detail"]
    assert "/secret/path" not in answer.text


async def test_readiness_needs_a_configuration(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: object) -> None:
        raise InvalidInput("regions.yaml cannot be used.")

    monkeypatch.setattr(type(world.controller.files), "current", property(unreadable), raising=False)
    async with world.http() as nobody:
        answer = await nobody.get("/readyz")
    assert answer.status_code == 503
    assert "configuration could not be loaded" in answer.json()["detail"]


async def test_metrics_count_rollouts_by_phase_and_requests_by_route(
    world: World, admin: httpx.AsyncClient
) -> None:
    await world.put("ro_A")
    await world.put("ro_B", phase=Phase.SUCCEEDED, finished_at=T0)
    await world.put("ro_C", phase=Phase.SUCCEEDED, finished_at=T0)
    await admin.get("/v1/rollouts/ro_A")
    await admin.request("BREW", "/v1/somewhere/else")
    text = (await admin.get("/metrics")).text
    lines = set(text.splitlines())
    assert f'rollout_build_info{{version="{rollout.__version__}"}} 1.0' in lines
    assert {'rollout_rollouts{phase="queued"} 1.0', 'rollout_rollouts{phase="succeeded"} 2.0'} <= lines
    assert 'rollout_rollouts{phase="rollback_failed"} 0.0' in lines
    assert "rollout_heartbeat_age_seconds 3.0" in lines
    counted = 'rollout_http_requests_total{method="GET",route="/v1/rollouts/{id}",status="200"} 1.0'
    assert counted in lines
    assert 'rollout_http_requests_total{method="other",route="none",status="404"} 1.0' in lines
    assert "ro_A" not in text


async def test_the_description_of_the_api_is_whole(admin: httpx.AsyncClient) -> None:
    found = (await admin.get("/openapi.json")).json()
    assert (found["openapi"][:3], found["info"]["version"]) == ("3.1", rollout.__version__)
    operations = [(p, m, o) for p, methods in found["paths"].items() for m, o in methods.items()]
    assert [p for p, _, o in operations if not o.get("description") or not o.get("tags")] == []
    assert [
        p for p, _, o in operations if "application/problem+json" not in str(o["responses"]["default"])
    ] == []
    assert {tag for _, _, o in operations for tag in o["tags"]} <= {tag["name"] for tag in found["tags"]}
    listed = (await admin.get("/docs")).text
    assert [p for p, m, _ in operations if f"`{m.upper()} {p}`" not in listed] == []


async def test_schemas_and_version_are_served(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/schemas/policy/v1.json")).json() == json.loads(json.dumps(policy_schema()))
    assert (await admin.get("/schemas/regions/v1.json")).json() == json.loads(json.dumps(regions_schema()))
    assert (await admin.get("/version")).json() == {"version": rollout.__version__}


class _Heart:
    """Records what the app asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def alive(self) -> bool:
        return True

    async def start(self) -> None:
        self.asked.append("start")

    async def stop(self) -> None:
        self.asked.append("stop")


@pytest.mark.parametrize(("run", "asked"), [(True, ["start", "stop"]), (False, [])])
async def test_the_heart_beats_while_the_app_runs_when_asked(
    world: World, run: bool, asked: list[str]
) -> None:
    heart: Any = _Heart()
    object.__setattr__(world.controller, "heartbeat", heart)
    app = create_app(world.controller, run_heartbeat=run)
    async with app.router.lifespan_context(app):
        assert heart.asked == asked[:1]
    assert heart.asked == asked


# ------------------------------------------------------------------ many at once


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose store has a thread of its own, as in production."""
    opened, store = open_world(tmp_path, in_place=False)
    await declare(opened)
    yield opened
    store.close()


async def test_two_hundred_mixed_calls_at_once_break_nothing(busy: World) -> None:
    await busy.put("ro_ONE", phase=Phase.PROGRESSING)
    async with await busy.client("admin") as client:
        calls = [
            call
            for number in range(25)
            for call in (
                client.post("/v1/rollouts/ro_ONE/hold", json=ACT),
                client.post("/v1/rollouts/ro_ONE/reject", json=ACT),
                client.put(f"/v1/services/{OURS}", json={"policy": "standard"}),
                client.put(f"/v1/services/s{number}", json={"policy": "standard"}),
                client.post("/v1/tokens", json={"name": f"t{number}", "role": "viewer"}),
                client.post("/v1/policies/validate", content=STANDARD),
                client.get("/v1/rollouts/ro_ONE"),
                client.get("/v1/events"),
            )
        ]
        statuses = [answer.status_code for answer in await asyncio.gather(*calls)]
        services = (await client.get("/v1/services")).json()["items"]
    assert len(statuses) == 200
    assert set(statuses) <= {200, 201, 202, 412}, statuses
    assert {f"s{number}" for number in range(25)} <= {service["name"] for service in services}
    replaced = next(service["row_version"] for service in services if service["name"] == OURS) - 1
    assert replaced == [s for i, s in enumerate(statuses) if i % 8 == 2].count(200)
    assert len((await busy.store.case("ro_ONE")).intents) == 50
