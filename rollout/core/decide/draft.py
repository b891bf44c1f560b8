"""A decision in the making: the facts it rests on, and what it will write.

What must not live here: any judgement of what is wise; see forward.py, back.py, intents.py and owed.py.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.actions import Action, ActionRecord
from rollout.core.decision import Decision, Facts
from rollout.core.machine import RegionTrigger, Remark, Trigger, advance, advance_region
from rollout.core.model import (
    CONTROLLER,
    ActionState,
    Intent,
    Kind,
    KnownGood,
    Obligation,
    ObligationState,
    Phase,
    Reason,
    RegionRollout,
    Rollout,
    Transition,
)
from rollout.core.plan import Plan

HARMLESS = frozenset({Kind.VERIFY, Kind.NOTIFY})  # all that a rollout orders which only observes


class Draft:
    """Collects one decision. Every change of a phase goes through the tables in machine.py."""

    def __init__(self, rollout: Rollout, plan: Plan, facts: Facts, now: datetime) -> None:
        self.rollout, self.plan, self.facts, self.now = rollout, plan, facts, now
        self.transitions: list[Transition] = []
        self.actions: list[ActionRecord] = []
        self.dropped: set[str] = set()
        self.intents_done: list[str] = []
        self.intents_new: list[Intent] = []
        self.claim: set[str] = set()
        self.generations: dict[str, int] = {}
        self.known_good: list[KnownGood] = []
        self.not_good: list[KnownGood] = []
        self.rolled_back = False
        self._obligations = {o.id: o for o in facts.obligations}
        self._changed_obligations: set[str] = set()
        self._alarms: list[datetime] = []

    # ------------------------------------------------------------------ reading

    @property
    def phase(self) -> Phase:
        """Where the rollout stands now, in this draft."""
        return self.rollout.phase

    @property
    def stage_regions(self) -> tuple[RegionRollout, ...]:
        """The regions of the present stage."""
        return tuple(r for r in self.rollout.regions if r.stage == self.rollout.stage)

    @property
    def all_actions(self) -> tuple[ActionRecord, ...]:
        """Recorded before and in this draft, oldest first; dropped ones are left out."""
        found = (*self.facts.actions, *self.actions)
        return tuple(r for r in found if r.key not in self.dropped and r.state is not ActionState.DROPPED)

    def newest(self, region: str, *kinds: Kind, obligation: str | None = None) -> ActionRecord | None:
        """The newest action of these kinds in a region, under the region's present generation."""
        generation = self.rollout.region(region).generation
        for record in reversed(self.all_actions):
            action = record.action
            ours = action.region == region and action.kind in kinds and action.obligation == obligation
            if ours and (obligation is not None or action.generation == generation):
                return record
        return None

    def generation(self, region: str) -> int:
        """The newest fence of a region: of all that this database knows, and of this draft."""
        known = (self.facts.generations.get(region, 0), self.rollout.region(region).generation)
        return max(*known, self.generations.get(region, 0))

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """All obligations as they stand in this draft."""
        return tuple(self._obligations.values())

    def open_obligations(self) -> tuple[Obligation, ...]:
        """Those still owed; an overdue one is."""
        owed = (ObligationState.OPEN, ObligationState.OVERDUE)
        return tuple(o for o in self.obligations if o.state in owed)

    # ------------------------------------------------------------------ writing

    def move(self, trigger: Trigger, reason: Reason, actor: str = CONTROLLER, **changes: Any) -> None:
        """Move the rollout. Raises IllegalTransition. What was awaited in the phase before ends with it."""
        to = advance(self.rollout.phase, trigger)
        if to is not self.rollout.phase:
            self._end_waits()
        self._record(None, self.rollout.phase, to, trigger, actor, reason)
        stays = to is self.rollout.phase
        self.set(phase=to, since=self.rollout.since if stays else self.now, reason=reason, **changes)
        if self.rollout.finished and not stays:
            self.set(finished_at=self.now)
            if not self.rollout.touched:
                self._drop_proofs()

    def _drop_proofs(self) -> None:
        """Nobody needs the way back of what never began."""
        for record in self.all_actions:
            if record.open and record.action.kind in (Kind.REHEARSE, Kind.VERIFY):
                self.drop(record)

    def move_region(self, region: str, trigger: RegionTrigger, reason: Reason, **changes: Any) -> None:
        """Move one region. Raises IllegalTransition. `since` stays where the phase does."""
        old = self.rollout.region(region)
        to = advance_region(region, old.phase, trigger)
        self._record(region, old.phase, to, trigger, CONTROLLER, reason)
        self.set_region(region, phase=to, since=old.since if to is old.phase else self.now, **changes)
        if self.rollout.phase is Phase.PROGRESSING:
            self.set(reason=reason)  # what happened last says why it stands where it stands

    def remark(self, what: Remark, reason: Reason, actor: str = CONTROLLER) -> None:
        """Put a row into history that moves nothing, in every phase."""
        self._record(None, self.rollout.phase, self.rollout.phase, what, actor, reason)

    def set(self, **changes: Any) -> None:
        """Change the rollout without a transition of its phase."""
        self.rollout = replace(self.rollout, **changes)

    def set_region(self, region: str, **changes: Any) -> None:
        """Change one region without a transition of its phase."""
        self.set(
            regions=tuple(replace(r, **changes) if r.region == region else r for r in self.rollout.regions)
        )

    def raise_generation(self, region: str) -> int:
        """A new fence for everything that is ordered in this region from now on."""
        generation = self.generation(region) + 1
        self.generations[region] = generation
        self.set_region(region, generation=generation)
        return generation

    def order(
        self, action: Action, *, delay_s: float = 0.0, after: ActionRecord | None = None
    ) -> ActionRecord:
        """Record an action under the newest transition.

        Only the newest actions are known here, so the index follows the highest and not their number.
        """
        harmless = action.kind in HARMLESS or not self.plan.observes
        assert harmless, f"{self.rollout.id} only observes and would {action.kind} in {action.region}"
        prefix = f"{self.rollout.id}/{self.rollout.transitions}/"
        taken = [r.key for r in (*self.facts.actions, *self.actions) if r.key.startswith(prefix)]
        index = max((int(key.removeprefix(prefix)) for key in taken), default=-1) + 1
        due = self.now + timedelta(seconds=delay_s)
        record = ActionRecord(
            key=f"{prefix}{index}",
            rollout_id=self.rollout.id,
            action=action,
            recorded_at=self.now,
            due_at=due,
            deadline=due + timedelta(seconds=action.within_s) if action.within_s else None,
            after=after.key if after else None,
        )
        self.actions.append(record)
        return record

    def deploy(self, name: str, weight: int) -> ActionRecord:
        """Order a share of the release in a region that has a way back, under a new generation."""
        region, release = self.rollout.region(name), self.rollout.release
        assert region.back_to is not None, "a region is touched only with a way back"
        generation = self.raise_generation(name)
        self.set_region(name, drift=None, reads_as={})
        return self.order(
            Action(
                kind=Kind.DEPLOY,
                region=name,
                service=release.service,
                version=release.version,
                artifact=release.artifact,
                weight=weight,
                from_version=region.back_to.release.version,
                generation=generation,
                within_s=max(1, round(self.plan.deadlines.deploy)),
            )
        )

    def verify(self, region: RegionRollout, delay_s: float = 0.0) -> ActionRecord:
        """Order a reading of what really runs in a region."""
        return self.order(
            Action(
                kind=Kind.VERIFY,
                region=region.region,
                service=self.rollout.release.service,
                version=self.rollout.release.version,
                weight=region.weight,
                from_version=region.back_to.release.version if region.back_to else None,
                generation=region.generation,
                within_s=30,
            ),
            delay_s=delay_s,
        )

    def drop(self, record: ActionRecord) -> None:
        """Take back an action that nobody wants any more."""
        if record in self.actions:
            self.actions.remove(record)  # was never recorded, and its key may be used again
        else:
            self.dropped.add(record.key)

    def notify(self, text: str, *, urgent: bool = False) -> None:
        """Tell people, through the outbox. What is only observed wakes nobody."""
        if self.plan.observes:
            text, urgent = f"Observing: {text}", False
        self.order(
            Action(
                kind=Kind.NOTIFY,
                region=None,
                service=self.rollout.release.service,
                details={"text": text, "urgent": urgent},
            )
        )

    def owe(self, obligation: Obligation) -> None:
        """Insert or change an obligation."""
        self._obligations[obligation.id] = obligation
        self._changed_obligations.add(obligation.id)

    def wake_at(self, at: datetime) -> None:
        """Look at this rollout again no later than `at`."""
        self._alarms.append(at)

    def wake_in(self, seconds: float) -> None:
        """Look at this rollout again no later than in `seconds`."""
        self.wake_at(self.now + timedelta(seconds=seconds))

    def finish(self) -> Decision:
        """The decision as a value."""
        due = max(min(self._alarms), self.now) if self._alarms else None
        self.set(next_due_at=due)
        return Decision(
            rollout=self.rollout,
            transitions=tuple(self.transitions),
            actions=tuple(self.actions),
            drop_actions=tuple(sorted(self.dropped)),
            intents_done=tuple(self.intents_done),
            intents_new=tuple(self.intents_new),
            obligations=tuple(self._obligations[i] for i in sorted(self._changed_obligations)),
            claim=tuple(sorted(self.claim)),
            generations=dict(self.generations),
            known_good=tuple(self.known_good),
            not_good=tuple(self.not_good),
            rolled_back=self.rolled_back,
        )

    def _end_waits(self) -> None:
        """A gate is awaited anew after a stop; an approval that was asked for has ended, whichever way."""
        self.set(gate=None)
        approval = self.rollout.approval
        if approval is not None:
            state = approval.state if approval.state != "pending" else "withdrawn"
            ended = replace(approval, state=state, ended_at=self.now)
            self.set(approval=None, answered=(*self.rollout.answered, ended))

    def _record(
        self, region: str | None, from_: str, to: str, trigger: str, actor: str, reason: Reason
    ) -> None:
        number = self.rollout.transitions + 1
        self.set(transitions=number)
        self.transitions.append(
            Transition(
                rollout_id=self.rollout.id,
                number=number,
                at=self.now,
                region=region,
                from_phase=from_,
                to_phase=to,
                trigger=trigger,
                actor=actor,
                reason=reason,
            )
        )
