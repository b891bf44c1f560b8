"""Services, what is known good of them where, and the fence numbers of (service, region)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from rollout.core.actions import taken
from rollout.core.errors import NotFound, StaleWrite
from rollout.core.model import KnownGood, Rollout, Service, ServiceRegion
from rollout.ports import Change
from rollout.store import claims, mapping, tables
from rollout.store.writing import put

_S, _SR, _BACK = tables.services, tables.service_regions, tables.rolled_back_versions
_KEPT = 3  # distinct known good versions per service and region: two are left when the newest is revoked
_REGIONS = select(_SR).where(_SR.c.service == bindparam("service")).order_by(_SR.c.region)
_REGION = select(_SR).where(_SR.c.service == bindparam("service"), _SR.c.region == bindparam("region"))
_EVERY = select(_S).order_by(_S.c.name)
_ONE = select(_S).where(_S.c.name == bindparam("name"))


def every(conn: Connection) -> tuple[Service, ...]:
    """All services by name."""
    return tuple(mapping.SERVICE.noun(row) for row in conn.execute(_EVERY))


def one(conn: Connection, name: str) -> Service:
    """One service. Raises NotFound."""
    found = _stored(conn, name)
    if found is None:
        raise NotFound("service", name)
    return found


def _stored(conn: Connection, name: str) -> Service | None:
    row = conn.execute(_ONE, {"name": name}).one_or_none()
    return None if row is None else mapping.SERVICE.noun(row)


def declare(conn: Connection, service: Service) -> Service:
    """Insert, or replace the version that was read; a stop stays until it is released. Raises StaleWrite."""
    stored = _stored(conn, service.name)
    if service.version != (stored.version if stored else 0):
        raise StaleWrite(f"Service '{service.name}' has changed since version {service.version} was read.")
    new = replace(service, version=service.version + 1)
    if stored is not None:
        new = replace(new, stopped_by=stored.stopped_by, stopped_at=stored.stopped_at)
    put(conn, _S, [mapping.SERVICE.row(new)])
    claims.declare(conn, new.name)
    return new


def stop(conn: Connection, rollout: Rollout, at: datetime) -> None:
    """Remember a version that was rolled back, and stop automatic promotion of its service."""
    service, version = rollout.release.service, rollout.release.version
    stop_for(conn, service, rollout.id, at)
    put(conn, _BACK, [{"service": service, "version": version, "rollout_id": rollout.id}])


def stop_for(conn: Connection, service: str, rollout_id: str, at: datetime) -> None:
    """Stop automatic promotion of a service."""
    conn.execute(update(_S).where(_S.c.name == service).values(stopped_by=rollout_id, stopped_at=at))


def go_on(conn: Connection, rollout: Rollout) -> None:
    """A newer release has passed everywhere: automatic promotion of its service may go on."""
    service = _S.c.name == rollout.release.service
    conn.execute(update(_S).where(service).values(stopped_by=None, stopped_at=None))


def was_rolled_back(conn: Connection, service: str, version: str) -> str | None:
    """By which rollout, the last time."""
    found = select(_BACK.c.rollout_id).where(_BACK.c.service == service, _BACK.c.version == version)
    return conn.execute(found).scalar_one_or_none()


def regions(conn: Connection, service: str) -> tuple[ServiceRegion, ...]:
    """What is known of a service in each region, by region."""
    return tuple(mapping.SERVICE_REGION.noun(row) for row in conn.execute(_REGIONS, {"service": service}))


def adopt(conn: Connection, known_good: Sequence[KnownGood], looked_at: Sequence[ServiceRegion] = ()) -> None:
    """A person says what is good; a decision about the pair, so its fence rises.

    Raises StaleWrite where something was decided about a pair, or it came into doubt, since it was looked at.
    """
    looked = {(pair.service, pair.region): pair for pair in looked_at}
    for good in known_good:
        before = _known(conn, good.service).get(good.region) or _unknown(good.service, good.region)
        _refuse_moved(looked.get((good.service, good.region), before), before)
        seen = taken(before.doubt.seen) if before.doubt else 0
        generation = max(before.generation, seen) + 1
        _save(conn, [pushed(replace(before, generation=generation, doubt=None), good)])


def _refuse_moved(looked_at: ServiceRegion, now: ServiceRegion) -> None:
    was, new = (
        (pair.generation, pair.known_good, pair.doubt and pair.doubt.since) for pair in (looked_at, now)
    )
    if was != new:
        raise StaleWrite(
            f"Nothing was adopted: something was decided about {now.service} in {now.region} since it was "
            "looked at. See what runs there, and adopt again."
        )


def see_running(conn: Connection, seen: ServiceRegion) -> None:
    """Take in `running` as read back at `running_at`, unless something newer is known."""
    row = conn.execute(_REGION, {"service": seen.service, "region": seen.region}).one_or_none()
    before = _unknown(seen.service, seen.region) if row is None else mapping.SERVICE_REGION.noun(row)
    after = _newer(before, seen.running, seen.running_at)
    if after is not before:
        _save(conn, [after])


def move(conn: Connection, change: Change) -> None:
    """What a decision changes here: fences, known good releases, what runs. Raises StaleWrite."""
    service = change.rollout.release.service
    known = _known(conn, service)
    goods = (*change.known_good, *change.not_good)
    names = {
        *(region.region for region in change.rollout.regions),
        *change.generations,
        *(good.region for good in goods),
    }
    pairs = [(known.get(name), _unknown(service, name)) for name in sorted(names)]
    moved = [(before, _moved(before or new, change)) for before, new in pairs]
    _save(conn, [after for before, after in moved if after not in (before, _unknown(service, after.region))])


def _moved(pair: ServiceRegion, change: Change) -> ServiceRegion:
    generation = change.generations.get(pair.region)
    if generation is not None:
        pair = _raised(pair, generation)
    for region in change.rollout.regions:
        if region.region == pair.region:
            pair = _newer(pair, region.running, region.running_at)
    for good in change.known_good:
        if good.region == pair.region:
            pair = pushed(pair, good)
    bad = {good.release.version for good in change.not_good if good.region == pair.region}
    left = tuple(good for good in pair.known_good if good.release.version not in bad)
    return replace(pair, known_good=left)


def _raised(pair: ServiceRegion, generation: int) -> ServiceRegion:
    if generation <= pair.generation:
        raise StaleWrite(
            f"Service '{pair.service}' in {pair.region} is at generation {pair.generation}; "
            f"{generation} was decided on older facts. Read again and decide again."
        )
    return replace(pair, generation=generation)


def _newer(pair: ServiceRegion, running: Mapping[str, int], at: datetime | None) -> ServiceRegion:
    if at is None or (pair.running_at is not None and at <= pair.running_at):
        return pair
    return replace(pair, running=running, running_at=at)


def pushed(pair: ServiceRegion, good: KnownGood) -> ServiceRegion:
    """The pair with another newest known good."""
    others = [old for old in pair.known_good if old.release.version != good.release.version]
    return replace(pair, known_good=(good, *others)[:_KEPT])


def _known(conn: Connection, service: str) -> dict[str, ServiceRegion]:
    return {pair.region: pair for pair in regions(conn, service)}


def _unknown(service: str, region: str) -> ServiceRegion:
    return ServiceRegion(service=service, region=region)


def _save(conn: Connection, pairs: Iterable[ServiceRegion]) -> None:
    put(conn, _SR, [mapping.SERVICE_REGION.row(pair) for pair in pairs])
