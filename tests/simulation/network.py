"""Between a process and a target: requests that are refused, lost, late, doubled, or whose answer is lost.

A request that was sent arrives whether or not its sender still lives. What must not live here: targets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeVar

from rollout.core.actions import Action
from rollout.core.errors import OutsideError, TransientError
from rollout.core.model import Instance
from rollout.ports import Reply
from tests.simulation import history
from tests.simulation.knobs import Network
from tests.simulation.loop import VirtualLoop
from tests.simulation.target import Target

T = TypeVar("T")
PLAIN, NEVER = "plain", 1e9


class Sender(Protocol):
    """Who asks."""

    name: str

    async def pass_by(self, place: str) -> None:
        """Come back when the process may go on."""
        ...

    def note(self, what: Any) -> None:
        """Keep what happened."""
        ...

    def reaches(self, region: str) -> bool:
        """Whether a packet gets from here to there now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What happens to one request: when it arrives, how often, when its answer does; `says` is an error."""

    arrives: tuple[float, ...] = ()
    answered: float | None = None  # seconds after the first arrival
    says: str = ""
    says_at: float = 0.0


class Wires:
    """Carries requests in virtual time."""

    def __init__(self, loop: VirtualLoop, chance: Random, network: Network, latency_s: float) -> None:
        self._loop, self._chance, self._network, self._latency_s = loop, chance, network, latency_s
        self.calm = False
        self.count: dict[str, int] = {}

    async def ask(self, sender: Sender, region: str, work: Callable[[], T], *, faults: bool = True) -> T:
        """Send a request and wait for its answer, as long as the asker has patience. Raises OutsideError."""
        future: asyncio.Future[tuple[bool, Any]] = self._loop.create_future()
        way = self._way(sender, region, faults=faults)

        def answer(good: bool, value: Any) -> None:
            if not future.done():
                future.set_result((good, value))

        def arrive(*, heard: bool) -> None:
            value: Any
            try:
                good, value = True, work()
            except OutsideError as error:
                good, value = False, error
            if heard and way.answered is not None:
                self._loop.later(way.answered, lambda: answer(good, value))

        for nth, after in enumerate(way.arrives):
            self._loop.later(after, lambda nth=nth: arrive(heard=nth == 0))  # type: ignore[misc]
        if way.says and way.says_at < NEVER:
            self._loop.later(way.says_at, lambda: answer(False, TransientError(way.says)))
        good, value = await future
        await sender.pass_by("effect")
        if good:
            return value  # type: ignore[no-any-return]
        raise value

    def _way(self, sender: Sender, region: str, *, faults: bool) -> Way:
        chance, there = self._chance, self._chance.uniform(0.2, 1.0) * self._latency_s
        if not sender.reaches(region):
            silent = chance.random() < 0.3
            return Way(says=f"{region} cannot be reached.", says_at=NEVER if silent else 0.05)
        plain = Way(arrives=(there,), answered=there)
        if self.calm or not faults:
            return plain
        kind = self._kind()
        self.count[kind] = self.count.get(kind, 0) + 1
        soon = chance.choice((0.1, 2.0, NEVER))
        late = chance.uniform(0.5, self._network.late_s)
        return {
            PLAIN: plain,
            "refused": Way(says="Connection refused.", says_at=there),
            "lost_request": Way(says="No answer.", says_at=soon),
            "lost_answer": Way(arrives=(there,), says="Connection reset.", says_at=there + soon),
            "late": Way(arrives=(late,), says="No answer.", says_at=soon),
            "twice": Way(arrives=(there, there + late), answered=there),
            "slow": Way(arrives=(there,), answered=chance.uniform(0.5, 8.0)),
        }[kind]

    def _kind(self) -> str:
        drawn = self._chance.random()
        for kind in ("refused", "lost_request", "lost_answer", "late", "twice", "slow"):
            drawn -= getattr(self._network, kind)
            if drawn < 0:
                return kind
        return PLAIN


class Line:
    """A deployer as a process sees it: the target behind the network."""

    def __init__(self, wires: Wires, sender: Sender, target: Target) -> None:
        self._wires, self._sender, self._target = wires, sender, target
        self.supports, self.fences = target.supports, target.fences

    async def apply(self, key: str, action: Action) -> Reply:
        """Send an order."""
        self._sender.note(history.Sent(by=self._sender.name, key=key, action=action))
        await self._sender.pass_by("effect")
        return await self._wires.ask(
            self._sender, self._target.region, lambda: self._target.order(key, action)
        )

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """Ask what runs."""
        return await self._wires.ask(
            self._sender, self._target.region, lambda: self._target.look(service), faults=False
        )
