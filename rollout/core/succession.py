"""Who has followed a release in a region: a newer one under way, one that succeeded, or somebody's word.

Pure; what decides and what is shown both ask here. What must not live here: what follows from it
(decide/owed.py, decide/back.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rollout.core.model import KnownGood, RegionPhase, RegionRollout, Rollout

Known = Mapping[str, Sequence[KnownGood]]  # of each region, the newest first


def follower(rollout: Rollout, region: RegionRollout, later: Iterable[Rollout]) -> Rollout | None:
    """The newest of `later` that has a region since `rollout`: it is under way there, or succeeded.

    `later` are rollouts of the same service that are unfinished or succeeded. Who came later is told by when
    each touched the region: one that was asked for before may have waited, held, until this one had passed.
    """
    ours = _came(rollout, region)
    having = [
        (_came(other, there), other)
        for other in later
        for there in other.touched
        if other.id != rollout.id and _in(region, there) and _came(other, there) > ours
    ]
    return max(having, key=lambda each: each[0], default=(ours, None))[1]


def _came(rollout: Rollout, region: RegionRollout) -> tuple[datetime, datetime, str]:
    return (region.touched_at or rollout.created_at, rollout.created_at, rollout.id)


def _in(region: RegionRollout, there: RegionRollout) -> bool:
    """Whether a rollout is in a region; one that only observes is not, until its release was seen there."""
    awaited = there.phase is RegionPhase.DEPLOYING and there.weight == 0
    return there.region == region.region and not awaited


def word(rollout: Rollout, region: RegionRollout, known: Known) -> str | None:
    """The version that has become a region's known good since the release passed there."""
    newest = next(iter(known.get(region.region, ())), None)
    if newest is None or newest.release.version == rollout.release.version:
        return None
    return newest.release.version if region.passed_at and newest.since > region.passed_at else None


def replaced(rollout: Rollout, later: Sequence[Rollout], known: Known) -> frozenset[str]:
    """The regions that a release reached and in which something newer runs, or is about to."""
    return frozenset(
        r.region for r in rollout.touched if follower(rollout, r, later) or word(rollout, r, known)
    )
