"""Traces: none until configured; then one trace for a rollout, and the caller's trace for a request."""

from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rollout.core.model import Outcome, Phase
from rollout.telemetry import Telemetry
from rollout.telemetry.spans import RESULTS, current_trace_id, enabled, trace_of
from tests.api.api_world import declare, open_world
from tests.observability.test_events import observed_by
from tests.scenarios.world import ONE, World, new_store

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider for one test; the global one can be set only once in a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = new_store(tmp_path)
    yield observed_by(World(store, ONE), Telemetry())
    store.close()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_nothing_is_traced_until_somebody_configures_it(world: World) -> None:
    assert not enabled()
    assert current_trace_id() is None
    await world.given_succeeded()


async def test_a_rollout_is_one_trace_of_decisions_attempts_and_its_whole_life(
    world: World, spans: InMemorySpanExporter
) -> None:
    world.given_harm("R3", "1.1.0")
    rollout_id = await world.given_baking("1.1.0")
    observed_by(world, Telemetry())  # another process goes on with the same trace
    await world.until(rollout_id, Phase.ROLLED_BACK)
    all_of_it = spans.get_finished_spans()
    assert {span.context.trace_id for span in all_of_it} == {trace_of(rollout_id).trace_id}
    (harm,) = named(spans, "decide restore") or named(spans, "decide harm")
    assert harm.attributes is not None
    assert harm.attributes["cicd.pipeline.run.id"] == rollout_id
    assert harm.attributes["rollout.phase"] == "rolling_back"
    assert harm.kind is SpanKind.INTERNAL
    restore = named(spans, "restore R3")[0]
    assert restore.attributes is not None
    assert restore.attributes["cicd.pipeline.task.run.result"] == "success"
    assert restore.attributes["cloud.region"] == "R3"
    (whole,) = (span for span in named(spans, "RUN standard") if span.status.status_code is StatusCode.ERROR)
    assert whole.attributes is not None
    assert whole.kind is SpanKind.SERVER
    assert whole.attributes["cicd.pipeline.result"] == "failure"
    assert whole.attributes["rollout.outcome"] == "rolled_back"
    rollout = await world.rollout(rollout_id)
    assert whole.start_time == int(rollout.created_at.timestamp() * 1e6) * 1000
    assert rollout.finished_at is not None
    assert whole.end_time == int(rollout.finished_at.timestamp() * 1e6) * 1000


async def test_an_attempt_without_an_answer_is_an_error(world: World, spans: InMemorySpanExporter) -> None:
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.fake_deployer("R3").unreachable = True
    from tests.scenarios.world import DANA

    await world.commands.rollback(rollout_id, DANA, "enough")
    await world.run(5)
    tries = named(spans, "restore R3")
    assert len(tries) >= 2
    assert {span.status.status_code for span in tries} == {StatusCode.ERROR}
    assert [span.attributes["rollout.attempt"] for span in tries if span.attributes][:2] == [1, 2]


def test_every_outcome_has_a_result_of_the_conventions() -> None:
    assert set(RESULTS) == set(Outcome)
    known = {"success", "failure", "error", "timeout", "cancellation", "skip"}
    assert set(RESULTS.values()) <= known


async def test_a_request_goes_on_with_the_trace_of_its_caller(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    world, store = open_world(tmp_path)
    await declare(world)
    async with await world.client("viewer") as client:
        followed = await client.get("/v1/rollouts", headers={"traceparent": PARENT})
        own = await client.get("/v1/rollouts")
        await client.get("/livez")
    store.close()
    first, second = named(spans, "GET /v1/rollouts")
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == "b7ad6b7169203331"
    assert followed.headers["x-trace-id"] == f"{first.context.trace_id:032x}" == PARENT.split("-")[1]
    assert own.headers["x-trace-id"] == f"{second.context.trace_id:032x}"
    assert len(spans.get_finished_spans()) == 2, "probes are not traced"


class _Collector(BaseHTTPRequestHandler):
    got: list[tuple[str, bytes]] = []  # noqa: RUF012  # one for the test's server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, body))
        self.send_response(HTTPStatus.OK)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.real
def test_serve_sends_its_spans_where_the_environment_says(tmp_path: Path) -> None:
    """The real exporter to a real receiver, switched on by environment variables alone."""
    import gzip
    import os
    import signal
    import subprocess
    import sys

    import httpx

    receiver = HTTPServer(("127.0.0.1", 0), _Collector)
    Thread(target=receiver.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "rollout-under-test",
        "ROLLOUT_DATA": str(tmp_path / "var"),
    }
    code = "import sys; from rollout.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serve:
        try:
            assert serve.stdout is not None
            url = serve.stdout.readline().strip()
            httpx.get(f"{url}/v1/rollouts", headers={"traceparent": PARENT}, trust_env=False)
        finally:
            serve.send_signal(signal.SIGTERM)
            serve.communicate(timeout=20)
    receiver.shutdown()
    receiver.server_close()
    bodies = [body if body[:2] != b"\x1f\x8b" else gzip.decompress(body) for _, body in _Collector.got]
    assert {path for path, _ in _Collector.got} == {"/v1/traces"}
    assert any(bytes.fromhex(PARENT.split("-")[1]) in body for body in bodies)
    assert any(b"rollout-under-test" in body and b"/v1/rollouts" in body for body in bodies)
