"""Whether a rise is seen in regions without the release too: a common cause is suspected, and people decide.

Instances beside each other and peers cancel out what happens to all of them. A region that is compared with
its own past does not, so the regions that the release has not reached are asked before it is acted on. A
hard guard is never asked about.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core import reason as say
from rollout.core.judge.suspects import Ends, common_cause, rise
from rollout.core.plan import Plan
from rollout.core.signals import Judgement, Sample, SignalKind, Verdict, VerdictKind, series_name
from rollout.ports import Store

BEFORE_S = 3600.0  # of the time before a rise: what was usual there lately
COUNTED = (SignalKind.RATIO, SignalKind.RATE, SignalKind.DISTRIBUTION)


async def without_common_causes(
    store: Store, service: str, plan: Plan, judgement: Judgement, touched: Collection[str]
) -> Judgement:
    """The judgement, in which culprits that are all seen in untouched regions too are only suspected."""
    untouched = [name for name in plan.regions if name not in touched]
    asked = [verdict for verdict in judgement.culprits if _own_past(plan, verdict)]
    if not untouched or not asked or len(asked) < len(judgement.culprits):
        return judgement
    found = []
    for verdict in asked:
        regions = await _same_rise(store, service, verdict, untouched)
        if not regions:
            return judgement
        note = "; ".join(filter(None, [say.seen_elsewhere(regions), verdict.note]))
        found.append(replace(verdict, kind=VerdictKind.UNDECIDED, note=note))
    return replace(judgement, culprits=(), suspected=(*found, *judgement.suspected))


def _own_past(plan: Plan, verdict: Verdict) -> bool:
    """Whether a verdict rests on nothing but its region's own past, and can be looked for elsewhere."""
    counted = plan.signals[verdict.signal].kind in COUNTED
    return not verdict.guard and counted and "the past of" in verdict.baseline_kind and bool(verdict.since)


async def _same_rise(store: Store, service: str, verdict: Verdict, untouched: list[str]) -> tuple[str, ...]:
    since = verdict.since
    assert since is not None, "a verdict without a beginning is not looked for elsewhere"
    elsewhere: dict[str, Ends] = {}
    for region in untouched:
        samples = await _series(store, service, verdict, region, since)
        elsewhere[region] = rise(samples, since, beyond=verdict.edge is not None)
    return common_cause((verdict.low, verdict.high), elsewhere)


async def _series(store: Store, service: str, verdict: Verdict, region: str, since: datetime) -> list[Sample]:
    name = verdict.signal
    if verdict.edge is not None:
        name = series_name(name, le=f"{verdict.edge:g}")
    found: list[Sample] = []
    after, begin = 0, since - timedelta(seconds=BEFORE_S)
    while page := await store.samples(service, [region], after=after, since=begin):
        after = page[-1][0]
        found += [sample for _, sample in page if sample.signal == name and not sample.instance]
    return found
