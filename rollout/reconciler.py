"""Observe → decide → record → act. `tick()` is one look; the only writer of a phase.

Observation, decision and effects are separate: a slow or dead target delays no other rollout, and
whatever was recorded and not marked done is done again, with the same key, after a crash.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

import structlog

from rollout.config import Configuration
from rollout.core import reason as say
from rollout.core.actions import GOING_BACK
from rollout.core.decide import Decision, Facts, decide
from rollout.core.decision import Seen
from rollout.core.errors import Fenced, RolloutError, StaleWrite, StoreError, Unwritable
from rollout.core.invariants import kept
from rollout.core.judge import hold_off, judge, update
from rollout.core.judge.evidence import RegionEvidence, without_peers
from rollout.core.model import (
    ObligationKind,
    ObligationState,
    Phase,
    Region,
    RegionPhase,
    RegionRollout,
    Rollout,
    ServiceRegion,
)
from rollout.core.plan import Plan
from rollout.core.signals import Judgement
from rollout.core.succession import follower
from rollout.ids import new_id
from rollout.ports import (
    Case,
    Change,
    Clock,
    Deployer,
    Keep,
    MetricSource,
    Notice,
    Notifier,
    Observed,
    Replica,
    Store,
)
from rollout.reconciling.doubts import Doubts
from rollout.reconciling.effects import Effects
from rollout.reconciling.elsewhere import without_common_causes
from rollout.reconciling.history import Histories, came_at, opening
from rollout.reconciling.holding import Holding
from rollout.reconciling.observation import Observation
from rollout.reconciling.outside import channels_of, sources_of, targets_of
from rollout.reconciling.telling import Telling
from rollout.successors import successors
from rollout.telemetry.onlooker import NOBODY, Decided, Onlooker

log = structlog.get_logger(__name__)

BATCH = 100  # rollouts taken in one tick
SAMPLES = 5000  # taken in at once
BUSY_S = 5.0  # before a rollout whose decision did not fit is looked at again
BUSY_PATIENCE = 12  # tries, a minute, before people hear of it: it may be a way back that is kept waiting
TROUBLE_S, TROUBLE_CAP_S = 1.0, 300.0  # before a rollout that could not be decided is tried again
STORE_PATIENCE = 3  # tries before people hear that the database refuses one rollout, and works else
OVERLAPPING = 200  # rollouts that a rise may be blamed on, the newest
FORGET_EVERY_S = 300.0
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
_JUDGED = (RegionPhase.DEPLOYING, RegionPhase.BAKING, RegionPhase.PASSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """A rollout that could not be decided, how often, and when it is tried again."""

    times: int
    until: datetime


async def _unseen() -> None:
    """Nobody compares how far history came."""


class Reconciler:
    """Moves every rollout as far as the evidence allows.

    `newest` looks how far history came, and puts regions in doubt where it went back: claims are then gone.
    `told_time` hears the time that replicas share. `stopwatch` counts the seconds of a lease, else the clock.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        source: Callable[[Region], MetricSource],
        notifier: Notifier,
        channels: Mapping[str, Notifier] | None = None,
        collect_s: float = 10.0,
        keep: Keep | None = None,
        changed: Callable[[], None] = lambda: None,
        onlooker: Onlooker = NOBODY,
        newest: Callable[[], Awaitable[None]] = _unseen,
        replica: Replica | None = None,
        told_time: Callable[[datetime, bool], None] = lambda _told, _at_once: None,
        stopwatch: Callable[[], float] | None = None,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        deployer, source = targets_of(deployer), sources_of(source)
        self._telling = Telling(clock, *channels_of(notifier, channels or {}))
        self._keep = keep or Keep()
        self.changed, self._newest = changed, newest
        self._onlooker = onlooker
        self._replica = replica or Replica(id="only", incarnation=new_id("in", clock.now()))
        self._holding = Holding(
            store,
            stopwatch or (lambda: clock.now().timestamp()),
            self._replica,
            onlooker,
            told_time,
            over=self._stop_lost,
        )
        self._histories = Histories(store, source, self._holding.fence)
        self._doubts = Doubts(
            store,
            clock,
            lambda name: deployer(configuration().regions[name]),
            self._telling.tell,
            self._holding,
        )
        self._observation = Observation(
            store, clock, configuration, deployer, source, collect_s, self._holding, onlooker
        )
        self._effects = Effects(
            store,
            clock,
            configuration,
            deployer,
            self._telling.send,
            self._holding,
            self._doubts.forbid,
            self._tell,
            onlooker,
        )
        self._troubled: dict[str, _Trouble] = {}
        self._forgot_at: datetime | None = None

    async def tick(self) -> None:
        """One look at everything that is due, of the services that this replica holds.

        Raises StoreError when the database cannot be used, and Fenced when another process has the identity
        of this replica.
        """
        await self._newest()
        await self._hold()
        self._forget_lost()
        if self._holding.services:
            await self._work()
        self._telling.look()
        await self._forget()

    async def _work(self) -> None:
        await self._doubts.look()
        await self._observe()
        most = BATCH + len(self._troubled)  # those hide nobody
        due = await self._store.due(self._clock.now(), most, self._holding.owner)
        if len(due) < most:  # who is troubled and not among all that are due has ended, or is another's
            self._troubled = {one: trouble for one, trouble in self._troubled.items() if one in due}
        observed = by_service(await self._store.observed()) if due else {}
        for rollout_id in due:
            await self._take_further(rollout_id, observed)
            if self._holding.is_due:
                await self._hold()
        await self._act()

    async def _act(self) -> None:
        """Begin what is due, on a database that lacks nothing that was noted; then that is noted."""
        await self._newest()
        await self._effects.act()

    async def _observe(self) -> None:
        """A reading that cannot be stored keeps no other rollout from being decided on."""
        try:
            await self._observation.observe()
        except Unwritable:
            raise
        except StoreError as error:
            await self._hold(at_once=True)  # raises where nothing at all can be written
            log.warning("a reading is not stored; what else there is goes on", error=str(error))

    @property
    def held(self) -> Collection[str]:
        """The services that this replica works on."""
        return self._holding.services

    @property
    def replicas(self) -> int:
        """How many replicas live, as of the last renewal."""
        return self._holding.replicas

    async def _hold(self, *, at_once: bool = False) -> None:
        """Renew the lease when it is time; what another replica may hold now is left alone."""
        try:
            if await self._holding.renew(self._effects.busy, at_once=at_once):
                self._doubts.forget()
                await self._doubts.read()
        finally:
            self._stop_lost()

    def _stop_lost(self) -> None:
        self._effects.leave_lost()

    def _forget_lost(self) -> None:
        """What is only in memory about services of other replicas; whoever holds them has its own."""
        held = self._holding.services
        self._observation.leave_lost(held)
        self._histories.leave_lost(held)
        if not held:
            self._troubled = {}

    def _tell(self) -> None:
        self.changed()

    async def settle(self) -> None:
        """Wait until every effect and every reading of history under way has come to an answer."""
        while under_way := (*self._effects.under_way, *self._telling.under_way):
            await asyncio.gather(*under_way)
        await asyncio.gather(*self._histories.under_way, *self._doubts.under_way, return_exceptions=True)

    async def stop(self) -> None:
        """Leave effects under way: they are recorded, and done again with the same key."""
        self._holding.rest()
        parts = (self._effects, self._observation, self._histories, self._doubts, self._telling)
        under_way = [task for part in parts for task in part.under_way]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def leave(self) -> None:
        """After stopping in order: another replica takes over at once, not when the lease is over."""
        try:
            await self._store.leave(self._replica)
        except StoreError as error:
            log.warning("claims not given up; they end with the lease", error=str(error))

    # ------------------------------------------------------------------ decide and record

    async def _take_further(self, rollout_id: str, observed: Mapping[str, Sequence[Observed]]) -> None:
        """Decide on one rollout; whatever goes wrong with it, the others and all effects go on."""
        trouble = self._troubled.get(rollout_id)
        if trouble is not None and self._clock.now() < trouble.until:
            return
        try:
            with structlog.contextvars.bound_contextvars(rollout_id=rollout_id):
                await self._decide(rollout_id, observed)
            self._troubled.pop(rollout_id, None)
        except StaleWrite:
            log.info("somebody else wrote first; looking again", rollout_id=rollout_id)
        except Fenced as error:
            log.warning("not decided here", rollout_id=rollout_id, error=str(error))
        except Unwritable:
            raise
        except StoreError as error:
            await self._hold(at_once=True)  # raises where nothing at all can be written
            await self._note_trouble(rollout_id, error, patience=STORE_PATIENCE)
        except RolloutError as error:
            times = trouble.times + 1 if trouble else 1
            until = self._clock.now() + timedelta(seconds=BUSY_S)
            self._troubled[rollout_id] = _Trouble(times=min(times, BUSY_PATIENCE + 1), until=until)
            log.warning("rollout not taken further", rollout_id=rollout_id, error=str(error))
            if times == BUSY_PATIENCE:
                await self._page(rollout_id, error)
        except Exception as error:
            await self._note_trouble(rollout_id, error)

    async def _note_trouble(self, rollout_id: str, error: Exception, patience: int = 0) -> None:
        """An error that nobody foresaw: page once, after `patience` tries, and try again ever more slowly."""
        before = self._troubled.get(rollout_id, _Trouble(times=0, until=self._clock.now()))
        wait_s = min(TROUBLE_CAP_S, TROUBLE_S * 2.0**before.times)
        until = self._clock.now() + timedelta(seconds=wait_s)
        self._troubled[rollout_id] = _Trouble(times=min(before.times + 1, 10), until=until)
        log.exception("rollout cannot be decided; trying again", rollout_id=rollout_id, in_s=wait_s)
        self._onlooker.undecided()
        if before.times == patience:
            await self._page(rollout_id, error)

    async def _page(self, rollout_id: str, error: Exception) -> None:
        """Tell people that a rollout cannot be decided."""
        now, rollout = self._clock.now(), await self._readable(rollout_id)
        service = rollout.release.service if rollout else ""
        text = _undecided(rollout_id, rollout, error, now)
        key = f"{rollout_id}/trouble/{now.isoformat()}"
        self._telling.tell(Notice(key=key, rollout_id=rollout_id, service=service, text=text, urgent=True))

    async def _readable(self, rollout_id: str) -> Rollout | None:
        """The rollout as it is stored, where that is not what fails."""
        try:
            return (await self._store.case(rollout_id)).rollout
        except Exception:
            return None

    async def _decide(self, rollout_id: str, observed: Mapping[str, Sequence[Observed]]) -> None:
        case = await self._store.case(rollout_id)
        now = self._clock.now()
        active = await self._store.active(case.rollout.release.service)
        others = tuple(other for other in active if other.id != case.rollout.id)
        newer = await successors(self._store, case.rollout)
        judged = _judged(case, (*others, *newer))
        read = {r.region: await self._evidence(case, r, others) for r in judged}
        evidence = {name: found for name, found in read.items() if found is not None}
        ours = [one for one in observed.get(case.rollout.release.service, ()) if one.region in read]
        facts = replace(await self._facts(case, others, evidence, ours, now), newer=newer)
        decision = self._kept(case, decide(case.rollout, case.plan, facts, now), facts, now)
        changed = {name: new for name, new in evidence.items() if new != case.evidence.get(name)}
        change = _change(decision, changed)
        await self._commit(change)
        if any(record.action.kind in GOING_BACK for record in change.actions):
            await self._act()  # before any other rollout is looked at
        self._onlooker.decided(Decided(case=case, change=change, judgement=facts.judgement, now=now))
        self._histories.close(rollout_id, keep=[name for name in read if name not in evidence])
        going_on = decision.rollout.next_due_at is not None
        self._observation.want(case.rollout.release.service, case.plan, judged=going_on)
        for row in decision.transitions:
            log.info(
                row.trigger,
                service=case.rollout.release.service,
                region=row.region,
                phase=row.to_phase,
                actor=row.actor,
                reason=row.reason.text,
            )

    async def _commit(self, change: Change) -> None:
        """Write a decision as the holder of its service. Raises Fenced, StaleWrite and Conflict."""
        fence = self._holding.fence(change.rollout.release.service)
        try:
            await self._store.commit(replace(change, actions=self._telling.spread(change.actions)), fence)
        except Fenced:
            self._holding.lost(fence)
            raise

    def _kept(self, case: Case, decision: Decision, facts: Facts, now: datetime) -> Decision:
        """What may be committed of a decision: one that would break a promise stops its rollout."""
        found = kept(case.rollout, case.plan, decision, facts, now)
        for each in found.broken:
            log.error("promise would be broken", promise=each.number, found=each.text, exc_info=each.error)
            self._onlooker.undecided()
        return found.decision

    async def _evidence(
        self, case: Case, region: RegionRollout, others: tuple[Rollout, ...]
    ) -> RegionEvidence | None:
        """Take in every stored sample that this region's evidence has not seen, each once.

        None while the history on which it begins is being read.
        """
        service = case.rollout.release.service
        touched = _touched(case.rollout, *others)
        evidence = case.evidence.get(region.region)
        if evidence is None or evidence.started_at < came_at(case, region):
            evidence = await self._begin(case, region, touched)
        if evidence is None:
            return None
        evidence = hold_off(without_peers(evidence, touched), region.judge_from or NEVER)
        places = (region.region, *evidence.peers)
        since = None if evidence.seen else evidence.started_at  # what came before it is its history
        more = True
        while more:
            fresh = await self._store.samples(
                service, places, after=evidence.seen, since=since, limit=SAMPLES
            )
            if fresh:
                evidence = replace(update(case.plan, evidence, fresh), seen=fresh[-1][0])
            more = len(fresh) == SAMPLES
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
            running=_running(regions.values()),
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

    async def _forget(self) -> None:
        """One bounded step; the next tick goes on where there is more to do."""
        now = self._clock.now()
        if self._forgot_at and (now - self._forgot_at).total_seconds() < FORGET_EVERY_S:
            return
        more = await self._store.forget(now, self._keep)
        self._forgot_at = None if more else now


