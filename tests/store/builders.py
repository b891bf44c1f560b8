"""Sample nouns for tests: a rollout of mail-sender over R3, R1 and R2, and what goes with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.actions import Action, ActionRecord
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.judge.state import CheckState
from rollout.core.model import (
    Intent,
    IntentKind,
    Kind,
    KnownGood,
    Obligation,
    ObligationKind,
    Phase,
    Plugin,
    Reason,
    Region,
    RegionRollout,
    Release,
    Rollout,
    Service,
    Transition,
)
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Token

T0 = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)
SERVICE = "mail-sender"
REGIONS = ("R3", "R1", "R2")
SIGNALS = ("errors", "restarts", "latency", "work_age")


def at(seconds: float) -> datetime:
    """T0 and so many seconds."""
    return T0 + timedelta(seconds=seconds)


def reason(text: str = "R3 bakes.", **more: Any) -> Reason:
    return Reason(code="bake", text=text, **more)


def release(version: str = "2.5.0", service: str = SERVICE) -> Release:
    return Release(
        service=service, version=version, artifact=f"pkg:oci/mail@sha256%3A{version}", author="ann"
    )


def plan(regions: tuple[str, ...] = REGIONS) -> Plan:
    """Compiled from a policy with every kind of step."""
    steps = [{"set_weight": "25%"}, {"bake": "10m"}, {"approval": {"from": ["mail"]}}, {"set_weight": "90%"}]
    policy = Policy.model_validate(
        {
            "apiVersion": "rollout/v1",
            "name": "careful",
            "steps": [*steps, {"bake": {"until": "pass", "min": "5m", "max": "1h"}}],
            "stages": [{"regions": [name]} for name in regions],
            "checks": [{"signal": name} for name in SIGNALS],
            "guards": {"success": {"below": "60%", "for": "90s"}},
        }
    )
    places = {
        name: Region(
            name=name,
            title=name,
            time_zone="Europe/Berlin",
            order=order,
            traffic_share=0.3,
            deployer=Plugin(kind="process", options={"port": 8000 + order}),
            source=Plugin(kind="scrape"),
        )
        for order, name in enumerate(regions)
    }
    signals = {
        name: Signal(name=name, kind=SignalKind.RATIO, title=name, sources={"scrape": {"bad": name}})
        for name in SIGNALS
    }
    return compile_plan(policy, places, signals)


def region(name: str, stage: int = 0, **more: Any) -> RegionRollout:
    return RegionRollout(region=name, stage=stage, since=T0, **more)


def rollout(rollout_id: str = "ro_01", regions: tuple[str, ...] = REGIONS, **more: Any) -> Rollout:
    """A rollout as `add` takes it: in preflight, its first row of history written, due at T0."""
    given: dict[str, Any] = {
        "release": release(),
        "policy": "careful",
        "policy_revision": 1,
        "phase": Phase.PREFLIGHT,
        "since": T0,
        "created_at": T0,
        "created_by": "ci",
        "regions": tuple(region(name, stage) for stage, name in enumerate(regions)),
        "reason": reason("Proves the way back."),
        "transitions": 1,
        "next_due_at": T0,
    }
    return Rollout(id=rollout_id, **{**given, **more})


def transition(number: int, rollout_id: str = "ro_01", **more: Any) -> Transition:
    given: dict[str, Any] = {
        "at": at(number),
        "region": None,
        "from_phase": "preflight",
        "to_phase": "progressing",
        "trigger": "proved",
        "actor": "controller",
        "reason": reason(since=T0, value=0.02, evidence=("errors in R3: 2.0 %",)),
    }
    return Transition(rollout_id=rollout_id, number=number, **{**given, **more})


def action(key: str, *, kind: Kind = Kind.DEPLOY, rollout_id: str = "ro_01", **more: Any) -> ActionRecord:
    """A pending action in R3, due at T0; `wait_s` goes into the action itself."""
    what = Action(
        kind=kind, region="R3", service=SERVICE, version="2.5.0", weight=25, wait_s=more.pop("wait_s", 0)
    )
    given: dict[str, Any] = {"recorded_at": T0, "due_at": T0}
    return ActionRecord(key=key, rollout_id=rollout_id, action=what, **{**given, **more})


def intent(intent_id: str = "in_1", rollout_id: str = "ro_01", **more: Any) -> Intent:
    given: dict[str, Any] = {"kind": IntentKind.HOLD, "actor": "ann", "reason": "looks odd", "at": at(5)}
    return Intent(id=intent_id, rollout_id=rollout_id, **{**given, **more})


def obligation(obligation_id: str = "ob_1", **more: Any) -> Obligation:
    given: dict[str, Any] = {"since": T0, "until": at(3600), "progress": {"stalled": 3}}
    return Obligation(
        id=obligation_id,
        rollout_id="ro_01",
        service=SERVICE,
        region="R3",
        kind=ObligationKind.WATCH,
        **{**given, **more},
    )


def evidence(name: str = "R3", seen: int = 7) -> RegionEvidence:
    """Four checks with the numbers that a judge keeps; one of them is infinite."""
    numbers = CheckState(log_e=1.25, blocks=12, sums=[0.5, 3.0, 8.25, 0.0, 0.1], low=float("-inf")).dump()
    return RegionEvidence(
        region=name,
        candidate="2.5.0",
        baseline="2.4.1",
        started_at=T0,
        judged_from=at(60),
        seen=seen,
        checks={signal: dict(numbers) for signal in SIGNALS},
    )


def known_good(version: str = "2.4.1", name: str = "R3", **more: Any) -> KnownGood:
    given: dict[str, Any] = {"since": T0, "how": "adopted", "by": "ann"}
    return KnownGood(service=SERVICE, region=name, release=release(version), **{**given, **more})


def sample(seconds: float = 10, **more: Any) -> Sample:
    given: dict[str, Any] = {"version": "2.5.0", "signal": "errors", "value": 2.0, "exposure": 100.0}
    return Sample(time=at(seconds), region="R3", duration_s=10.0, **{**given, **more})


def service(name: str = SERVICE, **more: Any) -> Service:
    given: dict[str, Any] = {"policy": "careful", "owners": ("mail",), "signals": {"errors": {"bad": "x"}}}
    return Service(name=name, **{**given, **more})


def token(token_id: str = "to_1", **more: Any) -> Token:
    given: dict[str, Any] = {"name": "ci", "role": "deployer", "groups": ("mail",), "created_at": T0}
    return Token(id=token_id, **{**given, **more})


def touched(found: Rollout, name: str) -> Rollout:
    """The rollout with one region touched at T0."""
    return replace(
        found,
        regions=tuple(replace(r, touched_at=T0) if r.region == name else r for r in found.regions),
    )
