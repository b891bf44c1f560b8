"""Reads for the API, the CLI and the page. Nothing here changes anything."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout.commands import StartRequest, compile_for, new_rollout
from rollout.config import Configuration
from rollout.core.decide import in_the_way
from rollout.core.errors import NotFound
from rollout.core.model import FINISHED, Approval, Kind, Phase, RegionPhase, Rollout, Service
from rollout.core.plan import Plan, PlanStage, PlanStep, SetWeight
from rollout.core.policy import Bake
from rollout.foresight.outlook import Regions, outlook
from rollout.foresight.sight import comparisons, planned_s, step_words, unseen, words
from rollout.foresight.traffic import read_traffic
from rollout.ports import Clock, Event, SeenReplica, Store
from rollout.possible import Actor
from rollout.showing.abilities import Supports, lacking
from rollout.showing.barriers import approval_view, approvals_of
from rollout.showing.doubt import doubted, in_doubt
from rollout.showing.series import POINTS, SeriesView, read_series
from rollout.showing.standstill import undecided
from rollout.showing.summary import RolloutReader, phase_words
from rollout.showing.views import (
    ApprovalView,
    ComparisonView,
    DetectableView,
    EventView,
    Fleet,
    PlanProblemView,
    PlanStageView,
    PlanStepView,
    PlanView,
    PolicyInfo,
    PolicyName,
    RegionInfo,
    RolloutView,
    RunningView,
    ServiceView,
)
from rollout.successors import replaced_in

BUSY_MOST = 200  # unfinished or watched rollouts on the front page, for each service that is asked for
WALKED = 100  # rollouts read at once in search of approvals
OBSERVES = "observe: nothing is deployed, restored or rehearsed."
ENDED_MOST = 30  # finished ones on it
NEWEST_S = 600.0  # of samples that say what a bake under way can see


class Queries:
    """Everything that can be read."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        supports: Supports = lambda _: frozenset(Kind),
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._supports = supports

    async def rollout(self, prefix: str) -> RolloutView:
        """One rollout by id or unique prefix, with its suspects. Raises NotFound and Conflict."""
        reader = await self._reader(await self._store.find(prefix))
        if reader.blamed:
            reader.overlapping = await self._store.rollouts(busy=True, limit=BUSY_MOST)
        return await self._shown(reader)

    async def _shown(self, reader: RolloutReader) -> RolloutView:
        """The view; where nobody decides or its regions are in doubt, that, and what a person does then."""
        view = reader.view()
        undecided_on = undecided(view, reader.rollout, self._clock.now())
        if view.phase in FINISHED:
            return undecided_on
        known = await self._store.service_regions(view.service)
        return doubted(undecided_on, reader.rollout, [one for one in known if one.doubt])

    async def _listed(self, rollout_id: str) -> RolloutView:
        """One of many."""
        return await self._shown(await self._reader(rollout_id))

    async def _reader(self, rollout_id: str) -> RolloutReader:
        case = await self._store.case(rollout_id)
        others = await self._store.active(case.rollout.release.service)
        observed = {(o.service, o.region): o for o in await self._store.observed()}
        baking = [r.region for r in case.rollout.regions if r.phase is RegionPhase.BAKING]
        now = self._clock.now()
        carried = await read_traffic(
            self._store, case.rollout.release.service, case.plan, now, regions=baking, lately_s=NEWEST_S
        )
        reader = RolloutReader(case, others, observed, now, carried)
        reader.replaced = await replaced_in(self._store, case.rollout)
        known = await self._store.service_regions(case.rollout.release.service)
        reader.known_good = {one.region: one.known_good for one in known}
        return reader

    async def rollouts(
        self,
        *,
        service: str | None = None,
        phases: Sequence[Phase] = (),
        needs_person: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[tuple[RolloutView, ...], str | None]:
        """A page, newest first, and the cursor of the next one. With `needs_person` it may be short."""
        found = await self._store.rollouts(
            service=service, phases=phases, busy=needs_person, limit=limit + 1, before=cursor
        )
        views = [await self._listed(rollout.id) for rollout in found[:limit]]
        kept = tuple(view for view in views if view.needs_person or not needs_person)
        return kept, (found[limit - 1].id if len(found) > limit else None)

    async def approvals(
        self, state: str | None, service: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[tuple[ApprovalView, ...], str | None]:
        """A page of approvals in one state, or in all, those of the newest rollout first.

        The cursor is the id of the last one. Raises NotFound when there is none of that id.
        """
        phases = (Phase.AWAITING_APPROVAL,) if state == "pending" else ()
        found: list[tuple[Rollout, Approval]] = []
        before, rollouts = await self._after(cursor, service)
        while len(found) <= limit:
            found += [(r, a) for r in rollouts for a in approvals_of(r) if state in (None, a.state)]
            rollouts = await self._store.rollouts(service=service, phases=phases, limit=WALKED, before=before)
            if not rollouts:
                break
            before = rollouts[-1].id
        views = [await self._approval(rollout, approval) for rollout, approval in found[:limit]]
        return tuple(views), views[-1].id if len(found) > limit else None

    async def _after(self, cursor: str | None, service: str | None) -> tuple[str | None, Sequence[Rollout]]:
        """Where a page goes on: the rollout of the cursor, and what is left of its approvals."""
        if cursor is None:
            return None, ()
        rollout, approval = await self._found(cursor)
        if service not in (None, rollout.release.service):
            return rollout.id, ()
        older = tuple(each for each in rollout.answered if each.asked_at < approval.asked_at)
        return rollout.id, (replace(rollout, approval=None, answered=older),)

    async def approval(self, approval_id: str) -> ApprovalView:
        """One approval. Raises NotFound."""
        return await self._approval(*await self._found(approval_id))

    async def _found(self, approval_id: str) -> tuple[Rollout, Approval]:
        rollout_id = f"ro_{approval_id.removeprefix('ap_').rpartition('-')[0]}"
        try:
            rollout = (await self._store.case(rollout_id)).rollout
        except NotFound as missing:
            raise NotFound("approval", approval_id) from missing
        for approval in approvals_of(rollout):
            if approval.id == approval_id:
                return rollout, approval
        raise NotFound("approval", approval_id)

    async def _approval(self, rollout: Rollout, approval: Approval) -> ApprovalView:
        case = await self._store.case(rollout.id)
        return approval_view(case, approval, self._clock.now())

    async def events(self, *, rollout_id: str | None, after: int, limit: int) -> tuple[EventView, ...]:
        """History, oldest first, after a place in the global sequence."""
        found = await self._store.events(rollout_id=rollout_id, after=after, limit=limit)
        return tuple(_event(event) for event in found)

    async def newest_events(
        self, rollout_id: str, *, before: int | None, limit: int
    ) -> tuple[EventView, ...]:
        """The last of one rollout's history, oldest first; with `before`, the last up to that place."""
        found = await self._store.events(rollout_id=rollout_id, before=before, newest=True, limit=limit)
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
        carried = await read_traffic(self._store, service.name, plan, at, days=True)
        for stage in plan.stages:
            stages.append(_plan_stage(plan, stage, carried, at))
            at += timedelta(seconds=sum(step.planned_s for step in stages[-1].steps))
        policy = configuration.policies[plan.policy].policy
        blind = unseen(plan, policy, carried)
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
            comparisons=_comparisons(plan, carried),
            mode=plan.mode,
            problems=tuple(
                PlanProblemView(place=each.problem.place, message=each.problem.message)
                for each in blind
                if not each.accepted
            ),
            warnings=(
                *_warnings(request, plan, back_to, before, self._blocking(request, plan, active)),
                *((OBSERVES,) if plan.observes else ()),
                *lacking(plan, self._supports),
                *(f"{each.problem.message} Accepted: {each.accepted}." for each in blind if each.accepted),
            ),
        )

    def _blocking(self, request: StartRequest, plan: Plan, active: Sequence[Rollout]) -> Sequence[Rollout]:
        """Of those under way, the ones that a start now would wait for, end or be refused for."""
        asked = new_rollout(request, plan, Actor(name="", role=""), self._clock.now())
        if plan.concurrency == "queue":
            return in_the_way(asked, active)
        mine = {region.region for region in asked.regions}
        return [other for other in active if mine & {region.region for region in other.regions}]

    async def stamps(self, rollout_ids: Collection[str]) -> Mapping[str, int]:
        """By id a number that rises with every write to a rollout; under "" one that rises with any event.

        Two cheap queries, however many rollouts: what the pages that follow them ask all the time.
        """
        found = dict(await self._store.stamps(rollout_ids))
        return {**found, "": await self._store.newest_sequence()}

    async def series(
        self, view: RolloutView, region: str, signals: Sequence[str] = (), *, points: int = POINTS
    ) -> Mapping[str, SeriesView]:
        """What the plots of a region draw, by signal; without `signals`, of all checks. Raises NotFound."""
        case = await self._store.case(view.id)
        return await read_series(
            self._store, case, region, view.checks, now=self._clock.now(), signals=signals, points=points
        )

    async def phase_counts(self) -> Mapping[Phase, int]:
        """How many rollouts stand in each phase."""
        return await self._store.phase_counts()

    async def replicas(self) -> tuple[SeenReplica, ...]:
        """The controllers on this database, and what each works on."""
        return await self._store.replicas()

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
                    problems=(*in_doubt(state), *(seen.problems if seen else ())),
                )
            )
        return tuple(rows)

    async def fleet(self, only: Sequence[str] = ()) -> Fleet:
        """The front page, of these services or of all; nothing that needs a person is too old for it."""
        busy, ended = await self._front(only)
        needs = [view for view in {v.id: v for v in (*busy, *ended)}.values() if view.needs_person]
        services = [view for view in await self.services() if not only or view.name in only]
        return Fleet(
            needs_person=_newest_first(needs),
            moving=_newest_first(v for v in busy if not v.needs_person and v.phase not in FINISHED),
            recent=_newest_first(v for v in ended if not v.needs_person),
            services=tuple(services),
            running={service.name: await self.running(service.name) for service in services},
        )

    async def _front(self, only: Sequence[str]) -> tuple[list[RolloutView], list[RolloutView]]:
        """Those with business left, the oldest first, and those that ended last; a watched one is in both."""
        busy: list[Rollout] = []
        ended: list[Rollout] = []
        for service in only or (None,):
            busy += await self._store.rollouts(service=service, busy=True, oldest=True, limit=BUSY_MOST)
            ended += await self._store.rollouts(service=service, phases=sorted(FINISHED), limit=ENDED_MOST)
        last = sorted(ended, key=lambda rollout: (rollout.created_at, rollout.id))[-ENDED_MOST:]
        views = {rollout.id: await self._listed(rollout.id) for rollout in (*busy, *last)}
        return [views[rollout.id] for rollout in busy], [views[rollout.id] for rollout in last]

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


