"""A history as lines for people, its knobs' coverage, and the words of both. Nothing is judged here."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rollout.core.actions import Action
from rollout.core.model import ActionState, Kind, Phase, Release
from tests.simulation import history
from tests.simulation.history import Happened, History


def lines(found: History) -> list[str]:
    """Everything that happened, a line each."""
    return [f"{h.n:5} {h.at:9.4f}  {_said(h)}" for h in found.happened]


def _said(happened: Happened) -> str:
    what: Any = happened.what
    return str(_WORDS[type(what)](what))


def _committed(what: history.Committed) -> str:
    change = what.change
    moves = "; ".join(
        f"{t.number} {t.region or '-'} {t.from_phase}→{t.to_phase} ({t.trigger} by {t.actor})"
        for t in change.transitions
    )
    orders = ", ".join(f"{r.key} {_order(r.action)}" for r in change.actions)
    parts = [
        f"{what.by} commits {change.rollout.id} v{change.rollout.version}{_fence(what.fence)}",
        moves,
        f"orders {orders}" if orders else "",
        f"drops {', '.join(change.drop_actions)}" if change.drop_actions else "",
        f"good: {', '.join(f'{k.region} {k.release.version}' for k in change.known_good)}"
        if change.known_good
        else "",
        f"intents {', '.join(change.intents_done)}" if change.intents_done else "",
    ]
    return " | ".join(part for part in parts if part)


def _order(action: Action) -> str:
    weight = f" {action.weight}%" if action.kind is Kind.DEPLOY else ""
    return f"{action.kind} {action.region or ''} {action.version}{weight} g{action.generation}".strip()


def _release(release: Release) -> str:
    return f"{release.service} {release.version}"


def _fence(fence: Any) -> str:
    return f" e{fence.epoch}" if fence else " unfenced"


def _runs(running: Mapping[str, int]) -> str:
    return "+".join(f"{n}×{v}" for v, n in sorted(running.items()))


def _arrived(what: history.Arrived) -> str:
    reply = what.reply
    answer = f"{reply.progress} {reply.result.message}" if reply else "refused"
    order = f"{what.region} gets {what.key} {_order(what.action)} (has g{what.highest})"
    return f"{order}: {answer}; runs {_runs(what.ran)}"


def _saved(what: history.Saved) -> str:
    record = what.record
    kept = "" if what.kept else " (had ended)"
    return (
        f"{what.by} saves {record.key} {record.action.kind} {record.state}{kept}{_fence(what.fence)}: "
        f"{record.result.message}"
    )


_WORDS: Mapping[type, Any] = {
    history.Committed: _committed,
    history.Added: lambda w: f"{w.by} adds {w.rollout.id}: {_release(w.rollout.release)}",
    history.Asked: lambda w: f"{w.by} records {w.intent.kind} of {w.intent.rollout_id} by {w.intent.actor}",
    history.Adopted: lambda w: f"{w.by} adopts {[(k.region, k.release.version) for k in w.known_good]}",
    history.Saved: _saved,
    history.Stored: lambda w: f"{w.by} stores {len(w.samples)} samples of {w.region}{_fence(w.fence)}",
    history.Granted: lambda w: f"{w.by} holds {dict(w.held.claims)}, {w.held.replicas} live",
    history.Sent: lambda w: f"{w.by} sends {w.key} {_order(w.action)}",
    history.Arrived: _arrived,
    history.Changed: lambda w: f"{w.region}: {_runs(w.before)} → {_runs(w.after)} by {w.key} {w.items or ''}",
    history.Told: lambda w: f"told{' loudly' if w.notice.urgent else ''}: {w.notice.text}",
    history.Said: lambda w: f"{w.who} to {w.to}: {w.what} → {w.answer}",
    history.Fate: lambda w: f"*** {w.whose} {w.what}",
    history.Logged: lambda w: f"{w.by} logs {w.level}: {w.text}",
    history.Calm: lambda _: "*** every fault stops",
}


def reached(found: History) -> Counter[str]:
    """Which states a run came to, so that one sees what many runs have tried."""
    return Counter(_reached(found))


def _reached(found: History) -> Iterator[str]:
    for _, fate in found.of(history.Fate):
        yield fate.what.split()[0].rstrip(";")
    for _, committed in found.of(history.Committed):
        for row in committed.change.transitions:
            yield f"{'region' if row.region else 'rollout'} {row.trigger}"
    epochs: dict[str, int] = {}
    for _, granted in found.of(history.Granted):
        for service, epoch in granted.held.claims.items():
            if epoch > epochs.setdefault(service, epoch):
                yield "taken over"
            epochs[service] = epoch
    for _, logged in found.of(history.Logged):
        if "fenced" in logged.text:
            yield "fenced"
        if "simulated" in logged.text:
            yield "store failed"
    for _, arrived in found.of(history.Arrived):
        if arrived.reply is None:
            yield "old generation refused"
    for _, saved in found.of(history.Saved):
        if saved.record.state is ActionState.PENDING:
            yield "tried again"
    yield from _ends(found)


def _ends(found: History) -> Iterator[str]:
    if found.end is None:
        return
    for case in found.end.cases:
        yield f"ended {case.rollout.phase}"
        if case.rollout.phase is Phase.SUCCEEDED:
            yield f"outcome {case.rollout.outcome}"
    if not found.end.rested:
        yield "never rested"
