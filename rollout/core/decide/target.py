"""Which known good a region goes back to, and what ends its way back.

What must not live here: ordering it, and following it there; see back.py.
"""

from collections.abc import Mapping, Sequence

from rollout.core.decide.draft import Draft
from rollout.core.model import KnownGood, RegionPhase, RegionRollout, Rollout


def way_back(draft: Draft, region: RegionRollout) -> KnownGood | None:
    """The known good from before this rollout; where it was tried in vain or revoked, the one before it.

    None when all were revoked: what harmed before is no way back, and people choose.
    """
    return best_known(draft.rollout, region, draft.facts.known_good)


def best_known(
    rollout: Rollout, region: RegionRollout, known_good: Mapping[str, Sequence[KnownGood]]
) -> KnownGood | None:
    """The same, of what is known good in each region now: where it would go back to."""
    candidate = rollout.release.version
    still_good = known_good.get(region.region, (region.back_to,))
    choices = [region.back_to] if region.back_to in still_good else []
    choices += [known for known in still_good if known not in choices]
    for known in choices:
        if known and known.release.version not in (candidate, *region.tried):
            return known
    return None


def revoked(draft: Draft, region: RegionRollout) -> bool:
    """Whether the target is known good no more, as a release is not that was rolled back itself."""
    return _revoked(region, draft.facts.known_good)


def spoiled(draft: Draft) -> tuple[RegionRollout, ...]:
    """Regions in which a part of users is still on a way back that was revoked: no baseline, and no place."""
    return spoiled_by(draft.rollout, draft.facts.known_good)


def spoiled_by(rollout: Rollout, known_good: Mapping[str, Sequence[KnownGood]]) -> tuple[RegionRollout, ...]:
    """The same, by what is known good in each region now."""
    return tuple(r for r in rollout.touched if 0 < r.weight < 100 and _revoked(r, known_good))


def _revoked(region: RegionRollout, known_good: Mapping[str, Sequence[KnownGood]]) -> bool:
    if region.back_to is None or region.region not in known_good:
        return False
    known = {good.release.version for good in known_good[region.region]}
    return region.back_to.release.version not in known


def accepted(draft: Draft, region: RegionRollout) -> tuple[KnownGood, ...]:
    """What ends the way back: its target; where restoring failed and people help, any known good."""
    helped = region.phase is RegionPhase.RESTORE_FAILED
    others = draft.facts.known_good.get(region.region, ()) if helped else ()
    own = () if revoked(draft, region) else (region.back_to,)
    bad = draft.rollout.release.version
    return tuple(good for good in (*own, *others) if good and good.release.version != bad)
