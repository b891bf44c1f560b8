"""Who works on which service: leases of replicas, claims with an epoch, and the check that a write is theirs.

A replica renews one row, however many services it holds. A claim is free when nobody owns it, or its owner's
lease is over by the database's own clock; whoever takes it raises its epoch, so that a write with an older
epoch changes nothing. A database that went back may give an epoch again, so the owner is compared too. Both
guard the database; at targets it is the generation that guards (S3).
"""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, bindparam, delete, func, or_, select, update

from rollout.core.errors import Fenced
from rollout.ports import Fence, Held, Replica, SeenReplica
from rollout.store import tables
from rollout.store.writing import add_missing, put

NOBODY = ""
BEYOND = 1000  # epochs: more than were given since the copy was made that a database went back to
CHANCE = 1_000_000  # epochs: where the same copy comes twice, nobody is given the same one twice
CHUNK = 1000  # services in one statement; PostgreSQL takes 65,535 parameters
FORGOTTEN = timedelta(days=1)  # after its lease, when a replica is not listed any more
_C, _REPLICA = tables.claims, tables.replicas
_NOW = bindparam("now", type_=_REPLICA.c.until.type)
_OWNER_LIVES = select(_REPLICA.c.id).where(_REPLICA.c.id == _C.c.owner, _REPLICA.c.until > _NOW).exists()
_FREE = or_(_C.c.owner == NOBODY, ~_OWNER_LIVES)
_ANY_FREE = select(_C.c.service).where(_FREE).limit(1)
_MINE = select(_C.c.service, _C.c.epoch).where(_C.c.owner == bindparam("me")).order_by(_C.c.service)
_TAKES = (
    select(_C.c.service)
    .where(_FREE)
    .order_by(_C.c.service)
    .limit(bindparam("room"))
    .with_for_update(skip_locked=True)
)
_LIVING = select(func.count()).select_from(_REPLICA).where(_REPLICA.c.until > _NOW).scalar_subquery()
_COUNTED = select(_LIVING.label("living"), func.count().label("services")).select_from(_C)
_KNOWN = select(_REPLICA).where(_REPLICA.c.id == bindparam("me"))
_SINCE = bindparam("since", type_=_REPLICA.c.until.type)
_LISTED = select(_REPLICA).where(_REPLICA.c.until >= _SINCE).order_by(_REPLICA.c.id)
_GONE = select(_REPLICA.c.id).where(_REPLICA.c.until < _SINCE).limit(bindparam("limit"))
_FORGET = delete(_REPLICA).where(_REPLICA.c.id.in_(_GONE.scalar_subquery()))
_OWNER = select(_C.c.owner, _C.c.epoch).where(_C.c.service == bindparam("of"))
OWNED = select(_C.c.service).where(_C.c.owner == bindparam("owner"))
"""The services that a replica holds, as a subquery; `owner` is its id."""
_BY = _C.c.owner == bindparam("fenced_owner")
_FENCED = (_C.c.service == bindparam("fenced_service"), _BY, _C.c.epoch == bindparam("fenced_epoch"))
STILL_HELD: ColumnElement[bool] = select(_C.c.service).where(*_FENCED).exists()


def hold(
    conn: Connection, now: datetime, replica: Replica, *, instead_of: str | None, busy: Collection[str]
) -> Held:
    """Renew the lease of a replica, take what is free up to its fair share, and give up what is beyond it.

    `instead_of`: the incarnation whose place this process took; None asks for that, and what an earlier one
    with the same id held is held anew, as it is where a failover lost the start of this one. No clock says
    who was first: one of another server may be behind. `busy` services are not given up. Raises Fenced when
    another process has taken the identity of this one.
    """
    instead_of = _renew(conn, now, replica, instead_of)
    found = conn.execute(_COUNTED, {"now": now}).one()
    held = _held(conn, replica)
    room = ceil(found.services / found.living) - len(held)
    idle = [service for service in held if service not in busy]
    given = idle[: max(0, -room)]
    taken = list(conn.scalars(_TAKES, {"now": now, "room": room})) if room > 0 else []
    _own(conn, given, NOBODY)
    _own(conn, taken, replica.id)
    if given or taken:
        held = _held(conn, replica)
    return Held(claims=held, replicas=found.living, now=now, instead_of=instead_of)


def _held(conn: Connection, replica: Replica) -> dict[str, int]:
    return {row.service: row.epoch for row in conn.execute(_MINE, {"me": replica.id})}


