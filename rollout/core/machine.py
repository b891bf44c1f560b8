"""The two phase tables: what is ALLOWED. What is wise is decide.py's work.

Everything about phases and triggers lives in this file. A missing entry is an error that names phase and
trigger. The diagrams in docs/state-machine.md are rendered from these tables by `mermaid`.

Theory of operation
-------------------
A rollout is queued, proves its way back (preflight), then progresses through the stages of its plan.
It can wait for people in two ways: awaiting_approval (the plan asked) and held (a person, a lack of
evidence, or harm that is suspected). Judging goes on in both. From the first touched region on, every
phase has a way to rolling_back; before that, a rollout is canceled, rejected or superseded instead.
`succeeded` is not the end of judging: an open watch can still send a rollout back. `rollback_failed` is
never final: it is retried, or ends as rolled_back once every region was read back on its known good. What
comes again after that is taken back once more by a person's word alone.

Regions move on their own, so several regions of one stage can stand in different places.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from rollout.core.errors import IllegalTransition
from rollout.core.model import Phase, RegionPhase

S = TypeVar("S", bound=StrEnum)
G = TypeVar("G", bound=StrEnum)
P = Phase
R = RegionPhase


class Trigger(StrEnum):
    """What moves a rollout."""

    START = "start"  # it was asked for; the first row of every history
    BEGIN = "begin"  # its regions are free
    PREFLIGHT_PASSED = "preflight_passed"
    PREFLIGHT_FAILED = "preflight_failed"  # no way back could be proven
    STAGE_PASSED = "stage_passed"  # the next stage begins
    APPROVAL_NEEDED = "approval_needed"
    APPROVED = "approved"
    APPROVAL_EXPIRED = "approval_expired"
    REJECT = "reject"
    HOLD = "hold"
    NO_DATA = "no_data"  # nothing to judge for too long
    SUSPECTED = "suspected"  # evidence of harm that is not enough to act on alone
    BAKE_EXPIRED = "bake_expired"  # a bake until pass reached its max undecided
    DRIFTED = "drifted"  # a region runs something else than was ordered, and it is not ordered again
    INVARIANT_BROKEN = "invariant_broken"  # a decision would have broken a promise, and was not taken
    QUEUE_EXPIRED = "queue_expired"  # waited too long for another rollout
    STOPPED = "stopped"  # a rollback of the service stopped automatic promotion
    HOLD_EXPIRED = "hold_expired"  # its owner's time is over; it stays held, people are told
    PROMOTE = "promote"  # a person ends the bakes under way, as an override
    GATE_FAILED = "gate_failed"  # a pipeline says so, and the plan goes back then
    GATE_UNMET = "gate_unmet"  # failed, or not reported in time, and the plan holds then
    WOULD_ROLL_BACK = "would_roll_back"  # in mode observe, instead of harm
    RESUME = "resume"
    REQUEUE = "requeue"  # resume of a rollout that has touched nothing
    HARM = "harm"  # the judge says so
    DEPLOY_FAILED = "deploy_failed"
    ROLLBACK = "rollback"  # a person says so
    CANCEL = "cancel"
    DISOWN = "disown"  # a person ends, without acting, what a database that was put back no longer knows
    SUPERSEDE = "supersede"
    ALL_PASSED = "all_passed"
    ALL_RESTORED = "all_restored"
    RESTORE_FAILED = "restore_failed"


class RegionTrigger(StrEnum):
    """What moves one region of a rollout."""

    DEPLOY = "deploy"  # a weight is ordered
    DEPLOYED = "deployed"  # the weight was read back
    BAKE_PASSED = "bake_passed"  # its last step is done
    RESTORE = "restore"  # going back
    RESTORED = "restored"  # read back on its known good
    UNREACHABLE = "unreachable"  # does not answer
    REACHABLE = "reachable"  # answers again
    RESTORE_FAILED = "restore_failed"
    DRIFTED = "drifted"  # it runs something else than was read back: what should run is ordered again
    MENDED = "mended"  # after that, a region that had passed was read back


class Remark(StrEnum):
    """Rows of history that move nothing: the phase before and after is the same."""

    NOTE = "note"  # what somebody wants to be remembered
    DRIFTED = "drifted"  # a region runs something else, and nothing is ordered: it is held, or has ended
    INVARIANT_BROKEN = "invariant_broken"  # a part of a decision was left out; what goes back goes on
    GATE_AWAITED = "gate_awaited"  # every region of the stage stands at it
    GATE_REPORTED = "gate_reported"  # a pipeline says what it found
    WOULD_ASK = "would_ask"  # in mode observe, what people or a pipeline would have been asked


_T = Trigger
_BEFORE_TOUCHED: Mapping[Trigger, Phase] = {
    _T.CANCEL: P.CANCELED,
    _T.DISOWN: P.CANCELED,
    _T.REJECT: P.REJECTED,
    _T.SUPERSEDE: P.SUPERSEDED,
}
_GOING_BACK: Mapping[Trigger, Phase] = {
    _T.HARM: P.ROLLING_BACK,
    _T.DEPLOY_FAILED: P.ROLLING_BACK,
    _T.ROLLBACK: P.ROLLING_BACK,
}

PHASES: Mapping[Phase, Mapping[Trigger, Phase]] = {
    P.QUEUED: {
        _T.BEGIN: P.PREFLIGHT,
        _T.HOLD: P.HELD,
        _T.STOPPED: P.HELD,
        _T.QUEUE_EXPIRED: P.HELD,
        _T.INVARIANT_BROKEN: P.HELD,
        **_BEFORE_TOUCHED,
    },
    P.PREFLIGHT: {
        _T.PREFLIGHT_PASSED: P.PROGRESSING,
        _T.PREFLIGHT_FAILED: P.HELD,
        _T.HOLD: P.HELD,
        _T.INVARIANT_BROKEN: P.HELD,
        **_BEFORE_TOUCHED,
    },
    P.PROGRESSING: {
        _T.STAGE_PASSED: P.PROGRESSING,
        _T.APPROVAL_NEEDED: P.AWAITING_APPROVAL,
        _T.HOLD: P.HELD,
        _T.NO_DATA: P.HELD,
        _T.SUSPECTED: P.HELD,
        _T.BAKE_EXPIRED: P.HELD,
        _T.GATE_UNMET: P.HELD,
        _T.DRIFTED: P.HELD,
        _T.INVARIANT_BROKEN: P.HELD,
        _T.GATE_FAILED: P.ROLLING_BACK,
        _T.PROMOTE: P.PROGRESSING,
        _T.WOULD_ROLL_BACK: P.PROGRESSING,
        _T.ALL_PASSED: P.SUCCEEDED,
        **_BEFORE_TOUCHED,
        **_GOING_BACK,
    },
    P.AWAITING_APPROVAL: {
        _T.APPROVED: P.PROGRESSING,
        _T.APPROVAL_EXPIRED: P.HELD,
        _T.HOLD: P.HELD,
        _T.NO_DATA: P.HELD,
        _T.SUSPECTED: P.HELD,
        _T.DRIFTED: P.HELD,
        _T.INVARIANT_BROKEN: P.HELD,
        **_BEFORE_TOUCHED,
        **_GOING_BACK,
    },
    P.HELD: {
        _T.HOLD: P.HELD,  # another owner
        _T.HOLD_EXPIRED: P.HELD,
        _T.SUSPECTED: P.HELD,  # nothing goes on by itself any more
        _T.RESUME: P.PROGRESSING,
        _T.PROMOTE: P.PROGRESSING,  # whatever it is held for: a person takes it on
        _T.WOULD_ROLL_BACK: P.HELD,
        _T.REQUEUE: P.QUEUED,
        **_BEFORE_TOUCHED,
        **_GOING_BACK,
    },
    P.ROLLING_BACK: {
        _T.DISOWN: P.CANCELED,
        _T.ALL_RESTORED: P.ROLLED_BACK,
        _T.RESTORE_FAILED: P.ROLLBACK_FAILED,
    },
    P.ROLLBACK_FAILED: {
        _T.DISOWN: P.CANCELED,
        _T.ROLLBACK: P.ROLLING_BACK,
        _T.ALL_RESTORED: P.ROLLED_BACK,
    },
    P.SUCCEEDED: {
        _T.WOULD_ROLL_BACK: P.SUCCEEDED,
        _T.HARM: P.ROLLING_BACK,
        _T.ROLLBACK: P.ROLLING_BACK,
    },
    P.ROLLED_BACK: {_T.ROLLBACK: P.ROLLING_BACK},  # the release came again
    P.REJECTED: {},
    P.CANCELED: {},
    P.SUPERSEDED: {},
}

_RT = RegionTrigger
_BACK: Mapping[RegionTrigger, RegionPhase] = {_RT.RESTORE: R.RESTORING}

REGION_PHASES: Mapping[RegionPhase, Mapping[RegionTrigger, RegionPhase]] = {
    R.PENDING: {_RT.DEPLOY: R.DEPLOYING},
    R.DEPLOYING: {_RT.DEPLOY: R.DEPLOYING, _RT.DEPLOYED: R.BAKING, _RT.MENDED: R.PASSED, **_BACK},
    R.BAKING: {_RT.DEPLOY: R.DEPLOYING, _RT.DRIFTED: R.DEPLOYING, _RT.BAKE_PASSED: R.PASSED, **_BACK},
    R.PASSED: {_RT.DRIFTED: R.DEPLOYING, **_BACK},
    R.RESTORING: {
        _RT.RESTORE: R.RESTORING,  # to the next known good
        _RT.RESTORED: R.RESTORED,
        _RT.UNREACHABLE: R.UNREACHABLE,
        _RT.RESTORE_FAILED: R.RESTORE_FAILED,
    },
    R.UNREACHABLE: {
        _RT.REACHABLE: R.RESTORING,  # whatever happened meanwhile is read back then
        _RT.RESTORE: R.RESTORING,  # its target proved harmful too: to the known good before it
    },
    R.RESTORE_FAILED: {_RT.RESTORE: R.RESTORING, _RT.RESTORED: R.RESTORED},
    R.RESTORED: {_RT.DRIFTED: R.RESTORING},
}


def advance(phase: Phase, trigger: Trigger) -> Phase:
    """The phase after `trigger`. Raises IllegalTransition naming phase, trigger and what is possible."""
    row = PHASES[phase]
    if trigger not in row:
        raise IllegalTransition("The rollout", phase, trigger, tuple(row))
    return row[trigger]


def advance_region(region: str, phase: RegionPhase, trigger: RegionTrigger) -> RegionPhase:
    """The phase of a region after `trigger`. Raises IllegalTransition."""
    row = REGION_PHASES[phase]
    if trigger not in row:
        raise IllegalTransition(f"Region {region}", phase, trigger, tuple(row))
    return row[trigger]


def mermaid(table: Mapping[S, Mapping[G, S]]) -> str:
    """A Mermaid state diagram of one table; triggers between the same two phases share an arrow."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for phase, row in table.items():
        targets: dict[str, list[str]] = {}
        for trigger, target in row.items():
            targets.setdefault(target, []).append(trigger)
        lines += [f"    {phase} --> {target}: {', '.join(names)}" for target, names in targets.items()]
        if not row:
            lines.append(f"    {phase} --> [*]")
    return "\n".join(lines) + "\n"
