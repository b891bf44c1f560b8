"""S6 to S11: what goes back goes to a known good, which is earned; and what may be ordered when.

What follows is in refusal.py.
"""

from collections.abc import Callable, Iterator

from rollout.core.decide.back import reads_back
from rollout.core.invariants.looked import BACK, Broken, Looked, is_done
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import (
    ActionState,
    Kind,
    ObligationKind,
    ObligationState,
    Phase,
    RegionPhase,
    RegionRollout,
)
from rollout.core.plan import SetWeight

_ORDERS = {
    Kind.DEPLOY: (Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.SUCCEEDED),
    Kind.REHEARSE: (Phase.PREFLIGHT, Phase.PROGRESSING),
    Kind.RESTORE: BACK,
}


# ------------------------------------------------------------------ S6 and S7: known good


def _back_to_known_good(looked: Looked) -> Iterator[Broken]:
    for record in looked.orders(Kind.RESTORE):
        order, after = record.action, looked.region(record)
        target = after.back_to if after else None
        text = ""
        if order.version == looked.after.release.version:
            text = f"{order.region} would be restored to {order.version}, the release under judgement"
        elif after is None or target is None or target.release.version != order.version:
            text = f"{order.region} would be restored to {order.version}, which is not its known good"
        elif target.release.artifact != order.artifact:
            text = f"{order.region} would get {order.artifact} and not {target.release.artifact}, as recorded"
        elif not _was_known_good(looked, after):
            text = f"{order.region} would be restored to {order.version}, which was never known good there"
        if text:
            yield Broken(number="S6", text=text, keys=(record.key,))


def _was_known_good(looked: Looked, after: RegionRollout) -> bool:
    """Recorded before this rollout began, or adopted, or earned by another rollout."""
    target = after.back_to
    known = looked.facts.known_good.get(after.region, ())
    earlier = next((b.back_to for b in looked.before.regions if b.region == after.region), None)
    return target == earlier or (target in known and target is not None and target.by != looked.after.id)


def _known_good_is_earned(looked: Looked) -> Iterator[Broken]:
    for good in looked.decision.known_good:
        after = next((r for r in looked.after.regions if r.region == good.region), None)
        text = ""
        if good.release != looked.before.release or after is None:
            text = f"{good.release.version} would become known good of {good.region} by another's bake"
        elif looked.after.would is not None or looked.goes_back:
            text = f"{good.release.version} would become known good of {good.region} in spite of harm"
        elif not _whole_bake(looked, after):
            text = f"{good.release.version} would become known good of {good.region} without its whole bake"
        if text:
            yield Broken(number="S7", text=text, goods=(good.region,))


def _whole_bake(looked: Looked, after: RegionRollout) -> bool:
    if after.skipped_by:
        return _watch_met(looked, after.region)
    done = after.step >= len(looked.plan.stages[after.stage].steps)
    return done and is_done(after) and looked.moves(after.region, RegionTrigger.BAKE_PASSED)


def _watch_met(looked: Looked, region: str) -> bool:
    return any(
        owed.kind is ObligationKind.WATCH and owed.region == region and owed.state is ObligationState.MET
        for owed in looked.decision.obligations
    )


# ------------------------------------------------------------------ S8 to S11: what may be ordered when


def _orders_fit_the_phase(looked: Looked) -> Iterator[Broken]:
    """S8: nothing promotes on the way back. S11: nor while it is held."""
    for record in looked.orders(*_ORDERS):
        phase, kind = looked.phase_at(record), record.action.kind
        if phase not in _ORDERS[kind]:
            number = "S8" if phase in BACK else "S11"
            text = f"a {kind} in {record.action.region} is ordered while the rollout is {phase}"
            yield Broken(number=number, text=text, keys=(record.key,))


def _promotions_end(looked: Looked) -> Iterator[Broken]:
    if looked.after.phase not in BACK:
        return
    dropped = set(looked.decision.drop_actions)
    left = tuple(
        record.key
        for record in looked.facts.actions
        if record.open and record.action.kind is Kind.DEPLOY and record.key not in dropped
    )
    if left:
        yield Broken(number="S8", text=f"it goes back, and {len(left)} deploys go on", keys=left)
    ahead = (RegionPhase.DEPLOYING, RegionPhase.BAKING)
    behind = [region.region for region in looked.after.touched if region.phase in ahead]
    if behind:
        yield Broken(number="S8", text=f"it goes back, and {', '.join(behind)} does not")


def _done_means_read_back(looked: Looked) -> Iterator[Broken]:
    for before, after in looked.regions():
        deployed = looked.moves(after.region, RegionTrigger.DEPLOYED, RegionTrigger.MENDED)
        if deployed and not any(_shows_share(looked, before, n) for n in _read_back(looked, before)):
            yield Broken(number="S9", text=f"{after.region} is said to be deployed and was not read back")
        good = {after.back_to.release.version} if after.back_to else set()
        restored = looked.moves(after.region, RegionTrigger.RESTORED)
        if restored and not any(set(running) == good for running in _read_back(looked, before)):
            yield Broken(number="S9", text=f"{after.region} is said to be back and was not read back")
    ends = (RegionPhase.RESTORED, RegionPhase.PASSED)
    away = [region.region for region in looked.after.touched if region.phase not in ends]
    if looked.moves(None, Trigger.ALL_RESTORED) and away:
        yield Broken(number="S9", text=f"it is said to be rolled back, and {', '.join(away)} is not")


def _read_back(looked: Looked, region: RegionRollout) -> Iterator[dict[str, int]]:
    """What read-backs of a region showed since its newest order."""
    return (
        dict(record.result.running)
        for record in looked.facts.actions
        if record.action.kind is Kind.VERIFY
        and record.action.region == region.region
        and record.action.generation == region.generation
        and record.state is ActionState.SUCCEEDED
    )


def _shows_share(looked: Looked, region: RegionRollout, running: dict[str, int]) -> bool:
    version = looked.after.release.version
    if looked.plan.observes:
        return bool(running.get(version))
    good = region.back_to.release.version if region.back_to else None
    return reads_back(running, version, good, region.weight)


def _exposure_is_bounded(looked: Looked) -> Iterator[Broken]:
    for record in looked.orders(Kind.DEPLOY):
        order, region = record.action, looked.region(record)
        most = 0 if region is None or looked.plan.observes else _most(looked, region)
        if not 1 <= order.weight <= most:
            text = f"{order.region} would get {order.weight} % of {order.version}, and {most} % is due"
            yield Broken(number="S10", text=text, keys=(record.key,))


def _most(looked: Looked, region: RegionRollout) -> int:
    """The highest share that the plan orders up to where a region stands; all, once its watch was met."""
    if region.holdback_released:
        return 100
    steps = looked.plan.stages[region.stage].steps[: region.step + 1]
    return max((step.weight for step in steps if isinstance(step, SetWeight)), default=0)


CHECKS: tuple[Callable[[Looked], Iterator[Broken]], ...] = (
    _back_to_known_good,
    _known_good_is_earned,
    _orders_fit_the_phase,
    _promotions_end,
    _done_means_read_back,
    _exposure_is_bounded,
)