def _running(regions: Iterable[ServiceRegion]) -> dict[str, Seen]:
    """What was read of each region; one that is in doubt is left to those who settle it."""
    return {
        known.region: Seen(running=known.running, at=known.running_at)
        for known in regions
        if known.running_at is not None and known.doubt is None
    }


def by_service(observed: Iterable[Observed]) -> Mapping[str, Sequence[Observed]]:
    """Readings, by whose they are."""
    found: dict[str, list[Observed]] = {}
    for one in observed:
        found.setdefault(one.service, []).append(one)
    return found


def _touched(*rollouts: Rollout) -> set[str]:
    return {region.region for rollout in rollouts for region in rollout.touched}


def _judged(case: Case, others: Sequence[Rollout]) -> list[RegionRollout]:
    """The regions whose health this rollout answers for now: not those that a newer one is changing."""
    rollout = case.rollout
    if rollout.phase is Phase.SUCCEEDED:
        owed = (ObligationState.OPEN, ObligationState.OVERDUE)
        watches = (o for o in case.obligations if o.kind is ObligationKind.WATCH and o.state in owed)
        watched = {o.region for o in watches if "rests_since" not in o.progress}  # first it wakes
        return [r for r in rollout.regions if r.region in watched and not follower(rollout, r, others)]
    if rollout.finished:
        return []
    awaited = case.plan.observes  # somebody else deploys it: before it was seen there is nothing to judge
    return [r for r in rollout.touched if r.phase in _JUDGED and not (awaited and r.judge_from is None)]


def _undecided(rollout_id: str, rollout: Rollout | None, error: Exception, now: datetime) -> str:
    """What a person is told of a rollout that cannot be decided, and the way back without this program."""
    release = rollout.release if rollout else None
    whose = f"{release.service} {release.version} ({rollout_id})" if release else rollout_id
    places = ", ".join(region.region for region in rollout.touched) if rollout else ""
    back = (
        f"Ask `rollout rollback {rollout_id}`; if status does not say 'rolling back' within a minute, in "
        f"each of {places or 'its regions'}: `rollout emergency restore "
        f"{release.service if release else 'SERVICE'} --region R --even-so --reason …`."
    )
    if rollout and not rollout.touched:
        back = f"It has touched no region. Ask `rollout cancel {rollout_id}`."
    return (
        f"{whose} cannot be decided since {say.clock(now)}: {type(error).__name__}: {error}. What was "
        f"recorded goes on; nothing new is decided for it, nor is harm acted on. {back}"
    )


def _change(decision: Decision, evidence: Mapping[str, RegionEvidence]) -> Change:
    written = {f.name: getattr(decision, f.name) for f in fields(Decision)}
    return Change(**written, evidence=evidence)
