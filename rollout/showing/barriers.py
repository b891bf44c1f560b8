"""Gates and approvals in words: what is awaited, what is missing, and how each one ended.

What must not live here: whose answer counts (core/decide/approvals.py, gates.py), and reading the store.
"""

from collections.abc import Iterator
from datetime import datetime

from rollout.core import reason as say
from rollout.core.decide.gates import newest
from rollout.core.model import Approval, Gate, GateReport, Rollout
from rollout.core.plan import Plan
from rollout.core.policy import GateStep
from rollout.ports import Case
from rollout.showing.views import ApprovalView, GateView

# --------------------------------------------------------------------- gates


def gate_views(case: Case, now: datetime) -> tuple[GateView, ...]:
    """Every gate of every stage, in the order of the plan."""
    return tuple(
        _gate_view(case, stage, name, now)
        for stage, planned in enumerate(case.plan.stages)
        for name in _names(planned.steps)
    )


def awaited(case: Case, now: datetime) -> str:
    """What blocks a stage that stands at a gate: `gate smoke of R3: nothing reported yet; held at …`."""
    gate = case.rollout.gate
    if gate is None:
        return ""
    found = _gate_view(case, gate.stage, gate.name, now)
    return f"{title(case.plan, gate)}: {found.text}"


def title(plan: Plan, gate: Gate) -> str:
    """What people call it: `gate smoke of R3`."""
    return f"gate {gate.name} of {', '.join(plan.stages[gate.stage].regions)}"


def _names(steps: tuple[object, ...]) -> Iterator[str]:
    yield from dict.fromkeys(step.gate for step in steps if isinstance(step, GateStep))


def _gate_view(case: Case, stage: int, name: str, now: datetime) -> GateView:
    report, gate = newest(case.rollout, name, stage), case.rollout.gate
    here = gate if gate and (gate.name, gate.stage) == (name, stage) else None
    status = report.status if report else "to_come"
    return GateView(
        name=name,
        stage=case.plan.stages[stage].name,
        status="waiting" if here else status,
        text=_gate_text(case, stage, report, here, now),
        deadline=here.deadline if here else None,
        by=report.by if report else "",
        at=report.at if report else None,
        url=report.url if report else "",
        message=report.message if report else "",
    )


def _gate_text(case: Case, stage: int, report: GateReport | None, gate: Gate | None, now: datetime) -> str:
    if gate is not None:
        then = "held" if gate.otherwise == "hold" else "rolled back"
        said = f"{_report_text(report, now)}; a new report is awaited" if report else "nothing reported yet"
        return f"{said}; {then} at {say.clock(gate.deadline, now)}"
    if report is not None:
        return _report_text(report, now)
    if case.plan.observes or case.rollout.finished:
        return "nothing reported; not awaited" + (", as it only observes" if case.plan.observes else "")
    return f"nothing reported yet; awaited once {', '.join(case.plan.stages[stage].regions)} stands there"


def _report_text(report: GateReport, now: datetime) -> str:
    said = f": {report.message.rstrip('.')}" if report.message else ""
    return f"{report.status}{said} (reported by {report.by} at {say.clock(report.at, now)})"


# --------------------------------------------------------------------- approvals


def approvals_of(rollout: Rollout) -> tuple[Approval, ...]:
    """All approvals of a rollout, the newest first."""
    pending = (rollout.approval,) if rollout.approval else ()
    return (*pending, *reversed(rollout.answered))


def approval_view(case: Case, approval: Approval, now: datetime) -> ApprovalView:
    """One approval of a rollout, with what a person needs to decide."""
    rollout, stage = case.rollout, case.plan.stages[approval.stage]
    return ApprovalView(
        id=approval.id,
        rollout=rollout.id,
        row_version=rollout.transitions,
        service=rollout.release.service,
        version=rollout.release.version,
        stage=stage.name,
        regions=stage.regions,
        state=approval.state,
        text=approval_text(approval, now),
        minimum=approval.minimum,
        missing=missing(approval),
        groups=approval.groups,
        self_approval=approval.self_approval,
        asked_at=approval.asked_at,
        deadline=approval.deadline,
        otherwise=approval.otherwise,
        decisions=approval.decisions,
        ended_at=approval.ended_at,
    )


def missing(approval: Approval) -> int:
    """How many more people must say yes."""
    return max(0, approval.minimum - len(_yes(approval)))


def approval_text(approval: Approval, now: datetime) -> str:
    """What is missing of it, or how, when and by whom it ended."""
    if approval.state == "pending":
        then = "held" if approval.otherwise == "hold" else "rejected"
        return f"{needs(approval)}; {then} at {say.clock(approval.deadline, now)}"
    at = say.clock(approval.ended_at or approval.deadline, now)
    no = [given for given in approval.decisions if given.decision == "reject"]
    if approval.state == "rejected" and no:
        return f"rejected by {no[-1].by} at {at}: {no[-1].reason}"
    if approval.state == "approved":
        return f"approved by {' and '.join(_yes(approval))} at {at}: {approval.decisions[-1].reason}"
    came = f"{len(_yes(approval))} of {approval.minimum} approvals had come"
    if approval.state == "expired":
        return f"expired at {at}: {came}"
    return f"withdrawn at {at}, as the rollout was stopped or went back meanwhile: {came}"


def needs(approval: Approval) -> str:
    """`needs 1 more approval from oncall`."""
    count = missing(approval)
    who = f" from {', '.join(approval.groups)}" if approval.groups else ""
    return f"needs {count} more approval{'' if count == 1 else 's'}{who}"


def _yes(approval: Approval) -> list[str]:
    return list(dict.fromkeys(given.by for given in approval.decisions if given.decision == "approve"))
