"""Which releases followed one, as the store has them. What that means is core/succession.py."""

from rollout.core.model import Phase, Rollout
from rollout.core.succession import replaced
from rollout.ports import Store

_PAST = (Phase.SUCCEEDED, Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED, Phase.ROLLED_BACK)
MOST = 50  # of those that succeeded since, the newest


async def successors(store: Store, rollout: Rollout) -> tuple[Rollout, ...]:
    """Other releases of the same service that succeeded; none for what has touched nothing, or goes forward.

    Which of them came later to a region is for core/succession.py to say.
    """
    if not rollout.touched or rollout.phase not in _PAST:
        return ()
    found = await store.rollouts(service=rollout.release.service, phases=(Phase.SUCCEEDED,), limit=MOST)
    return tuple(one for one in found if one.id != rollout.id)


async def replaced_in(store: Store, rollout: Rollout) -> frozenset[str]:
    """The regions that a release which succeeded has reached, and in which a newer one runs or soon will."""
    if rollout.phase is not Phase.SUCCEEDED:
        return frozenset()
    service = rollout.release.service
    later = (*await store.active(service), *await successors(store, rollout))
    known = {one.region: one.known_good for one in await store.service_regions(service)}
    return replaced(rollout, later, known)
