"""Liveness, seen at the end: all ended or waits by name, is told, and targets are as they should be."""

from collections.abc import Iterator, Mapping

from rollout.core.actions import Action
from rollout.core.machine import RegionTrigger, Trigger
from rollout.core.model import CONTROLLER, ActionState, Kind, Phase, RegionPhase, Rollout
from tests.simulation.checkers.violation import Checker, Violation, at_end, broken
from tests.simulation.history import Changed, Committed, End, History, Sent, Told

TOLD_S = 45.0  # after the faults, within which people are told
STAYS_S = 5.0  # at the end, in which nothing moves any more
_LOUD = {
    Trigger.NO_DATA,
    Trigger.SUSPECTED,
    Trigger.BAKE_EXPIRED,
    Trigger.APPROVAL_EXPIRED,
    Trigger.PREFLIGHT_FAILED,
    Trigger.QUEUE_EXPIRED,
    Trigger.STOPPED,
    Trigger.GATE_UNMET,
    Trigger.RESTORE_FAILED,
    RegionTrigger.UNREACHABLE,
    RegionTrigger.RESTORE_FAILED,
}


def l1_everything_ends_or_waits_by_name(history: History) -> Iterator[Violation]:
    """After the faults every rollout ends; where nobody helps, it may wait for something that it names."""
    if history.end is None:
        return
    for case in history.end.cases:
        rollout = case.rollout
        wait = history.end.waits[rollout.id]
        if case.intents:
            yield at_end("L1", history, f"{rollout.id} never took in {[i.kind for i in case.intents]}")
        if rollout.finished:
            pending = [r.key for r in case.actions if r.state is ActionState.PENDING]
            if not history.end.rested and (pending or rollout.next_due_at):
                yield at_end("L1", history, f"{rollout.id} is {rollout.phase} and never rests: {pending}")
        elif history.end.helped or not history.end.rested:
            yield at_end("L1", history, f"{rollout.id} is {rollout.phase}: {wait.sentence} {wait.blocked_by}")
        elif not (wait.sentence and wait.blocked_by and wait.next):
            yield at_end("L1", history, f"{rollout.id} is {rollout.phase} and does not say for what: {wait}")


def l2_what_went_back_runs_nowhere(history: History) -> Iterator[Violation]:
    """A release that was rolled back runs in no region that was restored; or people were woken."""
    end = history.end
    if end is None or not end.rested:
        return
    for case in end.cases:
        rollout = case.rollout
        if rollout.phase is not Phase.ROLLED_BACK or _again(end, rollout.id, rollout.release.version):
            continue
        for region in rollout.touched:
            runs = end.running[rollout.release.service, region.region]
            place = (rollout.release.service, region.region)
            there = region.phase is RegionPhase.RESTORED and rollout.release.version in runs
            if there and not _flagged(history, place):
                text = f"{rollout.id} is rolled back, and {region.region} runs {dict(runs)}"
                yield at_end("L2", history, text)


def _flagged(history: History, place: tuple[str, str]) -> bool:
    """Whether people were woken for what came late to a target without fences; nobody can prevent that."""
    service, region = place
    if region in history.setting.fencing:
        return False
    moved = max((h.n for h, c in history.of(Changed) if (c.service, c.region) == place), default=-1)
    told = (t.notice for h, t in history.of(Told) if h.n > moved)
    return any(notice.urgent and notice.service == service and region in notice.text for notice in told)


def _again(end: End, rollout_id: str, version: str) -> bool:
    return any(c.rollout.release.version == version and c.rollout.id > rollout_id for c in end.cases)


