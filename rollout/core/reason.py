"""The reason sentence, made in this one place: what, value, baseline, limit, since when, what to do.

The same sentence is shown by the API, the CLI, the page, notices and reports. It is read on a phone at
night: one culprit is spelled out, the others are named.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rollout.core.model import Reason
from rollout.core.plan import Plan
from rollout.core.signals import Direction, Signal, SignalKind, Verdict, VerdictKind

NAMED = 2  # culprits beside the worst that are named
UNPROVEN = 3  # checks that a passed bake did not rule harm out for and that are named
UNMEASURED = ("crash_loop", "silence")  # guards that count restarts and requests, and look at no value
KNOWN_TO = 1000.0  # the factor up to which an interval knows its upper end
COMMON = "where the release is not"  # in the note of a verdict whose rise is seen there too
_RESTS = {
    "proof": "few false rollbacks, by proof",
    "calibration": "few false rollbacks, as measured on its own history",
    "uncalibrated": "not calibrated yet, so it acts alone only at 100 times stronger evidence",
}


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


def joined(text: str, remark: str) -> str:
    """A sentence and what is told after it, if anything."""
    return f"{text.rstrip('.')}. {remark}" if remark else text


def sentences(*texts: str) -> str:
    """Texts one after the other, each with one full stop, whether it came with one or not."""
    return " ".join(f"{text.rstrip('. ')}." for text in texts if text)


def running(counts: Mapping[str, int]) -> str:
    """What runs: `1 × 1.1.0, 3 × 1.0.0`."""
    return ", ".join(f"{count} × {version}" for version, count in sorted(counts.items())) or "nothing"


# ------------------------------------------------------------------ numbers in words


def many(count: int, one: str, more: str = "") -> str:
    """`1 region`, `2 regions`; `more` is said where an s alone does not make the plural."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def number(kind: SignalKind, unit: str, value: float | None) -> str:
    """A value of a signal as a person reads it."""
    if value is None:
        return "unknown"
    if kind in (SignalKind.RATIO, SignalKind.DISTRIBUTION):
        return f"{100 * value:.2f} %"
    if kind is SignalKind.RATE:
        return f"{level(value)} per instance-hour"
    return f"{level(value)}{' ' + unit if unit else ''}"


