"""What people are told of a region that does not come back: since when, how often tried, and what to do.

What must not live here: when it is told, and what is ordered; see back.py.
"""

from collections.abc import Sequence

from rollout.core import reason as say
from rollout.core.actions import ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.model import Kind, Reason, RegionRollout


def page(draft: Draft, text: str) -> None:
    """Wake people: what it is about first, and last where to look."""
    release = draft.rollout.release
    about = f"{release.service} {release.version}: {text}"
    draft.notify(f"{about.rstrip('.')}. See: rollout status {draft.rollout.id}", urgent=True)


def failed(draft: Draft, regions: Sequence[RegionRollout]) -> str:
    """That the rollback failed in these regions, whom that hits, why, and how it is asked for again."""
    names = ", ".join(region.region for region in regions)
    told = f"The rollback failed in {names} ({_users(draft, *regions)})"
    mended = f"Once mended: rollout rollback {draft.rollout.id}"
    return say.joined(say.sentences(told, *(region.trouble for region in regions)), mended)


def no_way_back(draft: Draft, region: RegionRollout, reason: Reason) -> str:
    """That no known good release is left for a region."""
    tried = f" (tried {', '.join(region.tried)})" if region.tried else ""
    adopt = f'rollout adopt {draft.rollout.release.service} --region {region.region} --reason "…"'
    return say.sentences(
        f"{region.region} cannot go back: no known good release is left{tried}",
        reason.text,
        f"Mend it, or bring a good release there by hand and adopt it ({adopt})",
    )


def silent(region: RegionRollout, record: ActionRecord) -> str:
    """That a region does not answer, and what is done by itself."""
    return say.sentences(
        f"{region.region} does not answer since {_since(record)}: {record.result.message}",
        f"Its restore to {target(region)} is tried until it does",
    )


def lost(draft: Draft, region: RegionRollout, record: ActionRecord) -> str:
    """The same for those who are woken: whom it hits, and what they can do."""
    name, tries = region.region, say.many(record.attempts, "time")
    gone = f"If its deployer is gone for good, bring {target(region)} there by hand: it is seen by itself"
    return say.sentences(
        silent(region, record),
        f"{name} has {_users(draft, region)}; tried {tries} so far",
        f"{gone} as soon as {name} can be read",
    )


def overdue(draft: Draft, region: RegionRollout, record: ActionRecord, waited: float) -> str:
    """That a region answers and is not back in its time."""
    order = draft.newest(region.region, Kind.RESTORE)
    tried = (
        f", ordered {say.clock(order.recorded_at)}, asked {say.many(order.attempts, 'time')}" if order else ""
    )
    return say.sentences(
        f"{region.region} is not back on {target(region)} after {say.span(waited)} (limit "
        f"{say.span(draft.plan.deadlines.restore)}{tried}): {_said(draft, region, record)}",
        "It is still read back; look at the region now",
    )


def target(region: RegionRollout) -> str:
    """What a region goes back to, in words."""
    return region.back_to.release.version if region.back_to else "a known good release"


def _said(draft: Draft, region: RegionRollout, record: ActionRecord) -> str:
    """What the target said last, to this or to what was asked since the order; else what runs there."""
    before = [
        each.result
        for each in draft.all_actions
        if each.action.region == region.region
        and each.action.generation == region.generation
        and each.action.kind in (Kind.RESTORE, Kind.VERIFY)
    ]
    for result in (record.result, *reversed(before)):
        if result.message:
            return result.message
        if result.running:
            return f"it runs {say.running(result.running)}"
    return "no answer yet"


def _users(draft: Draft, *regions: RegionRollout) -> str:
    share = sum(draft.plan.regions[region.region].traffic_share for region in regions)
    return f"{100 * share:.3g} % of users"


def _since(record: ActionRecord) -> str:
    return say.clock(record.unreachable_since or record.recorded_at)
