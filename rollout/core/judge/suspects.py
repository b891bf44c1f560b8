"""Which of several releases may have caused a rise, by place and time; no words and no samples.

Only a change that was in every region of the rise before it began can be its cause. Of those, the likelier
one is in the regions of the rise and in no other, and came shortly before it. A rise on the instances of one
release, and not on those beside them, is hardly the work of another one: that would have reached both.
The same rise where the release is not speaks for a common cause.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.judge.intervals import ratio_interval
from rollout.core.signals import Sample

Ends = tuple[float | None, float | None]

MARGIN_S = 120.0
"""A rise is dated by blocks of a minute and a change by its order: so much later it may still have come
before. Two blocks."""
HALF_S = 3600.0
"""Seconds after which a change is half as likely as one that came just before: faults that show late are
fewer with each hour and never impossible, so the score falls as 1 / (1 + hours) and not faster."""
INTERPLAY = 0.1
"""Part of its score that another release keeps when only one release's own instances show the rise: the two
would have to get on badly with each other."""

DISPERSION = 2.0
"""Of counts in a region that nobody calibrated for this: failures come in clusters of about two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """A rise: the regions that show it, and since when.

    `release` is the rollout whose instances alone show it, where they were compared with those beside them.
    """

    regions: frozenset[str]
    since: datetime
    release: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One rollout: when it touched each region, and when each was back on the version before."""

    rollout_id: str
    service: str
    version: str
    touched_at: Mapping[str, datetime]
    restored_at: Mapping[str, datetime]
    share: Mapping[str, float]  # region → part of its instances, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A change that can be the cause, and how likely beside the others: `score` is 0..1 and no probability.

    `beyond` are regions that it reached as early and that show no rise. `lead_s` is how long it was in the
    last region of the rise before the rise began. `alone`: only its own instances show it.
    """

    change: Change
    score: float
    regions: tuple[str, ...]
    beyond: tuple[str, ...]
    lead_s: float
    alone: bool


def rank(harm: Harm, changes: Sequence[Change]) -> tuple[Suspect, ...]:
    """The changes that can be the cause, most likely first; equals in the order of their ids."""
    found = [suspect for change in changes if (suspect := _suspect(harm, change)) is not None]
    return tuple(sorted(found, key=lambda suspect: (-suspect.score, suspect.change.rollout_id)))


def rise(samples: Iterable[Sample], since: datetime, *, beyond: bool = False) -> Ends:
    """The 95 % interval of a rate after `since` over the same before, as (low, high); None where unknown.

    `beyond`: the samples are of one bucket of a distribution, and what is slower than its edge counts.
    """
    sums = [0.0, 0.0, 0.0, 0.0]
    for sample in samples:
        place = 0 if sample.time > since else 2
        sums[place] += sample.exposure - sample.value if beyond else sample.value
        sums[place + 1] += sample.exposure
    return ratio_interval(sums, DISPERSION) or (None, None)


def common_cause(here: Ends, elsewhere: Mapping[str, Ends]) -> tuple[str, ...]:
    """The regions without the release that show the same rise: both intervals exclude 1 and they overlap.

    Intervals are those of a rate over what is usual there; one without an end reaches as far as can be.
    """
    return tuple(sorted(region for region, other in elsewhere.items() if _same(here, other)))


def _suspect(harm: Harm, change: Change) -> Suspect | None:
    present = _present(change, harm.since)
    if not harm.regions or not harm.regions <= present:
        return None
    last = max(change.touched_at[region] for region in harm.regions)
    lead_s = max(0.0, (harm.since - last).total_seconds())
    alone = harm.release == change.rollout_id
    place = len(harm.regions) / len(present)
    share = min(change.share.get(region, 1.0) for region in harm.regions)
    score = place / (1 + lead_s / HALF_S)
    if harm.release:  # the release's own share says nothing where its instances were told apart
        score *= 1.0 if alone else INTERPLAY * share
    else:
        score *= share
    return Suspect(
        change=change,
        score=round(score, 4),
        regions=tuple(sorted(harm.regions)),
        beyond=tuple(sorted(present - harm.regions)),
        lead_s=lead_s,
        alone=alone,
    )


def _present(change: Change, at: datetime) -> frozenset[str]:
    """Where a change was when the rise began."""
    latest = at + timedelta(seconds=MARGIN_S)
    came = {region for region, touched in change.touched_at.items() if touched <= latest}
    return frozenset(region for region in came if change.restored_at.get(region, latest) >= at)


def _same(one: Ends, other: Ends) -> bool:
    lows = [low or 0.0 for low, _ in (one, other)]
    highs = [math.inf if high is None else high for _, high in (one, other)]
    return (min(lows) > 1 or max(highs) < 1) and max(lows) <= min(highs)