def _plan_stage(plan: Plan, stage: PlanStage, carried: Regions, at: datetime) -> PlanStageView:
    """Clock times, and what each bake can detect in each region at the weight that it follows."""
    steps, weight = [], 0
    for step in stage.steps:
        weight = step.weight if isinstance(step, SetWeight) else weight
        steps.append(
            PlanStepView(
                what=step_words(step),
                at=at,
                planned_s=planned_s(step),
                detectable=_detectable(plan, stage.regions, carried, weight, step),
            )
        )
        at += timedelta(seconds=planned_s(step))
    return PlanStageView(name=stage.name, regions=stage.regions, steps=tuple(steps))


def _detectable(
    plan: Plan, regions: Sequence[str], carried: Regions, weight: int, step: PlanStep
) -> tuple[DetectableView, ...]:
    if not isinstance(step, Bake):
        return ()
    looks = [
        outlook(plan, region, check, carried, weight=weight, bake_s=step.max)
        for region in regions
        for check in plan.checks
    ]
    return tuple(
        DetectableView(
            region=look.region,
            signal=look.check.signal,
            title=plan.signals[look.check.signal].title,
            baseline_kind=look.baseline or "",
            seen=look.seen,
            rise=_finite(look.rise),
            tolerance=look.tolerance,
            needed_s=_finite(look.needed_s),
            text=words(plan, look),
        )
        for look in looks
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _comparisons(plan: Plan, carried: Regions) -> tuple[ComparisonView, ...]:
    days = {name: found.days for name, found in carried.items()}
    return tuple(
        ComparisonView(
            region=each.region,
            signals=each.signals,
            kind=each.kind,
            rests_on=each.rests_on,
            history_days=days.get(each.region, 0),
            text=each.text,
        )
        for each in comparisons(plan, days)
    )


_CONCURRENCY = {
    "queue": "this one would wait for it",
    "supersede": "this one would take its place",
    "reject": "start would be refused, the policy allows one at a time",
}


def _warnings(
    request: StartRequest,
    plan: Plan,
    back_to: Mapping[str, str | None],
    rolled_back_by: str | None,
    blocking: Sequence[Rollout],
) -> list[str]:
    """What start would refuse, or wait for, in words."""
    service, version = request.release.service, request.release.version
    missing = [name for name, good in back_to.items() if good is None]
    found = []
    if missing:
        found.append(
            f"{', '.join(missing)} has no known good release: adopt what runs with "
            f"`rollout adopt {service}` first."
        )
    if set(back_to.values()) == {version}:
        found.append(
            f"Start would be refused: {version} already runs, as known good, in {', '.join(back_to)}."
        )
    if rolled_back_by and not request.override:
        found.append(
            f"Start would be refused: {version} was rolled back by {rolled_back_by}. Release a new version, "
            "or an admin's override is needed."
        )
    return found + [
        f"{other.id} ({other.release.version}) {phase_words(other.phase)}: {_CONCURRENCY[plan.concurrency]}."
        for other in blocking
    ]


def _newest_first(views: Iterable[RolloutView]) -> tuple[RolloutView, ...]:
    return tuple(sorted(views, key=lambda view: (view.created_at, view.id), reverse=True))


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
