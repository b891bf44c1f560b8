"""One verdict as people see it: a tile with value, baseline, limit and what stands behind it."""

from rollout.core import reason as say
from rollout.core.plan import Plan
from rollout.core.signals import Verdict
from rollout.showing.views import CheckView


def check_view(plan: Plan, verdict: Verdict, acts_at: float | None, *, suspected: bool) -> CheckView:
    """The view of one verdict. `acts_at` is the evidence (nats) at which it acts alone, None for a guard."""
    signal = plan.signals[verdict.signal]
    value, baseline, limit = (
        "" if at is None else say.number(signal.kind, signal.unit, at)
        for at in (verdict.value, verdict.baseline, say.limit_of(verdict))
    )
    minor = {check.signal for check in plan.checks if not check.critical}
    return CheckView(
        region=verdict.region,
        signal=verdict.signal,
        title=signal.title,
        verdict=verdict.kind,
        text=say.describe(plan, verdict),
        value=verdict.value,
        baseline=verdict.baseline,
        limit=say.limit_of(verdict),
        log_e=round(verdict.log_e, 3),
        seen=verdict.seen,
        needs=verdict.needs,
        guard=verdict.guard,
        note=verdict.note,
        baseline_kind=verdict.baseline_kind,
        since=verdict.since,
        newest=verdict.newest,
        value_text=value,
        baseline_text=baseline,
        limit_text=limit,
        acts_at=round(acts_at, 3) if acts_at is not None else None,
        low=verdict.low,
        high=verdict.high,
        interval_text=say.interval(verdict.low, verdict.high),
        events=verdict.events,
        beside=verdict.beside,
        baseline_words=say.compared_with(verdict),
        rests_on=verdict.rests_on,
        rests_words=say.rests(verdict.rests_on, tested=acts_at is not None),
        critical=verdict.signal not in minor,
        suspected=suspected,
        edge=verdict.edge,
    )
