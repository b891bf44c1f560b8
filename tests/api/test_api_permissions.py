"""Who may do what, route by route: nothing is open by accident."""

from typing import Any

import httpx
import pytest
from api_world import OURS, ROLES, THEIRS, World
from fastapi.routing import iter_route_contexts

from api.deps import SESSION_COOKIE, declared_permission
from rollout.access import ROLES as MAY
from rollout.access import Permission
from rollout.core.model import Release

ACT = {"reason": "because"}
START = {"service": OURS, "version": "3.0.0"}
BODIES: dict[str, Any] = {
    "POST /v1/rollouts": START,
    "POST /v1/rollouts/plan": START,
    "POST /v1/rollouts/{id}/decisions": {**ACT, "decision": "reject"},
    "POST /v1/rollouts/{id}/notes": {"text": "looks fine"},
    "PUT /v1/rollouts/{id}/gates/{name}": {"status": "passed"},
    "POST /v1/approvals/{id}/decisions": {**ACT, "decision": "reject"},
    "PUT /v1/services/{name}": {"policy": "standard"},
    "POST /v1/tokens": {"name": "new", "role": "viewer"},
    "POST /v1/policies/validate": {"text": "name: nothing"},
}
OPEN_ROUTES = {
    "GET /livez",
    "GET /readyz",
    "HEAD /livez",
    "HEAD /readyz",
    "GET /problems/{code}",
    "GET /login",
    "POST /login",
    " /static",
}


def _routes(world: World) -> list[tuple[str, str, Any]]:
    """Every (method, path, route) of the app, mounts with an empty method."""
    found = []
    for context in iter_route_contexts(world.app.routes):
        for method in sorted(context.methods or {""}):
            found.append((method, str(context.path), context))
    return found


def _api(world: World) -> list[tuple[str, str, Permission]]:
    named = [(m, p, declared_permission(c)) for m, p, c in _routes(world) if m and not _is_page(c)]
    return [(m, p, permission) for m, p, permission in named if permission]


def _is_page(context: Any) -> bool:
    return getattr(context.endpoint, "__module__", "").startswith("api.dashboard")


def filled(path: str) -> str:
    names = {"name": "smoke" if "/gates/" in path else OURS, "region": "R3", "signal": "errors"}
    return path.format(id="ro_ONE", rollout_id="ro_ONE", approval_id="ap_ONE-2", code="stale", **names)


