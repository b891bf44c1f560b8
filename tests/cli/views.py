"""Real views as the server sends them: dataclasses of rollout/showing/views.py, dumped to JSON."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from rollout.core.model import Hold, Outcome, Phase, Reason, RegionPhase
from rollout.core.signals import VerdictKind
from rollout.showing.views import (
    BakeView,
    CheckView,
    ComparisonView,
    DetectableView,
    EventView,
    Exposure,
    Next,
    PlanProblemView,
    PlanStageView,
    PlanStepView,
    PlanView,
    PolicyName,
    RegionView,
    RolloutView,
    RunningView,
    ServiceView,
    StageView,
)

T0 = datetime(2026, 11, 21, 18, 20, tzinfo=UTC)
ID = "ro_01M7ZNH2ZJAH6NQ4"
HARM = "R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback; since 18:24:00 UTC."


def dumped(noun: Any) -> Any:
    return json.loads(TypeAdapter(type(noun)).dump_json(noun))


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def check(verdict: VerdictKind = VerdictKind.FAIL, **changes: Any) -> CheckView:
    given: dict[str, Any] = {
        "region": "R3",
        "signal": "errors",
        "title": "failed requests",
        "verdict": verdict,
        "text": "R3 failed requests 8.10 % against 0.20 % (×40.5) on holdback",
        "value": 0.081,
        "baseline": 0.002,
        "limit": 0.01,
        "log_e": 7.2,
        "seen": 1240.0,
        "needs": "",
        "guard": "",
        "baseline_kind": "holdback",
        "since": at(240),
        "newest": at(300),
    }
    return CheckView(**(given | changes))


def region(name: str, phase: RegionPhase, **changes: Any) -> RegionView:
    given: dict[str, Any] = {
        "region": name,
        "title": name,
        "phase": phase,
        "since": T0,
        "running_version": None,
        "running": {},
        "running_at": None,
        "weight": 0,
        "back_to": None,
        "step": 0,
        "steps": ("25 %", "bake 15 min"),
        "bake": None,
        "touched_at": None,
        "passed_at": None,
        "restored_at": None,
        "message": "",
        "checks": (),
    }
    return RegionView(**(given | changes))


def baking(**changes: Any) -> RegionView:
    bake = BakeView(planned_s=900, elapsed_s=240, until="elapsed")
    given = {"touched_at": at(60), "running_version": "1.1.0 + 1.2.0", "weight": 25, "bake": bake}
    return region("R3", RegionPhase.BAKING, **(given | changes))


def view(phase: Phase = Phase.PROGRESSING, **changes: Any) -> dict[str, Any]:
    """A rollout of mail-sender 1.2.0 as JSON; in R3 unless told."""
    given: dict[str, Any] = {
        "id": ID,
        "row_version": 17,
        "service": "mail-sender",
        "version": "1.2.0",
        "artifact": None,
        "lock_digest": None,
        "change_url": None,
        "author": "ada",
        "note": "",
        "created_at": T0,
        "created_by": "ci",
        "phase": phase,
        "since": at(60),
        "health": VerdictKind.UNDECIDED,
        "outcome": None,
        "sentence": f"mail-sender 1.2.0 is {phase.replace('_', ' ')}.",
        "reason": Reason(code="started", text="ci asked for mail-sender 1.2.0 under policy standard."),
        "next": Next(what="Bake in R3, then R1", at=at(960)),
        "blocked_by": (),
        "needs_person": False,
        "possible": ("hold", "rollback"),
        "rollback_effect": "Roll back R3 to 1.1.0",
        "exposure": Exposure(regions=("R3",), traffic_share=0.05, duration_s=300, requests=1240),
        "stages": (
            StageView(name="R3", regions=(baking(),)),
            StageView(name="R1", regions=(region("R1", RegionPhase.PENDING),)),
        ),
        "policy": PolicyName(name="standard", revision=3),
        "hold": None,
        "approval": None,
        "obligations": (),
        "harm_since": None,
        "decided_at": None,
        "finished_at": None,
    }
    return dumped(RolloutView(**(given | changes)))  # type: ignore[no-any-return]


def rolled_back(**changes: Any) -> dict[str, Any]:
    restored = region(
        "R3", RegionPhase.RESTORED, touched_at=at(60), running_version="1.1.0", checks=(check(),)
    )
    given: dict[str, Any] = {
        "sentence": "mail-sender 1.2.0 was rolled back; users are on 1.1.0.",
        "reason": Reason(code="check.harm", text=HARM, region="R3", signal="errors", since=at(240)),
        "outcome": Outcome.ROLLED_BACK,
        "possible": (),
        "rollback_effect": "",
        "next": None,
        "decided_at": at(300),
        "stages": (StageView(name="R3", regions=(restored,)),),
    }
    return view(Phase.ROLLED_BACK, **(given | changes))


def held() -> dict[str, Any]:
    return view(Phase.HELD, hold=Hold(owner="ada", reason="looking", since=at(90)), possible=("resume",))


def event(sequence: int, before: str, after: str, text: str, name: str | None = "R3") -> dict[str, Any]:
    return dumped(  # type: ignore[no-any-return]
        EventView(
            sequence=sequence,
            at=at(sequence),
            rollout_id=ID,
            service="mail-sender",
            number=sequence,
            region=name,
            from_phase=before,
            to_phase=after,
            trigger="go",
            actor="controller",
            reason=Reason(code="x", text=text),
        )
    )


def detectable(region: str, rise: float) -> DetectableView:
    return DetectableView(
        region=region,
        signal="errors",
        title="failed requests",
        baseline_kind="beside",
        seen=18_000,
        rise=rise,
        tolerance=2,
        needed_s=25_000,
        text=f"failed requests: ×{rise} from 18,000 requests",
    )


def plan() -> dict[str, Any]:
    steps = (
        PlanStepView(what="25 %", at=T0, planned_s=60),
        PlanStepView(
            what="bake 6 h",
            at=at(60),
            planned_s=21600,
            detectable=(detectable("R3", 2.1), detectable("R1", 3.4)),
        ),
        PlanStepView(what="approval by 1", at=at(21660), planned_s=0),
    )
    return dumped(  # type: ignore[no-any-return]
        PlanView(
            service="mail-sender",
            version="1.2.0",
            policy=PolicyName(name="standard", revision=3),
            back_to={"R3": "1.1.0", "R1": None},
            stages=(PlanStageView(name="first", regions=("R3", "R1"), steps=steps),),
            checks=("failed requests", "restarts"),
            watch_until=at(43260),
            warnings=("R1 has no known good release.",),
            comparisons=(
                ComparisonView(
                    region="R3",
                    signals=("errors", "restarts"),
                    kind="beside",
                    rests_on="proof",
                    history_days=3,
                    text="R3: all checks against instances beside it, 25 % or more: proved.",
                ),
            ),
            problems=(
                PlanProblemView(place="checks.0.tolerance", message="R3: no bake can see ×1.5. Bake 7 h."),
            ),
        )
    )


def service() -> dict[str, Any]:
    return dumped(  # type: ignore[no-any-return]
        ServiceView(
            name="mail-sender",
            policy="standard",
            owners=("oncall",),
            regions=("R3",),
            signals={"errors": {"title": "bad"}},
            row_version=4,
            stopped_by=None,
            stopped_at=None,
        )
    )


def running() -> dict[str, Any]:
    return dumped(  # type: ignore[no-any-return]
        RunningView(
            region="R3",
            title="APAC",
            running={"1.1.0": 4},
            running_at=T0,
            known_good=("1.1.0",),
            generation=2,
            rollout=None,
            error="",
            problems=(),
        )
    )
