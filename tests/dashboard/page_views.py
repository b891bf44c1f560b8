"""Hand-built views of one rollout in every phase, as queries would give them."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.model import (
    Approval,
    Hold,
    Obligation,
    ObligationKind,
    ObligationState,
    Phase,
    Reason,
    RegionPhase,
    Release,
    Rollout,
)
from rollout.core.signals import VerdictKind
from rollout.showing.series import SeriesMark, SeriesPoint, SeriesView
from rollout.showing.views import (
    ApprovalView,
    BakeView,
    CheckView,
    EventView,
    Exposure,
    Fleet,
    Next,
    PolicyName,
    RegionView,
    RolloutView,
    RunningView,
    ServiceView,
    StageView,
)

NOW = datetime(2026, 11, 21, 3, 10, 0, tzinfo=UTC)
ID = "ro_01JD8K2M4Q7ZC3NV"
TITLES = {"R3": "APAC", "R1": "Europe", "R2": "North America"}
HARM = (
    "R3 failed requests 4.10 % against 0.39 % (×10.5) on instances beside it in R3; since 03:02:10 UTC; "
    "R3 requests slower than 250 ms 31.20 % against 2.05 % (×15.2) on instances beside it in R3; since "
    "03:02:40 UTC; R3 sends past their age limit 12.00 % against 0.80 % (×15.0) on instances beside it in "
    "R3, and 1 more. Evidence e^9.3, acts at e^5.8."
)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def check(signal: str, kind: VerdictKind, **changes: Any) -> CheckView:
    made = CheckView(
        region="R3",
        signal=signal,
        title={"errors": "failed requests", "latency": "requests slower than 250 ms"}.get(signal, signal),
        verdict=kind,
        text=f"R3 {signal}",
        value=0.0041,
        baseline=0.0039,
        limit=0.0058,
        value_text="0.41 %",
        baseline_text="0.39 %",
        limit_text="0.58 %",
        log_e=0.4,
        acts_at=8.2,
        seen=12_400,
        needs=""
        if kind is VerdictKind.PASS
        else "about 4,100 more candidate requests, 11 min at the present pace",
        guard="",
        baseline_kind="beside",
        baseline_words="on instances beside it in R3",
        low=0.8,
        high=1.3,
        interval_text="between ×0.80 and ×1.3",
        rests_on="proof",
        rests_words="few false rollbacks, by proof",
        since=ago(8) if kind is VerdictKind.FAIL else None,
        newest=ago(0.3),
    )
    return replace(made, **changes)


def checks(phase: Phase) -> tuple[CheckView, ...]:
    if phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED):
        bad = {"value": 0.041, "value_text": "4.10 %", "log_e": 9.3}
        return (check("errors", VerdictKind.FAIL, **bad), check("latency", VerdictKind.FAIL, log_e=6.1))
    return (
        check("errors", VerdictKind.PASS),
        check("latency", VerdictKind.UNDECIDED, log_e=2.6),
        check("restarts", VerdictKind.NO_DATA, value=None, value_text="", acts_at=None),
    )


def region(name: str, phase: RegionPhase, **changes: Any) -> RegionView:
    touched = phase is not RegionPhase.PENDING
    new = phase in (RegionPhase.BAKING, RegionPhase.PASSED, RegionPhase.DEPLOYING)
    made = RegionView(
        region=name,
        title=TITLES[name],
        phase=phase,
        since=ago(8),
        running_version="1.1.0 + 1.2.0" if new else "1.1.0" if touched else None,
        running={"1.1.0": 1, "1.2.0": 3} if new else {"1.1.0": 4} if touched else {},
        running_at=ago(0.1) if touched else None,
        weight=75 if touched else 0,
        back_to="1.1.0" if touched else None,
        step=1 if touched else 0,
        steps=("75 %", "bake 15 min"),
        bake=None,
        touched_at=ago(9) if touched else None,
        passed_at=None,
        restored_at=ago(1) if phase is RegionPhase.RESTORED else None,
        message="",
        checks=(),
    )
    return replace(made, **changes)


BAKE = BakeView(planned_s=900, elapsed_s=528, until="time", detectable={"errors": "×2.1", "latency": "×1.6"})
_REGIONS = {
    Phase.QUEUED: ("pending", "pending", "pending"),
    Phase.PREFLIGHT: ("pending", "pending", "pending"),
    Phase.PROGRESSING: ("baking", "pending", "pending"),
    Phase.AWAITING_APPROVAL: ("passed", "pending", "pending"),
    Phase.HELD: ("passed", "baking", "pending"),
    Phase.ROLLING_BACK: ("restoring", "restoring", "pending"),
    Phase.SUCCEEDED: ("passed", "passed", "passed"),
    Phase.ROLLED_BACK: ("restored", "pending", "pending"),
    Phase.ROLLBACK_FAILED: ("restore_failed", "restored", "pending"),
    Phase.REJECTED: ("pending", "pending", "pending"),
    Phase.CANCELED: ("pending", "pending", "pending"),
    Phase.SUPERSEDED: ("pending", "pending", "pending"),
}
_POSSIBLE = {
    Phase.QUEUED: ("hold", "cancel"),
    Phase.PREFLIGHT: ("hold", "cancel"),
    Phase.PROGRESSING: ("hold", "promote", "rollback"),
    Phase.AWAITING_APPROVAL: ("approve", "reject", "hold", "rollback"),
    Phase.HELD: ("hold", "resume", "rollback"),
    Phase.ROLLBACK_FAILED: ("rollback",),
    Phase.ROLLED_BACK: ("retry",),
    Phase.SUCCEEDED: ("rollback",),
}
_SENTENCES = {
    Phase.PROGRESSING: "mail-sender 1.2.0 is moving through R3.",
    Phase.AWAITING_APPROVAL: "mail-sender 1.2.0 waits for approval before R1 goes on.",
    Phase.HELD: "mail-sender 1.2.0 is held by ann.",
    Phase.ROLLING_BACK: "mail-sender 1.2.0 is being rolled back in R3, R1.",
    Phase.SUCCEEDED: "mail-sender 1.2.0 runs in R3, R1, R2.",
    Phase.ROLLED_BACK: "mail-sender 1.2.0 was rolled back; users are on 1.1.0.",
    Phase.ROLLBACK_FAILED: "mail-sender 1.2.0: the rollback FAILED. Somebody must act now.",
}
_NEXT = {
    Phase.PROGRESSING: Next(what="Bake in R3, then R1", at=NOW + timedelta(seconds=372)),
    Phase.AWAITING_APPROVAL: Next(what="Waits for approval, then holds", at=NOW + timedelta(minutes=47)),
    Phase.HELD: Next(what="Stays held until somebody acts"),
    Phase.ROLLING_BACK: Next(what="Reads back R3, R1 on the known good"),
    Phase.ROLLBACK_FAILED: Next(what="Reads back R3 on the known good"),
    Phase.ROLLED_BACK: Next(what="Recovery is proven or paged", at=NOW + timedelta(minutes=20)),
    Phase.SUCCEEDED: Next(what="Watch ends", at=NOW + timedelta(hours=23)),
}
_BLOCKED = {
    Phase.AWAITING_APPROVAL: ("needs 1 more approval from release-managers",),
    Phase.HELD: ("held by ann: the support desk sees odd mails",),
    Phase.ROLLBACK_FAILED: (
        "R3 could not be restored: the supervisor answered 500: slot 2 cannot be started, disk is full",
    ),
}
_BACK = (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED)
_WAITS = (Phase.AWAITING_APPROVAL, Phase.ROLLBACK_FAILED)


def _regions(phase: Phase) -> tuple[RegionView, ...]:
    made = []
    for name, word in zip(TITLES, _REGIONS[phase], strict=True):
        at = RegionPhase(word)
        bake = BAKE if at is RegionPhase.BAKING else None
        failed = at is RegionPhase.RESTORE_FAILED
        message = "the supervisor answered 500: slot 2 cannot be started, disk is full" if failed else ""
        seen = checks(phase) if name == "R3" and at is not RegionPhase.PENDING else ()
        made.append(region(name, at, bake=bake, message=message, checks=seen))
    return tuple(made)


def obligations(phase: Phase) -> tuple[Obligation, ...]:
    shared = {"id": "ob_1", "rollout_id": ID, "service": "mail-sender", "region": "R3", "since": ago(1)}
    watch = Obligation(kind=ObligationKind.WATCH, until=NOW + timedelta(hours=23), **shared)
    recovery = Obligation(
        kind=ObligationKind.RECOVERY,
        until=NOW + timedelta(minutes=20),
        progress={"found": 37, "resumed": 30, "stalled": 7, "backlog": 112},
        **shared,
    )
    met = replace(watch, state=ObligationState.TAKEN_OVER, ended_at=ago(2))
    return {Phase.SUCCEEDED: (met, watch), Phase.ROLLED_BACK: (recovery,)}.get(phase, ())


def rollout(phase: Phase = Phase.PROGRESSING, **changes: Any) -> RolloutView:
    """One rollout in `phase`; anything can be changed."""
    regions = _regions(phase)
    touched = tuple(r.region for r in regions if r.touched_at)
    left = ", ".join(r.region for r in regions if r.touched_at and r.phase is not RegionPhase.RESTORED)
    text = (
        HARM
        if phase in _BACK
        else "ann approved R3 after 15 min of bake: failed requests 0.41 % against 0.39 %."
    )
    waiting = phase is Phase.AWAITING_APPROVAL
    approval = Approval(
        id="ap_01JD8K2M4Q7ZC3NV-5",
        stage=1,
        step=0,
        minimum=1,
        groups=("release-managers",),
        self_approval=False,
        asked_at=ago(13),
        deadline=NOW + timedelta(minutes=47),
    )
    made = RolloutView(
        id=ID,
        row_version=7,
        service="mail-sender",
        version="1.2.0",
        artifact="pkg:oci/mail-sender@sha256%3A9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        lock_digest="sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        change_url="https://git.example/mail/compare/1.1.0...1.2.0",
        author="dora",
        note="quarterly mail template change",
        created_at=ago(12),
        created_by="pipeline",
        phase=phase,
        since=ago(8),
        health=VerdictKind.FAIL if phase in _BACK else VerdictKind.UNDECIDED,
        outcome=None,
        sentence=_SENTENCES.get(phase, f"mail-sender 1.2.0 is {phase}."),
        reason=Reason(code="check.harm" if phase in _BACK else "approved", text=text, region="R3"),
        next=_NEXT.get(phase),
        blocked_by=_BLOCKED.get(phase, ()),
        needs_person=phase in _WAITS,
        possible=_POSSIBLE.get(phase, ()),
        rollback_effect=f"Roll back {left} to 1.1.0"
        if "rollback" in _POSSIBLE.get(phase, ()) and left
        else "",
        exposure=Exposure(
            regions=touched,
            traffic_share=0.15 if touched else 0,
            duration_s=540 if touched else 0,
            requests=12_400 if touched else 0,
        ),
        stages=tuple(StageView(name=r.region, regions=(r,)) for r in regions),
        policy=PolicyName(name="standard", revision=3),
        hold=Hold(owner="ann", reason="the support desk sees odd mails", since=ago(3))
        if phase is Phase.HELD
        else None,
        approval=approval if waiting else None,
        obligations=obligations(phase),
        harm_since=ago(8) if phase in _BACK else None,
        decided_at=ago(2) if phase in _BACK else None,
        finished_at=None,
    )
    return replace(made, **changes)


def event(number: int, trigger: str, text: str, **changes: Any) -> EventView:
    made = EventView(
        sequence=100 + number,
        at=ago(12 - number),
        rollout_id=ID,
        service="mail-sender",
        number=number,
        region=None,
        from_phase="queued",
        to_phase="preflight",
        trigger=trigger,
        actor="controller",
        reason=Reason(code=trigger, text=text),
    )
    return replace(made, **changes)


EVENTS = (
    event(1, "start", "pipeline asked for mail-sender 1.2.0 under policy standard.", actor="pipeline"),
    event(2, "begin", "R3, R1 and R2 are free."),
    event(3, "preflight_passed", "The way back to 1.1.0 was rehearsed in 4 s."),
    event(4, "deployed", "R3 was read back on 1.2.0 at 75 %.", region="R3"),
)


def running(name: str, **changes: Any) -> RunningView:
    made = RunningView(
        region=name,
        title=TITLES[name],
        running={"1.1.0": 4},
        running_at=NOW,
        known_good=("1.1.0",),
        generation=3,
        rollout=None,
        error="",
        problems=(),
    )
    return replace(made, **changes)


SERVICE = ServiceView(
    name="mail-sender",
    policy="standard",
    owners=("mail",),
    regions=(),
    signals={},
    row_version=1,
    stopped_by=None,
    stopped_at=None,
)


def fleet(*views: RolloutView, services: tuple[ServiceView, ...] = (SERVICE,)) -> Fleet:
    held = running("R3", running={"1.1.0": 1, "1.2.0": 3}, rollout=ID)
    cells = (held, running("R1"), running("R2", error="R2 cannot be reached.", known_good=()))
    moving = (Phase.PROGRESSING, Phase.ROLLING_BACK, Phase.QUEUED, Phase.PREFLIGHT, Phase.HELD)
    return Fleet(
        needs_person=tuple(v for v in views if v.needs_person),
        moving=tuple(v for v in views if not v.needs_person and v.phase in moving),
        recent=tuple(v for v in views if not v.needs_person and v.phase not in moving),
        services=services,
        running={service.name: cells for service in services},
    )


def asked(**changes: Any) -> ApprovalView:
    """The approval that the awaiting rollout waits for."""
    made = ApprovalView(
        id="ap_01JD8K2M4Q7ZC3NV-5",
        rollout=ID,
        row_version=7,
        service="mail-sender",
        version="1.2.0",
        stage="R1",
        regions=("R1",),
        state="pending",
        text="1 approval from release-managers lets R1 go on.",
        minimum=1,
        missing=1,
        groups=("release-managers",),
        self_approval=False,
        asked_at=ago(13),
        deadline=NOW + timedelta(minutes=47),
        otherwise="hold",
        decisions=(),
    )
    return replace(made, **changes)


def started(rollout_id: str) -> Rollout:
    """A rollout that was just asked for."""
    return Rollout(
        id=rollout_id,
        release=Release(service="mail-sender", version="1.2.0"),
        policy="standard",
        policy_revision=3,
        phase=Phase.QUEUED,
        since=NOW,
        created_at=NOW,
        created_by="ann",
        reason=Reason(code="started", text="ann asked for it."),
        regions=(),
        next_due_at=NOW,
    )


def series(region: str, signal: str, *, gap: bool = True, bad: bool = False, **changes: Any) -> SeriesView:
    """Two hours of one check, deployed after the first, with a gap and, when bad, a rise."""
    begun, block = NOW - timedelta(minutes=120), timedelta(seconds=60)
    points = []
    for n in range(120):
        wave = 0.004 + 0.0006 * math.sin(n / 7) + 0.0004 * math.sin(n * 2.3)
        new = wave + (0.012 * min(1, max(0, (n - 80) / 8)) if bad else 0.0002 * math.sin(n * 1.7))
        there = n >= 60 and not (gap and 92 <= n < 97)
        points.append(
            SeriesPoint(at=begun + (n + 1) * block, candidate=new if there else None, baseline=wave)
        )
    deploy = begun + 60 * block
    marks = [SeriesMark(at=deploy, kind="deploy", text="deploy", why="R3 gets 1.2.0 at 75 %.")]
    if bad:
        at = begun + 104 * block
        marks.append(SeriesMark(at=at, kind="rollback", text="rollback", why="Harm in R3."))
    made = SeriesView(
        rollout=ID,
        region=region,
        signal=signal,
        title={"errors": "failed requests", "latency": "requests slower than 250 ms"}.get(signal, signal),
        unit="%",
        edge=0.25 if signal == "latency" else None,
        candidate="1.2.0",
        baseline="1.1.0",
        baseline_kind="beside",
        since=begun,
        until=NOW,
        block_s=60,
        points=tuple(points),
        band=(0.0032, 0.0048),
        compared_with=0.004,
        limit=0.0058,
        bake=(deploy, None),
        marks=tuple(marks),
        settings={"ruled out by a pass": "×1.5 of the baseline", "on harm": "rolls back"},
        text=f"{signal} in {region}, blocks of 1 min: 1.2.0 0.40 % last, between 0.32 % and 0.48 %.",
    )
    return replace(made, **changes)
