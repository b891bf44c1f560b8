"""Observation: how far it has come, and the samples that it brought."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select

from rollout.core.model import Sample, ServiceRegion
from rollout.ports import Observed
from rollout.store import mapping, services, tables
from rollout.store.writing import add, put

_O, _S = tables.observed, tables.samples


def observed(conn: Connection) -> tuple[Observed, ...]:
    """Every observation, by service and region."""
    found = conn.execute(select(_O).order_by(_O.c.service, _O.c.region))
    return tuple(mapping.OBSERVED.noun(row) for row in found)


def save(
    conn: Connection, seen: Observed, samples: Sequence[Sample], running: Mapping[str, int] | None
) -> None:
    """Store the cursor, the samples and, when it was read back at `collected_at`, what runs."""
    put(conn, _O, [mapping.OBSERVED.row(seen)])
    add(conn, _S, [mapping.SAMPLE.row(sample, service=seen.service) for sample in samples])
    if running is not None:
        pair = ServiceRegion(
            service=seen.service, region=seen.region, running=running, running_at=seen.collected_at
        )
        services.see_running(conn, pair)


def samples(
    conn: Connection, service: str, region: str, *, after: int, since: datetime | None, limit: int
) -> tuple[tuple[int, Sample], ...]:
    """Samples with their sequence numbers, in order; `since` is the earliest end of an interval."""
    found = select(_S).where(_S.c.service == service, _S.c.region == region, _S.c.sequence > after)
    if since is not None:
        found = found.where(_S.c.time >= since)
    rows = conn.execute(found.order_by(_S.c.sequence).limit(limit))
    return tuple((row.sequence, mapping.SAMPLE.noun(row)) for row in rows)


def forget(conn: Connection, before: datetime) -> int:
    """Delete samples older than `before`, and sessions that ended before it. Returns how many samples."""
    conn.execute(delete(tables.sessions).where(tables.sessions.c.expires_at < before))
    return conn.execute(delete(_S).where(_S.c.time < before)).rowcount
