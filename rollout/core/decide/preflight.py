"""Before a region is touched: its way back is rehearsed, and what runs there is what is known to be good."""

from collections.abc import Mapping
from dataclasses import replace

from rollout.core import reason as say
from rollout.core.actions import Action, ActionRecord
from rollout.core.decide.draft import Draft
from rollout.core.decide.readback import ordered_outside
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
        text = f"The way back is proven: {names}.{_unrehearsed(draft)}{_unpinned(draft)}"
        draft.move(Trigger.PREFLIGHT_PASSED, say.plain("preflight.passed", text))
    else:
        draft.wake_in(QUEUE_POLL_S)


def prove(draft: Draft, region: RegionRollout) -> Reason | None:
    """Order or follow one region's rehearsal; the reason why it cannot go back, if so."""
    known = draft.facts.known_good.get(region.region, ())
    service = draft.rollout.release.service
    if not known:
        text = (
            f"{region.region} has no known good release of {service} to go back to. If what runs there is "
            f"good, adopt it (rollout adopt {service} --region {region.region} --reason …), then resume."
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
    unrehearsed = rehearsal is None and not draft.plan.observes
    if region.back_to != known[0] or unrehearsed or reading is None:
        _order_proof(draft, region, known[0])
        return None
    if reading.open or (rehearsal is not None and rehearsal.open):
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
    if not draft.plan.observes:
        draft.order(order)
    draft.order(replace(order, kind=Kind.VERIFY))


def _unrehearsed(draft: Draft) -> str:
    """What is said of regions whose known good was not started once, apart from users."""
    if draft.plan.observes:
        return " Observing: it was read back, and nothing was rehearsed."
    names = ", ".join(r.region for r in draft.rollout.regions if _cannot_rehearse(draft, r.region))
    return f" {names}: no rehearsal possible there, so it was only read back." if names else ""


def _unpinned(draft: Draft) -> str:
    """What is said of known goods whose artifact is a name that may come to mean something else."""
    goods = {region.back_to.release for region in draft.rollout.regions if region.back_to}
    loose = sorted(good.artifact for good in goods if good.artifact and not good.pinned)
    return f" Not pinned by digest, so they may have changed: {', '.join(loose)}." if loose else ""


def _cannot_rehearse(draft: Draft, region: str) -> bool:
    rehearsal = draft.newest(region, Kind.REHEARSE)
    return rehearsal is not None and bool(rehearsal.result.details.get("unsupported"))


def _proved(
    draft: Draft, region: RegionRollout, rehearsal: ActionRecord | None, reading: ActionRecord, good: set[str]
) -> Reason | None:
    """The way back is proven by a rehearsal, where the target can, and by what was read back."""
    assert region.back_to is not None, "a way back is proven to somewhere"
    version, running = region.back_to.release.version, reading.result.running
    failed = rehearsal is not None and rehearsal.state is not ActionState.SUCCEEDED
    if failed and rehearsal is not None and not rehearsal.result.details.get("unsupported"):
        text = (
            f"{region.region} could not rehearse {version}, the release it would go back to: "
            f"{rehearsal.result.message} Nothing was touched. Mend it and resume."
        )
    elif reading.state is not ActionState.SUCCEEDED:
        text = f"{region.region} could not be read back: {reading.result.message} Mend it and resume."
    elif why := ordered_outside(draft, region.region, reading):
        text = f"{region.region} is not touched: {why} Then resume, which orders above that."
    else:
        text = _unfit(draft, region.region, version, running, good)
    if text:
        return say.plain("preflight.no_way_back", text, region=region.region)
    draft.set_region(region.region, rehearsed=True, running=running, running_at=reading.ended_at)
    return None


def _unfit(draft: Draft, region: str, version: str, running: Mapping[str, int], good: set[str]) -> str:
    """What is wrong with what runs there; the release may run already where it is only observed."""
    shown = say.running(running)
    new = {draft.rollout.release.version} if draft.plan.observes else set()
    if not set(running) & {version, *new} or set(running) - good - new:
        return (
            f"{region} runs {shown}, and its known good is {version}: somebody changed it without a "
            "release, or its last bake was ended early and is still watched. Bring it back, or adopt what "
            "runs, then resume."
        )
    if sum(running.values()) < LEAST_INSTANCES and not draft.plan.observes:
        return (
            f"{region} runs {shown}: there is no room for the release beside its baseline. Run "
            f"{LEAST_INSTANCES} instances or more, then resume."
        )
    return ""
