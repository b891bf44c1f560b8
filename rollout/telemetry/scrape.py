"""One scrape: what is stored is read, in a bounded number of rows, and written beside what was counted."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from rollout.core.actions import Lane
from rollout.core.errors import RolloutError
from rollout.core.model import Region
from rollout.ports import Store
from rollout.telemetry.meters import Meters
from rollout.telemetry.standing import Standing, Value, levels

log = structlog.get_logger(__name__)

ROWS = 500  # rollouts under way, and pending actions of each lane, that one scrape reads
ANSWER_S = 5.0
_EVER = datetime(9000, 1, 1, tzinfo=UTC)  # pending actions, whenever they are due


async def scrape(
    meters: Meters, store: Store, regions: Sequence[Region], now: datetime, vital: Sequence[Value]
) -> bytes:
    """Everything as text. A database that does not answer takes away what it knows, not the rest."""
    try:
        async with asyncio.timeout(ANSWER_S):
            services = await store.services()
            standing = await _standing(store, now)
            size = Value("rollout_database_bytes", (), await store.size())
    except (RolloutError, TimeoutError) as error:
        log.warning("metrics without the database", error=str(error) or f"no answer within {ANSWER_S:g} s")
        return meters.text((*vital, Value("rollout_database_up", (), 0.0)))
    meters.prime(services, regions)
    if len(standing.busy) < ROWS:  # else those beyond would be forgotten too
        meters.only(rollout.id for rollout in standing.busy)
    return meters.text((*vital, Value("rollout_database_up", (), 1.0), size, *levels(standing)))


async def _standing(store: Store, now: datetime) -> Standing:
    return Standing(
        now=now,
        phases=await store.phase_counts(),
        busy=await store.rollouts(busy=True, limit=ROWS),
        observed=await store.observed(),
        pending=[r for lane in Lane for r in await store.due_actions(_EVER, ROWS, lane=lane)],
        backlog=await store.backlog(),
    )
