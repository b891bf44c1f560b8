"""Before a region is touched: its way back is rehearsed, and what runs there is what is known to be good."""

from dataclasses import replace

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import QUEUE_POLL_S, hold
from rollout.core.machine import Trigger
from rollout.core.model import ActionState, Kind, KnownGood, Reason, RegionRollout

LEAST_INSTANCES = 2  # one for the release, one for its baseline


def prove_way_back(draft: Draft) -> None:
    """Rehearse the known good in every region and read back what runs, before the first is touched."""
    for region in draft.rollout.regions:
        problem = prove(draft, region)
        if problem:
            hold(draft, Trigger.PREFLIGHT_FAILED, problem)
            return
    if all(region.rehearsed for region in draft.rollout.regions):
        names = ", ".join(
            f"{r.region} to {r.back_to.release.version}" for r in draft.rollout.regions if r.back_to
        )
        draft.move(
            Trigger.PREFLIGHT_PASSED, say.plain("preflight.passed", f"The way back is proven: {names}.")
        )
    else:
        draft.wake_in(QUEUE_POLL_S)


def prove(draft: Draft, region: RegionRollout) -> Reason | None:
    """Order or follow one region's rehearsal; the reason why it cannot go back, if so."""
    known = draft.facts.known_good.get(region.region, ())
    service = draft.rollout.release.service
    if not known:
        text = (
            f"{region.region} has no known good release of {service} to go back to. If what runs there is "
            f"good, adopt it (rollout adopt {service} --reason …), then resume."
        )
        return say.plain("preflight.no_known_good", text, region=region.region)
    if known[0].release.version == draft.rollout.release.version:
        text = (
            f"{region.region} has {known[0].release.version} as its known good already, so it would have no "
            "way back. Give the release a version of its own, or leave this region out."
        )
        return say.plain("preflight.same_version", text, region=region.region)
    if region.rehearsed and region.back_to == known[0]:
        return None
    rehearsal = draft.newest(region.region, Kind.REHEARSE)
    reading = draft.newest(region.region, Kind.VERIFY)
    if region.back_to != known[0] or rehearsal is None or reading is None:
        _order_proof(draft, region, known[0])
        return None
    if rehearsal.open or reading.open:
        return None
    return _proved(draft, region, rehearsal, reading, {good.release.version for good in known})


def _order_proof(draft: Draft, region: RegionRollout, target: KnownGood) -> None:
    generation = draft.raise_generation(region.region)
    draft.set_region(region.region, back_to=target, rehearsed=False)
    within = max(1, round(draft.plan.deadlines.preflight))
    order = Action(
        kind=Kind.REHEARSE,
        region=region.region,
        service=draft.rollout.release.service,
        version=target.release.version,
        artifact=target.release.artifact,
        generation=generation,
        within_s=within,
    )
    draft.order(order)
    draft.order(replace(order, kind=Kind.VERIFY))


def _proved(
    draft: Draft, region: RegionRollout, rehearsal: ActionRecord, reading: ActionRecord, good: set[str]
) -> Reason | None:
    version = rehearsal.action.version
    running = reading.result.running
    shown = ", ".join(f"{n} × {v}" for v, n in sorted(running.items())) or "nothing"
    if rehearsal.state is not ActionState.SUCCEEDED:
        text = (
            f"{region.region} could not rehearse {version}, the release it would go back to: "
            f"{rehearsal.result.message} Nothing was touched. Mend it and resume."
        )
    elif reading.state is not ActionState.SUCCEEDED:
        text = f"{region.region} could not be read back: {reading.result.message} Mend it and resume."
    elif version not in running or set(running) - good:
        text = (
            f"{region.region} runs {shown}, and its known good is {version}: somebody changed it without a "
            "release. Bring it back, or adopt what runs, then resume."
        )
    elif sum(running.values()) < LEAST_INSTANCES:
        text = (
            f"{region.region} runs {shown}: there is no room for the release beside its baseline. Run "
            f"{LEAST_INSTANCES} instances or more, then resume."
        )
    else:
        draft.set_region(region.region, rehearsed=True, running=running, running_at=reading.ended_at)
        return None
    return say.plain("preflight.no_way_back", text, region=region.region)