def leave(conn: Connection, now: datetime, replica: Replica) -> None:
    """End the lease of a replica that stops in order: others take its services at once."""
    mine = (_REPLICA.c.id == replica.id, _REPLICA.c.incarnation == replica.incarnation)
    conn.execute(update(_REPLICA).where(*mine).values(until=now))


def any_free(conn: Connection, now: datetime) -> bool:
    """Whether some service has no living owner."""
    return conn.execute(_ANY_FREE, {"now": now}).first() is not None


def replicas(conn: Connection, now: datetime) -> tuple[SeenReplica, ...]:
    """Every replica whose lease held within the last day, by id, and what it holds."""
    held: dict[str, list[str]] = {}
    for row in conn.execute(select(_C.c.service, _C.c.owner).order_by(_C.c.service)):
        held.setdefault(row.owner, []).append(row.service)
    return tuple(
        SeenReplica(
            id=row.id,
            about=row.about,
            started_at=row.started_at,
            until=row.until,
            alive=row.until > now,
            services=tuple(held.get(row.id, ())),
        )
        for row in conn.execute(_LISTED, {"since": now - FORGOTTEN})
    )


def forget(conn: Connection, now: datetime, limit: int) -> int:
    """Delete replicas that are not listed any more, at most `limit`. Returns how many."""
    return conn.execute(_FORGET, {"since": now - FORGOTTEN, "limit": limit}).rowcount


def declare(conn: Connection, service: str) -> None:
    """A service that is new belongs to nobody yet."""
    add_missing(conn, _C, {"service": service, "owner": NOBODY, "epoch": 0})


def take_away(conn: Connection) -> None:
    """Every service is nobody's, and whoever held one is fenced off, also where a lost epoch was given."""
    jump = BEYOND + secrets.randbelow(CHANCE)
    conn.execute(update(_C).values(owner=NOBODY, epoch=_C.c.epoch + jump))


def guarded(statement: Update, fence: Fence | None) -> tuple[Update, dict[str, Any]]:
    """The same statement, which changes nothing once the claim is another's, and its parameters."""
    if fence is None:
        return statement, {}
    held = {"fenced_service": fence.service, "fenced_owner": fence.owner, "fenced_epoch": fence.epoch}
    return _still_held(statement), held


@lru_cache(maxsize=16)  # one entry per statement of the store
def _still_held(statement: Update) -> Update:
    return statement.where(STILL_HELD)


def check(conn: Connection, fence: Fence | None) -> None:
    """Raises Fenced when the claim that a write rests on has been taken by another replica since."""
    if fence is None:
        return
    row = conn.execute(_OWNER, {"of": fence.service}).one_or_none()
    if row is None or (row.owner, row.epoch) != (fence.owner, fence.epoch):
        now = f"it is held by '{row.owner or 'nobody'}' with epoch {row.epoch}" if row else "nobody knows it"
        raise Fenced(
            f"Service '{fence.service}' is not held by '{fence.owner}' with epoch {fence.epoch} any more: "
            f"{now}. Nothing was written; the replica that holds it goes on."
        )


def _renew(conn: Connection, now: datetime, replica: Replica, instead_of: str | None) -> str:
    before = conn.execute(_KNOWN, {"me": replica.id}).one_or_none()
    started_at = now if before is None else before.started_at
    if before is not None and before.incarnation != replica.incarnation:
        if instead_of is not None and before.incarnation != instead_of:
            raise Fenced(
                f"Another process works as replica '{replica.id}' since {before.started_at.isoformat()} "
                f"({before.about}). Give each replica its own data directory (ROLLOUT_DATA), and restart."
            )
        instead_of, started_at = before.incarnation, now
        _own(conn, tuple(_held(conn, replica)), replica.id)
    row = {
        "id": replica.id,
        "incarnation": replica.incarnation,
        "about": replica.about,
        "started_at": started_at,
        "until": now + timedelta(seconds=replica.lease_s),
    }
    put(conn, _REPLICA, [row])
    return instead_of or ""


def _own(conn: Connection, services: Sequence[str], owner: str) -> None:
    """Change the owner; a new one begins a new epoch."""
    more = 0 if owner == NOBODY else 1
    for first in range(0, len(services), CHUNK):
        chosen = update(_C).where(_C.c.service.in_(services[first : first + CHUNK]))
        conn.execute(chosen.values(owner=owner, epoch=_C.c.epoch + more))
