"""The report of one rollout: what happened, why, who was reached, how long it took. Views in, values out.

`build` makes the report from what everybody reads, `markdown` writes it for people. What must not live here:
reading anything, and plots.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.core.model import CONTROLLER, Approval, Obligation, ObligationKind, ObligationState, Reason
from rollout.core.reason import span
from rollout.showing.views import (
    CheckView,
    EventView,
    Exposure,
    GateView,
    PolicyName,
    RegionView,
    RolloutView,
)

_SEEN = frozenset({"harm", "suspected", "deploy_failed", "gate_failed", "would_roll_back"})
_ASKED = frozenset({"approval_needed", "approved", "approval_expired", "reject"})
_VERDICTS = {"pass": "✔ pass", "fail": "✖ fail", "undecided": "? undecided", "no_data": "∅ no data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long it took, in seconds; None is what did not happen, or has not ended yet.

    `detect_s` goes from the begin of the harm to the first sentence about it, `decide_s` from there to the
    decision to go back, `restore_s` from the decision until every touched region was read back, and
    `recover_s` from the begin of the harm until recovery was proven. `whole_s` is from start to end.
    """

    detect_s: int | None
    decide_s: int | None
    restore_s: int | None
    recover_s: int | None
    whole_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the timeline. `by_person` is what somebody, or a pipeline, asked for."""

    sequence: int
    at: datetime
    region: str | None
    from_phase: str
    to_phase: str
    trigger: str
    actor: str
    by_person: bool
    text: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One region: what was ordered and read back there, and when."""

    region: str
    title: str
    phase: str
    running_version: str | None
    back_to: str | None
    weight: int
    touched_at: datetime | None
    passed_at: datetime | None
    restored_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a review of one rollout needs. `settled` is False while something may still come."""

    id: str
    service: str
    version: str
    artifact: str | None
    change_url: str | None
    author: str | None
    note: str
    sentence: str
    phase: str
    outcome: str | None
    mode: str
    settled: bool
    policy: PolicyName
    created_at: datetime
    created_by: str
    finished_at: datetime | None
    harm_since: datetime | None
    decided_at: datetime | None
    reason: Reason
    would: Reason | None
    against: str
    exposure: Exposure
    times: Times
    regions: tuple[Place, ...]
    checks: tuple[CheckView, ...]
    gates: tuple[GateView, ...]
    approval: Approval | None
    obligations: tuple[Obligation, ...]
    timeline: tuple[Entry, ...]


def build(view: RolloutView, events: Iterable[EventView]) -> Report:
    """The report of `view` with its whole history, oldest first."""
    timeline = tuple(_entry(event) for event in events)
    return Report(
        id=view.id,
        service=view.service,
        version=view.version,
        artifact=view.artifact,
        change_url=view.change_url,
        author=view.author,
        note=view.note,
        sentence=view.sentence,
        phase=view.phase,
        outcome=view.outcome,
        mode=view.mode,
        settled=view.finished_at is not None and not any(_open(each) for each in view.obligations),
        policy=view.policy,
        created_at=view.created_at,
        created_by=view.created_by,
        finished_at=view.finished_at,
        harm_since=view.harm_since,
        decided_at=view.decided_at,
        reason=view.reason,
        would=view.would,
        against=view.against,
        exposure=view.exposure,
        times=_times(view, timeline),
        regions=tuple(_place(region) for region in view.regions),
        checks=view.checks,
        gates=view.gates,
        approval=view.approval,
        obligations=view.obligations,
        timeline=timeline,
    )


def _entry(event: EventView) -> Entry:
    return Entry(
        sequence=event.sequence,
        at=event.at,
        region=event.region,
        from_phase=event.from_phase,
        to_phase=event.to_phase,
        trigger=event.trigger,
        actor=event.actor,
        by_person=event.actor != CONTROLLER,
        text=event.reason.text,
        code=event.reason.code,
    )


def _place(region: RegionView) -> Place:
    return Place(
        region=region.region,
        title=region.title,
        phase=region.phase,
        running_version=region.running_version,
        back_to=region.back_to,
        weight=region.weight,
        touched_at=region.touched_at,
        passed_at=region.passed_at,
        restored_at=region.restored_at,
    )


def _times(view: RolloutView, timeline: Sequence[Entry]) -> Times:
    seen = next((entry.at for entry in timeline if entry.trigger in _SEEN), None)
    restored = [region.restored_at for region in view.regions if region.touched_at is not None]
    recoveries = [each for each in view.obligations if each.kind is ObligationKind.RECOVERY]
    met = [each.ended_at for each in recoveries if each.state is ObligationState.MET]
    begin = view.harm_since or seen
    return Times(
        detect_s=_between(view.harm_since, seen),
        decide_s=_between(seen or view.harm_since, view.decided_at),
        restore_s=_between(view.decided_at, _latest(restored)),
        recover_s=_between(begin, _latest(met)) if met and len(met) == len(recoveries) else None,
        whole_s=_between(view.created_at, view.finished_at),
    )


def _between(since: datetime | None, until: datetime | None) -> int | None:
    if since is None or until is None:
        return None
    return max(0, round((until - since).total_seconds()))


def _latest(moments: Sequence[datetime | None]) -> datetime | None:
    """The last of all, once there is one for each."""
    known = [moment for moment in moments if moment is not None]
    return max(known) if known and len(known) == len(moments) else None


def _open(obligation: Obligation) -> bool:
    return obligation.state in (ObligationState.OPEN, ObligationState.OVERDUE)


# --------------------------------------------------------------------------- for people


def markdown(report: Report) -> str:
    """The report as Markdown: the sentence first, then why, whom it reached, how long, and every event."""
    parts = [_head(report), _reach(report), _durations(report), _regions(report), _checks(report)]
    parts += [_agreed(report), _people(report), _owed(report), _timeline(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    policy = f"{report.policy.name}@{report.policy.revision}"
    mode = ", which only observes" if report.mode == "observe" else ""
    facts = [
        f"- Rollout: `{report.id}`, policy {policy}{mode}",
        f"- Started {_moment(report.created_at)} UTC by {cell(report.created_by)}",
        f"- Ended {_moment(report.finished_at)} UTC as {report.outcome or report.phase}"
        if report.finished_at
        else f"- Not ended: {report.phase}",
        f"- Author: {cell(report.author)}" if report.author else "",
        f"- Change: {cell(report.change_url)}" if report.change_url else "",
        f"- Artifact: {cell(report.artifact)}" if report.artifact else "",
        f"- Note: {cell(report.note)}" if report.note else "",
    ]
    lines = [f"# {cell(report.sentence)}", "", f"**Why:** {cell(report.reason.text)}"]
    if report.would is not None:
        lines += ["", f"**It would have gone back:** {cell(report.would.text)}"]
    if report.against:
        lines += ["", f"**Against:** {cell(report.against)}"]
    return "\n".join([*lines, "", *filter(None, facts)])


def _reach(report: Report) -> str:
    reached = report.exposure
    if not reached.regions:
        return "## Who was reached\n\nNobody: no region was touched."
    share = f"{100 * reached.traffic_share:.3g} % of users for {span(reached.duration_s)}"
    requests = f"{reached.requests:,} requests were judged." if reached.requests else "No request was judged."
    return f"## Who was reached\n\n{', '.join(reached.regions)}; {share}. {requests}"


def _durations(report: Report) -> str:
    times = report.times
    rows = [
        ("begin of harm → first seen", times.detect_s),
        ("first seen → decided to go back", times.decide_s),
        ("decided → every region read back", times.restore_s),
        ("begin of harm → recovery proven", times.recover_s),
        ("start → end", times.whole_s),
    ]
    known = [(what, span(seconds)) for what, seconds in rows if seconds is not None]
    return _table("How long it took", ("from → to", "time"), known)


def _regions(report: Report) -> str:
    rows = [
        (
            each.region,
            each.phase,
            each.running_version or "–",
            f"{each.weight} %",
            _moment(each.touched_at),
            _moment(each.passed_at),
            _moment(each.restored_at),
        )
        for each in report.regions
    ]
    return _table(
        "Regions", ("region", "phase", "runs", "ordered", "touched (UTC)", "passed", "restored"), rows
    )


def _checks(report: Report) -> str:
    rows = [
        (
            each.region,
            each.title,
            each.baseline_text or "–",
            each.value_text or "–",
            each.limit_text or "–",
            _VERDICTS.get(each.verdict, str(each.verdict)),
        )
        for each in report.checks
    ]
    return _table(
        "Checks, last numbers", ("region", "check", "baseline", "candidate", "limit", "verdict"), rows
    )


def _agreed(report: Report) -> str:
    gates = [(each.name, each.stage, each.status, each.by or "–", each.text) for each in report.gates]
    asked = [
        (_moment(each.at), each.actor, each.trigger.replace("_", " "), each.text)
        for each in report.timeline
        if each.trigger in _ASKED
    ]
    found = [
        _table("Gates", ("gate", "stage", "result", "by", "what"), gates),
        _table("Approvals", ("time (UTC)", "by", "what", "words"), asked),
    ]
    return "\n\n".join(filter(None, found))


def _people(report: Report) -> str:
    rows = [(_moment(each.at), each.actor, each.text) for each in report.timeline if each.by_person]
    return _table("What people and pipelines did", ("time (UTC)", "who", "what"), rows)


def _owed(report: Report) -> str:
    rows = [
        (each.kind, each.region, each.state, _moment(each.ended_at), each.reason.text if each.reason else "–")
        for each in report.obligations
    ]
    return _table("What was owed afterwards", ("what", "region", "state", "ended", "why"), rows)


def _timeline(report: Report) -> str:
    rows = [
        (f"{each.at:%Y-%m-%d %H:%M:%S}", each.region or "–", _move(each), each.actor, each.text)
        for each in report.timeline
    ]
    return _table("Timeline", ("time (UTC)", "region", "move", "by", "why"), rows)


def _move(entry: Entry) -> str:
    if not entry.from_phase or entry.from_phase == entry.to_phase:
        return entry.trigger
    return f"{entry.from_phase} → {entry.to_phase} ({entry.trigger})"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A headed table, or nothing where there is no row."""
    return "\n".join(_lines(title, heads, rows)) if rows else ""


def _lines(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell(text) for text in row)} |"


def cell(text: str) -> str:
    """What others wrote, as one line that is neither markup nor the end of a cell."""
    plain = " ".join(text.split())
    for sign in "\\`*[]|":
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("<", "&lt;")


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else "–"
