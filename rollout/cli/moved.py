"""Why a decision came too late: what moved since it was looked at, when, and who moved it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.cli.watching import history
from rollout.client.client import path
from rollout.core.reason import span


@contextmanager
def telling_what_moved(session: Session, rollout_id: str, seen: int | None) -> Iterator[None]:
    """Put what changed since `seen` before a refusal with exit 32."""
    try:
        yield
    except Failure as failure:
        if failure.exit_code is not Exit.CHANGED:
            raise
        told = _told(session, rollout_id, seen)
        message = "\n".join(filter(None, (told, failure.message)))
        raise Failure(message, failure.exit_code, failure.then, failure.problem) from failure


def _told(session: Session, rollout_id: str, seen: int | None) -> str:
    """One sentence about the newest change; empty when the server cannot say."""
    try:
        view = session.remote.get(path(rollout_id)).body
        events = list(history(session, rollout_id, 0))
    except Failure:
        return ""
    since = [event for event in events if seen is None or event["number"] > seen]
    moves = [event for event in since if event["region"] is None and event["from_phase"] != event["to_phase"]]
    if not since:
        return ""
    return _sentence(view, (moves or since)[-1], seen, session.world.clock.now())


def _sentence(view: Mapping[str, Any], event: Mapping[str, Any], seen: int | None, now: datetime) -> str:
    past_s = max(0.0, (now - datetime.fromisoformat(event["at"])).total_seconds())
    ago = f"{span(past_s)} ago by {event['actor']}"
    versions = f"you saw v{seen}, now v{view['row_version']}" if seen else f"now v{view['row_version']}"
    place = f" in {event['region']}" if event["region"] else ""
    if event["from_phase"] in ("", event["to_phase"]):
        return f"{view['service']} moved on{place} {ago}: {event['reason']['text']} ({versions})."
    phases = f"from {event['from_phase']} to {event['to_phase']}"
    return f"{view['service']} moved{place} {phases} {ago} ({versions})."
