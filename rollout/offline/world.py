"""The rollout that stands where the recorded release stood, taken further by the product's own decide.

Its regions are touched at the recorded times and every order succeeds. Nobody answers: a hold stays a hold,
while the record goes on as it did, as if somebody had let it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.core.actions import ActionRecord
from rollout.core.decide import Facts, decide
from rollout.core.model import (
    Kind,
    KnownGood,
    Obligation,
    ObligationKind,
    ObligationState,
    Phase,
    Reason,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
)
from rollout.core.plan import Plan
from rollout.core.reason import plain
from rollout.core.signals import Judgement

WHO = "the record"
_OPEN = (ObligationState.OPEN, ObligationState.OVERDUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that people would have seen: a transition of the whole rollout, or a page."""

    at: datetime
    what: str  # rolled_back | held | promoted | paged | watched
    reason: Reason
    during: str  # the phase in which it was decided


class World:
    """What the controller would have done, look by look."""

    def __init__(
        self, plan: Plan, *, service: str, candidate: str, baseline: str, deploys: Mapping[str, datetime]
    ) -> None:
        self._plan, self._deploys = plan, deploys
        began = min(deploys.values())
        good = Release(service=service, version=baseline)
        self._good = {
            region: KnownGood(
                service=service, region=region, release=good, since=began, how="adopted", by=WHO
            )
            for region in deploys
        }
        self.rollout = Rollout(
            id=WHO,
            release=Release(service=service, version=candidate),
            policy=plan.policy,
            policy_revision=plan.revision,
            phase=Phase.PROGRESSING,
            since=began,
            created_at=began,
            created_by=WHO,
            regions=tuple(self._region(name, began) for name in sorted(deploys, key=plan.stage_of)),
            reason=plain("started", "It was deployed."),
        )
        self._actions: tuple[ActionRecord, ...] = ()
        self._obligations: dict[str, Obligation] = {}
        self._generations: dict[str, int] = {}
        self.acts: list[Act] = []

    @property
    def touched(self) -> tuple[RegionRollout, ...]:
        """The regions that the recorded release has reached."""
        return tuple(r for r in self.rollout.regions if r.phase in (RegionPhase.BAKING, RegionPhase.PASSED))

    @property
    def over(self) -> bool:
        """Whether nothing is judged any more: it goes back, or its watch has ended."""
        watched = any(o.kind is ObligationKind.WATCH and o.state in _OPEN for o in self._obligations.values())
        if self.rollout.phase is Phase.SUCCEEDED:
            return not watched
        return self.rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED)

    @property
    def watch(self) -> str:
        """How the watch ended: the worst of its regions, or nothing before one began."""
        states = {o.state for o in self._obligations.values() if o.kind is ObligationKind.WATCH}
        order = (ObligationState.BREACHED, ObligationState.UNPROVEN, *_OPEN, ObligationState.MET)
        return next((str(state) for state in order if state in states), "")

    def stand(self, now: datetime) -> None:
        """Regions whose recorded deploy has come are read back and bake, whatever was decided of them."""
        for region in self.rollout.regions:
            at = self._deploys[region.region]
            if at <= now and region.phase in (RegionPhase.PENDING, RegionPhase.DEPLOYING):
                self._touch(region, at)

    def look(self, judgement: Judgement, now: datetime) -> None:
        """Let the controller decide once, and note what people would have seen of it."""
        during = self.rollout.phase
        facts = Facts(
            judgement=judgement,
            actions=self._actions,
            obligations=tuple(self._obligations.values()),
            known_good={region: (good,) for region, good in self._good.items()},
            generations=self._generations,
        )
        decision = decide(self.rollout, self._plan, facts, now)
        self.rollout = decision.rollout
        self._obligations |= {obligation.id: obligation for obligation in decision.obligations}
        self._generations |= decision.generations
        self._actions += tuple(record for record in decision.actions if record.action.kind is Kind.DEPLOY)
        held = False
        for row in decision.transitions:
            what = _SEEN.get(row.to_phase) if row.region is None and row.from_phase != row.to_phase else None
            if what is not None:
                held = held or what == "held"
                self.acts.append(Act(at=now, what=what, reason=row.reason, during=str(during)))
        for record in decision.actions:
            if record.action.kind is Kind.NOTIFY and record.action.details.get("urgent") and not held:
                page = plain("paged", str(record.action.details["text"]))
                self.acts.append(Act(at=now, what="paged", reason=page, during=str(during)))

    def _region(self, name: str, began: datetime) -> RegionRollout:
        return RegionRollout(
            region=name,
            stage=self._plan.stage_of(name),
            since=began,
            back_to=self._good[name],
            rehearsed=True,
        )

    def _touch(self, region: RegionRollout, at: datetime) -> None:
        release, good = self.rollout.release.version, self._good[region.region].release.version
        there = replace(
            region,
            phase=RegionPhase.BAKING,
            since=at,
            step=1,
            weight=round(100 - self._plan.holdback),
            touched_at=at,
            running={release: 1, good: 1},
            running_at=at,
            bake_started_at=at,
            judge_from=at + timedelta(seconds=self._plan.judging.warmup),
        )
        regions = tuple(there if r.region == region.region else r for r in self.rollout.regions)
        self.rollout = replace(self.rollout, regions=regions)


_SEEN: Mapping[str, str] = {
    Phase.ROLLING_BACK: "rolled_back",
    Phase.HELD: "held",
    Phase.SUCCEEDED: "promoted",
}