def level(value: float) -> str:
    """A number of no special kind: three digits, or all of them before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def times(factor: float) -> str:
    """A factor in two digits: `×5.2`, `×12`, `×0.84`."""
    if factor < 0.995:
        return f"×{factor:.2f}"
    return f"×{factor:.1f}" if factor < 9.95 else f"×{factor:,.0f}"


def interval(low: float | None, high: float | None) -> str:
    """The anytime interval of a factor: `between ×2.1 and ×12`; empty when nothing is known of it."""
    least = low if low is not None and low > 0 else None
    most = high if high is not None and high < KNOWN_TO else None
    if least is None:
        return f"at most {times(most)}" if most is not None else ""
    return f"between {times(least)} and {times(most)}" if most is not None else f"at least {times(least)}"


def compared_with(verdict: Verdict) -> str:
    """What the baseline is, in words that follow its number; empty when there is none."""
    return f"on {verdict.baseline_kind}" if verdict.baseline_kind not in ("", "none", "nothing") else ""


def rests(rests_on: str, *, tested: bool) -> str:
    """What stands behind the promise of few false rollbacks, for those who ask why."""
    return _RESTS.get(rests_on, rests_on) if tested else "no test, only its guard acts"


def counted(kind: SignalKind, sums: tuple[float, float] | None) -> str:
    """What a value was computed from: ` (39 of 3,000)`, or nothing."""
    if sums is None or sums[1] <= 0 or kind is SignalKind.GAUGE:
        return ""
    events, exposure = sums
    if kind is SignalKind.RATE:
        return f" ({events:,.0f} in {level(exposure)} h)"
    return f" ({events:,.0f} of {exposure:,.0f})"


# ------------------------------------------------------------------ one verdict


def describe(plan: Plan, verdict: Verdict) -> str:
    """One verdict in words: what, value, baseline and its kind, interval, guard and limit, since when."""
    signal = plan.signals[verdict.signal]
    if verdict.guard and verdict.note:
        text = _guarded(signal, verdict)
    else:
        text = f"{_measured(signal, verdict)}{_against(signal, verdict)}{_limited(signal, verdict)}"
    if verdict.note and verdict.kind is VerdictKind.NO_DATA:
        text += f"; {verdict.note}"
    return text + (f"; since {clock(verdict.since)}" if verdict.since else "")


def brief(plan: Plan, verdict: Verdict) -> str:
    """One verdict in a few words, where another is spelled out before it."""
    signal = plan.signals[verdict.signal]
    where = f"{verdict.region} {signal.title}"
    if verdict.guard:
        return f"{where} (hard guard '{verdict.guard}')"
    if verdict.value is not None and verdict.baseline:
        return f"{where} {times(verdict.value / verdict.baseline)}"
    return f"{where} {number(signal.kind, signal.unit, verdict.value)}"


def limit_of(verdict: Verdict) -> float | None:
    """What the value may not pass; of a guard that looks at no value, nothing."""
    return None if verdict.guard in UNMEASURED else verdict.limit


def _guarded(signal: Signal, verdict: Verdict) -> str:
    """What a hard guard saw, in its own numbers: those of the test beside it are of another time."""
    value = ""
    if verdict.guard not in UNMEASURED and verdict.value is not None:
        value = f" {number(signal.kind, signal.unit, verdict.value)}"
    where = f"{verdict.region} {signal.title}{value}"
    return f"{where}: {verdict.note}; hard guard '{verdict.guard}' fired"


def _measured(signal: Signal, verdict: Verdict) -> str:
    value = number(signal.kind, signal.unit, verdict.value) + counted(signal.kind, verdict.events)
    fell = "fell to " if _fell(signal, verdict) else ""
    beyond = f" {beyond_edge(signal, verdict.edge)}" if verdict.edge is not None else ""
    return f"{verdict.region} {signal.title}{beyond} {fell}{value}"


def _fell(signal: Signal, verdict: Verdict) -> bool:
    if signal.direction is Direction.UP or verdict.value is None or verdict.baseline is None:
        return False
    return verdict.value < verdict.baseline


def beyond_edge(signal: Signal, edge: float) -> str:
    """What a share of a distribution is a share of: `slower than 250 ms`."""
    timed = signal.unit in ("s", "ms", "")
    short = signal.unit == "s" and edge < 1
    text = f"{level(1000 * edge)} ms" if short else f"{level(edge)} {signal.unit}".strip()
    if signal.direction is Direction.DOWN:
        return f"below {text}"
    return f"{'slower than' if timed else 'above'} {text}"


def _against(signal: Signal, verdict: Verdict) -> str:
    if verdict.baseline is None:
        return ""
    text = f" against {number(signal.kind, signal.unit, verdict.baseline)}"
    kind = compared_with(verdict)
    text += counted(signal.kind, verdict.beside) + (f" {kind}" if kind else "")
    found = (
        [times(verdict.value / verdict.baseline)] if verdict.value is not None and verdict.baseline else []
    )
    reaches = interval(verdict.low, verdict.high)
    found += [f"{reaches} (95 % at every look)"] if reaches else []
    return text + (f": {', '.join(found)}" if found else "")


def _limited(signal: Signal, verdict: Verdict) -> str:
    most = limit_of(verdict)
    limit = number(signal.kind, signal.unit, most) if most else ""
    fired = f"; hard guard '{verdict.guard}' fired" if verdict.guard else ""
    if signal.kind is SignalKind.GAUGE:
        return (f", limit {limit}" if limit else "") + fired
    return fired + (f", limit {limit}" if fired and limit else "")


# ------------------------------------------------------------------ harm


def harm(plan: Plan, culprits: Sequence[Verdict], log_e: float, threshold: float) -> Reason:
    """Why the judge fails a rollout: the worst culprit in full, the others by name."""
    worst = culprits[0]
    proof = "" if worst.guard else f". Evidence of harm {odds(log_e)}; acts at {odds(threshold)}"
    code = f"guard.{worst.guard}" if worst.guard else "check.harm"
    return _of_verdicts(code, f"{_led(plan, culprits)}{proof}.", culprits)


def suspected(plan: Plan, found: Sequence[Verdict], rollout_id: str, *, watched: bool) -> Reason:
    """Why a rollout is held, or people are woken in a watch, by evidence that does not act alone."""
    worst = found[0]
    proof = "" if worst.guard else f"evidence of harm {odds(worst.log_e)}. "
    other = "The watch goes on" if watched else f"Go on: rollout resume {rollout_id}"
    do = f"{other}; go back: rollout rollback {rollout_id}"
    text = f"{_led(plan, found)}. Suspected: {proof}It does not act alone, as {_not_alone(plan, worst)}. {do}"
    return _of_verdicts("check.suspected", text, found)


def still_suspected(plan: Plan, found: Sequence[Verdict], resumed: str) -> str:
    """What a rollout goes on with: `R3 restarts, resumed by dana; evidence 420 to 1`; empty when nothing."""
    if not found:
        return ""
    worst = max(found, key=lambda verdict: (bool(verdict.guard), verdict.log_e))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    proof = f"hard guard '{worst.guard}'" if worst.guard else f"evidence {odds(worst.log_e)}"
    where = f"{worst.region} {plan.signals[worst.signal].title}{more}"
    return "; ".join(filter(None, [", ".join(filter(None, [where, resumed])), proof]))


def not_ruled_out(names: Sequence[str]) -> str:
    """What a bake that is over did not rule out, in a few words; empty when it ruled everything out."""
    if not names:
        return ""
    more = len(names) - UNPROVEN
    return f"; not ruled out: {', '.join(names[:UNPROVEN])}" + (f" and {more} more" if more > 0 else "")


def cleared(plan: Plan, cells: Iterable[tuple[str, str]]) -> str:
    """What people are told when the evidence of a suspicion is gone."""
    names = ", ".join(f"{region} {plan.signals[signal].title}" for region, signal in cells)
    return f"{names}: no evidence of harm is left of what was suspected."


def seen_elsewhere(regions: Sequence[str]) -> str:
    """What a verdict's note says when the release is hardly the cause."""
    return f"the same rise is seen in {', '.join(regions)}, {COMMON}"


