"""Gates: what a pipeline reports, where a stage waits for it, and what follows a failure or silence."""

from dataclasses import replace
from datetime import timedelta

from rollout.core import reason as say
from rollout.core.decide.back import roll_back
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import hold
from rollout.core.machine import Remark, Trigger
from rollout.core.model import Gate, GateReport, Intent, Phase, Rollout
from rollout.core.policy import GateStep

_FORWARD = (Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.HELD)


def newest(rollout: Rollout, name: str, stage: int) -> GateReport | None:
    """What counts of a gate in a stage: the last report."""
    return next((each for each in rollout.gates if (each.name, each.stage) == (name, stage)), None)


def take_in(draft: Draft, intent: Intent) -> None:
    """Keep a report, and its row of history; what follows is seen where the stage stands at the gate."""
    name, stage = str(intent.details["gate"]), int(intent.details["stage"])
    report = GateReport(
        name=name,
        stage=stage,
        status=str(intent.details["status"]),
        by=intent.actor,
        at=intent.at,
        url=str(intent.details.get("url", "")),
        message=intent.reason,
    )
    text = f"{intent.actor} reports that {_title(draft, name, stage)} {_said(report)}"
    before = newest(draft.rollout, name, stage)
    if before is not None and before.at > report.at:
        older = f"{text} It counts as older than the last."
        draft.remark(Remark.NOTE, say.plain("gate.older", older), intent.actor)
        return  # a clock was set back, or a copy came late: the newer one stays
    draft.set(gates=(*(each for each in draft.rollout.gates if each is not before), report))
    draft.remark(Remark.GATE_REPORTED, say.plain("gate.reported", text), intent.actor)
    if before and before.status == "passed" and report.status == "failed" and _is_past(draft, report):
        _tell_late(draft, text)
    if before and before.acted_on and report.status == "passed" and draft.phase is Phase.HELD:
        draft.notify(f"{draft.rollout.release.service} is held, and {_title(draft, name, stage)} passed now. "
                     f"Go on: rollout resume {draft.rollout.id}")  # fmt: skip


def _is_past(draft: Draft, report: GateReport) -> bool:
    """Whether a stage has gone on from a gate, in a rollout that goes forward still."""
    steps = draft.plan.stages[report.stage].steps
    gates = (i for i, step in enumerate(steps) if isinstance(step, GateStep) and step.gate == report.name)
    place = next(gates, len(steps))
    gone = any(region.stage == report.stage and region.step > place for region in draft.rollout.regions)
    return gone and draft.phase in _FORWARD and not draft.plan.observes


def _tell_late(draft: Draft, text: str) -> None:
    release, known = draft.rollout.release, draft.rollout.id
    verb = "rollback" if draft.rollout.touched else "cancel"
    draft.notify(
        f"{release.service} {release.version}: {text} It had passed before, and the stage went on; nothing "
        f"is done by itself. If it holds: `rollout {verb} {known}`; to look first: `rollout hold {known}`."
    )


def passed(draft: Draft, step: GateStep, index: int) -> bool:
    """Whether a stage that stands at this gate may go on; otherwise it waits, is held, or goes back."""
    stage = draft.rollout.stage
    if draft.plan.observes:
        text = f"Would wait for {_title(draft, step.gate, stage)} here; observing, so it goes on."
        draft.remark(Remark.WOULD_ASK, say.plain("gate.observed", text))
        return True
    report = newest(draft.rollout, step.gate, stage)
    if report is not None and report.status == "passed":
        draft.set(gate=None)
        return True
    gate = draft.rollout.gate
    if gate is None or (gate.stage, gate.step) != (stage, index):
        gate = _await(draft, step, index)
    if report is not None and not report.acted_on:
        _failed(draft, step, report)
    elif draft.now >= gate.deadline:
        _unreported(draft, step, gate)
    else:
        draft.wake_at(gate.deadline)
    return False


def _await(draft: Draft, step: GateStep, index: int) -> Gate:
    gate = Gate(
        name=step.gate,
        stage=draft.rollout.stage,
        step=index,
        asked_at=draft.now,
        deadline=draft.now + timedelta(seconds=step.within),
        otherwise=step.otherwise,
    )
    then = "held" if gate.otherwise == "hold" else "rolled back"
    until = say.clock(gate.deadline, draft.now)
    text = f"{_title(draft, gate.name, gate.stage)} is awaited until {until}; without a report it is {then}."
    draft.set(gate=gate)
    draft.remark(Remark.GATE_AWAITED, say.plain("gate.awaited", text))
    draft.set(reason=say.plain("gate.awaited", text))
    return gate


def _failed(draft: Draft, step: GateStep, report: GateReport) -> None:
    said = f"{_title(draft, report.name, report.stage)} {_said(report).rstrip('.')}, reported by {report.by}."
    acted = tuple(replace(each, acted_on=True) if each is report else each for each in draft.rollout.gates)
    draft.set(gates=acted)
    if step.failed == "rollback" and draft.rollout.touched:
        roll_back(draft, Trigger.GATE_FAILED, say.plain("gate.failed", said))
    else:
        text = f"{said} Mend it, report it passed and resume; or {_end(draft)}."
        hold(draft, Trigger.GATE_UNMET, say.plain("gate.failed", text))


def _unreported(draft: Draft, step: GateStep, gate: Gate) -> None:
    waited = say.span((draft.now - gate.asked_at).total_seconds())
    said = f"{_title(draft, gate.name, gate.stage)}: nothing was reported in {waited}."
    if step.otherwise == "rollback" and draft.rollout.touched:
        roll_back(draft, Trigger.GATE_FAILED, say.plain("gate.unreported", said))
    else:
        text = f"{said} Resume to wait as long again, report it, or {_end(draft)}."
        hold(draft, Trigger.GATE_UNMET, say.plain("gate.unreported", text))


def _end(draft: Draft) -> str:
    return "roll back" if draft.rollout.touched else "cancel"


def _title(draft: Draft, name: str, stage: int) -> str:
    """What people call it: "gate smoke of R3"."""
    return f"gate {name} of {', '.join(draft.plan.stages[stage].regions)}"


def _said(report: GateReport) -> str:
    """The words of a report: "failed: 3 of 40 tests (https://…)"."""
    words = f"{report.status}: {report.message}" if report.message else report.status
    return f"{words.rstrip('.')} ({report.url})." if report.url else f"{words.rstrip('.')}."
