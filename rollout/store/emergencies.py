"""What people ordered without this database: taken in once, so that nothing here fights it.

In one transaction: the fence rises, the region is in doubt, its pending orders are dropped, every rollout
that touches it is held or goes back to the same release, and automatic promotion of the service stops.
Whoever holds the service is fenced off, and reads all that anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from rollout.core.actions import ActionResult
from rollout.core.model import (
    ActionState,
    Doubt,
    Drift,
    Intent,
    IntentKind,
    Kind,
    KnownGood,
    Phase,
    RegionRollout,
    Rollout,
    ServiceRegion,
)
from rollout.ids import new_id
from rollout.ports import Emergency
from rollout.store import mapping, rollouts, services, tables
from rollout.store.claims import NOBODY
from rollout.store.writing import add_missing, put

_E, _SR, _A, _R = tables.emergencies, tables.service_regions, tables.actions, tables.rollouts
_CHANGES = (Kind.DEPLOY, Kind.RESTORE, Kind.REHEARSE, Kind.RESUME_WORK)
_GOING_BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)


def every_region(conn: Connection) -> tuple[ServiceRegion, ...]:
    """What is known of every service in every region."""
    found = conn.execute(select(_SR).order_by(_SR.c.service, _SR.c.region))
    return tuple(mapping.SERVICE_REGION.noun(row) for row in found)


def stamp(conn: Connection) -> tuple[int, int, int]:
    """Changes with every known good that is earned, adopted or lost, and with every fence; cheap to read."""
    pairs, fences = conn.execute(select(func.count(), func.coalesce(func.sum(_SR.c.generation), 0))).one()
    return rollouts.newest_sequence(conn), int(pairs), int(fences)


def know_again(conn: Connection, pair: ServiceRegion) -> bool:
    """Put in what a signed file knows of a pair, unless it is known here; whether it was not."""
    key = (_SR.c.service == pair.service, _SR.c.region == pair.region)
    if conn.execute(select(_SR.c.service).where(*key)).first() is not None:
        return False
    add_missing(conn, _SR, mapping.SERVICE_REGION.row(pair))
    return True


def taken_in(conn: Connection) -> frozenset[tuple[str, str]]:
    """Key and state of each that is known here; a database that went back lacks some."""
    return frozenset((row.key, row.state) for row in conn.execute(select(_E.c.key, _E.c.state)))


def take_in(conn: Connection, emergency: Emergency, now: datetime) -> bool:
    """Reconcile with what was ordered; whether it was not known yet as it stands now."""
    known = conn.execute(select(_E.c.state).where(_E.c.key == emergency.key)).scalar_one_or_none()
    if known == emergency.state:
        return False
    put(conn, _E, [mapping.EMERGENCY.row(emergency)])
    pair = _pair(conn, emergency)
    if _is_past(emergency, pair):
        _save(conn, replace(pair, generation=max(pair.generation, emergency.generation)))
        return True
    good = _good(emergency, pair)
    _save(conn, _after(emergency, pair, None if _was_taken_back(conn, emergency) else good, now))
    _fence_off(conn, emergency.service)
    for rollout in rollouts.active(conn, emergency.service):
        if emergency.region in {region.region for region in rollout.regions}:
            _settle(conn, rollout, emergency, good, now)
    newest = _newest_that_touched(conn, emergency)
    if newest is not None:
        if newest.finished:
            _tell(conn, newest, emergency, good)
            _drop_orders(conn, newest.id, emergency, now)
            _ask(conn, newest, emergency, IntentKind.NOTE, now)
        services.stop_for(conn, emergency.service, newest.id, emergency.at)
    return True


def _pair(conn: Connection, emergency: Emergency) -> ServiceRegion:
    key = (_SR.c.service == emergency.service, _SR.c.region == emergency.region)
    row = conn.execute(select(_SR).where(*key)).one_or_none()
    if row is not None:
        return mapping.SERVICE_REGION.noun(row)
    return ServiceRegion(service=emergency.service, region=emergency.region)


def _is_past(emergency: Emergency, pair: ServiceRegion) -> bool:
    """Whether something became known good there since, which a new database has from the signed file."""
    ended = emergency.ended_at or emergency.at
    return any(good.since >= ended for good in pair.known_good)


def _good(emergency: Emergency, pair: ServiceRegion) -> KnownGood:
    """What the region was put on, as it is known good from now on; while nothing is read back, as before."""
    if emergency.state == "done":
        by = f"{emergency.by}, in an emergency: {emergency.reason}"
        since = emergency.ended_at or emergency.at
        return replace(emergency.known_good, since=since, how="adopted", by=by)
    version = emergency.known_good.release.version
    kept = (good for good in pair.known_good if good.release.version == version)
    return next(kept, emergency.known_good)


def _was_taken_back(conn: Connection, emergency: Emergency) -> bool:
    """Whether the release was rolled back, of which the machine without a database had not heard."""
    back, version = tables.rolled_back_versions, emergency.known_good.release.version
    found = select(back.c.version).where(back.c.service == emergency.service, back.c.version == version)
    return conn.execute(found).first() is not None


def _after(emergency: Emergency, pair: ServiceRegion, good: KnownGood | None, now: datetime) -> ServiceRegion:
    """What is known of the region now; None where what was put there is nobody's known good."""
    generation = max(pair.generation, emergency.generation)
    doubt = Doubt(since=now, text=told(emergency), believed=emergency.running, generation=generation)
    changed = replace(pair, generation=generation, doubt=doubt)
    return services.pushed(changed, good) if good and emergency.state == "done" else changed