def _not_alone(plan: Plan, verdict: Verdict) -> str:
    """Why evidence of harm holds and pages and does no more."""
    if verdict.signal in {check.signal for check in plan.checks if not check.critical}:
        return "the check is not critical"
    if COMMON in verdict.note:
        return next(part for part in verdict.note.split("; ") if COMMON in part)
    if verdict.rests_on == "proof":
        return "it takes evidence of checks to be enough that do not act alone"
    return "its comparison is not calibrated yet (it acts alone at 100 times stronger evidence)"


def _led(plan: Plan, found: Sequence[Verdict]) -> str:
    others = [brief(plan, verdict) for verdict in found[1 : 1 + NAMED]]
    more = len(found) - 1 - len(others)
    also = f"; also {', '.join(others)}" if others else ""
    return describe(plan, found[0]) + also + (f", and {more} more" if more else "")


def _of_verdicts(code: str, text: str, found: Sequence[Verdict]) -> Reason:
    worst = found[0]
    return Reason(
        code=code,
        text=text,
        region=worst.region,
        signal=worst.signal,
        value=worst.value,
        baseline=worst.baseline,
        limit=limit_of(worst),
        since=min((v.since for v in found if v.since), default=None),
        evidence=tuple(f"{verdict.region}/{verdict.signal}" for verdict in found),
    )


# ------------------------------------------------------------------ the other side


