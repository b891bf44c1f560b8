"""Whether a recorded action may begin now: asked again at its effect, since the rollout may have moved on.

What must not live here: anything about targets, time or retries.
"""

from rollout.core.actions import ActionRecord
from rollout.core.invariants.looked import BACK, number_of
from rollout.core.model import Kind, Phase, RegionRollout, Rollout


def may_begin(record: ActionRecord, rollout: Rollout) -> str:
    """Why this action may not begin, naming the promise it would break; empty when it may.

    `rollout` is as stored now. What only reads and tells may always begin.
    """
    committed = record.key.startswith(f"{rollout.id}/") and 0 <= number_of(record) <= rollout.transitions
    if not committed or record.rollout_id != rollout.id or not record.open:
        return f"S2: {record.key} is not an open action of a committed decision about {rollout.id}."
    if record.action.kind not in (Kind.DEPLOY, Kind.RESTORE):
        return ""
    region = next((r for r in rollout.regions if r.region == record.action.region), None)
    if region is None or record.action.generation != region.generation:
        due = region.generation if region else "none"
        given = record.action.generation
        return f"S3: {record.action.region} is at generation {due}, and this order carries {given}."
    if record.action.kind is Kind.DEPLOY:
        return _may_deploy(record, rollout, region)
    return _may_restore(record, rollout, region)


def _may_deploy(record: ActionRecord, rollout: Rollout, region: RegionRollout) -> str:
    order, release = record.action, rollout.release
    if rollout.phase in BACK:
        return f"S8: {rollout.id} is {rollout.phase}; nothing of it is promoted any more."
    if rollout.phase is Phase.HELD:
        begun = record.attempts > 0
        return "" if begun else f"S11: {rollout.id} is held; this deploy begins when it goes on."
    holdback = rollout.phase is Phase.SUCCEEDED and region.holdback_released
    if rollout.phase not in (Phase.PROGRESSING, Phase.AWAITING_APPROVAL) and not holdback:
        return f"S8: {rollout.id} is {rollout.phase}; nothing of it is promoted."
    if (order.version, order.artifact) != (release.version, release.artifact):
        return f"S4: {order.version} ({order.artifact}) is not the release of {rollout.id}."
    if order.weight > region.weight:
        return f"S10: {order.weight} % is ordered in {region.region}, and {region.weight} % is due."
    return ""


def _may_restore(record: ActionRecord, rollout: Rollout, region: RegionRollout) -> str:
    order, good = record.action, region.back_to
    if rollout.phase not in BACK:
        return f"S8: {rollout.id} is {rollout.phase}, and nothing of it goes back."
    if good is None or order.version == rollout.release.version:
        return f"S6: {order.version} is no known good of {region.region} to go back to."
    if (order.version, order.artifact) != (good.release.version, good.release.artifact):
        return f"S6: {order.version} ({order.artifact}) is not what was recorded as known good there."
    return ""
