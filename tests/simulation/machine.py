"""A machine that runs one replica: its process with the real reconciler and commands, its clock, its death.

What must not live here: the world around it (play.py).
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Protocol

from rollout.clock import SteadyClock
from rollout.commands import Commands
from rollout.config import Configuration
from rollout.core.errors import Fenced, StoreError
from rollout.core.model import Region
from rollout.ports import Deployer, MetricSource, Notice, Notifier, Replica, Store
from rollout.reconciler import Reconciler
from tests.simulation import history
from tests.simulation.given import INTERVAL_S, configured
from tests.simulation.loop import DEAD, STOPPED, Process, VirtualLoop

STEADY_S = 3.0  # that a steady clock makes up for in half a minute


class Surroundings(Protocol):
    """What a machine needs of the world."""

    loop: VirtualLoop

    def true_time(self) -> datetime: ...
    def without_path(self, text: str) -> str: ...
    def latency(self) -> float: ...
    def note(self, what: Any) -> None: ...
    def strikes(self, place: str, machine: "Machine") -> None: ...
    def fault(self, machine: "Machine") -> str: ...
    def reaches(self, machine: "Machine", region: str) -> bool: ...
    def store(self, node: "Node") -> Store: ...
    def deployer(self, node: "Node", region: Region) -> Deployer: ...
    def source(self, node: "Node", region: Region) -> MetricSource: ...
    def loses_wake(self) -> bool: ...
    async def tell(self, node: "Node", notice: Notice) -> None: ...


class Node:
    """One process of a machine."""

    def __init__(self, machine: "Machine", replica: Replica) -> None:
        world = machine.world
        self.machine, self.replica, self.world = machine, replica, world
        self.name = f"{replica.id}.{replica.incarnation}"
        self.process = Process(self.name)
        self.clock = SteadyClock(wall=machine.wall, stopwatch=world.loop.time)
        self.store = world.store(self)
        self._woken = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self.commands = Commands(self.store, self.clock, configured, self.wake)
        self.reconciler = Reconciler(
            store=self.store,
            clock=self.clock,
            configuration=_configuration,
            deployer=lambda region: world.deployer(self, region),
            source=lambda region: world.source(self, region),
            notifier=_Messenger(self),
            collect_s=INTERVAL_S,
            changed=self.wake,
            replica=replica,
            told_time=self.clock.follow,
        )

    async def end(self) -> None:
        """Stop in order."""
        if self._beating is not None:
            self._beating.cancel()
        await self.reconciler.stop()
        await self.reconciler.leave()

    def begin(self, tick_s: float) -> None:
        """The process is up."""
        self._beating = self.process.begin(self.beat(tick_s))

    async def beat(self, tick_s: float) -> None:
        """Tick for ever, at once when woken."""
        while True:
            self._woken.clear()
            try:
                await self.reconciler.tick()
            except (StoreError, Fenced) as error:
                text = self.world.without_path(f"tick: {error}")
                self.note(history.Logged(by=self.name, level="info", text=text))
            except Exception as error:
                self.note(history.Logged(by=self.name, level="unforeseen", text=f"tick: {error!r}"))
            try:
                async with asyncio.timeout(tick_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def wake(self) -> None:
        """Somebody wants a look; it may be lost."""
        if not self.world.loses_wake():
            self._woken.set()

    # what its store and its lines ask

    async def pass_by(self, place: str) -> None:
        """Take a moment; whatever befalls the process here stops it here."""
        await asyncio.sleep(self.world.latency())
        self.world.strikes(place, self.machine)
        if not self.process.runs:
            await asyncio.sleep(0)  # the loop gives the next turn when it goes on

    def note(self, what: Any) -> None:
        """Keep what happened."""
        self.world.note(what)

    def fault(self) -> str:
        """The fault of the next transaction."""
        return self.world.fault(self.machine)

    def reaches(self, region: str) -> bool:
        """Whether the network lets it through."""
        return self.world.reaches(self.machine, region)


class _Messenger(Notifier):
    def __init__(self, node: Node) -> None:
        self._node = node

    async def send(self, notice: Notice) -> None:
        await self._node.pass_by("effect")
        await self._node.world.tell(self._node, notice)


def _configuration() -> Configuration:
    return configured()


class Machine:
    """Where processes of one replica come and go."""

    def __init__(
        self, world: Surroundings, index: int, *, skew_s: float, lease_s: float, tick_s: float
    ) -> None:
        self.world, self.index = world, index
        self._skew_s, self._lease_s, self._tick_s = skew_s, lease_s, tick_s
        self.id, self._births = f"m{index}", 0
        self.node: Node | None = None
        self.buried: list[Process] = []

    def wall(self) -> datetime:
        """What its clock on the wall says."""
        return self.world.true_time() + timedelta(seconds=self._skew_s)

    def jump(self, seconds: float) -> None:
        """Somebody, or a time server, sets the clock."""
        self._skew_s += seconds
        self._befell(f"jumps by {seconds:+.1f} s on its clock")

    def boot(self, *, fresh: bool = False) -> None:
        """A new process begins; with another id when its disk is new."""
        if self.node is not None:
            return
        self._births += 1
        if fresh:
            self.id = f"m{self.index}x{self._births}"
        replica = Replica(id=self.id, incarnation=f"{self._births}", lease_s=self._lease_s)
        self.node = Node(self, replica)
        self._befell(f"boots as {self.node.name}")
        self.node.begin(self._tick_s)

    def kill(self, back_s: float, *, fresh: bool) -> None:
        """As SIGKILL; it is back later."""
        if self.node is None:
            return
        self._befell(f"killed; back in {back_s:.1f} s")
        self.node.process.kill()
        self.buried.append(self.node.process)
        self.node = None
        self.world.loop.later(back_s, lambda: self.boot(fresh=fresh))

    def stop(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT after some seconds."""
        if self.node is None or not self.node.process.runs:
            return
        self._befell(f"stops for {seconds:.1f} s")
        process = self.node.process
        process.stop()
        self.world.loop.later(seconds, lambda: self._go_on(process))

    def _go_on(self, process: Process) -> None:
        if process.state is STOPPED:
            self._befell("resumes")
            process.go_on()

    def mend(self) -> None:
        """When faults end: it runs, with a right clock; one that was far off is restarted in order."""
        wrong, self._skew_s = abs(self._skew_s) > STEADY_S, 0.0
        if self.node is None:
            self.boot()
            return
        self._go_on(self.node.process)
        if wrong:
            self.node.process.begin(self._restart(self.node))

    async def _restart(self, node: Node) -> None:
        """As SIGTERM: it stops in order and gives up what it holds."""
        await node.end()
        self._befell(f"leaves in order as {node.name}")
        self.buried.append(node.process)
        self.node = None
        self.world.loop.later(0.5, self.boot)

    def end(self) -> list[Process]:
        """Everything that ever ran here, to be buried."""
        if self.node is not None:
            self.buried.append(self.node.process)
            self.node.process.state = DEAD
        return self.buried

    def _befell(self, what: str) -> None:
        self.world.note(history.Fate(whose=self.id, what=what))
