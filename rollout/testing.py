"""Fakes that ship: a clock that stands still, a deployer in memory, a source that follows a script.

They pass the same contract tests as the real parts, so a test that uses them says something about those.
None of them is registered: nobody can name one in regions.yaml.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.core.model import Instance, Kind, Region
from rollout.core.signals import Sample
from rollout.ports import Ask, Clock, Deployer, MetricSource, Notice, Progress, Reading, Reply


class ManualClock:
    """Time passes only when a test says so."""

    def __init__(self, start: datetime) -> None:
        if start.utcoffset() != timedelta(0):
            raise ValueError(f"{start} is not UTC")
        self._now = start

    def now(self) -> datetime:
        """The present time."""
        return self._now

    def follow(self, _told: datetime, _at_once: bool = False) -> None:
        """Go by nobody else's clock."""

    def advance(self, seconds: float) -> datetime:
        """Let `seconds` pass (below zero: the clock is set back) and return the new time."""
        self._now += timedelta(seconds=seconds)
        return self._now


class RecordingNotifier:
    """Keeps notices, each key once. Set `error` to make delivery fail."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.error: OutsideError | None = None

    async def send(self, notice: Notice) -> None:
        """Keep `notice`, or raise what a test set."""
        if self.error is not None:
            raise self.error
        if notice.key not in {kept.key for kept in self.notices}:
            self.notices.append(notice)


# --------------------------------------------------------------------------- source

Numbers = Mapping[str, Mapping[str, tuple[float, float]]]  # version → signal → (value, exposure)
Line = Numbers | Reading | OutsideError
Script = Callable[[Ask], Line] | Iterable[Line]


class ScriptedSource:
    """Gives what its script says: a function of the ask, or a list with one line per reading.

    Numbers become samples that end at `ask.now`; an error is raised; a Reading is returned as it is. After
    the last line of a list every reading is empty. Versions without an instance and signals that were not
    asked for are left out, as a real source would. `asks` keeps what was asked.
    """

    def __init__(self, script: Script) -> None:
        lines = None if callable(script) else deque(script)
        self._line: Callable[[Ask], Line] = (
            script if callable(script) else lambda _: lines.popleft() if lines else {}
        )
        self.asks: list[Ask] = []

    async def collect(self, ask: Ask) -> Reading:
        """One line of the script as a Reading."""
        self.asks.append(ask)
        if not ask.instances:
            raise TransientError(f"The deployer reports no instance of {ask.service} in {ask.region}.")
        last = datetime.fromisoformat(ask.cursor["at"]) if "at" in ask.cursor else None
        if last is not None and ask.now <= last:
            problem = f"The clock says {ask.now.isoformat()}, and the last reading was at {last.isoformat()}."
            return Reading(samples=(), cursor=ask.cursor, problems=(problem,))
        line = self._line(ask)
        if isinstance(line, OutsideError):
            raise line
        if isinstance(line, Reading):
            return line
        return Reading(samples=_samples(ask, line, last), cursor={"at": ask.now.isoformat()})


def _samples(ask: Ask, numbers: Numbers, last: datetime | None) -> tuple[Sample, ...]:
    present = {instance.version for instance in ask.instances}
    asked = {signal.name for signal in ask.signals}
    return tuple(
        Sample(
            time=ask.now,
            region=ask.region,
            version=version,
            signal=signal,
            value=value,
            exposure=exposure,
            duration_s=0.0 if last is None else (ask.now - last).total_seconds(),
        )
        for version, signals in numbers.items()
        for signal, (value, exposure) in signals.items()
        if version in present and signal in asked
    )


# --------------------------------------------------------------------------- deployer

FENCED = frozenset({Kind.DEPLOY, Kind.RESTORE})  # evidence, read-backs and recovery stay possible
READS = frozenset({Kind.VERIFY, Kind.COLLECT, Kind.FIND_STALLED})  # change nothing; done anew at every call


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that really changed. `items` are the work items that this resumed."""

    key: str
    action: Action
    items: tuple[str, ...] = ()


@dataclass(slots=True)
class _Service:
    instances: list[Instance] = field(default_factory=list)
    generation: int = 0
    stalled: dict[str, float] = field(default_factory=dict)  # item → age in seconds
    backlog: int = 0


