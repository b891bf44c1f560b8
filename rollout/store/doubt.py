"""A database that may be older than the world: how that is seen, and which (service, region) are in doubt.

It is older when it was put back from a backup, or when it lacks an event that this data directory knows of (a
file was copied over it, a standby without the last commits took over), also under the event's number. What is
then done about it is rollout/reconciling/doubts.py's work.
"""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, inspect, select, text

from rollout.core.model import Doubt, ServiceRegion
from rollout.ports import Fence
from rollout.store import claims, mapping, tables
from rollout.store.backup import FILES, INFO
from rollout.store.writing import put

_SR, _T = tables.service_regions, tables.transitions
_EVENTS = select(_T.c.sequence, _T.c.rollout_id, _T.c.at)
_NEWEST = _EVENTS.order_by(_T.c.sequence.desc()).limit(1)
_KNOWN = _EVENTS.where(_T.c.sequence == bindparam("known"))
_INFO = text(f"SELECT body FROM {INFO}")  # noqa: S608  # our own name


def newest_event(conn: Connection) -> tuple[int, str]:
    """The number of the newest event, and what tells it from any other; 0 while there is none."""
    return _event(conn.execute(_NEWEST).one_or_none())


def distrust_if_old(conn: Connection, now: datetime, known: int, event: str = "") -> str:
    """Put every region in doubt when the database lacks the event with the number `known`, or was put back.

    Returns why, in a sentence; empty when it is not old. What says that it was put back is taken away, and so
    is every claim: who takes it anew reads the doubts first. A doubt that is there already stays as it is.
    """
    why = why_old(conn, known, event)
    if why:
        pairs = [mapping.SERVICE_REGION.noun(row) for row in conn.execute(select(_SR))]
        _save(conn, [_doubted(pair, now, why) for pair in pairs if pair.doubt is None])
        claims.take_away(conn)
        for name in (INFO, FILES):
            conn.execute(text(f"DROP TABLE IF EXISTS {name}"))
    return why


def doubted(conn: Connection) -> tuple[ServiceRegion, ...]:
    """The pairs that are in doubt, by service and region."""
    found = conn.execute(select(_SR).order_by(_SR.c.service, _SR.c.region))
    return tuple(pair for row in found if (pair := mapping.SERVICE_REGION.noun(row)).doubt)


def settle(
    conn: Connection, service: str, region: str, doubt: Doubt | None, fence: Fence | None = None
) -> None:
    """Keep what a reading found; None ends the doubt. What somebody adopted meanwhile is in no doubt.

    Raises Fenced.
    """
    claims.check(conn, fence)
    key = (_SR.c.service == service, _SR.c.region == region)
    row = conn.execute(select(_SR).where(*key)).one_or_none()
    pair = None if row is None else mapping.SERVICE_REGION.noun(row)
    if pair is not None and pair.doubt is not None:
        _save(conn, [replace(pair, doubt=doubt)])


def why_old(conn: Connection, known: int, event: str = "") -> str:
    """Why the database is older than the world, in a sentence; empty when it is not."""
    if inspect(conn).has_table(INFO):
        taken = datetime.fromisoformat(json.loads(conn.execute(_INFO).scalar_one())["taken_at"])
        return f"the database was put back from the backup of {taken:%Y-%m-%d %H:%M:%S} UTC"
    newest, _ = newest_event(conn)
    if newest < known:
        return f"the database ends with event {newest}, and {known} was recorded here: it is an older copy"
    if event and _event(conn.execute(_KNOWN, {"known": known}).one_or_none()) != (known, event):
        return (
            f"the database lacks event {known}, which was recorded here, and has others since: an older copy"
        )
    return ""


def _event(row: Row[Any, Any, Any] | None) -> tuple[int, str]:
    return (0, "") if row is None else (row.sequence, f"{row.rollout_id}/{row.at.isoformat()}")


def _doubted(pair: ServiceRegion, now: datetime, why: str) -> ServiceRegion:
    doubt = Doubt(since=now, text=why, believed=pair.running, generation=pair.generation)
    return replace(pair, doubt=doubt)


def _save(conn: Connection, pairs: list[ServiceRegion]) -> None:
    put(conn, _SR, [mapping.SERVICE_REGION.row(pair) for pair in pairs])
