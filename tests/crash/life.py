"""One life of a controller: it knows the database, the regions outside, and nothing of a life before.

What must not live here: what people do (stories.py), and what must be true at the end (ends.py).
"""

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

import rollout.ids
from rollout.core.model import Region, Service
from rollout.highwater import HighWater
from rollout.ports import Case, Deployer, Keep, Replica
from rollout.reconciler import Reconciler
from rollout.reconciling import observation
from rollout.store import SqlStore, claims
from rollout.testing import FakeDeployer
from tests.crash.grounds import Ground
from tests.crash.outside import KeptDeployer, KeptNotifier, Outside
from tests.crash.points import Points
from tests.scenarios.world import World, new_store

REGIONS = ("R3", "R1")
ONE = "one"  # the replica that dies
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Story:
    """What people want and regions do. Each part looks at what is true now: it may be told again.

    `tell` does what is to be done before a look, and says whether all is at its end.
    """

    tell: "Callable[[Life], Awaitable[bool]]"
    given: "Callable[[Life], Awaitable[None]]"  # before anything can die
    policy: Mapping[str, object]
    target: type[FakeDeployer] = FakeDeployer
    keep: Keep | None = None
    heir: str = ONE  # the replica that goes on: itself after a restart, or another one
    late_s: int = 30  # how much later it may end than if nobody had died
    loses_answers: bool = False  # one that the dead would have waited for in vain is missed by nobody


class Life(World):
    """A controller, its commands and its people."""

    store: SqlStore

    def __init__(
        self, ground: Ground, outside: Outside, story: Story, points: Points, replica: str = ONE
    ) -> None:
        self.outside, self.points, self.ground, self.story = outside, points, ground, story
        state = outside.state
        self._replica = Replica(
            id=replica, incarnation=rollout.ids.new_id("in", state.clock.now()), lease_s=ground.lease_s
        )
        self._begun = False
        store = new_store(ground.directory, ground.url)
        self._high_water = HighWater(ground.directory / "newest-event", store, state.clock.now)
        super().__init__(store, story.policy, state.clock)
        self.store.database.clock = self.clock.now
        self.plugins.deployers, self.plugins.notifier = state.deployers, state.notifier
        self.health = state.health
        for engine in (self.store.database.read, self.store.database.write):
            points.watch(engine)

    def another_controller(self) -> Reconciler:
        """One whose every effect can be its last."""
        return Reconciler(
            store=self.store,
            clock=self.clock,
            configuration=lambda: self.configuration,
            deployer=self._deployer,
            source=self.plugins.source,
            notifier=KeptNotifier(self.outside, self.points),
            collect_s=1.0,
            keep=self.story.keep,
            newest=self._high_water.look,
            replica=self._replica,
        )

    def _deployer(self, region: Region) -> Deployer:
        return KeptDeployer(self.plugins.fake_deployer(region.name), self.outside, self.points)

    async def _begin(self) -> None:
        """As a controller does when it starts (rollout/bootstrap.py)."""
        self._begun = True
        await self._high_water.compare()

    async def look(self) -> bool:
        """People do what they want now, and the controller looks once. True: nothing is left to be done."""
        if not self._begun:
            await self._begin()
        if await self.story.tell(self):
            return True
        await self.reconciler.tick()
        await self.reconciler.settle()
        return False

    def pass_time(self) -> None:
        """A second passes."""
        self.clock.advance(1)
        self.outside.save()

    async def cases(self) -> list[Case]:
        """Every rollout, oldest first, as somebody sees who has nothing to do with the controller."""
        with self.points.unseen():
            found = await self.store.rollouts(oldest=True)
            return [await self.store.case(each.id) for each in found]

    async def install(self) -> None:
        """Both regions run 1.0.0, and were read for some seconds."""
        for name in REGIONS:
            self.plugins.fake_deployer(name).install("mail", "1.0.0")
        await self.store.put_service(Service(name="mail", policy="standard", regions=REGIONS))
        await self.run(3)

    def close(self) -> None:
        """Close the connections, so that no other process has them."""
        self.store.database.close()


class _Here(ThreadPoolExecutor):
    """Work for a thread is done in place: a forked process has none."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Loop:
    """An event loop that a fork may go on with: nothing of it is shared but memory."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._loop.set_default_executor(_Here())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Until it is done."""
        return self._loop.run_until_complete(work)


def leave_nothing_to_chance() -> None:
    """The same ids in every life, and no real time in it."""
    rollout.ids.secrets = SimpleNamespace(choice=random.Random(5).choice)  # type: ignore[assignment]
    claims.secrets = SimpleNamespace(randbelow=random.Random(5).randrange)  # type: ignore[assignment]
    observation.OBSERVE_WAIT_S = observation.COLLECT_TIMEOUT_S = 600.0
