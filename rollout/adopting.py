"""Which regions a person can call known good now: read back freshly, on one version, moved by nobody.

A version that was rolled back is called so only with an override. Nothing is recorded here; commands.py does
that.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from rollout.core.errors import Conflict, NotAllowed
from rollout.core.model import Phase, ServiceRegion
from rollout.ports import Observed, Store

FRESH_S = 60.0  # for which a reading tells what runs now


def fresh(collect_s: float) -> float:
    """The same where a region is read each `collect_s` seconds."""
    return max(FRESH_S, 3 * collect_s)


async def adoptable(
    store: Store, service: str, regions: Sequence[str], now: datetime, within_s: float
) -> tuple[ServiceRegion, ...]:
    """What runs in each of `regions`. Raises Conflict, which names each that cannot be adopted and why."""
    known = {one.region: one for one in await store.service_regions(service)}
    seen = {one.region: one for one in await store.observed() if one.service == service}
    unread = {name: _unread(known.get(name), seen.get(name), now, within_s) for name in regions}
    if any(unread.values()) or not regions:
        raise Conflict(_unread_text(unread), "not-read")
    found = tuple(known[name] for name in regions)
    _refuse_mixed(found)
    await _refuse_while_moving(store, service, regions)
    return found


async def refuse_rolled_back(store: Store, found: Sequence[ServiceRegion], role: str, override: str) -> None:
    """Raise Conflict, or NotAllowed, where a version runs that was rolled back and is known good no more."""
    for one in found:
        version = next(iter(one.running))
        before = await store.was_rolled_back(one.service, version)
        if before is None or version in {good.release.version for good in one.known_good}:
            continue
        if not override:
            raise Conflict(
                f"Nothing was adopted: {one.region} runs {version}, which was rolled back by {before}. If it "
                f"came there again, `rollout rollback {before}` restores what was good; else bring a good "
                "version there, or let an admin adopt it with an override and its reason.",
                "version-rolled-back",
            )
        if role != "admin":
            raise NotAllowed(f"Adopting {version} after {before} needs the role admin, not {role}.")


def _unread(known: ServiceRegion | None, seen: Observed | None, now: datetime, within_s: float) -> str:
    """Why it is not known what runs in a region now; empty when it is."""
    if seen is not None and seen.error:
        return f"does not answer ({seen.error.rstrip('.')})"
    if known is None or known.running_at is None:
        return "was not read back yet"
    age_s = (now - known.running_at).total_seconds()
    return f"was last read back {age_s:,.0f} s ago, more than {within_s:g} s" if age_s > within_s else ""


def _unread_text(unread: dict[str, str]) -> str:
    why = "; ".join(f"{name} {text}" for name, text in unread.items() if text) or "no region is declared"
    others = ", ".join(name for name, text in unread.items() if not text)
    named = f", or name the others alone: {others}" if others else ""
    return f"Nothing was adopted: {why}. Adopt again once that is mended and read{named}."


def _refuse_mixed(found: Sequence[ServiceRegion]) -> None:
    wrong = [one for one in sorted(found, key=lambda one: one.region) if len(one.running) != 1]
    if not wrong:
        return
    shown = "; ".join(
        f"{one.region}: {', '.join(f'{n} × {v}' for v, n in sorted(one.running.items())) or 'nothing'}"
        for one in wrong
    )
    restores = (
        f'rollout emergency restore {one.service} --region {one.region} --even-so --reason "…"'
        for one in wrong
        if one.doubt
    )
    then = "; ".join(restores)
    raise Conflict(
        f"Only a region that runs one version alone can be adopted. {shown}."
        + (f" As it is in doubt, this puts one version there: {then}" if then else ""),
        "mixed",
    )


async def _refuse_while_moving(store: Store, service: str, regions: Collection[str]) -> None:
    for other in await store.active(service):
        moving = [r.region for r in other.touched if r.region in regions]
        if moving and other.phase is not Phase.ROLLBACK_FAILED:
            raise Conflict(
                f"{other.id} is under way in {', '.join(moving)}; what runs there is not settled yet.",
                "rollout-active",
            )
