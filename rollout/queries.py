"""Reads for the API, the CLI and the page. Nothing here changes anything.

The words for state, next and blocked_by are made here once; reasons come from core/reason.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout.commands import StartRequest, compile_for, possible_intents
from rollout.config import Configuration
from rollout.core import reason as say
from rollout.core.errors import NotFound
from rollout.core.judge import cell_weights, detectable, judge, threshold
from rollout.core.model import (
    FINISHED,
    ActionState,
    Judgement,
    ObligationKind,
    ObligationState,
    Phase,
    RegionPhase,
    RegionRollout,
    Rollout,
    Service,
    Verdict,
    VerdictKind,
)
from rollout.core.plan import Plan, PlanStep, SetWeight
from rollout.core.policy import Bake
from rollout.ports import Case, Clock, Event, Observed, Store
from rollout.views import (
    BakeView,
    CheckView,
    EventView,
    Exposure,
    Fleet,
    Next,
    PlanStageView,
    PlanStepView,
    PlanView,
    PolicyInfo,
    PolicyName,
    RegionInfo,
    RegionView,
    RolloutView,
    RunningView,
    ServiceView,
    StageView,
)

DEPLOY_GUESS_S = 60  # what a plan assumes for changing a weight, until it has seen one


class Queries:
    """Everything that can be read."""

    def __init__(self, store: Store, clock: Clock, configuration: Callable[[], Configuration]) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration

    async def rollout(self, prefix: str) -> RolloutView:
        """One rollout by id or unique prefix. Raises NotFound and Conflict."""
        case = await self._store.case(await self._store.find(prefix))
        others = await self._store.active(case.rollout.release.service)
        observed = {(o.service, o.region): o for o in await self._store.observed()}
        return _RolloutReader(case, others, observed, self._clock.now()).view()

    async def rollouts(
        self,
        *,
        service: str | None = None,
        phases: Sequence[Phase] = (),
        needs_person: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[tuple[RolloutView, ...], str | None]:
        """A page, newest first, and the cursor of the next one."""
        found = await self._store.rollouts(service=service, phases=phases, limit=limit + 1, before=cursor)
        views = [await self.rollout(rollout.id) for rollout in found[:limit]]
        kept = tuple(view for view in views if view.needs_person or not needs_person)
        return kept, (found[limit - 1].id if len(found) > limit else None)

    async def events(self, *, rollout_id: str | None, after: int, limit: int) -> tuple[EventView, ...]:
        """History, oldest first, after a place in the global sequence."""
        found = await self._store.events(rollout_id=rollout_id, after=after, limit=limit)
        return tuple(_event(event) for event in found)

    async def plan(self, request: StartRequest) -> PlanView:
        """A dry run: stages, clock times, what each bake can detect, and what would stop it."""
        configuration = self._configuration()
        service = await self._store.service(request.release.service)
        plan = compile_for(configuration, service, request.policy or service.policy)
        known = {k.region: k for k in await self._store.service_regions(service.name)}
        back_to = {
            name: known[name].known_good[0].release.version
            if name in known and known[name].known_good
            else None
            for name in plan.regions
        }
        at, stages = self._clock.now(), []
        for stage in plan.stages:
            steps = []
            for step in stage.steps:
                planned = _planned_s(step)
                seen = _detectable(plan, stage.regions[0], step)
                steps.append(PlanStepView(what=_step_words(step), at=at, planned_s=planned, detectable=seen))
                at += timedelta(seconds=planned)
            stages.append(PlanStageView(name=stage.name, regions=stage.regions, steps=tuple(steps)))
        before = await self._store.was_rolled_back(service.name, request.release.version)
        active = await self._store.active(service.name)
        return PlanView(
            service=service.name,
            version=request.release.version,
            policy=PolicyName(name=plan.policy, revision=plan.revision),
            back_to=back_to,
            stages=tuple(stages),
            checks=tuple(plan.signals[check.signal].title for check in plan.checks),
            watch_until=at + timedelta(seconds=plan.watch_s),
            warnings=tuple(_warnings(service, plan, back_to, before, active)),
        )

    async def services(self) -> tuple[ServiceView, ...]:
        """All declared services, by name."""
        return tuple(_service(service) for service in await self._store.services())

    async def service(self, name: str) -> ServiceView:
        """One declared service. Raises NotFound."""
        return _service(await self._store.service(name))

    async def running(self, name: str) -> tuple[RunningView, ...]:
        """What really runs of a service, region by region in the order of promotion. Raises NotFound."""
        service = await self._store.service(name)
        known = {k.region: k for k in await self._store.service_regions(name)}
        observed = {o.region: o for o in await self._store.observed() if o.service == name}
        held = {
            region.region: rollout.id
            for rollout in await self._store.active(name)
            for region in rollout.regions
            if rollout.phase is not Phase.QUEUED
        }
        rows = []
        for region in sorted(self._configuration().regions.values(), key=lambda r: r.order):
            if service.regions and region.name not in service.regions:
                continue
            state, seen = known.get(region.name), observed.get(region.name)
            rows.append(
                RunningView(
                    region=region.name,
                    title=region.title,
                    running=state.running if state else {},
                    running_at=state.running_at if state else None,
                    known_good=tuple(k.release.version for k in state.known_good) if state else (),
                    generation=state.generation if state else 0,
                    rollout=held.get(region.name),
                    error=seen.error if seen else "",
                    problems=seen.problems if seen else (),
                )
            )
        return tuple(rows)

    async def fleet(self) -> Fleet:
        """The front page."""
        views, _ = await self.rollouts(limit=30)
        services = await self.services()
        needs = tuple(view for view in views if view.needs_person)
        moving = tuple(v for v in views if not v.needs_person and v.phase not in FINISHED)
        return Fleet(
            needs_person=needs,
            moving=moving,
            recent=tuple(v for v in views if not v.needs_person and v.phase in FINISHED),
            services=services,
            running={service.name: await self.running(service.name) for service in services},
        )

    def regions(self) -> tuple[RegionInfo, ...]:
        """The regions of regions.yaml in the order of promotion, without plugin options."""
        return tuple(
            RegionInfo(
                name=region.name,
                title=region.title,
                time_zone=region.time_zone,
                order=region.order,
                traffic_share=region.traffic_share,
                deployer=region.deployer.kind,
                source=region.source.kind,
            )
            for region in sorted(self._configuration().regions.values(), key=lambda r: r.order)
        )

    def policies(self) -> tuple[PolicyInfo, ...]:
        """All policies by name."""
        return tuple(self.policy(name) for name in sorted(self._configuration().policies))

    def policy(self, name: str) -> PolicyInfo:
        """One policy as written. Raises NotFound."""
        files = self._configuration().policies
        if name not in files:
            raise NotFound("policy", name, f"Known: {', '.join(sorted(files))}.")
        file = files[name]
        return PolicyInfo(
            name=name,
            revision=file.revision,
            description=file.policy.description,
            digest=file.digest,
            text=file.text,
        )


class _RolloutReader:
    """Turns one case into one view."""

    def __init__(
        self,
        case: Case,
        others: Sequence[Rollout],
        observed: Mapping[tuple[str, str], Observed],
        now: datetime,
    ) -> None:
        self.case, self.others, self.observed, self.now = case, others, observed, now
        self.rollout, self.plan = case.rollout, case.plan
        self.judgement = judge(self.plan, case.evidence, now) if case.evidence else Judgement()

    def view(self) -> RolloutView:
        rollout = self.rollout
        return RolloutView(
            id=rollout.id,
            row_version=rollout.transitions,
            service=rollout.release.service,
            version=rollout.release.version,
            artifact=rollout.release.artifact,
            lock_digest=rollout.release.lock_digest,
            change_url=rollout.release.change_url,
            author=rollout.release.author,
            note=rollout.note,
            created_at=rollout.created_at,
            created_by=rollout.created_by,
            phase=rollout.phase,
            since=rollout.since,
            health=self._health(),
            outcome=rollout.outcome,
            sentence=self._sentence(),
            reason=rollout.reason,
            next=self._next(),
            blocked_by=tuple(self._blocked_by()),
            needs_person=self._needs_person(),
            possible=possible_intents(rollout),
            rollback_effect=self._rollback_effect(),
            exposure=self._exposure(),
            stages=tuple(self._stage(i) for i in range(len(self.plan.stages))),
            policy=PolicyName(name=rollout.policy, revision=rollout.policy_revision),
            hold=rollout.hold,
            approval=rollout.approval,
            obligations=self.case.obligations,
            harm_since=rollout.harm_since,
            decided_at=rollout.decided_at,
            finished_at=rollout.finished_at,
        )

    # ------------------------------------------------------------------ words

    def _sentence(self) -> str:
        release = f"{self.rollout.release.service} {self.rollout.release.version}"
        touched = ", ".join(r.region for r in self.rollout.touched)
        stage = self.plan.stages[min(self.rollout.stage, len(self.plan.stages) - 1)]
        places = ", ".join(stage.regions)
        hold = self.rollout.hold
        return {
            Phase.QUEUED: f"{release} waits for its turn.",
            Phase.PREFLIGHT: f"{release}: proving the way back. Nothing is touched yet.",
            Phase.PROGRESSING: f"{release} is moving through {places}.",
            Phase.AWAITING_APPROVAL: f"{release} waits for approval before {places} goes on.",
            Phase.HELD: f"{release} is held by {hold.owner if hold else 'nobody'}.",
            Phase.ROLLING_BACK: f"{release} is being rolled back in {touched}.",
            Phase.SUCCEEDED: f"{release} runs in {touched}.",
            Phase.ROLLED_BACK: f"{release} was rolled back; users are on {self._safe_version()}.",
            Phase.ROLLBACK_FAILED: f"{release}: the rollback FAILED. Somebody must act now.",
            Phase.REJECTED: f"{release} was rejected before any region was touched.",
            Phase.CANCELED: f"{release} was canceled before any region was touched.",
            Phase.SUPERSEDED: f"{release} was superseded before any region was touched.",
        }[self.rollout.phase]

    def _safe_version(self) -> str:
        versions = sorted({r.back_to.release.version for r in self.rollout.touched if r.back_to})
        return " and ".join(versions) or "what ran before"

    def _next(self) -> Next | None:
        words = {
            Phase.PROGRESSING: self._next_in_stage,
            Phase.AWAITING_APPROVAL: self._next_approval,
            Phase.HELD: self._next_held,
            Phase.ROLLING_BACK: self._next_back,
            Phase.ROLLBACK_FAILED: self._next_back,
            Phase.QUEUED: lambda: Next(what="Begins when its turn comes"),
            Phase.PREFLIGHT: lambda: Next(what=f"Then {', '.join(self.plan.stages[0].regions)}"),
        }
        return words.get(self.rollout.phase, self._next_owed)()

    def _next_approval(self) -> Next | None:
        approval = self.rollout.approval
        return Next(what="Waits for approval, then holds", at=approval.deadline) if approval else None

    def _next_held(self) -> Next:
        hold = self.rollout.hold
        if hold and hold.until and not hold.expired and hold.then == "resume":
            return Next(what="Goes on by itself", at=hold.until)
        return Next(what="Stays held until somebody acts")

    def _next_back(self) -> Next:
        left = [r.region for r in self.rollout.touched if r.phase is not RegionPhase.RESTORED]
        return Next(what=f"Reads back {', '.join(left)} on the known good")

    def _next_owed(self) -> Next | None:
        owed = [o for o in self.case.obligations if o.state is ObligationState.OPEN]
        if not owed:
            return None
        last = max(owed, key=lambda o: o.until)
        words = "Watch ends" if last.kind is ObligationKind.WATCH else "Recovery is proven or paged"
        return Next(what=words, at=last.until)

    def _next_in_stage(self) -> Next:
        stage = self.plan.stages[self.rollout.stage]
        waits = []
        for region in (r for r in self.rollout.regions if r.stage == self.rollout.stage):
            if region.phase is RegionPhase.DEPLOYING:
                return Next(what=f"{region.region} is read back at {region.weight} %, then baked")
            step = stage.steps[region.step] if region.step < len(stage.steps) else None
            if isinstance(step, Bake) and region.bake_started_at:
                waits.append(region.bake_started_at + timedelta(seconds=step.max))
        rest = self.plan.stages[self.rollout.stage + 1 :]
        then = f", then {', '.join(rest[0].regions)}" if rest else ", then the watch"
        what = f"Bake in {', '.join(stage.regions)}{then}"
        return Next(what=what, at=max(waits, default=None))

    def _blocked_by(self) -> list[str]:
        rollout, found = self.rollout, []
        if rollout.phase is Phase.QUEUED:
            for other in self.others:
                if (other.created_at, other.id) < (rollout.created_at, rollout.id):
                    found.append(f"{other.id} ({other.release.version}) is {other.phase}")
        if rollout.approval:
            yes = len({d.by for d in rollout.approval.decisions if d.decision == "approve"})
            who = f" from {', '.join(rollout.approval.groups)}" if rollout.approval.groups else ""
            found.append(f"needs {rollout.approval.minimum - yes} more approval(s){who}")
        if rollout.hold:
            found.append(f"held by {rollout.hold.owner}: {rollout.hold.reason}")
        if rollout.phase is Phase.PROGRESSING:
            found += [self._check(v).text for v in self.judgement.verdicts if v.kind is VerdictKind.NO_DATA]
        found += [f"{o.region}: {o.error}" for o in self._observed() if o.error and not rollout.finished]
        found += [
            f"{r.region} {r.phase}: {self._message(r)}"
            for r in rollout.regions
            if r.phase in (RegionPhase.UNREACHABLE, RegionPhase.RESTORE_FAILED)
        ]
        return found

    def _needs_person(self) -> bool:
        if self.rollout.phase in (Phase.AWAITING_APPROVAL, Phase.ROLLBACK_FAILED):
            return True
        hold = self.rollout.hold
        if hold and (hold.expired or hold.owner == "controller"):
            return True
        return any(o.state is ObligationState.OVERDUE for o in self.case.obligations)

    def _rollback_effect(self) -> str:
        if "rollback" not in possible_intents(self.rollout):
            return ""
        names = ", ".join(r.region for r in self.rollout.touched if r.phase is not RegionPhase.RESTORED)
        return f"Roll back {names} to {self._safe_version()}"

    # ------------------------------------------------------------------ numbers

    def _health(self) -> VerdictKind:
        kinds = {v.kind for v in self.judgement.verdicts}
        if self.judgement.culprits or self.rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED):
            return VerdictKind.FAIL
        for kind in (VerdictKind.FAIL, VerdictKind.NO_DATA, VerdictKind.UNDECIDED, VerdictKind.PASS):
            if kind in kinds:
                return kind
        return VerdictKind.UNDECIDED

    def _exposure(self) -> Exposure:
        touched = self.rollout.touched
        share = sum(self.plan.regions[r.region].traffic_share * r.weight / 100 for r in touched)
        begun = min((r.touched_at for r in touched if r.touched_at), default=None)
        ends = [r.restored_at for r in touched]
        end = max((e for e in ends if e), default=self.now) if all(ends) and ends else self.now
        requests = sum(v.seen for v in self.judgement.verdicts if v.signal == "errors")
        return Exposure(
            regions=tuple(r.region for r in touched),
            traffic_share=round(share, 4),
            duration_s=round((end - begun).total_seconds()) if begun else 0,
            requests=round(requests),
        )

    def _stage(self, index: int) -> StageView:
        stage = self.plan.stages[index]
        regions = tuple(self._region(r, index) for r in self.rollout.regions if r.stage == index)
        return StageView(name=stage.name, regions=regions)

    def _region(self, region: RegionRollout, stage: int) -> RegionView:
        return RegionView(
            region=region.region,
            title=self.plan.regions[region.region].title,
            phase=region.phase,
            since=region.since,
            running_version=" + ".join(sorted(region.running)) or None,
            running=region.running,
            running_at=region.running_at,
            weight=region.weight,
            back_to=region.back_to.release.version if region.back_to else None,
            step=region.step,
            steps=tuple(_step_words(step) for step in self.plan.stages[stage].steps),
            bake=self._bake(region, stage),
            touched_at=region.touched_at,
            passed_at=region.passed_at,
            restored_at=region.restored_at,
            message=self._message(region),
            checks=tuple(self._check(v) for v in self.judgement.of(region.region)),
        )

    def _bake(self, region: RegionRollout, stage: int) -> BakeView | None:
        steps = self.plan.stages[stage].steps
        step = steps[region.step] if region.step < len(steps) else None
        if not isinstance(step, Bake) or region.phase is not RegionPhase.BAKING:
            return None
        begun = region.bake_started_at or self.now
        return BakeView(
            planned_s=round(step.max),
            elapsed_s=round((self.now - begun).total_seconds()),
            until=step.until,
            detectable=_detectable(self.plan, region.region, step),
        )

    def _message(self, region: RegionRollout) -> str:
        for record in reversed(self.case.actions):
            if record.action.region == region.region and record.action.generation == region.generation:
                return record.result.message if record.state is not ActionState.SUCCEEDED else ""
        return ""

    def _check(self, verdict: Verdict) -> CheckView:
        signal = self.plan.signals[verdict.signal]
        value, baseline, limit = (
            "" if at is None else say.number(signal.kind, signal.unit, at)
            for at in (verdict.value, verdict.baseline, verdict.limit)
        )
        weight = cell_weights(self.plan).get((verdict.region, verdict.signal))
        return CheckView(
            region=verdict.region,
            signal=verdict.signal,
            title=signal.title,
            verdict=verdict.kind,
            text=say.describe(self.plan, verdict),
            value=verdict.value,
            baseline=verdict.baseline,
            limit=verdict.limit,
            log_e=round(verdict.log_e, 3),
            seen=verdict.seen,
            needs=verdict.needs,
            guard=verdict.guard,
            baseline_kind=verdict.baseline_kind,
            since=verdict.since,
            newest=verdict.newest,
            value_text=value,
            baseline_text=baseline,
            limit_text=limit,
            acts_at=round(threshold(self.plan) - math.log(weight), 3) if weight else None,
        )

    def _observed(self) -> list[Observed]:
        service = self.rollout.release.service
        keys = [(service, r.region) for r in self.rollout.touched]
        return [self.observed[key] for key in keys if key in self.observed]


def _step_words(step: PlanStep) -> str:
    if isinstance(step, SetWeight):
        return f"{step.weight} %"
    if isinstance(step, Bake):
        until = " until pass" if step.until == "pass" else ""
        return f"bake {say.span(step.max)}{until}"
    return f"approval by {step.min}"


def _planned_s(step: PlanStep) -> int:
    if isinstance(step, SetWeight):
        return DEPLOY_GUESS_S
    return round(step.max) if isinstance(step, Bake) else 0


def _detectable(plan: Plan, region: str, step: PlanStep) -> Mapping[str, str]:
    return detectable(plan, region, step.max) if isinstance(step, Bake) else {}


def _warnings(
    service: Service,
    plan: Plan,
    back_to: Mapping[str, str | None],
    rolled_back_by: str | None,
    active: Sequence[Rollout],
) -> list[str]:
    missing = [name for name, version in back_to.items() if version is None]
    found = []
    if missing:
        found.append(
            f"{', '.join(missing)} has no known good release: adopt what runs with "
            f"`rollout adopt {service.name}` first."
        )
    if rolled_back_by:
        found.append(f"This version was rolled back by {rolled_back_by}: an admin's override is needed.")
    found += [
        f"{other.id} ({other.release.version}) is {other.phase}: {plan.concurrency}." for other in active
    ]
    return found


def _service(service: Service) -> ServiceView:
    return ServiceView(
        name=service.name,
        policy=service.policy,
        owners=service.owners,
        regions=service.regions,
        signals=service.signals,
        row_version=service.version,
        stopped_by=service.stopped_by,
        stopped_at=service.stopped_at,
    )


def _event(event: Event) -> EventView:
    row = event.transition
    reason = row.reason
    if row.region and reason.region is None:
        reason = replace(reason, region=row.region)
    return EventView(
        sequence=event.sequence,
        at=row.at,
        rollout_id=row.rollout_id,
        service=event.service,
        number=row.number,
        region=row.region,
        from_phase=row.from_phase,
        to_phase=row.to_phase,
        trigger=row.trigger,
        actor=row.actor,
        reason=reason,
    )
