"""A database that may be older than the world: how that is seen, and which (service, region) are in doubt.

It is older when it was put back from a backup, or when it lacks an event that this data directory knows of (a
file was copied over it, a standby without the last commits took over), also under the event's number. A copy
that comes a second time lacks no event; its claims have fewer epochs, which only rise. What is then done is
rollout/reconciling/doubts.py's work.
"""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, inspect, select, text, true

from rollout.core.model import Doubt, ServiceRegion
from rollout.highwater import Mark
from rollout.ports import Fence
from rollout.store import claims, mapping, tables
from rollout.store.backup import FILES, INFO
from rollout.store.writing import put

_SR, _T = tables.service_regions, tables.transitions
_EVENTS = select(_T.c.sequence, _T.c.rollout_id, _T.c.at)
_EPOCHS = select(func.coalesce(func.sum(tables.claims.c.epoch), 0).label("epochs")).subquery()
_NEWEST = _EVENTS.order_by(_T.c.sequence.desc()).limit(1).subquery()
_MARK = select(_NEWEST, _EPOCHS.c.epochs).select_from(_EPOCHS.outerjoin(_NEWEST, true()))
_KNOWN = _EVENTS.where(_T.c.sequence == bindparam("known"))
_INFO = text(f"SELECT body FROM {INFO}")  # noqa: S608  # our own name


def newest_event(conn: Connection) -> Mark:
    """How far history came."""
    row = conn.execute(_MARK).one()
    return Mark(row.sequence or 0, _told_apart(row), int(row.epochs))


def distrust_if_old(conn: Connection, now: datetime, known: Mark) -> str:
    """Put every region in doubt when the database lacks what a mark says, or was put back.

    Returns why, in a sentence; empty when it is not old. What says that it was put back is taken away, and so
    is every claim: who takes it anew reads the doubts first. A doubt that is there already stays as it is.
    """
    why = why_old(conn, known)
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
    conn: Connection,
    service: str,
    region: str,
    doubt: Doubt | None,
    fence: Fence | None = None,
    *,
    of: Doubt | None = None,
) -> None:
    """Keep what a reading found; None ends the doubt. What somebody adopted meanwhile is in no doubt.

    `of`: the doubt that was compared; a newer one stays as it is. Raises Fenced.
    """
    claims.check(conn, fence)
    key = (_SR.c.service == service, _SR.c.region == region)
    row = conn.execute(select(_SR).where(*key)).one_or_none()
    pair = None if row is None else mapping.SERVICE_REGION.noun(row)
    if pair is not None and pair.doubt is not None and (of is None or _same(pair.doubt, of)):
        _save(conn, [replace(pair, doubt=doubt)])


def why_old(conn: Connection, known: Mark) -> str:
    """Why the database is older than the world, in a sentence; empty when it is not."""
    if inspect(conn).has_table(INFO):
        taken = datetime.fromisoformat(json.loads(conn.execute(_INFO).scalar_one())["taken_at"])
        return f"the database was put back from the backup of {taken:%Y-%m-%d %H:%M:%S} UTC"
    newest = newest_event(conn)
    if newest.number < known.number:
        text = f"the database ends with event {newest.number}, and {known.number} was recorded here"
        return f"{text}: it is an older copy"
    there = conn.execute(_KNOWN, {"known": known.number}).one_or_none()
    if known.event and _told_apart(there) != known.event:
        text = f"the database lacks event {known.number}, which was recorded here"
        return f"{text}, and has others since: an older copy"
    if newest.epochs < known.epochs:
        text = f"the epochs of its claims add up to {newest.epochs}, and {known.epochs} was recorded here"
        return f"{text}: the database is an older copy"
    return ""


def _told_apart(row: Any) -> str:
    """What tells an event from any other, also of the same number."""
    return f"{row.rollout_id}/{row.at.isoformat()}" if row is not None and row.sequence else ""


def _same(one: Doubt, other: Doubt) -> bool:
    """Whether both are of the same time: what readings found of it may differ."""
    was, new = ((doubt.since, doubt.believed, doubt.generation) for doubt in (one, other))
    return was == new


def _doubted(pair: ServiceRegion, now: datetime, why: str) -> ServiceRegion:
    doubt = Doubt(since=now, text=why, believed=pair.running, generation=pair.generation)
    return replace(pair, doubt=doubt)


def _save(conn: Connection, pairs: list[ServiceRegion]) -> None:
    put(conn, _SR, [mapping.SERVICE_REGION.row(pair) for pair in pairs])
