"""One rollout in the middle, and decisions about it, to take apart: R3 bakes at 75 %, then R1."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.actions import Action, ActionRecord, ActionResult
from rollout.core.decide import Decision, Facts, decide
from rollout.core.model import (
    ActionState,
    Kind,
    KnownGood,
    Phase,
    Plugin,
    Reason,
    Region,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
)
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Judgement, Signal, SignalKind, Verdict, VerdictKind

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(seconds=90)
NAMES = ("R3", "R1")
NEW = Release(service="mail", version="1.1.0", artifact="pkg:oci/mail@sha256%3Anew", author="ana")
OLD = Release(service="mail", version="1.0.0", artifact="pkg:oci/mail@sha256%3Aold")
STEPS: list[dict[str, Any]] = [{"set_weight": 75}, {"bake": "60s"}]


def good(region: str, release: Release = OLD, *, by: str = "ro_0", how: str = "earned") -> KnownGood:
    """What a region can go back to."""
    return KnownGood(
        service="mail", region=region, release=release, since=BEGAN - timedelta(days=1), how=how, by=by
    )


def plan(steps: list[dict[str, Any]] = STEPS, **more: Any) -> Plan:
    """R3, then R1, with one check."""
    regions = {
        name: Region(
            name=name,
            title=name,
            time_zone="UTC",
            order=order,
            traffic_share=0.5,
            deployer=Plugin(kind="fake"),
            source=Plugin(kind="fake"),
        )
        for order, name in enumerate(NAMES)
    }
    written = {
        "apiVersion": "rollout/v1",
        "name": "p",
        "holdback": 25,
        "steps": steps,
        "stages": [{"regions": [name]} for name in NAMES],
        "checks": [{"signal": "errors"}],
        "judging": {"warmup": "5s"},
        **more,
    }
    signals = {"errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests")}
    return compile_plan(Policy.model_validate(written), regions, signals)


def region(name: str, phase: RegionPhase = RegionPhase.BAKING, **changes: Any) -> RegionRollout:
    """A region that was read back 90 s ago."""
    made = RegionRollout(
        region=name,
        stage=NAMES.index(name),
        phase=phase,
        since=BEGAN,
        step=1,
        weight=75,
        touched_at=BEGAN - timedelta(seconds=10),
        back_to=good(name),
        rehearsed=True,
        generation=2,
        running={"1.1.0": 3, "1.0.0": 1},
        running_at=BEGAN,
        bake_started_at=BEGAN,
        judge_from=BEGAN + timedelta(seconds=5),
    )
    return replace(made, **changes)


def pending(name: str) -> RegionRollout:
    """A region whose turn has not come, and whose way back is proven."""
    return RegionRollout(
        region=name, stage=NAMES.index(name), since=BEGAN, back_to=good(name), rehearsed=True, generation=1
    )


def passed(name: str, **changes: Any) -> RegionRollout:
    """A region whose bake is over."""
    return region(name, RegionPhase.PASSED, step=2, bake_started_at=None, passed_at=BEGAN, **changes)


def rollout(*regions: RegionRollout, phase: Phase = Phase.PROGRESSING, **changes: Any) -> Rollout:
    """1.1.0 on its way, by default baking in R3."""
    made = Rollout(
        id="ro_1",
        release=NEW,
        policy="p",
        policy_revision=1,
        phase=phase,
        since=BEGAN,
        created_at=BEGAN - timedelta(minutes=5),
        created_by="pipeline",
        regions=regions or (region("R3"), pending("R1")),
        reason=Reason(code="x", text="because"),
        transitions=7,
        version=9,
        next_due_at=NOW,
    )
    return replace(made, **changes)


def verdict(name: str = "R3", **changes: Any) -> Verdict:
    """No harm on 5,000 requests."""
    made = Verdict(
        region=name,
        signal="errors",
        kind=VerdictKind.PASS,
        value=0.001,
        baseline=0.001,
        seen=5000.0,
        newest=NOW - timedelta(seconds=5),
    )
    return replace(made, **changes)


def action(kind: Kind, name: str = "R3", *, generation: int = 2, **more: Any) -> Action:
    """An order for one region."""
    return Action(kind=kind, region=name, service="mail", generation=generation, **more)


def record(order: Action, key: str = "ro_1/7/0", **changes: Any) -> ActionRecord:
    """An order as it is recorded."""
    made = ActionRecord(key=key, rollout_id="ro_1", action=order, recorded_at=BEGAN, due_at=BEGAN)
    return replace(made, **changes)


def read_back(running: dict[str, int], name: str = "R3", generation: int = 2) -> ActionRecord:
    """A read-back that has ended."""
    return record(
        action(Kind.VERIFY, name, generation=generation),
        key=f"ro_1/6/{NAMES.index(name)}",
        state=ActionState.SUCCEEDED,
        ended_at=BEGAN,
        result=ActionResult(running=running),
    )


def facts(*verdicts: Verdict, **changes: Any) -> Facts:
    """Healthy everywhere, with a known good in each region."""
    made = Facts(
        judgement=Judgement(verdicts=verdicts or (verdict(),)),
        known_good={name: (good(name),) for name in NAMES},
        generations={"R3": 2, "R1": 1},
    )
    return replace(made, **changes)


def decided(before: Rollout, known: Facts | None = None, by: Plan | None = None) -> Decision:
    """What decide says."""
    return decide(before, by or plan(), known or facts(), NOW)
