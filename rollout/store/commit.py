"""One decision in one transaction: all of it is written, or nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from rollout.core.errors import Conflict, NotFound, StaleWrite
from rollout.core.machine import Trigger
from rollout.core.model import Outcome, Phase, Rollout
from rollout.ports import Change, Fence
from rollout.store import actions, claims, mapping, rollouts, services, tables
from rollout.store.writing import add_in_turn, put

_OBSERVED = (Outcome.OBSERVED, Outcome.WOULD_ROLL_BACK)  # of one that never acts
_R, _REGION = tables.rollouts, tables.regions
_STORED = (
    select(_R.c.version, _R.c.transitions, _R.c.wakes, _R.c.next_due_at).where(
        _R.c.id == bindparam("rollout_id")
    )  # no lock: who is late is told so, and waits for nobody
)
_UPDATE = update(_R).where(_R.c.id == bindparam("rollout_id"), _R.c.version == bindparam("read_version"))
_CLAIM = (
    update(_REGION)
    .where(
        _REGION.c.rollout_id == bindparam("holder"), _REGION.c.region.in_(bindparam("names", expanding=True))
    )
    .values(claimed=True)
)
_RELEASE = (
    update(_REGION)
    .where(_REGION.c.rollout_id == bindparam("holder"), tables.IS_CLAIMED)
    .values(claimed=False)
)
_OTHERS = (
    _REGION.c.service == bindparam("of_service"),
    _REGION.c.region.in_(bindparam("names", expanding=True)),
    tables.IS_CLAIMED,
    _REGION.c.rollout_id != bindparam("holder"),
)
_HELD = select(_REGION.c.region, _REGION.c.rollout_id).where(*_OTHERS).order_by(_REGION.c.position)
_TAKE = update(_REGION).where(*_OTHERS, _REGION.c.touched_at.is_(None)).values(claimed=False)
_DONE = (
    update(tables.intents)
    .where(
        tables.intents.c.rollout_id == bindparam("of"),
        tables.intents.c.id.in_(bindparam("ids", expanding=True)),
    )
    .values(done=True)
)


def commit(conn: Connection, change: Change, fence: Fence | None = None) -> Rollout:
    """Write a decision.

    Raises NotFound, Fenced, StaleWrite when its facts are old, and Conflict for a busy region.
    """
    rollout = change.rollout
    stored = _stored(conn, rollout, fence)
    _check_numbers(change, stored.transitions)
    new = replace(
        rollout,
        version=rollout.version + 1,
        transitions=stored.transitions + len(change.transitions),
        next_due_at=_next_due_at(rollout, stored),
    )
    at = change.transitions[-1].at if change.transitions else rollout.since
    _write_rollout(conn, new, rollout.version, fence)
    actions.record(conn, change.actions)
    actions.drop(conn, rollout.id, change.drop_actions, at)
    _intents_done(conn, rollout.id, change.intents_done)
    for intent in change.intents_new:
        rollouts.ask(conn, intent)
    put(conn, tables.obligations, [mapping.OBLIGATION.row(owed) for owed in change.obligations])
    evidence = change.evidence.items()
    put(
        conn, tables.evidence, [mapping.EVIDENCE.row(e, rollout_id=rollout.id, region=r) for r, e in evidence]
    )
    _settle_claims(conn, change)
    services.move(conn, change)
    if change.rolled_back:
        services.stop(conn, rollout, at)
    elif rollout.outcome not in _OBSERVED and any(
        t.trigger == Trigger.ALL_PASSED for t in change.transitions
    ):
        services.go_on(conn, rollout)
    add_in_turn(conn, tables.transitions, [_transition(new, t) for t in change.transitions])
    return new


def _stored(conn: Connection, rollout: Rollout, fence: Fence | None) -> Row[Any, Any, Any, Any]:
    stored = conn.execute(_STORED, {"rollout_id": rollout.id}).one_or_none()
    if stored is None:
        raise NotFound("rollout", rollout.id)
    if stored.version != rollout.version:
        claims.check(conn, fence)  # who is fenced off need not read again
        raise _stale(rollout)
    return stored


def _stale(rollout: Rollout) -> StaleWrite:
    return StaleWrite(
        f"Rollout '{rollout.id}' has changed since version {rollout.version} was read. "
        "Read it again and decide again."
    )


def _check_numbers(change: Change, stored: int) -> None:
    numbers = [transition.number for transition in change.transitions]
    expected = list(range(stored + 1, stored + 1 + len(numbers)))
    assert numbers == expected, f"history of '{change.rollout.id}' goes on with {expected}, not {numbers}"


def _next_due_at(rollout: Rollout, stored: Row[Any, Any, Any, Any]) -> datetime | None:
    """What the decision wants, unless something has asked for a look since its facts were read."""
    if stored.wakes == rollout.wakes:
        return rollout.next_due_at
    return min((at for at in (rollout.next_due_at, stored.next_due_at) if at is not None), default=None)


def _write_rollout(conn: Connection, new: Rollout, read_version: int, fence: Fence | None) -> None:
    values = mapping.rollout_row(new)
    del values["id"], values["wakes"]  # only a wake-up counts as one
    statement, held = claims.guarded(_UPDATE, fence)
    written = conn.execute(statement, {"rollout_id": new.id, "read_version": read_version, **values, **held})
    if written.rowcount != 1:
        claims.check(conn, fence)
        raise _stale(replace(new, version=read_version))
    put(conn, _REGION, mapping.region_rows(new))


def _transition(rollout: Rollout, transition: Any) -> mapping.Values:
    return mapping.transition_row(rollout.release.service, transition)


def _intents_done(conn: Connection, rollout_id: str, ids: Sequence[str]) -> None:
    if ids:
        conn.execute(_DONE, {"of": rollout_id, "ids": list(ids)})


def _settle_claims(conn: Connection, change: Change) -> None:
    """A rollout that is finished, queued or held untouched holds no region; any other takes what it claims.

    Raises Conflict when another rollout holds one of them.
    """
    rollout = change.rollout
    waits = rollout.phase in (Phase.QUEUED, Phase.HELD) and not rollout.touched
    if rollout.finished or waits:
        conn.execute(_RELEASE, {"holder": rollout.id})
        return
    if not change.claim:
        return
    who = {"holder": rollout.id, "names": list(change.claim)}
    others = {**who, "of_service": rollout.release.service}
    if rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED):
        conn.execute(_TAKE, others)  # whoever has not touched a region waits for the way back
    try:
        with conn.begin_nested():
            claimed = conn.execute(_CLAIM, who).rowcount
    except IntegrityError as error:
        held = conn.execute(_HELD, others).all()
        if not held:
            raise  # claimed since this transaction began: the next try sees by whom
        raise _busy(rollout.release.service, held) from error
    assert claimed == len(change.claim), (
        f"'{rollout.id}' claims a region that it does not have: {change.claim}"
    )


def _busy(service: str, rows: Sequence[Row[Any, Any]]) -> Conflict:
    held = "; ".join(f"{row.region} is held by rollout '{row.rollout_id}'" for row in rows)
    return Conflict(
        f"Service '{service}': {held}. Wait until that rollout has ended, or roll it back.", "region-busy"
    )
