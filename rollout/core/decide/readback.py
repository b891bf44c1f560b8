"""Read-backs: when the next one is due, and what one shows that nobody here ordered.

A target that has seen a higher generation than was ever ordered here was ordered from outside, by an
emergency restore that was not taken in yet, or from another database. It is left alone: only a person's word
orders above it. What must not live here: what follows of it, which is told where each phase is.
"""

from rollout.core.actions import ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.model import ActionState, Kind, RegionRollout


def verify_again_in(draft: Draft, region: RegionRollout) -> float:
    """Seconds before the next reading: doubling from half a second, 15 at most."""
    return min(15.0, 0.5 * 2.0 ** min(verified(draft, region), 6))


def verified(draft: Draft, region: RegionRollout) -> int:
    """How often a region was read back, or is to be, since the newest order there."""
    return sum(
        record.action.kind is Kind.VERIFY
        and record.action.region == region.region
        and record.action.generation == region.generation
        for record in draft.all_actions
    )


def ordered_outside(draft: Draft, name: str, read: ActionRecord) -> str:
    """That somebody else ordered there, with both generations, and whom to ask; empty when nobody did."""
    told, known = read.result.details.get("generation", 0), draft.generation(name)
    unread = read.state is not ActionState.SUCCEEDED or draft.plan.observes
    if unread or not isinstance(told, int) or told <= known:
        return ""
    draft.set_region(name, outside=told)
    return (
        f"somebody ordered {name} outside this controller: its target has seen generation {told}, and the "
        f"newest that was ordered here is {known}. If it was `rollout emergency restore`, start the "
        "controller on the machine where that was called: it takes it in."
    )


def outranked(draft: Draft, region: RegionRollout) -> bool:
    """Whether that is so still: it was not taken in since, and nobody has overruled it."""
    return region.outside > draft.generation(region.region)


def overrule(draft: Draft) -> None:
    """A person lets it go on, or takes it back: what is ordered next is above what others ordered."""
    for region in draft.rollout.regions:
        if region.outside:
            above = max(region.generation, region.outside)
            draft.set_region(region.region, generation=above, outside=0)