class FakeDeployer:
    """Instances of services in one region, in memory: deduplicates keys and refuses lower generations.

    `size` is the number of instances of a service that was never installed. `effects` lists every change in
    order. Faults: `unreachable`, `fail_next`, `lose_answer`, `slow`, `crash`.
    """

    supports: frozenset[str] = frozenset(Kind) - {Kind.NOTIFY}
    fences = True

    def __init__(self, clock: Clock, region: str = "R1", *, size: int = 4) -> None:
        self._clock = clock
        self._region = region
        self._size = size
        self._services: dict[str, _Service] = defaultdict(_Service)
        self._replies: dict[tuple[str, int], Reply] = {}
        self._polls: dict[tuple[str, int], int] = {}
        self._failures: dict[Kind, deque[OutsideError | str]] = defaultdict(deque)
        self._lost: dict[Kind, int] = defaultdict(int)
        self._slow: dict[Kind, deque[int]] = defaultdict(deque)
        self.unreachable = False
        self.effects: list[Effect] = []
        self.calls: list[tuple[str, Action]] = []

    # what a test arranges

    def install(self, service: str, version: str, count: int | None = None) -> None:
        """Let `count` instances of `version` run, without an action."""
        wanted = [version] * (self._size if count is None else count)
        self._services[service].instances = []
        self._arrange(service, wanted)

    def crash(self, service: str, index: int = 0, *, healthy: bool = True) -> None:
        """Let one instance restart by itself in its place."""
        place = self._services[service].instances
        old = place[index]
        place[index] = replace(old, restarts=old.restarts + 1, started_at=self._clock.now(), healthy=healthy)

    def stall(self, service: str, items: Mapping[str, float], backlog: int = 0) -> None:
        """Let work items be stalled, by their age in seconds, in a backlog of further work."""
        self._services[service].stalled.update(items)
        self._services[service].backlog = backlog

    def fail_next(self, kind: Kind, error: OutsideError | str) -> None:
        """The next new action of `kind` has no effect: the error is raised, or a text answered as FAILED."""
        self._failures[kind].append(error)

    def lose_answer(self, kind: Kind) -> None:
        """The next new action of `kind` takes effect, and its answer never arrives."""
        self._lost[kind] += 1

    def slow(self, kind: Kind, polls: int) -> None:
        """The next new action of `kind` answers RUNNING `polls` times, and takes effect after that."""
        self._slow[kind].append(polls)

    # the contract

    async def apply(self, key: str, action: Action) -> Reply:
        """Take effect once for each key and generation; see ports.Deployer."""
        self.calls.append((key, action))
        self._reach()
        if action.kind not in self.supports:
            raise PermanentError(f"{self._region} cannot {action.kind}.")
        service = self._services[action.service]
        if action.kind in FENCED:
            if action.generation < service.generation:
                raise PermanentError(
                    f"{self._region} has seen generation {service.generation} of {action.service} "
                    f"and refuses {action.generation}, which was decided before it."
                )
            service.generation = action.generation
        once = (key, action.generation)
        if once not in self._replies:
            reply = self._attempt(once, action)
            if reply.progress is Progress.RUNNING:
                return reply
            if action.kind not in READS:
                self._replies[once] = reply
            if self._lost[action.kind]:
                self._lost[action.kind] -= 1
                raise TransientError(f"{self._region} did not answer in time.")
            return reply
        return self._replies[once]

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """What runs, by place."""
        self._reach()
        return tuple(self._services[service].instances)

    # how it works

    def _reach(self) -> None:
        if self.unreachable:
            raise TransientError(f"{self._region} cannot be reached.")

    def _attempt(self, once: tuple[str, int], action: Action) -> Reply:
        if once not in self._polls:
            if self._failures[action.kind]:
                failure = self._failures[action.kind].popleft()
                if isinstance(failure, OutsideError):
                    raise failure
                return Reply(progress=Progress.FAILED, result=ActionResult(message=failure))
            self._polls[once] = self._slow[action.kind].popleft() if self._slow[action.kind] else 0
        if self._polls[once]:
            self._polls[once] -= 1
            return Reply(progress=Progress.RUNNING, result=ActionResult(message="still moving"))
        return Reply(progress=Progress.SUCCEEDED, result=self._do(once[0], action))

    def _do(self, key: str, action: Action) -> ActionResult:
        items: tuple[str, ...] = ()
        details: dict[str, Any] = {}
        if action.kind in (Kind.DEPLOY, Kind.RESTORE):
            self._arrange(action.service, self._wanted(action))
        elif action.kind is Kind.VERIFY:
            details = {"generation": self._services[action.service].generation}
        elif action.kind is Kind.COLLECT:
            details = {"instances": [self._account(one) for one in self._services[action.service].instances]}
        elif action.kind is Kind.FIND_STALLED:
            details = self._stalled(action)
        elif action.kind is Kind.RESUME_WORK:
            items = self._resume(action)
            details = {"resumed": len(items), "already": len(_ids(action)) - len(items)}
        if action.kind not in READS:
            self.effects.append(Effect(key=key, action=action, items=items))
        return ActionResult(
            message=f"{action.kind} done", running=self._running(action.service), details=details
        )

    def _wanted(self, action: Action) -> list[str]:
        """The version of each place: the ordered share, at least one of each side of a true mixture."""
        now = [instance.version for instance in self._services[action.service].instances] or [""] * self._size
        count = len(now)
        if action.kind is not Kind.RESTORE and not 1 <= action.weight <= 100:
            raise PermanentError(f"A deploy of {action.weight} % is not possible; order 1 to 100 %.")
        share = count
        if action.kind is not Kind.RESTORE and action.weight < 100:
            share = min(max(1, int(count * action.weight / 100 + 0.5)), max(1, count - 1))
        chosen = sorted(range(count), key=lambda place: now[place] != action.version)[:share]
        wanted = [
            action.version if place in chosen else action.from_version or now[place] for place in range(count)
        ]
        if not all(wanted):
            raise PermanentError(f"{action.weight} % leaves places for another version; name from_version.")
        return wanted

    def _arrange(self, service: str, wanted: Sequence[str]) -> None:
        """Let `wanted` run, place by place; an instance that runs it already is not touched."""
        now = self._services[service].instances
        self._services[service].instances = [
            now[place]
            if place < len(now) and now[place].version == version
            else self._fresh(service, place, version)
            for place, version in enumerate(wanted)
        ]

    def _fresh(self, service: str, index: int, version: str) -> Instance:
        name = f"{service}-{index + 1}"
        url = f"http://{name}.{self._region.lower()}.test"
        return Instance(id=name, version=version, url=url, started_at=self._clock.now(), healthy=True)

    def _running(self, service: str) -> dict[str, int]:
        versions = [instance.version for instance in self._services[service].instances]
        return {version: versions.count(version) for version in sorted(set(versions))}

    def _account(self, instance: Instance) -> dict[str, Any]:
        return {"id": instance.id, "version": instance.version, "restarts": instance.restarts}

    def _stalled(self, action: Action) -> dict[str, Any]:
        service = self._services[action.service]
        after_s = float(action.details.get("stalled_after_s", 0.0))
        items = [
            {"id": item, "age_s": age_s}
            for item, age_s in sorted(service.stalled.items())
            if age_s >= after_s
        ]
        oldest = max(service.stalled.values(), default=0.0)
        return {"items": items, "oldest_age_s": oldest, "backlog": service.backlog + len(service.stalled)}

    def _resume(self, action: Action) -> tuple[str, ...]:
        """Resume each item once: one that is no longer stalled was resumed before, and is left alone."""
        stalled = self._services[action.service].stalled
        return tuple(item for item in _ids(action) if stalled.pop(item, None) is not None)


