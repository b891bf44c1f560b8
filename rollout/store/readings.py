"""Observation: how far it has come, and the samples that it brought."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from rollout.core.model import ServiceRegion
from rollout.core.signals import Sample
from rollout.ports import Fence, Observed
from rollout.store import accounts, claims, mapping, services, tables
from rollout.store.writing import add_in_turn, put

_O, _S = tables.observed, tables.samples


def observed(conn: Connection) -> tuple[Observed, ...]:
    """Every observation, by service and region."""
    found = conn.execute(select(_O).order_by(_O.c.service, _O.c.region))
    return tuple(mapping.OBSERVED.noun(row) for row in found)


def save(
    conn: Connection,
    seen: Observed,
    samples: Sequence[Sample],
    running: Mapping[str, int] | None,
    fence: Fence | None = None,
) -> None:
    """Store the cursor, the samples and, when it was read back at `collected_at`, what runs. Raises Fenced.

    One owner reads a service at a time, so that no sample is counted twice.
    """
    claims.check(conn, fence)
    put(conn, _O, [mapping.OBSERVED.row(seen)])
    accounts.count_samples(conn, seen.service, [sample.region for sample in samples])
    if running is not None:
        pair = ServiceRegion(
            service=seen.service, region=seen.region, running=running, running_at=seen.collected_at
        )
        services.see_running(conn, pair)
    rows = [mapping.SAMPLE.row(sample, service=seen.service) for sample in samples]
    add_in_turn(conn, _S, rows, seen.service)


def samples(
    conn: Connection,
    service: str,
    regions: Sequence[str],
    *,
    after: int,
    since: datetime | None,
    limit: int,
) -> tuple[tuple[int, Sample], ...]:
    """Samples of several regions with their sequence numbers, in the one order of these.

    `since` is the earliest end of an interval.
    """
    if since is not None and after == 0:  # where a later page begins is known
        first = _first(conn, service, regions, since)
        if first is None:
            return ()
        after = first - 1
    found = select(_S).where(_S.c.service == service, _S.c.region.in_(regions), _S.c.sequence > after)
    if since is not None:
        found = found.where(_S.c.time >= since)
    rows = conn.execute(found.order_by(_S.c.sequence).limit(limit))
    return tuple((row.sequence, mapping.SAMPLE.noun(row)) for row in rows)


def _first(conn: Connection, service: str, regions: Sequence[str], since: datetime) -> int | None:
    """The lowest sequence number of the samples that end at or after `since`."""
    wanted = (_S.c.service == service, _S.c.region.in_(regions), _S.c.time >= since)
    first: int | None = conn.scalar(select(func.min(_S.c.sequence)).where(*wanted))
    return first
