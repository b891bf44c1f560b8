"""Every error is problem+json, says what to do, and has a page."""

import ast
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from api_world import OURS, REPOSITORY, World, with_store

from api.limits import MAX_BODY_BYTES
from api.problems import PAGES, document
from rollout.core.errors import OutcomeUnknown, PermanentError, StoreError, TooOld, TransientError

START = {"service": OURS, "version": "3.0.0"}
JSON = {"content-type": "application/json"}


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The one shape of an error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "errors", "trace_id"}
    assert (body["status"], body["type"], body["title"]) == (status, f"/problems/{code}", PAGES[code].title)
    assert body["detail"]
    assert body["trace_id"] == answer.headers["x-trace-id"]
    return body


async def _post(client: httpx.AsyncClient, body: Any, path: str = "/v1/rollouts") -> dict[str, str]:
    """Send what must be refused with 422; pointer → detail."""
    found = assert_problem(await client.post(path, json=body), 422, "invalid-input")
    return {each["pointer"]: each["detail"] for each in found["errors"]}


async def test_an_unknown_path_is_a_problem(admin: httpx.AsyncClient) -> None:
    body = assert_problem(await admin.get("/v1/nowhere"), 404, "not-found")
    assert "/v1/nowhere" in body["detail"]


async def test_a_wrong_method_is_a_problem_and_all_right_ones_are_listed(admin: httpx.AsyncClient) -> None:
    answer = await admin.delete("/v1/rollouts")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"


async def test_an_unknown_rollout_service_policy_or_problem_is_a_problem(admin: httpx.AsyncClient) -> None:
    for path in ("/v1/rollouts/ro_9", "/v1/services/nowhere", "/v1/policies/none", "/problems/none"):
        assert_problem(await admin.get(path), 404, "not-found")


async def test_no_token_and_a_missing_role_are_problems(world: World) -> None:
    async with world.http() as nobody, await world.client("viewer") as viewer:
        assert_problem(await nobody.get("/v1/rollouts"), 401, "not-authenticated")
        assert_problem(await viewer.post("/v1/rollouts", json=START), 403, "not-allowed")


# ------------------------------------------------------------------ bodies