def told(emergency: Emergency) -> str:
    """What happened, in a sentence without its end."""
    version, at = emergency.known_good.release.version, f"{emergency.at:%Y-%m-%d %H:%M} UTC"
    how = {"done": "", "begun": " (how it ended is not recorded)", "failed": " (in vain)"}[emergency.state]
    return (
        f"{emergency.by} restored {emergency.region} to {version} in an emergency, without the database, at "
        f"{at}{how}: {emergency.reason}"
    )


def _settle(conn: Connection, rollout: Rollout, emergency: Emergency, good: KnownGood, now: datetime) -> None:
    """A rollout that has not ended: it is held, or its way back ends where the emergency put the region."""
    _drop_orders(conn, rollout.id, emergency, now)
    region = rollout.region(emergency.region)
    if region.touched and good.release.version != rollout.release.version:
        region = replace(region, back_to=good, drift=_drift(emergency) or region.drift)
        if rollout.phase in _GOING_BACK:
            region = replace(region, generation=max(region.generation, emergency.generation))
        _save_region(conn, rollout, region)
    kind = IntentKind.NOTE if rollout.phase in _GOING_BACK else IntentKind.HOLD
    _ask(conn, rollout, emergency, kind, now)


def _tell(conn: Connection, rollout: Rollout, emergency: Emergency, good: KnownGood) -> None:
    """A rollout that has ended and may be watched: its release is gone there, and its silence is no harm."""
    region, drift = rollout.region(emergency.region), _drift(emergency)
    if drift is not None and good.release.version != rollout.release.version:
        _save_region(conn, rollout, replace(region, drift=drift))


def _drift(emergency: Emergency) -> Drift | None:
    """What it brought, as people know: the release is gone there, and its silence is no harm."""
    if emergency.state != "done":
        return None
    at = emergency.ended_at or emergency.at
    return Drift(since=emergency.at, at=at, running=emergency.running, told=True)


def _save_region(conn: Connection, rollout: Rollout, region: RegionRollout) -> None:
    """Whoever decides on older facts is told so."""
    regions = tuple(region if each.region == region.region else each for each in rollout.regions)
    put(conn, tables.regions, mapping.region_rows(replace(rollout, regions=regions)))
    conn.execute(update(_R).where(_R.c.id == rollout.id).values(version=_R.c.version + 1))


def _drop_orders(conn: Connection, rollout_id: str, emergency: Emergency, now: datetime) -> None:
    """What would change the region is no longer wanted, and says why."""
    pending = select(_A).where(
        _A.c.rollout_id == rollout_id, tables.IS_PENDING, _A.c.kind.in_([kind.value for kind in _CHANGES])
    )
    result = ActionResult(message=f"Not done: {told(emergency)}.")
    for row in conn.execute(pending).all():
        record = mapping.ACTION.noun(row)
        if record.action.region == emergency.region:
            ended = replace(record, state=ActionState.DROPPED, ended_at=now, result=result)
            put(conn, _A, [{**mapping.action_row(ended), "sequence": row.sequence}])


def _ask(conn: Connection, rollout: Rollout, emergency: Emergency, kind: IntentKind, now: datetime) -> None:
    intent = Intent(
        id=new_id("in", now),
        rollout_id=rollout.id,
        kind=kind,
        actor=f"emergency ({emergency.by})",
        reason=told(emergency),
        at=now,
        region=emergency.region,
        details={"still": True} if kind is IntentKind.HOLD else {},
    )
    rollouts.ask(conn, intent)


def _newest_that_touched(conn: Connection, emergency: Emergency) -> Rollout | None:
    regions = tables.regions
    found = (
        select(_R.c.id)
        .join(regions, regions.c.rollout_id == _R.c.id)
        .where(
            _R.c.service == emergency.service,
            regions.c.region == emergency.region,
            regions.c.touched_at.is_not(None),
        )
        .order_by(_R.c.created_at.desc(), _R.c.id.desc())
        .limit(1)
    )
    newest: Sequence[str] = conn.scalars(found).all()
    return rollouts.one(conn, newest[0]) if newest else None


def _fence_off(conn: Connection, service: str) -> None:
    claims = tables.claims
    held = update(claims).where(claims.c.service == service)
    conn.execute(held.values(owner=NOBODY, epoch=claims.c.epoch + 1))


def _save(conn: Connection, pair: ServiceRegion) -> None:
    put(conn, _SR, [mapping.SERVICE_REGION.row(pair)])
