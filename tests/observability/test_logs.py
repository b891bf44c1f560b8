"""Log lines: one form, ids where they exist, one line a request, and never a secret."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rollout.cli.logs import HIDDEN, configure
from rollout.core.model import Phase
from rollout.reconciler import Reconciler
from tests.api.api_world import OURS, World, declare, open_world
from tests.scenarios.world import FAILING, ONE, new_store
from tests.scenarios.world import World as Story

CANARY = "CANARY5f2e91"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is written to the log, as JSON."""
    kept = logging.getLogger().handlers[:], logging.getLogger().level
    written = io.StringIO()
    configure(written, level=logging.DEBUG)
    yield written
    logging.getLogger().handlers[:], _ = kept
    logging.getLogger().setLevel(kept[1])


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    opened, store = open_world(tmp_path)
    await declare(opened)
    yield opened
    store.close()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def requests(stream: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in lines(stream) if line["event"] == "request"]


async def test_each_request_is_one_line_with_who_what_and_how_long(world: World, stream: io.StringIO) -> None:
    await world.put("ro_A")
    async with await world.client("viewer", "vera") as client:
        parent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        await client.get("/v1/rollouts/ro_A?limit=3", headers=parent)
        await client.get(f"/v1/services/{OURS}/regions")
        await client.get("/v1/nowhere")
    first, second, third = requests(stream)
    expected = {
        "event": "request", "level": "info", "logger": "api.access", "method": "GET", "status": 200,
        "path": "/v1/rollouts/ro_A", "rollout_id": "ro_A", "actor": "vera", "trace_id": TRACE,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert 0 <= first["duration_s"] < 5
    assert first["timestamp"].endswith("Z")
    assert (second["service"], second["actor"]) == (OURS, "vera")
    assert (third["status"], "actor" in third, "rollout_id" in third) == (404, False, False)


def test_what_uvicorn_was_set_to_before_is_undone() -> None:
    server = logging.getLogger("uvicorn")
    server.addHandler(logging.NullHandler())
    server.propagate = False
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    written = io.StringIO()
    kept = logging.getLogger().handlers[:]
    configure(written)
    logging.getLogger("uvicorn.error").error("Invalid HTTP request received.")
    logging.getLogger().handlers[:] = kept
    assert json.loads(written.getvalue())["event"] == "Invalid HTTP request received."


async def test_probes_are_quiet_and_a_failing_server_is_loud(
    world: World, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.http() as nobody:
        await nobody.get("/livez")

        async def broken(*_: object) -> None:
            raise RuntimeError("nobody foresaw this")

        monkeypatch.setattr("api.routes.system.checks", broken)
        answer = await nobody.get("/readyz")
    assert answer.status_code == 500
    assert [(line["path"], line["level"]) for line in requests(stream)] == [("/readyz", "warning")]
    failed = next(line for line in lines(stream) if line["event"] == "request failed")
    assert "RuntimeError: nobody foresaw this" in failed["exception"]
    assert failed["trace_id"] == answer.headers["x-trace-id"] == requests(stream)[0]["trace_id"]


async def test_no_secret_of_a_request_is_in_any_line(world: World, stream: io.StringIO) -> None:
    _, token = await world.token("admin", "root")
    headers = {
        "authorization": f"Bearer {token}",
        "cookie": f"rollout_session=ros_{CANARY}",
        "x-api-key": CANARY,
        "idempotency-key": CANARY,
    }
    async with world.http(headers) as client:
        await client.post("/v1/tokens", json={"name": "ci", "role": "viewer", "services": [], "days": 3})
        await client.get(f"/v1/rollouts?cursor={CANARY}")
        await client.get("/v1/whoami", headers={"authorization": f"Bearer rot_{CANARY}{CANARY}"})
        await client.post("/login", data={"token": f"rot_{CANARY}"})
    assert len(requests(stream)) == 4
    assert CANARY not in stream.getvalue()
    assert token not in stream.getvalue()


def test_what_is_named_or_looks_like_a_secret_is_hidden_wherever_it_stands(stream: io.StringIO) -> None:
    log = structlog.get_logger("any")
    error = ValueError(f"GET https://ann:{CANARY}@prometheus.example/ with Bearer {CANARY}")
    log.info(
        f"asked with rot_{CANARY}",
        password=CANARY,
        options={"bearer_token": CANARY, "url": f"http://u:{CANARY}@h/", "list": [f"Basic {CANARY}"]},
        token_id="tk_1",
    )
    try:
        raise error
    except ValueError:
        log.exception("failed")
    logging.getLogger("uvicorn.error").warning("header %s", f"authorization: Bearer {CANARY}")
    assert CANARY not in stream.getvalue()
    first, second, third = lines(stream)
    assert first["event"] == f"asked with {HIDDEN}"
    assert first["options"] == {
        "bearer_token": HIDDEN,
        "url": f"http://{HIDDEN}@h/",
        "list": [f"Basic {HIDDEN}"],
    }
    assert first["token_id"] == "tk_1"
    assert "prometheus.example" in second["exception"]
    assert third["event"] == f"header authorization: Bearer {HIDDEN}"


def test_the_servers_own_lines_have_the_form_of_ours(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("Invalid HTTP request received.")
    logging.getLogger("uvicorn.access").info("a second line of a request")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == (
        "Invalid HTTP request received.",
        "error",
        "uvicorn.error",
    )


def test_a_terminal_is_given_words_instead_of_json() -> None:
    written = io.StringIO()
    configure(written, level=logging.INFO, form="pretty")
    structlog.get_logger("x").info("deployed", region="R3", token=CANARY)
    assert "deployed" in written.getvalue()
    assert "region=R3" in written.getvalue()
    assert CANARY not in written.getvalue()
    assert not written.getvalue().startswith("{")


async def test_every_line_of_a_rollout_names_it_its_service_and_who(
    tmp_path: Path, stream: io.StringIO
) -> None:
    store = new_store(tmp_path)
    story = Story(store, ONE)
    assert isinstance(story.reconciler, Reconciler)
    story.given_harm("R3", "1.1.0", FAILING)
    rollout_id = await story.given_baking("1.1.0")
    await story.until(rollout_id, Phase.ROLLED_BACK)
    store.close()
    found = [line for line in lines(stream) if line.get("rollout_id") == rollout_id]
    harm = next(line for line in found if line["event"] == "harm")
    assert (harm["service"], harm["phase"], harm["actor"]) == ("mail", "rolling_back", "controller")
    restored = [line for line in found if line["event"] == "action done" and line["kind"] == "restore"]
    assert (restored[0]["region"], restored[0]["service"]) == ("R3", "mail")
    assert restored[0]["action"].startswith(f"{rollout_id}/")
    assert {"mail"} == {line["service"] for line in found}


def test_a_traceback_on_a_terminal_is_plain_text_without_local_names() -> None:
    """Rendering every local name of every frame takes seconds, in which nothing is judged."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    kept, written = logging.getLogger().handlers[:], Terminal()
    configure(written, form="pretty")
    (handler,) = logging.getLogger().handlers
    renderer = handler.formatter.processors[-1]  # type: ignore[union-attr]
    try:
        raise ValueError("deep")
    except ValueError:
        structlog.get_logger("any").exception("failed")
    finally:
        logging.getLogger().handlers[:] = kept
    assert renderer.exception_formatter is structlog.dev.plain_traceback
    assert "Traceback (most recent call last):" in written.getvalue()
    assert "locals" not in written.getvalue()