async def _send(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    body = BODIES.get(f"{method} {path}", ACT) if method in ("POST", "PUT") else None
    return await client.request(method, filled(path), json=body)


async def test_every_route_declares_its_permission(world: World) -> None:
    routes = _routes(world)
    assert len(routes) > 40, "the routes were not found, so this test would prove nothing"
    assert [f"{m} {p}" for m, p, context in routes if declared_permission(context) is None] == []


async def test_a_route_without_a_permission_is_found(world: World) -> None:
    @world.app.get("/forgotten")
    async def forgotten() -> None: ...

    undeclared = [p for _, p, context in _routes(world) if declared_permission(context) is None]
    assert undeclared == ["/forgotten"]


async def test_only_known_routes_are_open(world: World) -> None:
    opened = {f"{m} {p}" for m, p, c in _routes(world) if declared_permission(c) is Permission.OPEN}
    assert opened == OPEN_ROUTES


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_do_what_its_permissions_say_and_nothing_else(world: World, role: str) -> None:
    await world.put("ro_ONE")
    wrong = []
    async with await world.client(role) as client:
        for method, path, permission in _api(world):
            status = (await _send(client, method, path)).status_code
            allowed = permission in MAY[role] or permission is Permission.OPEN
            fits = status < 500 and status not in (401, 403) if allowed else status == 403
            wrong += [] if fits else [f"{method} {path}: {status}"]
    assert wrong == []


@pytest.mark.parametrize(
    "header", [None, "Bearer nonsense", "Basic YTpi", "Bearer rot_" + "a" * 51, "Bearer "]
)
async def test_without_a_valid_token_every_route_answers_401(world: World, header: str | None) -> None:
    wrong = []
    async with world.http({"authorization": header} if header else {}) as client:
        for method, path, permission in _api(world):
            answer = await _send(client, method, path)
            if permission is not Permission.OPEN:
                fits = answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                wrong += [] if fits else [f"{method} {path}: {answer.status_code}"]
    assert wrong == []


async def test_403_names_the_roles_that_may(world: World) -> None:
    async with await world.client("viewer") as client:
        answer = await client.post("/v1/rollouts", json=START)
    assert answer.status_code == 403
    assert "deployer, admin" in answer.json()["detail"]


async def test_an_expired_token_is_refused(world: World) -> None:
    async with await world.client("viewer", days=1) as client:
        assert (await client.get("/v1/whoami")).status_code == 200
        world.clock.advance(86400)
        answer = await client.get("/v1/whoami")
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


async def test_a_revoked_token_is_refused_with_the_next_request(
    world: World, admin: httpx.AsyncClient
) -> None:
    token, secret = await world.token("viewer")
    async with world.http({"authorization": f"Bearer {secret}"}) as client:
        assert (await client.get("/v1/whoami")).status_code == 200
        assert (await admin.delete(f"/v1/tokens/{token.id}")).status_code == 204
        answer = await client.get("/v1/whoami")
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


# ------------------------------------------------------------------ narrowed tokens


async def test_a_narrowed_token_sees_nothing_of_other_services(world: World) -> None:
    await world.put("ro_OURS")
    await world.put("ro_THEIRS", THEIRS)
    async with await world.client("admin", services=[OURS]) as client:
        listed = (await client.get("/v1/rollouts")).json()
        events = (await client.get("/v1/events")).json()
        services = (await client.get("/v1/services")).json()
        tokens = (await client.get("/v1/tokens")).json()
    assert [item["id"] for item in listed["items"]] == ["ro_OURS"]
    assert {item["service"] for item in events["items"]} == {OURS}
    assert [item["name"] for item in services["items"]] == [OURS]
    assert [item["services"] for item in tokens["items"]] == [[OURS]]


@pytest.mark.parametrize(
    "act",
    ["hold", "resume", "promote", "rollback", "cancel", "retry", "approve", "reject", "decisions", "notes"],
)
async def test_a_foreign_rollout_is_answered_as_an_unknown_one(world: World, act: str) -> None:
    await world.put("ro_THEIRS", THEIRS)
    body = BODIES.get(f"POST /v1/rollouts/{{id}}/{act}", ACT)
    async with await world.client("admin", services=[OURS]) as client:
        answers = []
        for rollout_id in ("ro_THEIRS", "ro_NOWHERE"):
            answer = await client.post(
                f"/v1/rollouts/{rollout_id}/{act}", json=body, headers={"if-match": '"1"'}
            )
            answers.append((answer.status_code, answer.json()["detail"].replace(rollout_id, "…")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert (await world.store.case("ro_THEIRS")).intents == ()


@pytest.mark.parametrize("path", ["/v1/rollouts/ro_THEIRS", "/v1/rollouts/ro_THEIRS/events"])
async def test_a_foreign_rollout_cannot_be_read(world: World, path: str) -> None:
    await world.put("ro_THEIRS", THEIRS)
    async with await world.client("viewer", services=[OURS]) as client:
        assert (await client.get(path)).status_code == 404


async def test_a_short_id_does_not_tell_a_narrowed_token_the_ids_of_others(world: World) -> None:
    await world.put("ro_THEIRS1", THEIRS)
    await world.put("ro_THEIRS2", THEIRS)
    async with await world.client("viewer", services=[OURS]) as client:
        answer = await client.get("/v1/rollouts/ro_THEIRS")
    assert answer.status_code == 404
    assert "ro_THEIRS1" not in answer.text


async def test_a_foreign_service_is_refused_whether_it_exists_or_not(world: World) -> None:
    async with await world.client("admin", services=[OURS]) as client:
        for service in (THEIRS, "nowhere"):
            start = {"service": service, "version": "3.0.0"}
            answers = [
                await client.get(f"/v1/services/{service}"),
                await client.put(f"/v1/services/{service}", json={"policy": "standard"}),
                await client.get(f"/v1/services/{service}/regions"),
                await client.post(f"/v1/services/{service}/adopt", json=ACT),
                await client.post("/v1/rollouts", json=start),
                await client.post("/v1/rollouts/plan", json=start),
                await client.get("/v1/rollouts", params={"service": service}),
            ]
            assert [answer.status_code for answer in answers] == [403] * 7


async def test_a_narrowed_admin_cannot_make_or_end_a_wider_token(world: World) -> None:
    wide, _ = await world.token("viewer")
    async with await world.client("admin", services=[OURS]) as client:
        body = {"name": "new", "role": "admin"}
        assert (await client.post("/v1/tokens", json=body)).status_code == 403
        wider = {**body, "services": [OURS, THEIRS]}
        assert (await client.post("/v1/tokens", json=wider)).status_code == 403
        assert (await client.post("/v1/tokens", json={**body, "services": [OURS]})).status_code == 201
        assert (await client.delete(f"/v1/tokens/{wide.id}")).status_code == 404


async def test_pages_of_a_narrowed_token_lose_and_repeat_nothing(world: World) -> None:
    for number in range(9):
        await world.put(f"ro_{number}", THEIRS if number % 3 == 1 else OURS)
    async with await world.client("viewer", services=[OURS, THEIRS]) as client:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await client.get("/v1/rollouts", params={"limit": 2, **cursor})).json()
            found += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
    assert found == [f"ro_{number}" for number in reversed(range(9))]


async def test_a_short_page_of_one_service_skips_nothing_of_another(world: World) -> None:
    await world.put_awaiting("ro_1", service=THEIRS)
    await world.put_awaiting("ro_2")
    await world.put("ro_3")
    async with await world.client("viewer", services=[OURS, THEIRS]) as client:
        found: list[str] = []
        url: str | None = "/v1/rollouts?needs=me&limit=1"
        while url:
            answer = await client.get(url)
            found += [item["id"] for item in answer.json()["items"]]
            url = answer.links["next"]["url"] if "next" in answer.links else None
    assert found == ["ro_2", "ro_1"]


async def test_no_route_tells_a_narrowed_token_a_fact_of_a_foreign_service(world: World) -> None:
    facts = Release(service=THEIRS, version="6.6.6", author="mallory")
    await world.put_awaiting("ro_ONE", service=THEIRS, release=facts, created_by="mallory", note="mallory")
    await world.put_running({"R3": {"6.6.6": 4}}, THEIRS)
    before = await world.store.case("ro_ONE")
    _, secret = await world.token("admin", "narrow", services=[OURS])
    _, session = await world.controller.access.log_in(secret)
    _, csrf = await world.controller.access.session(session)
    told = []
    bearer = {"authorization": f"Bearer {secret}", "if-match": '"1"'}
    page = {"cookie": f"{SESSION_COOKIE}={session}", "origin": "http://testserver"}
    async with world.http(bearer) as api, world.http(page) as people:
        for method, path, context in _routes(world):
            if not method or path in ("/logout", "/live"):  # the latter never ends
                continue
            where = filled(path).replace(OURS, THEIRS)
            if _is_page(context):
                form = {"csrf": csrf, "reason": "because", "row_version": "1"}
                answer = await people.request(method, where, data=form if method == "POST" else None)
            else:
                answer = await _send(api, method, where)
            leaks = "6.6.6" in answer.text or "mallory" in answer.text
            told += [f"{method} {path}: {answer.status_code}"] if leaks else []
            assert answer.status_code < 500, (method, path, answer.text[:300])
    assert told == []
    assert await world.store.case("ro_ONE") == before


# ------------------------------------------------------------------ the page


async def _session(world: World, role: str) -> tuple[httpx.AsyncClient, str]:
    _, secret = await world.token(role)
    _, session = await world.controller.access.log_in(secret)
    _, csrf = await world.controller.access.session(session)
    client = world.http({"cookie": f"{SESSION_COOKIE}={session}"})
    return client, csrf


def _page_posts(world: World) -> list[tuple[str, Permission]]:
    routes = [(m, p, c) for m, p, c in _routes(world) if _is_page(c) and m == "POST"]
    declared = [(p, declared_permission(c)) for _, p, c in routes if p not in ("/login", "/logout")]
    return [(path, permission) for path, permission in declared if permission]


async def test_every_page_sends_people_without_a_session_to_the_login(world: World) -> None:
    async with world.http({"origin": "http://testserver"}) as client:
        for method, path, context in _routes(world):
            if _is_page(context) and not path.startswith("/login"):
                answer = await client.request(method, filled(path))
                assert (answer.status_code, answer.headers["location"][:12]) == (303, "/login?next="), path


async def test_a_bearer_token_is_no_session_and_a_session_is_no_bearer_token(world: World) -> None:
    _, secret = await world.token("admin", "ann")
    client, _ = await _session(world, "admin")
    async with client, world.http({"authorization": f"Bearer {secret}"}) as bearer:
        assert (await client.get("/v1/whoami")).status_code == 401
        assert (await bearer.get("/")).status_code == 303


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_send_the_forms_that_its_permissions_say(world: World, role: str) -> None:
    await world.put("ro_ONE")
    client, csrf = await _session(world, role)
    assert len(_page_posts(world)) >= 5
    async with client:
        for path, permission in _page_posts(world):
            form = {"csrf": csrf, "reason": "because", "row_version": "1"}
            answer = await client.post(filled(path), data=form, headers={"origin": "http://testserver"})
            assert (answer.status_code == 403) == (permission not in MAY[role]), (path, answer.status_code)
            assert answer.status_code < 500


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [
        ("right", {"origin": "https://evil.example"}),
        ("right", {"origin": "null"}),
        ("right", {"origin": "http://testserver", "sec-fetch-site": "cross-site"}),
        ("right", {"sec-fetch-site": "same-site"}),
        ("right", {}),
        ("wrong", {"origin": "http://testserver"}),
        ("ünlike", {"origin": "http://testserver"}),
        ("", {"origin": "http://testserver"}),
    ],
)
async def test_a_forged_form_changes_nothing(world: World, csrf: str, headers: dict[str, str]) -> None:
    await world.put("ro_ONE")
    client, real = await _session(world, "admin")
    async with client:
        form = {"csrf": real if csrf == "right" else csrf, "reason": "because", "row_version": "1"}
        answer = await client.post("/rollouts/ro_ONE/hold", data=form, headers=headers)
        assert answer.status_code == 403
        assert (await world.store.case("ro_ONE")).intents == ()
        honest = await client.post(
            "/rollouts/ro_ONE/hold", data={**form, "csrf": real}, headers={"sec-fetch-site": "same-origin"}
        )
    assert honest.status_code == 303
    assert [intent.actor for intent in (await world.store.case("ro_ONE")).intents] == ["admin-token"]


@pytest.mark.parametrize("wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", ""])
def test_after_the_login_nobody_is_sent_elsewhere(wanted: str) -> None:
    from api.deps import local_path

    assert local_path(wanted) == "/"
    assert local_path("/rollouts/ro_1?asked=hold") == "/rollouts/ro_1?asked=hold"