def l3_what_is_blocked_is_told(history: History) -> Iterator[Violation]:
    """Whatever stops a rollout, or its way back, wakes somebody."""
    calm = history.calm_at()
    told: dict[str, list[float]] = {}
    for happened, notice in history.of(Told):
        if notice.notice.urgent:
            told.setdefault(notice.notice.key, []).append(happened.at)
    last = history.happened[-1].at if history.happened else 0.0
    for happened, committed in history.of(Committed):
        change = committed.change
        loud = [r for r in change.transitions if r.trigger in _LOUD and r.actor == CONTROLLER]
        until = max(happened.at, calm) + TOLD_S
        if not loud or until > last:
            continue
        keys = [r.key for r in change.actions if r.action.kind is Kind.NOTIFY and r.action.details["urgent"]]
        if not any(at <= until for key in keys for at in told.get(key, [])):
            text = f"{change.rollout.id}: nobody was woken for {loud[0].trigger}: {loud[0].reason.text}"
            yield broken("L3", happened, text)


def l4_targets_are_as_wanted_and_stay(history: History) -> Iterator[Violation]:
    """Every target runs what was ordered last and is not taken back, and nothing moves any more."""
    end = history.end
    if end is None or not end.rested:
        return
    for place, runs in end.running.items():
        texts = [
            _unlike(action, runs, history.setting.known_good.get(place, ""))
            for action in _wanted(history, end, place)
        ]
        if all(texts) and not _flagged(history, place) and not _nobody_compared(history, place):
            yield at_end("L4", history, f"{place[0]} in {place[1]} {texts[0]}")
    last = max(end.at, history.happened[-1].at if history.happened else 0.0)
    for happened, changed in history.of(Changed):
        if happened.at > last - STAYS_S and happened.at > history.calm_at():
            yield broken("L4", happened, f"{changed.region} still moves at the end: {changed.key}")


def _wanted(history: History, end: End, place: tuple[str, str]) -> tuple[Action | None, ...]:
    """What was done last, then newer orders that were sent and of which that is not known."""
    sent = {one.key for _, one in history.of(Sent)}
    orders = [
        record
        for record in (record for case in end.cases for record in case.actions)
        if record.action.kind in (Kind.DEPLOY, Kind.RESTORE)
        and (record.action.service, record.action.region) == place
    ]
    done = [record.action for record in orders if record.state is ActionState.SUCCEEDED]
    last = max(done, key=lambda action: action.generation, default=None)
    settled = (ActionState.SUCCEEDED, ActionState.FAILED)
    newer = [r.action for r in orders if r.state not in settled and r.key in sent]
    return (last, *(a for a in newer if last is None or a.generation > last.generation))


def _nobody_compared(history: History, place: tuple[str, str]) -> bool:
    """Whether an order came late to a target without fences when every rollout there was over and at rest."""
    service, region = place
    if region in history.setting.fencing:
        return False
    moved = max((h.n for h, c in history.of(Changed) if (c.service, c.region) == place), default=-1)
    last: dict[str, tuple[int, Rollout]] = {}
    for happened, committed in history.of(Committed):
        rollout = committed.change.rollout
        if rollout.release.service == service and region in {one.region for one in rollout.touched}:
            last[rollout.id] = (happened.n, rollout)
    return bool(last) and all(
        n < moved and one.finished and one.next_due_at is None for n, one in last.values()
    )


def _unlike(action: Action | None, runs: Mapping[str, int], good: str) -> str:
    """How what runs differs from what was wanted; empty when it does not."""
    if action is None:
        return "" if set(runs) == {good} else f"runs {dict(runs)}, and nothing was ordered there"
    total = sum(runs.values())
    share = 100 * runs.get(action.version, 0) / max(1, total)
    weight = 100 if action.kind is Kind.RESTORE else action.weight
    strange = set(runs) - {action.version, action.from_version if weight < 100 else action.version}
    if abs(share - weight) <= 25 and not strange and (weight < 100 or share == 100):
        return ""
    return f"runs {dict(runs)}, and {action.kind} {action.version} {weight} % was ordered last"


ALL: tuple[Checker, ...] = (
    l1_everything_ends_or_waits_by_name,
    l2_what_went_back_runs_nowhere,
    l3_what_is_blocked_is_told,
    l4_targets_are_as_wanted_and_stay,
)
