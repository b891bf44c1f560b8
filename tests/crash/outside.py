"""What outlives a controller: regions, their health, what people were told, and the time, all in one file.

The file is replaced whole after each change, so that a kill finds an effect either done or not begun.
"""

import asyncio
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path

from rollout.core.actions import Action
from rollout.ports import Notice, Reply
from rollout.testing import FakeDeployer, ManualClock, RecordingNotifier
from tests.crash.points import Points
from tests.scenarios.world import NAMES, START, Health


class Forgetful(FakeDeployer):
    """A target that knows no keys and no generations: whatever it is told, it does again."""

    fences = False

    async def apply(self, key: str, action: Action) -> Reply:
        """Do it, whatever was done before."""
        self._replies.clear()
        self._services[action.service].generation = 0
        return await super().apply(key, action)


@dataclass(kw_only=True)
class State:
    """What is in the file. `said` is what people and pipelines remember, such as an answer they got.

    `past` are the keys of what was done before the story began.
    """

    clock: ManualClock
    deployers: dict[str, FakeDeployer]
    notifier: RecordingNotifier = field(default_factory=RecordingNotifier)
    health: dict[tuple[str, str], Health] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    past: frozenset[str] = frozenset()

    def done(self) -> frozenset[str]:
        """The keys of every effect and notice so far."""
        effects = (effect.key for target in self.deployers.values() for effect in target.effects)
        return frozenset((*effects, *(notice.key for notice in self.notifier.notices)))


class Outside:
    """The state, in memory and in its file."""

    def __init__(self, file: Path, state: State) -> None:
        self.file, self.state = file, state
        self._saved = b""

    @classmethod
    def begun(cls, file: Path, kind: type[FakeDeployer] = FakeDeployer) -> "Outside":
        """A world in which nothing has happened."""
        clock = ManualClock(START)
        made = cls(file, State(clock=clock, deployers={name: kind(clock, name) for name in NAMES}))
        made.save()
        return made

    @classmethod
    def found(cls, file: Path) -> "Outside":
        """The world as a dead controller left it."""
        return cls(file, pickle.loads(file.read_bytes()))

    def save(self) -> None:
        """Write it if it has changed."""
        for deployer in self.state.deployers.values():
            deployer.calls.clear()  # what was only asked changed nothing
        content = pickle.dumps(self.state)
        if content != self._saved:
            part = self.file.with_suffix(".part")
            part.write_bytes(content)
            os.replace(part, self.file)
            self._saved = content


class KeptDeployer:
    """The target of one region: what it does is in the file before it answers."""

    def __init__(self, deployer: FakeDeployer, outside: Outside, points: Points) -> None:
        self._deployer, self._outside, self._points = deployer, outside, points
        self.supports, self.fences, self.instances = deployer.supports, deployer.fences, deployer.instances

    async def apply(self, key: str, action: Action) -> Reply:
        """As the target does; others get on before its answer is read."""
        self._points.pass_by(f"effect {action.kind} in {action.region}: before it")
        try:
            reply = await self._deployer.apply(key, action)
        finally:
            self._outside.save()
        self._points.pass_by(f"effect {action.kind} in {action.region}: after it")
        await asyncio.sleep(0)
        return reply


class KeptNotifier:
    """Where people are told: what they were told is in the file."""

    def __init__(self, outside: Outside, points: Points) -> None:
        self._outside, self._points = outside, points

    async def send(self, notice: Notice) -> None:
        """Tell them."""
        self._points.pass_by("notice: before it")
        await self._outside.state.notifier.send(notice)
        self._outside.save()
        self._points.pass_by("notice: after it")