def _ids(action: Action) -> list[str]:
    """The work items of an action, which are listed as they were found, or by id alone."""
    return [item if isinstance(item, str) else item["id"] for item in action.details.get("items", ())]


# --------------------------------------------------------------------------- wiring


class FakePlugins:
    """One fake deployer per region, and one source made by `script(region name)`.

    `plugins.deployer` and `plugins.source` are what the reconciler is given.
    """

    def __init__(
        self, clock: Clock, script: Callable[[str], Script] = lambda _: [], *, size: int = 4
    ) -> None:
        self._clock = clock
        self._script = script
        self._size = size
        self.deployers: dict[str, FakeDeployer] = {}
        self.sources: dict[str, ScriptedSource] = {}
        self.notifier = RecordingNotifier()

    def fake_deployer(self, region: str) -> FakeDeployer:
        """The fake of `region`, to arrange and to look at."""
        if region not in self.deployers:
            self.deployers[region] = FakeDeployer(self._clock, region, size=self._size)
        return self.deployers[region]

    def deployer(self, region: Region) -> Deployer:
        """The deployer of `region`."""
        return self.fake_deployer(region.name)

    def source(self, region: Region) -> MetricSource:
        """The source of `region`."""
        if region.name not in self.sources:
            self.sources[region.name] = ScriptedSource(self._script(region.name))
        return self.sources[region.name]
