"""Idempotency-Key: whatever is repeated, lost or killed, a request takes effect once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_world import OURS, World, declare, open_world, touched, with_store
from fastapi.routing import iter_route_contexts
from live_server import served
from test_api_problems import assert_problem

from api.routing import V1Route
from rollout.core.errors import OutcomeUnknown, StoreError
from rollout.core.model import IntentKind, Phase
from rollout.queries import Queries

START = {"service": OURS, "version": "3.0.0"}
ACT = {"reason": "because"}
AS_JSON = {"content-type": "application/json"}
KEY = {"idempotency-key": "deploy-7"}


async def _started(world: World) -> list[str]:
    return [rollout.id for rollout in await world.store.rollouts(limit=200)]


async def test_a_repeated_start_is_answered_with_the_same_bytes(
    world: World, admin: httpx.AsyncClient
) -> None:
    first = await admin.post("/v1/rollouts", json=START, headers=KEY)
    world.clock.advance(3600)
    again = await admin.post("/v1/rollouts", json=START, headers=KEY)
    assert first.status_code == again.status_code == 202
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("content-type", "etag", "location"):
        assert again.headers[name] == first.headers[name]
    assert len(await _started(world)) == 1


async def test_without_a_key_every_copy_takes_effect(world: World, admin: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await admin.post("/v1/rollouts", json=START)).status_code == 202
    assert len(await _started(world)) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rollouts", {**START, "version": "3.0.1"}),
        ("/v1/rollouts?x=1", START),
        ("/v1/rollouts/ro_ONE/hold", START),
    ],
)
async def test_the_same_key_for_another_request_is_refused(
    world: World, admin: httpx.AsyncClient, path: str, body: dict[str, str]
) -> None:
    await admin.post("/v1/rollouts", json=START, headers=KEY)
    answer = await admin.post(path, json=body, headers=KEY)
    assert "deploy-7" in assert_problem(answer, 422, "key-reused")["detail"]
    assert len(await _started(world)) == 1


async def test_keys_of_two_tokens_are_apart(world: World) -> None:
    async with await world.client("deployer", "one") as one, await world.client("deployer", "two") as two:
        for client in (one, two):
            assert (await client.post("/v1/rollouts", json=START, headers=KEY)).status_code == 202
    assert len(await _started(world)) == 2


async def test_a_refusal_is_replayed_too(world: World, admin: httpx.AsyncClient) -> None:
    wrong = {**START, "service": "nowhere"}
    first = await admin.post("/v1/rollouts", json=wrong, headers=KEY)
    again = await admin.post("/v1/rollouts", json=wrong, headers=KEY)
    assert_problem(first, 404, "not-found")
    assert (again.status_code, again.content) == (404, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["idempotency-replayed"] == "true"


async def test_who_may_not_is_told_so_every_time_and_uses_no_key_up(world: World) -> None:
    async with await world.client("viewer") as client:
        for _ in range(2):
            answer = await client.post("/v1/rollouts", json=START, headers=KEY)
            assert_problem(answer, 403, "not-allowed")
            assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", " ", "k" * 201, "tab\there", "é", "new\x7f"])
async def test_a_key_that_cannot_be_used_is_refused_and_nothing_happens(
    world: World, admin: httpx.AsyncClient, key: str
) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    answer = await admin.post("/v1/rollouts", json=START, headers=headers)
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == "Idempotency-Key"
    assert await _started(world) == []


async def test_two_keys_are_refused(world: World, admin: httpx.AsyncClient) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two")]
    assert_problem(await admin.post("/v1/rollouts", json=START, headers=headers), 422, "invalid-input")
    assert await _started(world) == []


async def test_a_key_of_200_bytes_is_fine(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", json=START, headers={"idempotency-key": "k" * 200})
    assert answer.status_code == 202


async def test_every_act_is_recorded_once(world: World, admin: httpx.AsyncClient) -> None:
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    for _ in range(3):
        answer = await admin.post("/v1/rollouts/ro_ONE/rollback", json=ACT, headers=KEY)
        assert answer.status_code == 202
    assert [each.kind for each in (await world.store.case("ro_ONE")).intents] == [IntentKind.ROLLBACK]


async def test_the_secret_of_a_token_is_not_kept_and_a_copy_is_told_what_happened(
    world: World, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    body = {"name": "new", "role": "viewer"}
    first = await admin.post("/v1/tokens", json=body, headers=KEY)
    made = first.json()
    again = await admin.post("/v1/tokens", json=body, headers=KEY)
    detail = assert_problem(again, 409, "request-took-effect")["detail"]
    assert made["token"]["id"] in detail
    assert "2026-03-02 09:30:00" in detail
    assert "revoke" in detail
    names = [token.name for token in await world.store.tokens()]
    assert names.count("new") == 1
    assert made["secret"].encode() not in _everything(tmp_path)


def _everything(directory: Path) -> bytes:
    """All bytes of all files, the database's among them."""
    found = b"".join(file.read_bytes() for file in directory.iterdir() if file.is_file())
    assert b"deploy-7" in found, "the database was not read, so this would prove nothing"
    return found


