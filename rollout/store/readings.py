"""Observation: how far it has come, and the samples that it brought."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from rollout.core.model import ServiceRegion
from rollout.core.signals import Sample
from rollout.ports import Fence, Observed
from rollout.store import accounts, claims, mapping, services, tables
from rollout.store.writing import add_in_turn, put

_O, _S = tables.observed, tables.samples
_OBSERVED = select(_O).order_by(_O.c.service, _O.c.region)
_PLACES = (_S.c.service == bindparam("service"), _S.c.region.in_(bindparam("regions", expanding=True)))
_SINCE = _S.c.time >= bindparam("since", type_=_S.c.time.type)
_FIRST = select(func.min(_S.c.sequence)).where(*_PLACES, _SINCE)
_SAMPLES = (
    select(_S)
    .where(*_PLACES, _S.c.sequence > bindparam("after"))
    .order_by(_S.c.sequence)
    .limit(bindparam("limit"))
)
_SAMPLES_SINCE = _SAMPLES.where(_SINCE)


def observed(conn: Connection) -> tuple[Observed, ...]:
    """Every observation, by service and region."""
    return tuple(mapping.OBSERVED.noun(row) for row in conn.execute(_OBSERVED))


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
    key: dict[str, Any] = {"service": service, "regions": list(regions)}
    if since is not None:
        key["since"] = since
        if after == 0:  # where a later page begins is known
            first: int | None = conn.scalar(_FIRST, key)
            if first is None:
                return ()
            after = first - 1
    found = _SAMPLES if since is None else _SAMPLES_SINCE
    rows = conn.execute(found, {**key, "after": after, "limit": limit})
    return tuple((row.sequence, mapping.SAMPLE.noun(row)) for row in rows)
