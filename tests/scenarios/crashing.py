"""Controllers that die at one chosen point: before or after a write, before or after an effect."""

from collections.abc import Awaitable, Callable
from typing import Any

from rollout.core.actions import Action
from rollout.core.model import Region
from rollout.ports import Deployer, Reply
from rollout.reconciler import Reconciler
from tests.scenarios.world import World

WRITES = ("commit", "save_action", "save_reading", "forget")


class Crash(BaseException):
    """The process is gone; nothing may catch this."""


class Fuse:
    """Counts the places where a controller could die, and burns at one of them."""

    def __init__(self, burns_at: int | None = None, only: tuple[str, ...] = ()) -> None:
        self.places: list[str] = []
        self._burns_at, self._only = burns_at, only

    def pass_by(self, place: str) -> None:
        """Raises Crash at the chosen place, and at no other."""
        if self._only and not place.endswith(self._only):
            return
        self.places.append(place)
        if len(self.places) - 1 == self._burns_at:
            raise Crash(place)

    async def around(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Pass by before and after the work."""
        self.pass_by(f"before {name}")
        done = await work()
        self.pass_by(f"after {name}")
        return done


class FragileStore:
    """The real store, with a place to die before and after each write."""

    def __init__(self, store: Any, fuse: Fuse) -> None:
        self._store, self._fuse = store, fuse

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in WRITES:
            return real
        return lambda *args: self._fuse.around(name, lambda: real(*args))


class FragileDeployer:
    """A deployer, with a place to die before and after each order."""

    def __init__(self, deployer: Deployer, fuse: Fuse) -> None:
        self._deployer, self._fuse = deployer, fuse
        self.supports, self.fences, self.instances = deployer.supports, deployer.fences, deployer.instances

    async def apply(self, key: str, action: Action) -> Reply:
        """As the deployer does."""
        return await self._fuse.around("apply", lambda: self._deployer.apply(key, action))  # type: ignore[no-any-return]


def fragile(world: World, fuse: Fuse) -> Reconciler:
    """A controller of this world that dies where the fuse says."""

    def deployer(region: Region) -> Deployer:
        return FragileDeployer(world.plugins.deployer(region), fuse)

    return Reconciler(
        store=FragileStore(world.store, fuse),  # type: ignore[arg-type]
        clock=world.clock,
        configuration=lambda: world.configuration,
        deployer=deployer,
        source=world.plugins.source,
        notifier=world.plugins.notifier,
        collect_s=1.0,
    )


async def tick(world: World) -> bool:
    """One look. After a crash another controller takes over, which knows only the database; True then."""
    dead = world.reconciler
    try:
        await dead.tick()
        await dead.settle()
    except Crash:
        await dead.stop()
        world.reconciler = world.another_controller()
        world.clock.advance(1)
        return True
    world.clock.advance(1)
    return False
