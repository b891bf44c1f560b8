"""Which rows speak for the candidate and which for its baseline, in each region.

Beside: two versions at the same time. Otherwise the whole region was switched at its deploy; where even the
version is the same before and after, the time tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Never

from rollout.core.errors import InvalidInput, Problem
from rollout.offline.releases import PastRelease
from rollout.offline.survey import Span, Survey, versions_at

BEGINS = timedelta(minutes=5)  # a recording that begins with a deploy shows what ran before within this time
STILL_THERE = timedelta(hours=1)  # a version last seen longer before a deploy is not what the deploy replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionArms:
    """Who is who in one region: versions as written. `split` tells by time alone."""

    deployed_at: datetime
    candidate: str
    baseline: str | None
    beside: bool
    split: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Who is who everywhere. `candidate` and `baseline` are the names that the judge is given."""

    candidate: str
    baseline: str
    regions: Mapping[str, RegionArms]
    untouched: Mapping[str, str] = field(default_factory=dict)  # region without a deploy → its main version

    @property
    def beside(self) -> bool:
        """Whether some region has both at the same time."""
        return any(arms.beside for arms in self.regions.values())

    def label(self, region: str, version: str, time: datetime) -> str | None:
        """The version that a row is judged as; None for the rest of a baseline that was replaced whole."""
        arms = self.regions.get(region)
        if arms is None:
            return self.baseline if version == self.untouched.get(region) else version
        if arms.split:
            return self.candidate if time > arms.deployed_at else self.baseline
        if version == arms.candidate:
            return self.candidate
        if version != arms.baseline:
            return version
        return self.baseline if arms.beside or time <= arms.deployed_at else None


def who_is_who(
    found: Survey,
    release: PastRelease,
    *,
    bake_s: float,
    candidate: str | None = None,
    baseline: str | None = None,
) -> Arms:
    """Derive it from when each version was seen; `candidate` and `baseline` are what a person says of it.

    A baseline counts as beside the candidate when it is there for half of the bake. Raises InvalidInput.
    """
    _refuse_unknown(found, release, candidate, baseline)
    named = candidate or release.version
    regions = {
        region: _in_region(region, found.versions[region], at, bake_s, named, candidate, baseline)
        for region, at in sorted(release.deploys.items(), key=lambda deploy: deploy[1])
    }
    first = next(iter(regions.values()))
    candidates = {arms.candidate for arms in regions.values() if not arms.split}
    if len(candidates) > 1 and not named:
        places = tuple(Problem(region, f"'{arms.candidate}' came") for region, arms in regions.items())
        raise InvalidInput("Different versions came to the regions; say --candidate.", places)
    name = named or (f"{first.candidate or 'the release'} (after)" if first.split else first.candidate)
    before = f"{first.candidate or 'the release'} (before)" if first.split else first.baseline
    untouched = {
        region: max(spans, key=lambda version: spans[version].rows)
        for region, spans in found.versions.items()
        if region not in regions
    }
    return Arms(candidate=name, baseline=before or "", regions=regions, untouched=untouched)


def _in_region(
    region: str,
    spans: Mapping[str, Span],
    at: datetime,
    bake_s: float,
    named: str,
    candidate: str | None,
    baseline: str | None,
) -> RegionArms:
    came = _candidate(region, spans, at, named, candidate)
    others = _others(spans, came, at)
    if baseline is None:
        known = max(
            others, key=lambda version: (min(others[version].last, at), others[version].rows), default=None
        )
    else:
        known = baseline if baseline in spans and baseline != came else None
    beside = known is not None and spans[known].last >= at + _half(spans[came].last - at, bake_s)
    gone = known is None or spans[known].last < at - STILL_THERE
    split = spans[came].first <= at and gone and not beside
    if split:
        return RegionArms(deployed_at=at, candidate=came, baseline=came, beside=False, split=True)
    return RegionArms(deployed_at=at, candidate=came, baseline=known, beside=beside, split=False)


def _others(spans: Mapping[str, Span], came: str, at: datetime) -> dict[str, Span]:
    """The versions that were there at the deploy; those seen first where the recording begins with it."""
    others = {version: span for version, span in spans.items() if version != came}
    before = {version: span for version, span in others.items() if span.first <= at}
    begins = max(at, min(span.first for span in spans.values())) + BEGINS
    return before or {version: span for version, span in others.items() if span.first <= begins}


def _candidate(
    region: str, spans: Mapping[str, Span], at: datetime, named: str, candidate: str | None
) -> str:
    after = [version for version, span in spans.items() if span.last > at]
    if named in after:
        return named
    came = [version for version in after if spans[version].first > at]
    seen = versions_at(spans, spans)
    if candidate is not None and candidate in spans:
        _refuse(region, f"'{candidate}' has no rows after the deploy at {at.isoformat()}; seen: {seen}")
    if came:
        return min(came, key=lambda version: spans[version].first)
    if len(after) == 1:
        return after[0]
    lacks = "no version first appears after its deploy" if after else "has no rows after its deploy"
    advice = "; say --candidate" if after else ""
    return _refuse(region, f"{lacks} at {at.isoformat()}{advice}. Seen: {seen}")


def _half(present: timedelta, bake_s: float) -> timedelta:
    return min(present, timedelta(seconds=bake_s)) / 2


def _refuse_unknown(found: Survey, release: PastRelease, candidate: str | None, baseline: str | None) -> None:
    """Regions and versions that a person named and no row has."""
    for region in release.deploys:
        if region not in found.versions:
            _refuse(region, f"has a deploy and no rows; {found.name} has {', '.join(sorted(found.versions))}")
    versions = {version for region in release.deploys for version in found.versions[region]}
    for flag, version in (("candidate", candidate), ("baseline", baseline)):
        if version is not None and version not in versions:
            names = ", ".join(f"'{name}'" for name in sorted(versions))
            _refuse("", f"the {flag} '{version}' is not in {found.name}; its versions are {names}")


def _refuse(place: str, message: str) -> Never:
    raise InvalidInput("Who is who cannot be told.", (Problem(place, message),))
