"""Shape, word and tone of every state: never colour alone. What must not live here: sentences, HTML."""

from collections.abc import Mapping
from dataclasses import dataclass

from rollout.core.model import ObligationState, Phase, RegionPhase
from rollout.core.signals import VerdictKind


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as it is shown: a shape that stands without colour, a word, and the class of its colour.

    `tone` is one of good, bad, warn, move, wait; each has its colours in app.css.
    """

    shape: str
    word: str
    tone: str


PHASES: Mapping[Phase, Mark] = {
    Phase.QUEUED: Mark("○", "queued", "wait"),
    Phase.PREFLIGHT: Mark("◌", "preflight", "move"),
    Phase.PROGRESSING: Mark("◐", "progressing", "move"),
    Phase.AWAITING_APPROVAL: Mark("◆", "needs approval", "warn"),
    Phase.HELD: Mark("‖", "held", "warn"),
    Phase.ROLLING_BACK: Mark("↩", "rolling back", "bad"),
    Phase.SUCCEEDED: Mark("✔", "succeeded", "good"),
    Phase.ROLLED_BACK: Mark("✖", "rolled back", "bad"),
    Phase.ROLLBACK_FAILED: Mark("▲", "rollback failed", "bad"),
    Phase.REJECTED: Mark("⊘", "rejected", "wait"),
    Phase.CANCELED: Mark("⊘", "canceled", "wait"),
    Phase.SUPERSEDED: Mark("»", "superseded", "wait"),
}

REGIONS: Mapping[RegionPhase, Mark] = {
    RegionPhase.PENDING: Mark("○", "not touched", "wait"),
    RegionPhase.DEPLOYING: Mark("◔", "deploying", "move"),
    RegionPhase.BAKING: Mark("◐", "baking", "move"),
    RegionPhase.PASSED: Mark("✔", "passed", "good"),
    RegionPhase.RESTORING: Mark("↩", "restoring", "bad"),
    RegionPhase.RESTORED: Mark("↺", "restored", "good"),
    RegionPhase.UNREACHABLE: Mark("?", "unreachable", "bad"),
    RegionPhase.RESTORE_FAILED: Mark("▲", "restore failed", "bad"),
}

VERDICTS: Mapping[VerdictKind, Mark] = {
    VerdictKind.PASS: Mark("✔", "pass", "good"),
    VerdictKind.FAIL: Mark("✖", "fail", "bad"),
    VerdictKind.UNDECIDED: Mark("◌", "undecided", "move"),
    VerdictKind.NO_DATA: Mark("?", "no data", "warn"),
}

SUSPECTED = Mark("!", "suspected", "warn")  # instead of the verdict's own: it holds and pages

OBLIGATIONS: Mapping[ObligationState, Mark] = {
    ObligationState.OPEN: Mark("◐", "open", "move"),
    ObligationState.MET: Mark("✔", "met", "good"),
    ObligationState.BREACHED: Mark("✖", "saw harm", "bad"),
    ObligationState.OVERDUE: Mark("▲", "overdue", "bad"),
    ObligationState.TAKEN_OVER: Mark("»", "taken over", "wait"),
    ObligationState.UNPROVEN: Mark("?", "ended unproven", "bad"),
}

GATES: Mapping[str, Mark] = {
    "waiting": Mark("◔", "awaited", "warn"),
    "to_come": Mark("○", "to come", "wait"),
    "passed": Mark("✔", "passed", "good"),
    "failed": Mark("✖", "failed", "bad"),
}

APPROVALS: Mapping[str, Mark] = {
    "pending": Mark("◆", "waits for you", "warn"),
    "approved": Mark("✔", "approved", "good"),
    "rejected": Mark("✖", "rejected", "bad"),
    "expired": Mark("▲", "expired", "bad"),
    "withdrawn": Mark("»", "withdrawn", "wait"),
}

WAITS_FOR_OTHERS = Mark("◆", "needs approval", "warn")  # of a reader whose answer would not count