async def _pieces(size: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(size // 100_000):
        sent.append(100_000)
        yield b" " * 100_000


async def test_ten_megabytes_are_refused_by_their_announced_length(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/rollouts", content=b" " * 10_000_000, headers=JSON)
    assert_problem(answer, 413, "too-large")
    sent: list[int] = []
    headers = {**JSON, "content-length": "10000000"}
    answer = await admin.post("/v1/rollouts", content=_pieces(10_000_000, sent), headers=headers)
    assert_problem(answer, 413, "too-large")
    assert sent == [], "nothing needs to be read of a body that says that it is too large"


@pytest.mark.parametrize("path", ["/v1/rollouts", "/v1/policies/validate"])
async def test_ten_megabytes_in_chunks_are_refused_while_they_arrive(
    admin: httpx.AsyncClient, path: str
) -> None:
    sent: list[int] = []
    answer = await admin.post(path, content=_pieces(10_000_000, sent), headers=JSON)
    assert_problem(answer, 413, "too-large")
    assert sum(sent) <= MAX_BODY_BYTES + 200_000, "the body went on being read after it was too large"


async def test_a_length_that_lies_is_counted_all_the_same(admin: httpx.AsyncClient) -> None:
    headers = {**JSON, "content-length": "10"}
    answer = await admin.post("/v1/rollouts", content=_pieces(2_000_000, []), headers=headers)
    assert_problem(answer, 413, "too-large")


async def test_a_body_of_exactly_the_limit_is_read(admin: httpx.AsyncClient) -> None:
    body = json.dumps(START).encode()
    answer = await admin.post(
        "/v1/rollouts/plan", content=body + b" " * (MAX_BODY_BYTES - len(body)), headers=JSON
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b'{"service": "\xc3"}', b"{", b"", b"[" * 200_000, b"9" * 9000, b'{"a": 1}}', b"\x00"],
    ids=["no utf-8", "half a utf-8", "cut", "empty", "deep", "huge number", "too much", "nul"],
)
async def test_what_is_no_json_is_never_a_server_error(admin: httpx.AsyncClient, content: bytes) -> None:
    answer = await admin.post("/v1/rollouts", content=content, headers=JSON)
    if content:
        assert_problem(answer, 400, "malformed")
    else:
        assert_problem(answer, 422, "invalid-input")


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_json_under_another_content_type_is_refused(admin: httpx.AsyncClient, sent: str | None) -> None:
    headers = {"content-type": sent} if sent else {}
    answer = await admin.post("/v1/rollouts", content=json.dumps(START).encode(), headers=headers)
    body = assert_problem(answer, 422, "invalid-input")
    assert "application/json" in body["errors"][0]["detail"]


async def test_unknown_keys_are_named_by_json_pointers(admin: httpx.AsyncClient) -> None:
    found = await _post(admin, {**START, "polcy": "standard", "a/b~c": 1})
    assert set(found) == {"/polcy", "/a~1b~0c"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("service", "Mail Sender"),
        ("service", 7),
        ("service", None),
        ("version", "-1"),
        ("version", "1.0\n"),
        ("version", "v" * 129),
        ("version", 1.0),
        ("change_url", "javascript:alert(1)"),
        ("change_url", "//host/path"),
        ("change_url", "https:///path"),
        ("change_url", "https://a b"),
        ("change_url", "http://[::1"),
        ("note", "\x1b[2J"),
        ("note", "n" * 2001),
        ("author", "\u202eevil"),
        ("artifact", "a b"),
        ("override", True),
        ("version", "1\ud800"),
    ],
)
async def test_a_wrong_value_is_named_by_its_pointer_and_not_repeated(
    admin: httpx.AsyncClient, key: str, value: object
) -> None:
    content = json.dumps({**START, key: value}).encode()
    answer = await admin.post("/v1/rollouts", content=content, headers=JSON)
    body = assert_problem(answer, 422, "invalid-input")
    if "\ud800" not in str(value):  # half a character is refused for the whole body
        assert [each["pointer"] for each in body["errors"]] == [f"/{key}"]
    if isinstance(value, str):
        assert value not in body["errors"][0]["detail"]


async def test_a_boolean_is_no_number_and_text_is_no_number(admin: httpx.AsyncClient) -> None:
    token = {"name": "new", "role": "viewer"}
    for days in (True, "30", 30.0, 0, 91):
        assert set(await _post(admin, {**token, "days": days}, "/v1/tokens")) == {"/days"}


async def test_the_name_of_the_controller_cannot_be_taken(admin: httpx.AsyncClient) -> None:
    found = await _post(admin, {"name": "controller", "role": "admin"}, "/v1/tokens")
    assert set(found) == {"/name"}


async def test_query_parameters_are_checked_as_strictly(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/v1/rollouts?limit=0&phase=gone&needs=you&servce=x")
    body = assert_problem(answer, 422, "invalid-input")
    assert {each["pointer"] for each in body["errors"]} == {"?limit", "?phase.0", "?needs", "?servce"}
    assert_problem(await admin.get(f"/v1/events?after={2**63}"), 422, "invalid-input")
    assert_problem(await admin.get("/v1/rollouts/%F4%8F%BF%BF"), 422, "invalid-input")


# ------------------------------------------------------------------ failures


class _Failing:
    """A store that fails with `error`, except for the tokens."""

    def __init__(self, store: Any, error: Exception) -> None:
        self._store, self._error = store, error

    def __getattr__(self, name: str) -> Any:
        if name in ("token", "add_token"):
            return getattr(self._store, name)

        async def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


async def _ask_failing(world: World, error: Exception) -> httpx.Response:
    _, secret = await world.token("admin", f"asks-{type(error).__name__}")
    transport = httpx.ASGITransport(with_store(world, _Failing(world.store, error)))
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as client:
        return await client.get("/v1/services")


async def test_an_unexpected_exception_is_a_500_without_internals(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await _ask_failing(world, ZeroDivisionError("secret-internals"))
    body = assert_problem(answer, 500, "internal")
    assert "secret-internals" not in answer.text
    logged = capsys.readouterr().out
    assert body["trace_id"] in logged
    assert "secret-internals" in logged
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_database_that_fails_is_a_503_that_says_when_to_try_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await _ask_failing(world, StoreError("The database '/secret/path' is full."))
    body = assert_problem(answer, 503, "store")
    assert body["detail"].endswith(f"The log has the cause under the trace id {body['trace_id']}.")
    assert int(answer.headers["retry-after"]) > 0
    assert "/secret/path" not in answer.text
    assert "/secret/path" in capsys.readouterr().out


async def test_a_commit_that_nobody_can_tell_of_is_not_said_to_have_changed_nothing(world: World) -> None:
    answer = await _ask_failing(world, OutcomeUnknown("The connection to '/secret/path' was lost."))
    detail = assert_problem(answer, 503, "outcome-unknown")["detail"]
    assert "may or may not have been recorded. Send it again with the same Idempotency-Key" in detail
    assert "rollout list" in detail
    assert "Nothing was changed" not in answer.text
    assert "/secret/path" not in answer.text


async def test_a_program_that_is_too_old_is_told_so(world: World) -> None:
    answer = await _ask_failing(world, TooOld("'/secret/path'", "0006", "0099"))
    detail = assert_problem(answer, 503, "store")["detail"]
    assert "too old to write (it knows 0006, the database wants 0099)" in detail
    assert "/secret/path" not in answer.text


async def test_an_outside_failure_says_whether_to_try_again(world: World) -> None:
    soon = await _ask_failing(world, TransientError("R3 does not answer."))
    never = await _ask_failing(world, PermanentError("R3 refuses the version."))
    assert assert_problem(soon, 503, "outside")["detail"] == "R3 does not answer."
    assert_problem(never, 502, "outside")
    assert "retry-after" in soon.headers
    assert "retry-after" not in never.headers


# ------------------------------------------------------------------ what every answer carries


async def test_every_answer_carries_the_security_headers(world: World, admin: httpx.AsyncClient) -> None:
    async with world.http() as nobody:
        answers = [
            await admin.get("/v1/rollouts"),
            await admin.get("/nowhere"),
            await nobody.get("/livez"),
            await nobody.get("/v1/rollouts"),
            await admin.post("/v1/rollouts", content=b" " * 2_000_000, headers=JSON),
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("nonsense\x1b", False),
        ("", False),
    ],
)
async def test_the_trace_id_of_the_caller_is_kept_when_it_is_one(
    world: World, sent: str, taken: bool
) -> None:
    async with world.http({"traceparent": sent}) as client:
        trace_id = (await client.get("/livez")).headers["x-trace-id"]
    assert len(trace_id) == 32
    assert (trace_id == sent[3:35]) == taken


# ------------------------------------------------------------------ the pages about errors


def _codes_in(tree: ast.AST) -> Iterator[str]:
    """Codes of error classes, and those given to an error or to `problem`, as they stand in the source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                named = isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "code"
                if named and isinstance(line.value, ast.Constant):
                    yield str(line.value.value)
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("Conflict", "problem", "__init__") and len(node.args) > 1:
                code = node.args[1]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield code.value


def test_every_code_in_the_source_has_a_page() -> None:
    files = [path for folder in ("rollout", "api") for path in (REPOSITORY / folder).rglob("*.py")]
    found = {code for path in files for code in _codes_in(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"touched", "stale", "illegal-transition", "cross-site", "store"} <= found, (
        "the search finds nothing"
    )
    assert found - set(PAGES) == set()


def test_the_committed_pages_are_those_that_the_server_gives() -> None:
    written = (REPOSITORY / "docs/problems.md").read_text(encoding="utf-8")
    assert written == document(), "write docs/problems.md anew from api.problems.document()"


async def test_the_type_of_a_problem_leads_to_its_page(world: World) -> None:
    async with world.http() as nobody:
        refused = (await nobody.get("/v1/rollouts")).json()
        page = await nobody.get(refused["type"])
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/markdown")
    assert "rollout token create" in page.text
