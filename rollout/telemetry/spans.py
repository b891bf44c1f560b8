"""Traces of OpenTelemetry: nothing, at no cost, until somebody configures a tracer provider.

A rollout lives for hours and its controller may be replaced meanwhile, so no span stays open as long as it:
each decision that moves it and each attempt at an action is a span of its own, and when it ends, one span
over its whole life. Its trace id is made from its id, so all of them are one trace, whichever process wrote
them. Names are those of OpenTelemetry's semantic conventions for CI/CD (`cicd.*`, `cloud.region`); ours begin
with `rollout.`.

The only home of opentelemetry here; requests are FastAPI's own spans.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.util.types import AttributeValue

import rollout
from rollout.core.actions import ActionRecord
from rollout.core.model import ActionState, Outcome, Rollout
from rollout.telemetry.onlooker import Attempted, Decided, Onlooker

RESULTS = {  # cicd.pipeline.result
    Outcome.PROMOTED: "success",
    Outcome.FAST_PROMOTED: "success",
    Outcome.OBSERVED: "success",
    Outcome.WOULD_ROLL_BACK: "failure",
    Outcome.ROLLED_BACK: "failure",
    Outcome.ABORTED: "cancellation",
    Outcome.REJECTED: "cancellation",
    Outcome.CANCELED: "cancellation",
    Outcome.SUPERSEDED: "skip",
}
_TASK_RESULTS = {
    ActionState.SUCCEEDED: "success",
    ActionState.FAILED: "failure",
    ActionState.DROPPED: "cancellation",
}


class Spans(Onlooker):
    """A span for each decision that moved something, each attempt, and each ended rollout."""

    def decided(self, what: Decided) -> None:
        """One span, named for what moved the rollout last; one more when it ends."""
        if not enabled() or not what.change.transitions:
            return
        after, last = what.change.rollout, what.change.transitions[-1]
        reason = last.reason
        about = {
            **_of_rollout(after),
            "rollout.trigger": last.trigger,
            "rollout.actor": last.actor,
            "rollout.reason.code": reason.code,
            "rollout.reason.text": reason.text,
            "rollout.transitions": len(what.change.transitions),
        }
        _write(after.id, f"decide {last.trigger}", about, last.region, what.now, what.now)
        if after.finished and not what.case.rollout.finished:
            self._whole(after, what.now)

    def _whole(self, ended: Rollout, now: datetime) -> None:
        outcome = ended.outcome or Outcome.CANCELED
        about = {
            **_of_rollout(ended),
            "cicd.pipeline.result": RESULTS[outcome],
            "rollout.outcome": outcome,
        }
        name, failed = f"RUN {ended.policy}", RESULTS[outcome] == "failure"
        _write(ended.id, name, about, None, ended.created_at, now, failed=failed, kind=SpanKind.SERVER)

    def attempted(self, what: Attempted) -> None:
        """One span as long as the attempt."""
        if enabled():
            record = what.record
            failed = record.state is ActionState.FAILED or record.unreachable_since is not None
            name = " ".join(filter(None, (record.action.kind, record.action.region)))
            about, region = _of_action(record), record.action.region
            _write(record.rollout_id, name, about, region, what.began, what.ended, failed=failed)


def enabled() -> bool:
    """Whether a tracer provider was configured in this process."""
    return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


def current_trace_id() -> str | None:
    """The trace of the request that is being served, 32 hexadecimal digits; None while nothing is traced."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


def trace_of(rollout_id: str) -> SpanContext:
    """The place in which every span of a rollout hangs: one trace per rollout, in every process the same."""
    digest = sha256(rollout_id.encode()).digest()
    return SpanContext(
        trace_id=int.from_bytes(digest[:16]) or 1,
        span_id=int.from_bytes(digest[16:24]) or 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _of_rollout(rollout_: Rollout) -> dict[str, AttributeValue]:
    return {
        "cicd.pipeline.name": rollout_.policy,
        "cicd.pipeline.run.id": rollout_.id,
        "rollout.service": rollout_.release.service,
        "rollout.version": rollout_.release.version,
        "rollout.phase": rollout_.phase,
    }


def _of_action(record: ActionRecord) -> dict[str, AttributeValue]:
    action = record.action
    about: dict[str, AttributeValue] = {
        "cicd.pipeline.run.id": record.rollout_id,
        "cicd.pipeline.task.name": action.kind,
        "cicd.pipeline.task.run.id": record.key,
        "cicd.pipeline.task.type": "deploy",
        "rollout.service": action.service,
        "rollout.version": action.version,
        "rollout.weight": action.weight,
        "rollout.generation": action.generation,
        "rollout.attempt": record.attempts,
        "rollout.message": record.result.message[:500],
    }
    if record.state in _TASK_RESULTS:
        about["cicd.pipeline.task.run.result"] = _TASK_RESULTS[record.state]
    return about


def _write(
    rollout_id: str,
    name: str,
    about: Mapping[str, AttributeValue],
    region: str | None,
    began: datetime,
    ended: datetime,
    *,
    failed: bool = False,
    kind: SpanKind = SpanKind.INTERNAL,
) -> None:
    where = {"cloud.region": region} if region else {}
    span = trace.get_tracer("rollout", rollout.__version__).start_span(
        name,
        context=trace.set_span_in_context(NonRecordingSpan(trace_of(rollout_id))),
        kind=kind,
        attributes={**about, **where},
        start_time=_nanoseconds(began),
    )
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(ended))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