async def test_a_refused_token_is_replayed(world: World, admin: httpx.AsyncClient) -> None:
    await world.token("viewer", "taken")
    body = {"name": "taken", "role": "viewer"}
    first = await admin.post("/v1/tokens", json=body, headers=KEY)
    again = await admin.post("/v1/tokens", json=body, headers=KEY)
    assert_problem(first, 409, "name-taken")
    assert (again.status_code, again.content) == (409, first.content)


async def test_what_only_reads_runs_again(world: World, admin: httpx.AsyncClient) -> None:
    for version in ("3.0.0", "3.0.1"):
        answer = await admin.post("/v1/rollouts/plan", json={**START, "version": version}, headers=KEY)
        assert (answer.status_code, answer.json()["version"]) == (200, version)
        assert "idempotency-replayed" not in answer.headers


async def test_a_body_that_is_no_json_is_told_who_asks_first(world: World, admin: httpx.AsyncClient) -> None:
    async with world.http() as nobody, await world.client("viewer") as viewer:
        for client, status in ((nobody, 401), (viewer, 403), (admin, 400)):
            assert (await client.post("/v1/rollouts", content=b"{", headers=AS_JSON)).status_code == status


def test_every_post_under_v1_takes_a_key(world: World) -> None:
    routes = [
        context
        for context in iter_route_contexts(world.app.routes)
        if "POST" in (context.methods or ()) and str(context.path).startswith("/v1/")
    ]
    assert len(routes) > 12, "the routes were not found, so this test would prove nothing"
    assert [str(each.path) for each in routes if not isinstance(each.route, V1Route)] == []


# ------------------------------------------------------------------ what dies in between


class Blind(Queries):
    """Reads that fail as long as they are told to."""

    broken = True

    async def rollout(self, prefix: str) -> Any:
        if self.broken:
            raise RuntimeError("the process is about to die")
        return await super().rollout(prefix)


