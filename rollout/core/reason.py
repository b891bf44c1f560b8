"""The reason sentence, made in this one place: what, value, baseline, limit, since when, what to do.

The same sentence is shown by the API, the CLI, the page, notices and reports.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from rollout.core.model import Reason, SignalKind, Verdict, VerdictKind
from rollout.core.plan import Plan


def span(seconds: float) -> str:
    """`4000` → `1 h 7 min`; two units at most."""
    if not math.isfinite(seconds):
        return "for ever"
    whole = max(0, round(seconds))
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for index, (size, name) in enumerate(units):
        if whole >= size:
            text = f"{whole // size} {name}"
            rest = whole % size
            if index + 1 < len(units) and rest >= units[index + 1][0]:
                text += f" {rest // units[index + 1][0]} {units[index + 1][1]}"
            return text
    return "0 s"


def clock(at: datetime, now: datetime | None = None) -> str:
    """Time of day, UTC, to the second; with the date where that is not the day of `now`."""
    if now is not None and at.date() != now.date():
        return f"{at:%Y-%m-%d %H:%M} UTC"
    return f"{at:%H:%M:%S} UTC"


def odds(log_e: float) -> str:
    """An e-value as a person reads it: `5.6` → `270 to 1`, two digits, a million at most."""
    if log_e >= math.log(1e6):
        return "more than 1,000,000 to 1"
    value = math.exp(max(log_e, 0.0))
    digits = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value, -digits):,.0f} to 1"


def plain(code: str, text: str, *, region: str | None = None, since: datetime | None = None) -> Reason:
    """A reason that rests on no signal."""
    return Reason(code=code, text=text, region=region, since=since)


def number(kind: SignalKind, unit: str, value: float | None) -> str:
    """A value of a signal as a person reads it."""
    if value is None:
        return "unknown"
    if kind is SignalKind.RATIO:
        return f"{100 * value:.2f} %"
    if kind is SignalKind.RATE:
        return f"{value:.3g} per instance-hour"
    return f"{value:.3g}{' ' + unit if unit else ''}"


def describe(plan: Plan, verdict: Verdict) -> str:
    """One verdict in words: what, value, baseline, limit or evidence, since when."""
    signal = plan.signals[verdict.signal]
    value = number(signal.kind, signal.unit, verdict.value)
    text = f"{verdict.region} {signal.title} {value}"
    if signal.kind is SignalKind.GAUGE:
        text += f", limit {number(signal.kind, signal.unit, verdict.limit)}" if verdict.limit else ""
    elif verdict.baseline is not None:
        text += f" against {number(signal.kind, signal.unit, verdict.baseline)}"
        if verdict.value is not None and verdict.baseline > 0:
            text += f" (×{verdict.value / verdict.baseline:.1f})"
        if verdict.baseline_kind:
            text += f" on {verdict.baseline_kind}"
    if verdict.guard:
        text += f"; hard guard '{verdict.guard}' fired"
        if verdict.limit is not None and signal.kind is not SignalKind.GAUGE:
            text += f", limit {number(signal.kind, signal.unit, verdict.limit)}"
    if verdict.note and verdict.kind is VerdictKind.NO_DATA:
        text += f"; {verdict.note}"
    return text + (f"; since {clock(verdict.since)}" if verdict.since else "")


def harm(plan: Plan, culprits: Sequence[Verdict], log_e: float, threshold: float) -> Reason:
    """Why the judge fails a rollout, worst first; three culprits at most are spelled out."""
    worst = culprits[0]
    parts = [describe(plan, verdict) for verdict in culprits[:3]]
    more = f", and {len(culprits) - 3} more" if len(culprits) > 3 else ""
    proof = ""
    if not worst.guard:
        proof = f". Evidence of harm {odds(log_e)}; acts at {odds(threshold)}"
    since = min((v.since for v in culprits if v.since), default=None)
    return Reason(
        code=f"guard.{worst.guard}" if worst.guard else "check.harm",
        text="; ".join(parts) + more + proof + ".",
        region=worst.region,
        signal=worst.signal,
        value=worst.value,
        baseline=worst.baseline,
        limit=worst.limit,
        since=since,
        evidence=tuple(f"{verdict.region}/{verdict.signal}" for verdict in culprits),
    )


def blind(plan: Plan, verdict: Verdict, seconds: float, problem: str = "") -> Reason:
    """Why a rollout is held for want of data; `problem` is what the source says of it."""
    signal = plan.signals[verdict.signal]
    note = verdict.note or "no sample arrived"
    cause = f" The source says: {problem}" if problem else ""
    return Reason(
        code="check.no_data",
        text=(
            f"{verdict.region} {signal.title}: no data for {span(seconds)} ({note}).{cause} "
            "Nothing is promoted without data: mend the source and resume, or roll back."
        ),
        region=verdict.region,
        signal=verdict.signal,
        since=verdict.since,
    )


def source_error(region: str, message: str, seconds: float, since: datetime) -> Reason:
    """Why a rollout is held when its source or deployer cannot be asked."""
    return Reason(
        code="source.error",
        text=(
            f"{region} could not be asked for its health for {span(seconds)}: {message} "
            "Nothing is promoted blind: mend the source and resume, or roll back."
        ),
        region=region,
        since=since,
    )


def undecided(plan: Plan, verdicts: Sequence[Verdict], seconds: float) -> Reason:
    """Why a bake until pass ended in a hold."""
    waiting = [v for v in verdicts if v.kind is not VerdictKind.PASS]
    names = ", ".join(
        f"{plan.signals[v.signal].title}{f' (needs {v.needs})' if v.needs else ''}" for v in waiting[:4]
    )
    return Reason(
        code="bake.undecided",
        text=(
            f"{waiting[0].region} baked its whole {span(seconds)} and harm is not ruled out for {names}. "
            "Resume to bake as long again, or roll back."
        ),
        region=waiting[0].region,
        signal=waiting[0].signal,
    )
