"""Trials and scores as plain data: what `--json` prints. docs/cli.md documents the keys; only add to them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rollout.core.plan import Plan
from rollout.core.reason import describe, limit_of, number
from rollout.core.signals import Verdict
from rollout.offline.backtest import Result
from rollout.offline.score import Count, Score
from rollout.offline.trial import Trial
from rollout.offline.world import Act

View = dict[str, Any]


def judged(result: Result) -> View:
    """What `rollout judge` prints."""
    assert result.trial is not None, "one that could not be judged has raised"
    trial = result.trial
    return {
        **_release(result),
        "policy": trial.plan.policy,
        "rows": result.rows,
        "changes": [
            {"at": moment(change.at), "from": str(change.before), **verdict(trial.plan, change.verdict)}
            for change in trial.changes
        ],
        "more_changes": trial.more_changes,
    }


def backtested(policy: str, results: Sequence[Result], found: Score) -> View:
    """What `rollout backtest` prints."""
    return {
        "policy": policy,
        "score": {
            **asdict(found),
            "rollback": _count(found.rollback),
            "rollback_or_hold": _count(found.rollback_or_hold),
        },
        "releases": [_release(result) for result in results],
        "errors": [place for place, result in enumerate(results) if result.wrong],
    }


def verdict(plan: Plan, one: Verdict) -> View:
    """A verdict with its numbers and its sentence."""
    meaning = plan.signals[one.signal]
    return {
        "region": one.region,
        "signal": one.signal,
        "verdict": str(one.kind),
        "value": one.value,
        "value_text": number(meaning.kind, meaning.unit, one.value),
        "baseline": one.baseline,
        "baseline_text": number(meaning.kind, meaning.unit, one.baseline),
        "baseline_kind": one.baseline_kind,
        "low": one.low,
        "high": one.high,
        "limit": limit_of(one),
        "log_e": one.log_e,
        "seen": one.seen,
        "needs": one.needs,
        "guard": one.guard,
        "rests_on": one.rests_on,
        "since": moment(one.since),
        "note": one.note,
        "text": describe(plan, one),
    }


def moment(at: datetime | None) -> str | None:
    """A time as JSON has it."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _release(result: Result) -> View:
    release, trial = result.release, result.trial
    label: Mapping[bool | None, str | None] = {True: "bad", False: "good", None: None}
    known: View = {
        "file": release.file,
        "service": release.service,
        "version": release.version,
        "deploys": {region: moment(at) for region, at in release.deploys.items()},
        "label": label[release.bad],
        "harm_at": moment(release.harm_at),
        "problem": result.problem,
        "wrong": result.wrong,
        "plots": list(result.plots),
        "unusable": [
            {"reason": reason, "rows": count, "first_line": line or None}
            for reason, count, line in result.unusable
        ],
    }
    return {**known, **(_trial(trial) if trial else dict.fromkeys(_TRIAL))}


def _trial(trial: Trial) -> View:
    decided = trial.decided
    return {
        "candidate": trial.candidate,
        "baseline": trial.baseline,
        "outcome": trial.outcome,
        "decided_at": moment(decided.at) if decided else None,
        "delay_s": trial.delay_s,
        "reason": decided.reason.text if decided else None,
        "code": decided.reason.code if decided else None,
        "watch": trial.watch or None,
        "judged_until": moment(trial.ended_at),
        "acts": [_act(act) for act in trial.acts],
        "checks": [verdict(trial.plan, one) for one in trial.judgement.verdicts],
        "log_e": trial.judgement.log_e,
        "threshold": trial.judgement.threshold,
        "notes": list(trial.notes),
    }


_TRIAL = (
    "candidate", "baseline", "outcome", "decided_at", "delay_s", "reason", "code", "watch", "judged_until",
    "acts", "checks", "log_e", "threshold", "notes",
)  # fmt: skip


def _act(act: Act) -> View:
    return {
        "at": moment(act.at),
        "what": act.what,
        "during": act.during,
        "code": act.reason.code,
        "region": act.reason.region,
        "signal": act.reason.signal,
        "text": act.reason.text,
    }


def _count(count: Count) -> View:
    return {**asdict(count), "precision": count.precision, "recall": count.recall, "f1": count.f1}