async def test_an_effect_whose_answer_was_lost_is_told_to_the_next_copy(world: World) -> None:
    controller = world.controller
    blind = Blind(world.store, world.clock, lambda: controller.files.current)
    object.__setattr__(controller, "queries", blind)
    async with await world.client("admin") as client:
        lost = await client.post("/v1/rollouts", json=START, headers=KEY)
        assert lost.status_code == 500
        (started,) = await _started(world)
        Blind.broken = False
        answers = [await client.post("/v1/rollouts", json=START, headers=KEY) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/rollouts/{started}"
        assert answer.headers["etag"] == '"1"'
        assert answer.headers["idempotency-replayed"] == "true"
    assert answers[0].content == answers[1].content
    assert await _started(world) == [started]


class Failing:
    """A store that cannot be written, as long as it is told to."""

    def __init__(self, store: Any) -> None:
        self._store, self.broken = store, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add(self, *given: Any) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        await self._store.add(*given)


@asynccontextmanager
async def keyed(world: World, store: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A deployer's client of the same world over another store, whose requests all have one key."""
    _, secret = await world.token("deployer")
    other = replace(world, app=with_store(world, store))
    async with other.http({"authorization": f"Bearer {secret}", **KEY}) as client:
        yield client


async def test_a_failure_of_the_server_frees_the_key(world: World) -> None:
    failing = Failing(world.store)
    async with keyed(world, failing) as client:
        assert_problem(await client.post("/v1/rollouts", json=START), 503, "store")
        failing.broken = False
        answer = await client.post("/v1/rollouts", json=START)
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers


class Lossy(Failing):
    """A store whose COMMIT of a rollout, or of an answer, lands without anybody hearing of it."""

    def __init__(self, store: Any, losing: str) -> None:
        super().__init__(store)
        self._losing = losing

    async def add(self, *given: Any) -> None:
        await self._store.add(*given)
        if self.broken and self._losing == "the effect":
            raise OutcomeUnknown("lost during a COMMIT")

    async def release(self, *given: Any) -> None:
        if self.broken:
            raise StoreError("no server answers")
        await self._store.release(*given)

    async def keep_answer(self, *given: Any) -> Any:
        if self.broken:
            raise StoreError("no server answers")
        return await self._store.keep_answer(*given)


@pytest.mark.parametrize("losing", ["the effect", "the answer"])
async def test_an_unknown_outcome_is_told_as_such_and_the_same_key_takes_effect_once(
    world: World, losing: str
) -> None:
    lossy = Lossy(world.store, losing)
    async with keyed(world, lossy) as client:
        assert_problem(await client.post("/v1/rollouts", json=START), 503, "outcome-unknown")
        lossy.broken = False
        world.clock.advance(10)
        answer = await client.post("/v1/rollouts", json=START)
    assert answer.status_code == 202
    assert answer.headers["idempotency-replayed"] == "true"
    assert len(await world.store.rollouts()) == 1


class Gone(Failing):
    """A database that goes away within a request, before its effect, and comes back."""

    def __init__(self, store: Any, at: str) -> None:
        super().__init__(store)
        self._at = at

    async def reserve(self, *given: Any) -> Any:
        kept = await self._store.reserve(*given)
        if self.broken and self._at == "the reservation":
            raise OutcomeUnknown("lost during a COMMIT")
        return kept

    async def release(self, *given: Any) -> None:
        if self.broken:
            raise StoreError("no server answers")
        await self._store.release(*given)


@pytest.mark.parametrize("at", ["the reservation", "the effect"])
async def test_a_key_of_a_request_whose_database_went_away_is_free_as_soon_as_that_is_back(
    world: World, at: str
) -> None:
    gone = Gone(world.store, at)
    async with keyed(world, gone) as client:
        for _ in range(3):
            assert (await client.post("/v1/rollouts", json=START)).status_code in (409, 503)
        gone.broken = False
        answer = await client.post("/v1/rollouts", json=START)
    assert answer.status_code == 202
    assert len(await world.store.rollouts()) == 1


async def test_a_key_outlives_the_process(tmp_path: Path) -> None:
    first, store = open_world(tmp_path)
    await declare(first)
    _, secret = await first.token("deployer")
    headers = {"authorization": f"Bearer {secret}", **KEY}
    async with first.http(headers) as client:
        given = await client.post("/v1/rollouts", json=START)
    store.close()
    second, store = open_world(tmp_path)
    async with second.http(headers) as client:
        again = await client.post("/v1/rollouts", json=START)
    assert (given.status_code, again.content) == (202, given.content)
    assert again.headers["idempotency-replayed"] == "true"
    store.close()


# ------------------------------------------------------------------ many copies at once


async def _until_answered(client: httpx.AsyncClient) -> tuple[int, httpx.Response]:
    """Send the request until it is answered. Returns how often 409 was said before."""
    for refused in range(600):
        answer = await client.post("/v1/rollouts", json=START, headers=KEY)
        if answer.status_code != 409:
            return refused, answer
        assert_problem(answer, 409, "request-running")
        assert answer.headers["retry-after"] == "1"
        await asyncio.sleep(0.02)  # the answer says 1 s; the test asks sooner
    raise AssertionError("never answered")


@pytest.mark.real
async def test_a_hundred_copies_through_two_servers_start_one_rollout(tmp_path: Path) -> None:
    one, store_one = open_world(tmp_path, in_place=False)
    await declare(one)
    two, store_two = open_world(tmp_path, in_place=False)
    _, secret = await one.token("deployer")
    headers = {"authorization": f"Bearer {secret}"}
    limits = httpx.Limits(max_connections=100)
    async with (
        served(one.app) as url_one,
        served(two.app) as url_two,
        httpx.AsyncClient(base_url=url_one, headers=headers, limits=limits, timeout=60) as left,
        httpx.AsyncClient(base_url=url_two, headers=headers, limits=limits, timeout=60) as right,
    ):
        found = await asyncio.gather(
            *(_until_answered(left if number % 2 else right) for number in range(100))
        )
    answers = [answer for _, answer in found]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(await one.store.rollouts()) == 1
    store_one.close()
    store_two.close()
