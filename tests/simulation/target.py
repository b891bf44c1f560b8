"""The target of one region: what it accepts, how long it takes, what it forgets. Built on the shipped fake.

A target either remembers keys, or looks at what is wanted: what is on its way or runs already is not done
again. One that fences refuses lower generations and gives up older work; one that does not finishes what it
began before it begins the next. What must not live here: the network (network.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import OutsideError, PermanentError
from rollout.core.model import Instance, Kind
from rollout.ports import Clock, Progress, Reply
from rollout.testing import FENCED, FakeDeployer
from tests.simulation import history

MOVES = (Kind.DEPLOY, Kind.RESTORE)
RUNNING = Reply(progress=Progress.RUNNING, result=ActionResult(message="still moving"))


@dataclass(slots=True)
class Work:
    """A move that was accepted. `reply` when it has ended."""

    key: str
    action: Action
    reply: Reply | None = None

    @property
    def wanted(self) -> tuple[Any, ...]:
        """What is asked for, whoever asks."""
        action = self.action
        return action.service, action.kind, action.version, action.weight, action.from_version


class Target(FakeDeployer):
    """Accepts orders in the moment of their arrival."""

    def __init__(
        self,
        clock: Clock,
        region: str,
        *,
        fences: bool,
        dedupes: bool,
        partial: bool,
        takes: Callable[[], float],
        denies: Callable[[Action], bool],
        later: Callable[[float, Callable[[], object]], None],
        note: Callable[[Any], None],
    ) -> None:
        super().__init__(clock, region)
        self.region, self.fences, self.dedupes, self._partial = region, fences, dedupes, partial
        self._takes, self._denies, self._later, self._note = takes, denies, later, note
        self._works: dict[tuple[str, int], Work] = {}
        self._line: dict[str, list[Work]] = {}  # by service, those under way; the first is being done

    # ------------------------------------------------------------------ what the network brings

    def order(self, key: str, action: Action) -> Reply:
        """One order, as it arrives. Raises OutsideError."""
        highest, reply = self._services[action.service].generation, None
        try:
            reply = self._ordered(key, action)
            return reply
        finally:
            ran = self._running(action.service)
            self._note(
                history.Arrived(
                    region=self.region, key=key, action=action, highest=highest, reply=reply, ran=ran
                )
            )

    def look(self, service: str) -> tuple[Instance, ...]:
        """What runs."""
        return tuple(self._services[service].instances)

    def forget(self) -> None:
        """It restarts: what was under way is given up, and it remembers no key."""
        self._works.clear()
        self._line.clear()
        self._replies.clear()

    def runs(self, service: str) -> Mapping[str, int]:
        """By version, how many."""
        return self._running(service)

    # ------------------------------------------------------------------ how it works

    def _ordered(self, key: str, action: Action) -> Reply:
        service = self._services[action.service]
        if self.fences and action.kind in FENCED:
            if action.generation < service.generation:
                raise PermanentError(
                    f"{self.region} has seen generation {service.generation} and refuses {action.generation}."
                )
            service.generation = action.generation
        if action.kind not in MOVES:
            return self._at_once(key, action)
        return self._moved(key, action)

    def _at_once(self, key: str, action: Action) -> Reply:
        once = (key, action.generation)
        if self.dedupes and once in self._replies:
            return self._replies[once]
        before, known = self._running(action.service), len(self.effects)
        reply = Reply(progress=Progress.SUCCEEDED, result=self._do(key, action))
        if action.kind is Kind.RESUME_WORK:
            self._replies[once] = reply
        for effect in self.effects[known:]:
            self._changed(key, action, before, effect.items)
        return reply

    def _moved(self, key: str, action: Action) -> Reply:
        known = self._known(key, action)
        if known is not None:
            return known.reply or RUNNING
        if not self.dedupes and self._shows(action):
            return Reply(
                progress=Progress.SUCCEEDED,
                result=ActionResult(message="so it is", running=self._running(action.service)),
            )
        if self._denies(action):
            return Reply(progress=Progress.FAILED, result=ActionResult(message="It cannot be done."))
        work = Work(key=key, action=action)
        if self.dedupes:
            self._works[key, action.generation] = work
        self._line_up(work)
        return work.reply or RUNNING

    def _known(self, key: str, action: Action) -> Work | None:
        if self.dedupes:
            return self._works.get((key, action.generation))
        wanted = Work(key=key, action=action).wanted
        line = self._line.get(action.service, [])
        return line[-1] if line and line[-1].wanted == wanted else None

    def _shows(self, action: Action) -> bool:
        """Whether what is wanted runs, and nothing else is on its way."""
        if self._line.get(action.service):
            return False
        runs = [one.version for one in self._services[action.service].instances]
        return bool(runs) and runs == self._wanted(action)

    def _line_up(self, work: Work) -> None:
        line = self._line.setdefault(work.action.service, [])
        if self.fences:
            for older in line:
                older.reply = Reply(progress=Progress.FAILED, result=ActionResult(message="overtaken"))
            line.clear()
        line.append(work)
        if len(line) == 1:
            self._begin(work)

    def _begin(self, work: Work) -> None:
        seconds = self._takes()
        if seconds <= 0.0:
            self._finish(work)
            return
        if self._partial:
            self._later(seconds / 2, lambda: self._half(work))
        self._later(seconds, lambda: self._finish(work))

    def _under_way(self, work: Work) -> bool:
        line = self._line.get(work.action.service, [])
        return bool(line) and line[0] is work

    def _half(self, work: Work) -> None:
        """Some of the places have moved."""
        action = work.action
        if not self._under_way(work):
            return
        before = self._running(action.service)
        now = [one.version for one in self._services[action.service].instances]
        wanted = self._wanted(action)
        changing = [place for place in range(len(wanted)) if now[place] != wanted[place]]
        for place in changing[: len(changing) // 2]:
            now[place] = wanted[place]
        self._arrange(action.service, now)
        self._changed(work.key, action, before)

    def _finish(self, work: Work) -> None:
        if not self._under_way(work):
            return
        action, before = work.action, self._running(work.action.service)
        try:
            result = self._do(work.key, action)
            work.reply = Reply(progress=Progress.SUCCEEDED, result=result)
        except OutsideError as error:
            work.reply = Reply(progress=Progress.FAILED, result=ActionResult(message=str(error)))
        self._changed(work.key, action, before)
        line = self._line[action.service]
        line.pop(0)
        if line:
            self._begin(line[0])

    def _changed(
        self, key: str, action: Action, before: Mapping[str, int], items: tuple[str, ...] = ()
    ) -> None:
        after = self._running(action.service)
        if items or dict(before) != dict(after):
            self._note(
                history.Changed(
                    region=self.region,
                    service=action.service,
                    key=key,
                    action=replace(action),
                    before=before,
                    after=after,
                    items=items,
                )
            )