def against(plan: Plan, verdicts: Sequence[Verdict], blamed: Sequence[Verdict]) -> str:
    """The strongest evidence against what is decided: of health when harm is blamed, of harm when none is."""
    if not verdicts:
        return ""
    return _for_health(plan, verdicts, blamed) if blamed else _for_harm(plan, verdicts)


def _for_health(plan: Plan, verdicts: Sequence[Verdict], blamed: Sequence[Verdict]) -> str:
    """The same check where it shows no harm speaks loudest, then the check that leaves least room for it."""
    accused = {(verdict.region, verdict.signal) for verdict in blamed}
    good = [v for v in verdicts if v.kind is VerdictKind.PASS and (v.region, v.signal) not in accused]
    if not good:
        return "Nothing: no check has ruled harm out."
    signals = {verdict.signal for verdict in blamed}
    best = min(good, key=lambda v: (v.signal not in signals, _room(plan, v), v.log_e))
    count = f" {len(good)} of {len(verdicts)} checks passed." if len(good) > 1 else ""
    return f"{describe(plan, best)}: harm is ruled out.{count}"


def _room(plan: Plan, verdict: Verdict) -> float:
    """How much harm an interval leaves possible, as a factor; endless where it has no end."""
    if plan.signals[verdict.signal].direction is Direction.DOWN:
        return 1 / verdict.low if verdict.low else math.inf
    return verdict.high if verdict.high is not None else math.inf


def _for_harm(plan: Plan, verdicts: Sequence[Verdict]) -> str:
    """The check whose evidence of harm is strongest, and how strong it is."""
    judged = [verdict for verdict in verdicts if verdict.kind is not VerdictKind.NO_DATA]
    if not judged:
        return "Nothing was judged: no check has data."
    worst = max(judged, key=lambda verdict: (bool(verdict.guard), verdict.log_e))
    if worst.guard:
        return f"{describe(plan, worst)}."
    if odds(worst.log_e) == odds(0):
        blind = len(verdicts) - len(judged)
        return "Nothing: no check has any evidence of harm" + (f"; {blind} had no data." if blind else ".")
    return f"{describe(plan, worst)}. Evidence of harm {odds(worst.log_e)}."


def suspects(ranked: Sequence[str]) -> str:
    """The releases that may have caused a rise, most likely first; empty when there is only one."""
    if len(ranked) < 2:
        return ""
    return "Suspects, most likely first: " + "; ".join(
        f"{place}. {words}" for place, words in enumerate(ranked, start=1)
    )


def suspect(name: str, regions: Sequence[str], beyond: Sequence[str], lead_s: float, *, alone: bool) -> str:
    """Why one release is a suspect: where it is, for how long it was there, and what speaks for another."""
    text = f"{name} reached {', '.join(regions)} {span(lead_s)} before the rise began"
    if beyond:
        text += f", and is in {', '.join(beyond)} without it"
    return text + ("; only its own instances show it" if alone else "")


# ------------------------------------------------------------------ no data


def blind(plan: Plan, verdict: Verdict, seconds: float, problem: str = "") -> Reason:
    """Why a rollout is held for want of data; `problem` is what the source says of it."""
    signal = plan.signals[verdict.signal]
    note = verdict.note or "no sample arrived"
    cause = f" The source says: {problem}" if problem else ""
    return Reason(
        code="check.no_data",
        text=(
            f"{verdict.region} {signal.title}: no data for {span(seconds)} ({note}).{cause} "
            f"Nothing is promoted without data: {_mend_blindness(verdict)} and resume, "
            f"or {'cancel' if plan.observes else 'roll back'}."
        ),
        region=verdict.region,
        signal=verdict.signal,
        since=verdict.since,
    )


def _mend_blindness(verdict: Verdict) -> str:
    """What a person can do: about the source, or, with nothing to compare with, about what runs."""
    if "no baseline" in verdict.note:  # as judge/presence.py says it
        return "leave a part of the region on the version before, or wait until there is history,"
    return "mend the source"


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
