"""One run: machines, targets, sources and people under virtual time, faults for a while, and then calm.

What must not live here: what is right and wrong (checkers.py).
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random
from typing import Any

from rollout.core.actions import Action
from rollout.core.errors import TransientError
from rollout.core.model import ActionState, Phase, Region
from rollout.ports import Case, Deployer, MetricSource, Notice, Store
from rollout.queries import Queries
from rollout.store import SqlStore, inline
from tests.simulation import history
from tests.simulation.given import EPOCH, GOOD_BEFORE, SERVICES, configured, database
from tests.simulation.history import End, History, Setting, Wait
from tests.simulation.knobs import REGIONS, Knobs, Strike
from tests.simulation.loop import VirtualLoop
from tests.simulation.machine import Machine, Node
from tests.simulation.network import Line, Wires
from tests.simulation.people import People
from tests.simulation.source import FIRST, Source, Truth
from tests.simulation.store import NotingStore
from tests.simulation.target import Target

SECOND = "1.2.0"
STAYS_S = 6.0  # that the end is looked at
REST_S, LOOK_S, STILL_S = 330.0, 3.0, 24.0  # to come to rest in; between looks; how long nothing moves
_RESTS = (Phase.HELD, Phase.AWAITING_APPROVAL, Phase.ROLLBACK_FAILED, Phase.QUEUED)
_OPEN = ActionState.PENDING
_WRITES = (history.Added, history.Asked, history.Committed, history.Saved)  # what a case is made of


class TrueClock:
    """What time it really is."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """True time."""
        return EPOCH + timedelta(seconds=self._loop.time())


class Play:
    """The world of one seed."""

    def __init__(self, loop: VirtualLoop, knobs: Knobs) -> None:
        self.loop, self.knobs = loop, knobs
        self.clock = TrueClock(loop)
        self._chances: dict[str, Random] = {}
        self.services = SERVICES[: knobs.services]
        breaks = bool(knobs.disk.statement or knobs.disk.commit)
        self.database, self._broken = database(knobs.services, breaks=breaks)
        self.database.clock = self.clock.now
        self._own = SqlStore(self.database, run=inline)
        self.calm = False
        self._told: set[str] = set()
        self._seen: list[Case] = []
        self._seen_written = 0
        self._passed: dict[str, int] = {}
        self._world_tasks: set[asyncio.Task[Any]] = set()
        self.truth = Truth(knobs, loop.time, self.chance("truth"))
        self.wires = Wires(loop, self.chance("wires"), knobs.network, knobs.latency_s)
        self.targets = {name: self._target(place, name) for place, name in enumerate(REGIONS)}
        self.machines = [
            Machine(self, index, skew_s=skew, lease_s=knobs.lease_s, tick_s=knobs.tick_s)
            for index, skew in enumerate(knobs.skews)
        ]
        self.people = People(self, self.chance("people"))
        self.history = History(self._setting())

    def chance(self, about: str) -> Random:
        """Its own stream of chance for each thing, so that one does not disturb the other."""
        if about not in self._chances:
            self._chances[about] = Random(f"{about}/{self.knobs.seed}")
        return self._chances[about]

    # ------------------------------------------------------------------ what machines ask of the world

    def true_time(self) -> datetime:
        """What time it really is."""
        return self.clock.now()

    def note(self, what: Any) -> None:
        """Keep what happened."""
        self.history.note(self.loop.time(), what)

    def without_path(self, text: str) -> str:
        """A text that is the same wherever the database is."""
        return text.replace(self.database.name, "run.db")

    def latency(self) -> float:
        """How long one step to the database takes."""
        return self.chance("latency").uniform(0.1, 1.0) * self.knobs.latency_s

    def strikes(self, place: str, machine: Machine) -> None:
        """Whatever befalls a machine that passes by here."""
        if self.calm:
            return
        nth = self._passed.get(place, 0)
        self._passed[place] = nth + 1
        for strike in self.knobs.strikes:
            if strike.place == place and strike.nth == nth:
                _hit(machine, strike)

    def fault(self, machine: Machine) -> str:
        """The fault of one transaction."""
        if self.calm:
            return ""
        if self._during("gone", "") or self._during("no store", f"{machine.index}"):
            return "gone"
        disk, drawn = self.knobs.disk, self.chance("disk").random()
        for kind in ("statement", "commit", "unknown", "busy"):
            drawn -= getattr(disk, kind)
            if drawn < 0:
                return f"statement {self.chance('disk').randint(1, 12)}" if kind == "statement" else kind
        return ""

    def reaches(self, machine: Machine, region: str) -> bool:
        """Whether the network lets a machine through to a region."""
        return not (self._during("cut", region) or self._during("parted", f"{machine.index}/{region}"))

    def store(self, node: Node) -> Store:
        """The database as a process sees it."""
        store = NotingStore(self.database, node, self._broken)
        store.name = node.name
        return store

    def deployer(self, node: Node, region: Region) -> Deployer:
        """A target as a process sees it."""
        return Line(self.wires, node, self.targets[region.name])

    def source(self, node: Node, region: Region) -> MetricSource:
        """A source as a process sees it."""
        return Source(
            region.name,
            self.truth,
            self.clock.now if self.knobs.true_times else None,
            lambda: self._wrong(region.name),
            node.reaches,
            node.pass_by,
        )

    def loses_wake(self) -> bool:
        """Whether a wake-up is lost; also when all is calm, since the sweep alone is enough (S15)."""
        return self.chance("wakes").random() < self.knobs.wakes_lost

    async def tell(self, node: Node, notice: Notice) -> None:
        """Deliver a notice, unless it is refused; the same key is told once."""
        await asyncio.sleep(self.latency())
        if not self.calm and self.chance("told").random() < self.knobs.untold:
            raise TransientError("The pager answers 503.")
        if notice.key not in self._told:
            self._told.add(notice.key)
            self.note(history.Told(notice=notice))

    def rollouts(self) -> tuple[str, ...]:
        """Every rollout there is, oldest first."""
        return tuple(added.rollout.id for _, added in self.history.of(history.Added))

    # ------------------------------------------------------------------ how it goes

    async def go(self) -> History:
        """From the first boot to the end."""
        knobs = self.knobs
        for machine in self.machines:
            machine.boot()
        self._later(0.5, lambda: self.people.start("mail", FIRST, knobs.policy, "first"))
        if knobs.newer_at is not None:
            self._later(knobs.newer_at, lambda: self.people.start("mail", SECOND, knobs.policy, "second"))
        if knobs.services > 1:
            self._later(1.0, lambda: self.people.start("push", FIRST, "short", "other"))
        for act in knobs.acts:
            self._later(act.at, lambda act=act: self.people.act(act))  # type: ignore[misc]
        for at, index, seconds in knobs.jumps:
            self.loop.later(at, lambda i=index, s=seconds: self.machines[i].jump(s))  # type: ignore[misc]
        for target, manner in zip(self.targets.values(), knobs.manners, strict=True):
            for at in manner.forgets_at:
                self.loop.later(at, target.forget)
        await asyncio.sleep(knobs.chaos_s)
        self._calm()
        rested = await self._rest()
        await asyncio.sleep(STAYS_S)
        self.history.end = await self._end(rested=rested)
        return self.history

    async def close(self) -> None:
        """Let everything that is left unwind."""
        buried = [process for machine in self.machines for process in machine.end()]
        tasks = [task for process in buried for task in process.tasks] + list(self._world_tasks)
        for process in buried:
            process.bury()
        for task in tasks:
            task.cancel()
        everything = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
        self.database.close()

    def _calm(self) -> None:
        self.calm = self.wires.calm = True
        self.note(history.Calm())
        for machine in self.machines:
            machine.mend()

    async def _rest(self) -> bool:
        """Until nothing is left to do; with somebody on call, until everything has ended. False: never."""
        until, seen, since = self.loop.time() + REST_S, "", self.loop.time()
        while self.loop.time() < until:
            await asyncio.sleep(LOOK_S)
            cases = await self._cases()
            if all(_ended(case) for case in cases) and not self._world_tasks:
                return True
            stands = repr([(c.rollout.phase, c.rollout.transitions, len(c.intents)) for c in cases])
            if stands != seen:
                seen, since = stands, self.loop.time()
            if self.knobs.helped:
                await self.people.help(cases)
            elif self.loop.time() - since > STILL_S and all(_ended(c) or _waits(c) for c in cases):
                return True
        return False

    async def _cases(self) -> list[Case]:
        """Every rollout as it is stored; read again when something was written."""
        written = self.history.count(*_WRITES)
        if written != self._seen_written:
            self._seen_written = written
            self._seen = [await self._own.case(rollout_id) for rollout_id in self.rollouts()]
        return self._seen

    async def _end(self, *, rested: bool) -> End:
        cases = await self._cases()
        rows = [
            e.transition for c in cases for e in await self._own.events(rollout_id=c.rollout.id, limit=5000)
        ]
        pairs = [pair for service in self.services for pair in await self._own.service_regions(service)]
        queries = Queries(
            self._own, self.clock, configured, lambda region: self.targets[region.name].supports
        )
        waits = {}
        for case in cases:
            view = await queries.rollout(case.rollout.id)
            what = view.next.what if view.next else ""
            waits[view.id] = Wait(
                sentence=view.sentence, blocked_by=tuple(view.blocked_by), next=what, phase=view.phase
            )
        running = {(s, name): dict(t.runs(s)) for s in self.services for name, t in self.targets.items()}
        return End(
            cases=tuple(cases),
            rows=tuple(rows),
            pairs=tuple(pairs),
            running=running,
            waits=waits,
            rested=rested,
            helped=self.knobs.helped,
            at=self.loop.time(),
        )

    # ------------------------------------------------------------------ parts

    def _target(self, place: int, name: str) -> Target:
        manner, chance = self.knobs.manners[place], self.chance(f"target {name}")

        def takes() -> float:
            return chance.uniform(0.0, manner.slow_s) if manner.slow_s and chance.random() < 0.7 else 0.0

        def denies(_: Action) -> bool:
            return not self.calm and chance.random() < self.knobs.network.denied

        target = Target(
            self.clock,
            name,
            fences=manner.fences,
            dedupes=manner.dedupes,
            partial=manner.partial,
            takes=takes,
            denies=denies,
            later=self.loop.later,
            note=self.note,
        )
        for service in self.services:
            target.install(service, GOOD_BEFORE)
        return target

    def _setting(self) -> Setting:
        manners = dict(zip(REGIONS, self.knobs.manners, strict=True))
        return Setting(
            services=self.services,
            known_good={(s, r): GOOD_BEFORE for s in self.services for r in REGIONS},
            fencing=frozenset(r for r, m in manners.items() if m.fences),
            deduping=frozenset(r for r, m in manners.items() if m.dedupes and not m.forgets_at),
            lease_s=self.knobs.lease_s,
        )

    def _later(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work()

        task = self.loop.create_task(wait(), context=self.loop.outside.copy())
        self._world_tasks.add(task)
        task.add_done_callback(self._world_tasks.discard)

    def _during(self, what: str, where: str) -> bool:
        now = self.loop.time()
        return not self.calm and any(
            e.what == what and e.where == where and e.since <= now < e.until for e in self.knobs.episodes
        )

    def _wrong(self, region: str) -> frozenset[str]:
        now = self.loop.time()
        if self.calm:
            return frozenset()
        return frozenset(
            e.what for e in self.knobs.episodes if e.where == region and e.since <= now < e.until
        )


def _hit(machine: Machine, strike: Strike) -> None:
    if strike.stop_s is not None:
        machine.stop(strike.stop_s)
    else:
        machine.kill(strike.back_s, fresh=strike.fresh)


def _ended(case: Case) -> bool:
    still = case.intents or any(record.state is _OPEN for record in case.actions)
    return case.rollout.finished and case.rollout.next_due_at is None and not still


def _waits(case: Case) -> bool:
    return case.rollout.phase in _RESTS and not case.intents
