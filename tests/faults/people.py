"""People of the fault tests, in a thread: when a rollout is over they start the next, and they write notes.

Each service gets good and harmful releases in turn, so there is always something under way.
"""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from tests.faults.world import BAD, GOOD, World


class People:
    """Busy until they are sent home."""

    def __init__(self, world: World, services: Sequence[str], *, seed: int = 0) -> None:
        self._world, self._services = world, services
        self._random = random.Random(seed)
        self._turns = {service: count(number) for number, service in enumerate(services)}
        self._home = threading.Event()
        self.under_way: dict[str, str] = {}  # service → rollout
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._home.wait(0.15):
                for service in self._services:
                    if not self._home.is_set():
                        self._look_after(service)
        except BaseException as error:
            self.failed = error

    def _look_after(self, service: str) -> None:
        world, at = self._world, self.under_way.get(service)
        if at is None or world.is_over(at):
            self.under_way[service] = world.start(service, ends=(GOOD, BAD)[next(self._turns[service]) % 2])
        elif living := [one for one in world.replicas if one.alive]:
            world.note(at, self._random.choice(living))

    def go_home(self) -> None:
        """Nothing new is asked for from now on. Raises what went wrong."""
        self._home.set()
        self._thread.join(150)
        assert not self._thread.is_alive(), "somebody still waits for an answer"
        if self.failed is not None:
            raise self.failed


@contextmanager
def people(world: World, services: Sequence[str], *, seed: int = 0) -> Iterator[People]:
    """People at work; what they have begun goes on when they have gone home."""
    found = People(world, services, seed=seed)
    try:
        yield found
    except BaseException:
        found._home.set()
        raise
    found.go_home()
