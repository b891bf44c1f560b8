"""What a region that was touched shows now: what runs there, how far its bake came, and who was reached.

Bake and reach stand still where somebody took the release out of a region. Nothing here reads the store.
"""

from collections.abc import Mapping
from datetime import datetime

from rollout.core import reason as say
from rollout.core.decide.drift import taken_out
from rollout.core.model import ActionState, Kind, ObligationState, RegionPhase, RegionRollout
from rollout.core.policy import Bake
from rollout.core.signals import Judgement
from rollout.foresight.sight import smallest_rises
from rollout.foresight.traffic import Traffic
from rollout.ports import Case
from rollout.showing.views import BakeView, Exposure


def what_runs(region: RegionRollout) -> tuple[Mapping[str, int], datetime | None]:
    """What was read there last, and when: also where that is something else than was ordered."""
    drift = region.drift
    return (drift.running, drift.at) if drift and drift.told else (region.running, region.running_at)


def absence(case: Case, region: RegionRollout, now: datetime) -> str:
    """Since when the release does not run in a region that it was ordered in; empty while it does."""
    since = taken_out(case.rollout, region)
    if since is None:
        return ""
    return f"{case.rollout.release.version} does not run here since {say.clock(since, now)}"


def bake(case: Case, region: RegionRollout, traffic: Mapping[str, Traffic], now: datetime) -> BakeView | None:
    """How far the bake of a region has come, where it bakes."""
    steps = case.plan.stages[region.stage].steps
    step = steps[region.step] if region.step < len(steps) else None
    if not isinstance(step, Bake) or region.phase is not RegionPhase.BAKING:
        return None
    end = taken_out(case.rollout, region) or now
    begun = min(region.bake_started_at or end, end)
    return BakeView(
        planned_s=round(step.max),
        elapsed_s=round((end - begun).total_seconds()),
        until=step.until,
        detectable=smallest_rises(case.plan, region.region, traffic, region.weight, step),
    )


def exposure(case: Case, judgement: Judgement, now: datetime) -> Exposure:
    """Who was reached, for how long, and with how many requests."""
    seen = (r for r in case.rollout.touched if r.judge_from or not case.plan.observes)
    touched = tuple(seen)
    share = sum(case.plan.regions[r.region].traffic_share * _peak(case, r) / 100 for r in touched)
    begun = min((r.touched_at for r in touched if r.touched_at), default=now)
    end = max((_end(case, r) or now for r in touched), default=begun)
    requests = sum(v.exposed for v in judgement.verdicts if v.signal == "errors")
    return Exposure(
        regions=tuple(r.region for r in touched),
        traffic_share=round(share, 4),
        duration_s=round((end - begun).total_seconds()),
        requests=round(requests),
    )


def _end(case: Case, region: RegionRollout) -> datetime | None:
    """When the release was gone from a region again; None while it runs there."""
    taken = (
        o.ended_at
        for o in case.obligations
        if o.state is ObligationState.TAKEN_OVER and o.region == region.region
    )
    return region.restored_at or next(taken, None) or taken_out(case.rollout, region)


def _peak(case: Case, region: RegionRollout) -> int:
    """The highest weight that was ever ordered there, in percent; going back does not lower it."""
    orders = (
        record.action.weight
        for record in case.actions
        if record.action.kind is Kind.DEPLOY
        and record.action.region == region.region
        and (record.attempts or record.state is not ActionState.DROPPED)
    )
    return max(orders, default=region.weight)
