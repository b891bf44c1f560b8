"""Observe → decide → record → act. `tick()` is one look; the only writer of a phase.

Observation, decision and effects are separate: a slow or dead target delays no other rollout, and
whatever was recorded and not marked done is done again, with the same key, after a crash.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

import structlog

from rollout.config import Configuration
from rollout.core.actions import GOING_BACK, ActionRecord, ActionResult
from rollout.core.decide import Decision, Facts, decide
from rollout.core.errors import OutsideError, PermanentError, RolloutError, StaleWrite, StoreError
from rollout.core.judge import hold_off, judge, update
from rollout.core.judge.evidence import RegionEvidence, without_peers
from rollout.core.model import (
    ActionState,
    Instance,
    Kind,
    ObligationKind,
    ObligationState,
    Phase,
    Region,
    RegionPhase,
    RegionRollout,
    Rollout,
    Service,
)
from rollout.core.plan import Plan
from rollout.core.signals import Judgement, Signal
from rollout.elsewhere import without_common_causes
from rollout.history import Histories, opening
from rollout.ports import (
    Ask,
    Case,
    Change,
    Clock,
    Deployer,
    Keep,
    MetricSource,
    Notice,
    Notifier,
    Observed,
    Progress,
    Reply,
    Store,
)

log = structlog.get_logger(__name__)

BATCH = 100  # rollouts and actions taken in one tick
COLLECT_TIMEOUT_S = 5.0
OBSERVE_WAIT_S = 1.0  # that one tick waits for its readings
APPLY_TIMEOUT_S = 30.0
BUSY_S = 5.0  # before a rollout whose decision did not fit is looked at again
TROUBLE_S, TROUBLE_CAP_S = 1.0, 300.0  # before a rollout that could not be decided is tried again
POLL_S = 0.5  # before asking again about an action that is under way
RETRY_S, RETRY_CAP_S, RETRY_BACK_CAP_S = 0.5, 15.0, 5.0  # going back is retried more often
OVERLAPPING = 200  # rollouts that a rise may be blamed on, the newest
FORGET_EVERY_S = 300.0
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
_JUDGED = (RegionPhase.DEPLOYING, RegionPhase.BAKING, RegionPhase.PASSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How often a region under a rollout is read, and which signals its plan judges."""

    interval_s: float
    signals: Mapping[str, Signal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """A rollout that could not be decided, how often, and when it is tried again."""

    times: int
    until: datetime


class Reconciler:
    """Moves every rollout as far as the evidence allows."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        source: Callable[[Region], MetricSource],
        notifier: Notifier,
        collect_s: float = 10.0,
        keep: Keep | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._deployer, self._source, self._notifier = deployer, source, notifier
        self._collect_s, self._keep = collect_s, keep or Keep()
        self.changed = changed
        self._histories = Histories(store, source)
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._observing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._troubled: dict[str, _Trouble] = {}
        self._forgot_at: datetime | None = None

    async def tick(self) -> None:
        """One look at everything that is due. Raises StoreError when the database cannot be used."""
        await self._observe()
        due = await self._store.due(self._clock.now(), BATCH)
        observed = await self._store.observed() if due else ()
        for rollout_id in due:
            await self._take_further(rollout_id, observed)
        await self._act()
        await self._forget()

    async def settle(self) -> None:
        """Wait until every effect and every reading of history under way has come to an answer."""
        while self._doing:
            await asyncio.gather(*self._doing.values())
        await asyncio.gather(*self._histories.under_way, return_exceptions=True)

    async def stop(self) -> None:
        """Leave effects under way: they are recorded, and done again with the same key."""
        under_way = [*self._doing.values(), *self._observing.values(), *self._histories.under_way]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    # ------------------------------------------------------------------ observe

    async def _observe(self) -> None:
        """Begin every reading that is due; wait for those that answer soon, never for one that hangs."""
        now = self._clock.now()
        known = {(o.service, o.region): o for o in await self._store.observed()}
        begun = []
        for service in await self._store.services():
            for region in self._regions_of(service):
                key = (service.name, region.name)
                old = known.get(key) or Observed(service=service.name, region=region.name)
                want = self._wanted.get(key, _Wanted(interval_s=self._collect_s))
                if key not in self._observing and self._is_due(old, want, now):
                    task = asyncio.create_task(self._observe_one(service, region, old, want))
                    self._observing[key] = task
                    task.add_done_callback(lambda _, key=key: self._observing.pop(key, None))  # type: ignore[misc]
                    begun.append(task)
        if begun:
            answered, _ = await asyncio.wait(begun, timeout=OBSERVE_WAIT_S)
            for task in answered:
                task.result()  # a reading that could not be stored stops the tick

    def _is_due(self, old: Observed, want: _Wanted, now: datetime) -> bool:
        if old.collected_at is None:
            return True
        waited = (now - old.collected_at).total_seconds()
        return waited < 0 or waited >= min(want.interval_s, self._collect_s) - 0.05

    def _regions_of(self, service: Service) -> list[Region]:
        regions = self._configuration().regions
        return [r for r in regions.values() if not service.regions or r.name in service.regions]

    async def _observe_one(self, service: Service, region: Region, old: Observed, want: _Wanted) -> None:
        """Read one service in one region; failing to ask is kept as an error, never as a sample."""
        now = self._clock.now()
        running: Mapping[str, int] | None = None
        try:
            signals = {**self._configuration().signals_for(service), **want.signals}
            async with asyncio.timeout(COLLECT_TIMEOUT_S):
                instances = await self._deployer(region).instances(service.name)
                running = _count(instances)
                reading = await self._source(region).collect(
                    Ask(
                        service=service.name,
                        region=region.name,
                        signals=tuple(s for s in signals.values() if region.source.kind in s.sources),
                        instances=instances,
                        cursor=old.cursor,
                        now=now,
                    )
                )
        except Exception as error:  # whatever one region does, the others are read
            message = _words(error, COLLECT_TIMEOUT_S)
            seen = replace(
                old, collected_at=now, error=message, error_since=old.error_since or now, problems=()
            )
            if not old.error:
                unforeseen = not isinstance(error, RolloutError | TimeoutError)
                where = {"service": service.name, "region": region.name}
                log.warning("region cannot be asked", **where, error=message, exc_info=unforeseen)
            await self._store.save_reading(seen, (), running)
            return
        seen = replace(
            old,
            cursor=reading.cursor,
            collected_at=now,
            error="",
            error_since=None,
            problems=reading.problems[:20],
        )
        await self._store.save_reading(seen, reading.samples, running)

    # ------------------------------------------------------------------ decide and record

    async def _take_further(self, rollout_id: str, observed: tuple[Observed, ...]) -> None:
        """Decide on one rollout; whatever goes wrong with it, the others and all effects go on."""
        trouble = self._troubled.get(rollout_id)
        if trouble is not None and self._clock.now() < trouble.until:
            return
        try:
            await self._decide(rollout_id, observed)
            self._troubled.pop(rollout_id, None)
        except StaleWrite:
            log.info("somebody else wrote first; looking again", rollout_id=rollout_id)
        except StoreError:
            raise
        except RolloutError as error:
            until = self._clock.now() + timedelta(seconds=BUSY_S)
            self._troubled[rollout_id] = _Trouble(times=0, until=until)
            log.warning("rollout not taken further", rollout_id=rollout_id, error=str(error))
        except Exception as error:
            await self._note_trouble(rollout_id, error)

    async def _note_trouble(self, rollout_id: str, error: Exception) -> None:
        """An error that nobody foresaw: page once, and try again ever more slowly."""
        before = self._troubled.get(rollout_id, _Trouble(times=0, until=self._clock.now()))
        wait_s = min(TROUBLE_CAP_S, TROUBLE_S * 2.0**before.times)
        until = self._clock.now() + timedelta(seconds=wait_s)
        self._troubled[rollout_id] = _Trouble(times=min(before.times + 1, 10), until=until)
        log.exception("rollout cannot be decided; trying again", rollout_id=rollout_id, in_s=wait_s)
        if before.times == 0:
            text = (
                f"{rollout_id} cannot be decided: {type(error).__name__}: {error}. Recorded effects "
                "go on; nothing new is decided for it. Look at the log, and at its regions."
            )
            notice = Notice(
                key=f"{rollout_id}/trouble", rollout_id=rollout_id, service="", text=text, urgent=True
            )
            try:
                await self._notifier.send(notice)
            except OutsideError as undelivered:
                log.warning("notice not delivered", key=notice.key, error=str(undelivered))

    async def _decide(self, rollout_id: str, observed: tuple[Observed, ...]) -> None:
        case = await self._store.case(rollout_id)
        now = self._clock.now()
        active = await self._store.active(case.rollout.release.service)
        others = tuple(other for other in active if other.id != case.rollout.id)
        judged = _judged(case, others)
        read = {r.region: await self._evidence(case, r, others) for r in judged}
        evidence = {name: found for name, found in read.items() if found is not None}
        ours = [o for o in observed if o.service == case.rollout.release.service and o.region in read]
        facts = await self._facts(case, others, evidence, ours, now)
        decision = decide(case.rollout, case.plan, facts, now)
        changed = {name: new for name, new in evidence.items() if new != case.evidence.get(name)}
        await self._store.commit(_change(decision, changed))
        self._histories.close(rollout_id, keep=[name for name in read if name not in evidence])
        self._remember(case.plan, decision)
        for row in decision.transitions:
            log.info(
                row.trigger,
                rollout_id=rollout_id,
                region=row.region,
                phase=row.to_phase,
                actor=row.actor,
                reason=row.reason.text,
            )

    async def _evidence(
        self, case: Case, region: RegionRollout, others: tuple[Rollout, ...]
    ) -> RegionEvidence | None:
        """Take in every stored sample that this region's evidence has not seen, each once.

        None while the history on which it begins is being read.
        """
        service = case.rollout.release.service
        touched = _touched(case.rollout, *others)
        evidence = case.evidence.get(region.region) or await self._begin(case, region, touched)
        if evidence is None:
            return None
        evidence = hold_off(without_peers(evidence, touched), region.judge_from or NEVER)
        places = (region.region, *evidence.peers)
        since = None if evidence.seen else evidence.started_at  # what came before it is its history
        while fresh := await self._store.samples(service, places, after=evidence.seen, since=since):
            evidence = update(case.plan, evidence, fresh)
            evidence = replace(evidence, seen=fresh[-1][0])
        return evidence

    async def _begin(self, case: Case, region: RegionRollout, touched: set[str]) -> RegionEvidence | None:
        known = await self._store.service_regions(case.rollout.release.service)
        peers = [name for name in case.plan.peers(region.region) if name not in touched]
        places = [self._configured(case.plan, name) for name in (region.region, *peers)]
        return self._histories.opened(opening(case, region, places, known))

    def _configured(self, plan: Plan, name: str) -> Region:
        """A region as configured now; one that was removed since is taken from the plan."""
        return self._configuration().regions.get(name) or plan.regions[name]

    async def _facts(
        self,
        case: Case,
        others: tuple[Rollout, ...],
        evidence: Mapping[str, RegionEvidence],
        observed: list[Observed],
        now: datetime,
    ) -> Facts:
        name = case.rollout.release.service
        service = await self._store.service(name)
        regions = {known.region: known for known in await self._store.service_regions(name)}
        errors = {o.region: (o.error, o.error_since) for o in observed if o.error_since}
        judgement = judge(case.plan, evidence, now, errors)
        touched = _touched(case.rollout, *others)
        judgement = await without_common_causes(self._store, name, case.plan, judgement, touched)
        return Facts(
            judgement=judgement,
            intents=case.intents,
            actions=case.actions,
            obligations=case.obligations,
            others=others,
            overlapping=await self._overlapping(judgement),
            stopped_at=service.stopped_at,
            stopped_by=service.stopped_by,
            problems={o.region: o.problems[0] for o in observed if o.problems},
            rolled_back_by=await self._rolled_back_by(case),
            known_good={region: known.known_good for region, known in regions.items()},
            generations={region: known.generation for region, known in regions.items()},
        )

    async def _overlapping(self, judgement: Judgement) -> tuple[Rollout, ...]:
        """What else may have caused a rise: all that is under way or watched, of every service."""
        if not (judgement.culprits or judgement.suspected):
            return ()
        return await self._store.rollouts(busy=True, limit=OVERLAPPING)

    async def _rolled_back_by(self, case: Case) -> str | None:
        release = case.rollout.release
        if case.rollout.touched or case.rollout.finished:
            return None
        return await self._store.was_rolled_back(release.service, release.version)

    def _remember(self, plan: Plan, decision: Decision) -> None:
        """Read the regions of a rollout that is under way, or watched, as often as its plan says."""
        rollout = decision.rollout
        for region in plan.regions:
            key = (rollout.release.service, region)
            if rollout.next_due_at is not None:
                self._wanted[key] = _Wanted(interval_s=plan.judging.interval, signals=plan.signals)
            else:
                self._wanted.pop(key, None)

    # ------------------------------------------------------------------ act

    async def _act(self) -> None:
        for record in await self._store.due_actions(self._clock.now(), BATCH):
            if record.key not in self._doing:
                task = asyncio.create_task(self._do(record), name=record.key)
                self._doing[record.key] = task
                task.add_done_callback(lambda done: self._doing.pop(done.get_name(), None))

    async def _do(self, record: ActionRecord) -> None:
        """One attempt at one action, and its result recorded."""
        try:
            ended = await self._attempt(record)
            await self._store.save_action(ended)
            if not ended.open:
                self.changed()
        except Exception as error:
            log.warning("action not recorded; it is done again", key=record.key, error=str(error))

    async def _attempt(self, record: ActionRecord) -> ActionRecord:
        record = replace(record, attempts=record.attempts + 1)
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                reply = await self._apply(record)
        except PermanentError as error:
            return _ended(record, ActionState.FAILED, ActionResult(message=str(error)), self._clock.now())
        except Exception as error:  # also what nobody foresaw is tried again, visibly and ever more slowly
            if not isinstance(error, OutsideError | TimeoutError):
                log.exception("action failed in a way that nobody foresaw", key=record.key)
            message = _words(error, APPLY_TIMEOUT_S)
            return _again(record, message, self._clock.now(), unreachable=True)
        if reply.progress is Progress.RUNNING:
            return _again(record, reply.result.message, self._clock.now(), unreachable=False)
        good = reply.progress is Progress.SUCCEEDED
        state = ActionState.SUCCEEDED if good else ActionState.FAILED
        return _ended(record, state, reply.result, self._clock.now())

    async def _apply(self, record: ActionRecord) -> Reply:
        action = record.action
        if action.kind is Kind.NOTIFY:
            await self._notifier.send(
                Notice(
                    key=record.key,
                    rollout_id=record.rollout_id,
                    service=action.service,
                    text=str(action.details["text"]),
                    urgent=bool(action.details["urgent"]),
                )
            )
            return Reply(progress=Progress.SUCCEEDED)
        deployer = self._deployer(await self._region(record))
        if action.kind not in deployer.supports:
            message = f"The deployer of {action.region} has no '{action.kind}'."
            return Reply(
                progress=Progress.FAILED, result=ActionResult(message=message, details={"unsupported": True})
            )
        return await deployer.apply(record.key, action)

    async def _region(self, record: ActionRecord) -> Region:
        """The region as configured now; one that was removed since is taken from the plan."""
        name = record.action.region or ""
        found = self._configuration().regions.get(name)
        return found or (await self._store.case(record.rollout_id)).plan.regions[name]

    async def _forget(self) -> None:
        """One bounded step; the next tick goes on where there is more to do."""
        now = self._clock.now()
        if self._forgot_at and (now - self._forgot_at).total_seconds() < FORGET_EVERY_S:
            return
        more = await self._store.forget(now, self._keep)
        self._forgot_at = None if more else now


def _touched(*rollouts: Rollout) -> set[str]:
    return {region.region for rollout in rollouts for region in rollout.touched}


def _judged(case: Case, others: tuple[Rollout, ...]) -> list[RegionRollout]:
    """The regions whose health this rollout answers for now: not those that a newer one is changing."""
    rollout = case.rollout
    if rollout.phase is Phase.SUCCEEDED:
        owed = (ObligationState.OPEN, ObligationState.OVERDUE)
        watched = {o.region for o in case.obligations if o.kind is ObligationKind.WATCH and o.state in owed}
        newer = [o for o in others if (o.created_at, o.id) > (rollout.created_at, rollout.id)]
        watched -= {region.region for other in newer for region in other.touched}
        return [r for r in rollout.regions if r.region in watched]
    if rollout.finished:
        return []
    return [r for r in rollout.touched if r.phase in _JUDGED]


def _change(decision: Decision, evidence: Mapping[str, RegionEvidence]) -> Change:
    written = {f.name: getattr(decision, f.name) for f in fields(Decision)}
    return Change(**written, evidence=evidence)


def _count(instances: tuple[Instance, ...]) -> Mapping[str, int]:
    """Healthy instances by version: one that is not has not shown that it runs what it was told to."""
    counts: dict[str, int] = {}
    for instance in (one for one in instances if one.healthy):
        counts[instance.version] = counts.get(instance.version, 0) + 1
    return counts


def _words(error: Exception, limit_s: float) -> str:
    """What went wrong, for people."""
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s."
    return str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}."


def _ended(record: ActionRecord, state: ActionState, result: ActionResult, now: datetime) -> ActionRecord:
    return replace(record, state=state, result=result, ended_at=now, unreachable_since=None)


def _again(record: ActionRecord, message: str, now: datetime, *, unreachable: bool) -> ActionRecord:
    """Ask again later, unless its deadline has passed."""
    if record.deadline and now >= record.deadline:
        took = (now - record.recorded_at).total_seconds()
        text = f"not done within {took:.0f} s. {message}"
        return _ended(record, ActionState.FAILED, ActionResult(message=text), now)
    cap = RETRY_BACK_CAP_S if record.action.kind in GOING_BACK else RETRY_CAP_S
    wait = min(cap, RETRY_S * 2.0 ** min(record.attempts, 10)) if unreachable else POLL_S
    return replace(
        record,
        due_at=now + timedelta(seconds=wait),
        result=ActionResult(message=message),
        unreachable_since=(record.unreachable_since or now) if unreachable else None,
    )
