"""S12 to S15: approvals count, history is whole, and nothing is forgotten. S16 is held where words leave.

What follows is in refusal.py; docs/invariants.md says what else keeps each of them.
"""

from collections.abc import Callable, Iterator

from rollout.core.invariants.looked import BACK, Broken, Looked
from rollout.core.machine import PHASES, REGION_PHASES, Remark
from rollout.core.model import (
    Approval,
    Phase,
    RegionPhase,
    Rollout,
    Transition,
    person,
)
from rollout.core.plan import PlanStep
from rollout.core.policy import ApprovalStep

_MOVING = (Phase.QUEUED, Phase.PREFLIGHT, Phase.PROGRESSING, Phase.AWAITING_APPROVAL, *BACK)


# ------------------------------------------------------------------ S12 to S15: people, history, waking


def _approvals_count(looked: Looked) -> Iterator[Broken]:
    for place in set(looked.after.approved) - set(looked.before.approved):
        given = next((a for a in reversed(looked.after.answered) if (a.stage, a.step) == place), None)
        text = f"the approval of step {place[1] + 1} in stage {place[0] + 1} is counted and was not asked"
        if given is not None:
            step = looked.plan.stages[place[0]].steps[place[1]]
            text = _too_few(looked.before, given, step)
        if text:
            yield Broken(number="S12", text=text, keys=looked.promotions())


def _too_few(rollout: Rollout, given: Approval, step: PlanStep) -> str:
    if not isinstance(step, ApprovalStep):
        return "an approval is counted where the plan has none"
    own = {person(rollout.created_by), person(rollout.release.author or "")}
    yes = {
        person(each.by) for each in given.decisions if each.decision == "approve" and each.at < given.deadline
    }
    count = len(yes if step.self_approval else yes - own)
    return f"{count} of {step.min} people who may approve did, in time" if count < step.min else ""


def _history_is_whole(looked: Looked) -> Iterator[Broken]:
    rows, first = looked.decision.transitions, looked.before.transitions + 1
    numbers = [row.number for row in rows]
    if numbers != list(range(first, first + len(rows))) or looked.after.transitions != first + len(rows) - 1:
        text = f"history goes on with {first}, and {numbers or 'nothing'} is written"
        yield Broken(number="S13", text=text)
    phases: dict[str | None, tuple[str, str]] = {None: (looked.before.phase, looked.after.phase)}
    phases |= {before.region: (before.phase, after.phase) for before, after in looked.regions()}
    for place, (begin, end) in phases.items():
        here = [row for row in rows if row.region == place]
        places = [begin, *(row.to_phase for row in here)]
        follows = all(row.from_phase == at for row, at in zip(here, places, strict=False))
        if not follows or places[-1] != end or not all(map(_is_allowed, here)):
            path = " → ".join(places)
            text = f"{place or 'the rollout'} is {end} and history says {path}"
            yield Broken(number="S13", text=text)


def _is_allowed(row: Transition) -> bool:
    """Whether the tables of machine.py have it, and it says who and why."""
    if not (row.actor and row.reason.text):
        return False
    if row.region is not None:
        table = REGION_PHASES[RegionPhase(row.from_phase)]
        return any(t == row.trigger and to == row.to_phase for t, to in table.items())
    moves = any(t == row.trigger and to == row.to_phase for t, to in PHASES[Phase(row.from_phase)].items())
    return moves or (row.from_phase == row.to_phase and row.trigger in set(Remark))


def _decided_on_what_was_read(looked: Looked) -> Iterator[Broken]:
    if (looked.after.version, looked.after.wakes) != (looked.before.version, looked.before.wakes):
        yield Broken(number="S14", text="the decision is not about the rollout that was read")


def _is_woken(looked: Looked) -> Iterator[Broken]:
    if looked.after.phase in _MOVING and looked.after.next_due_at is None:
        yield Broken(number="S15", text=f"it is {looked.after.phase} and nothing would look at it again")


CHECKS: tuple[Callable[[Looked], Iterator[Broken]], ...] = (
    _approvals_count,
    _history_is_whole,
    _decided_on_what_was_read,
    _is_woken,
)
