"""What the assertions look at: one decision beside what it was made of, and what they find. No judgement."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rollout.core.actions import ActionRecord
from rollout.core.decision import Decision, Facts
from rollout.core.machine import Trigger
from rollout.core.model import CONTROLLER, IntentKind, Kind, Phase, RegionPhase, RegionRollout, Rollout
from rollout.core.plan import Plan, PlanStep

BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A promise that a decision would break. `keys`, `goods`: the actions, and the regions, that would.

    `error` is set where the assertion itself failed, so that nobody knows; its number is then `unproven`.
    """

    number: str
    text: str
    keys: tuple[str, ...] = ()
    goods: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def sentence(self) -> str:
        """What is said of it, by its number."""
        return self.text if self.error else f"{self.number} would be broken: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A rollout as it was read, and the decision about it."""

    before: Rollout
    plan: Plan
    decision: Decision
    facts: Facts
    now: datetime

    @property
    def after(self) -> Rollout:
        """The rollout as the decision leaves it."""
        return self.decision.rollout

    @property
    def goes_back(self) -> bool:
        """Whether a way back is under way, or begins here."""
        return self.after.phase in BACK or self.before.phase in BACK

    def regions(self) -> Iterator[tuple[RegionRollout, RegionRollout]]:
        """Each region before and after."""
        after = {region.region: region for region in self.after.regions}
        return ((region, after[region.region]) for region in self.before.regions if region.region in after)

    def orders(self, *kinds: Kind) -> Iterator[ActionRecord]:
        """What the decision orders, of some kinds."""
        return (record for record in self.decision.actions if record.action.kind in kinds)

    def region(self, record: ActionRecord) -> RegionRollout | None:
        """The region of an action, as the decision leaves it."""
        return next((r for r in self.after.regions if r.region == record.action.region), None)

    def keys(self, region: str, *kinds: Kind) -> tuple[str, ...]:
        """What the decision orders in a region, by key."""
        return tuple(record.key for record in self.orders(*kinds) if record.action.region == region)

    def promotions(self) -> tuple[str, ...]:
        """Every deploy of the decision, by key."""
        return tuple(record.key for record in self.orders(Kind.DEPLOY))

    def moves(self, region: str | None, *triggers: str) -> bool:
        """Whether a region, or the rollout itself, is moved by one of these here."""
        return any(t.region == region and t.trigger in triggers for t in self.decision.transitions)

    def phase_at(self, record: ActionRecord) -> Phase:
        """The phase in which an action of this decision was ordered; its key says after which transition."""
        number, phase = number_of(record), self.before.phase
        for row in self.decision.transitions:
            if row.region is None and row.number <= number:
                phase = Phase(row.to_phase)
        return phase

    def overridden(self, region: RegionRollout) -> bool:
        """Whether a person asked to end the bake of a region, and a row of history says so in their name."""
        rows = self.decision.transitions
        named = {t.actor for t in rows if t.trigger == Trigger.PROMOTE and t.actor != CONTROLLER}
        asked = (i for i in self.facts.intents if i.kind is IntentKind.PROMOTE and i.actor in named)
        return bool(region.skipped_by) and any(i.region in (None, region.region) for i in asked)

    def passed_steps(self, before: RegionRollout, after: RegionRollout) -> Iterator[tuple[int, PlanStep]]:
        """The steps that a region is taken past here."""
        steps = self.plan.stages[before.stage].steps
        return ((place, steps[place]) for place in range(before.step, min(after.step, len(steps))))


def is_done(region: RegionRollout) -> bool:
    """Whether a region has passed its whole bake, and runs what passed."""
    return region.phase is RegionPhase.PASSED and region.passed_at is not None


def number_of(record: ActionRecord) -> int:
    """The transition under which an action was recorded; -1 where its key does not say."""
    parts = record.key.split("/")
    return int(parts[-2]) if len(parts) > 2 and parts[-2].isdigit() and parts[-1].isdigit() else -1
