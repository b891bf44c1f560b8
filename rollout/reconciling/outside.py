"""What targets, sources and channels say, as it can be stored: the one place where their words come in.

PostgreSQL takes no NUL, and neither database a lone surrogate; one such character, in a version or a message,
would be refused for ever, with all that was to be written beside it. So would a generation that is too large.
What must not live here: what it means.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from types import NoneType
from typing import Any, TypeGuard, TypeVar, cast

from rollout.core.actions import HIGHEST_TOLD, Action, taken
from rollout.core.model import Instance, Kind, Region
from rollout.core.signals import Sample
from rollout.ports import (
    Ask,
    Deployer,
    HistorySource,
    MetricSource,
    Notice,
    Notifier,
    Past,
    Progress,
    Reading,
    Reply,
)

INSTEAD = "\N{REPLACEMENT CHARACTER}"
_REFUSED = re.compile("[\0\ud800-\udfff]")
_NO_TEXT = frozenset({float, int, bool, datetime, NoneType})
T = TypeVar("T")


def storable(value: T) -> T:
    """The same with every character that a database refuses replaced, however deep it is."""
    return cast(T, _storable(value))


def _storable(value: Any) -> Any:
    if type(value) in _NO_TEXT:
        return value
    if isinstance(value, str):
        return _REFUSED.sub(INSTEAD, value) if _REFUSED.search(value) else value
    if isinstance(value, Mapping):
        return {_storable(key): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_storable, value))
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
        changed = {name: new for name, old in found.items() if (new := _storable(old)) is not old}
        return replace(value, **changed) if changed else value
    return value


@contextmanager
def _said() -> Iterator[None]:
    """Errors are told and stored as well."""
    try:
        yield
    except Exception as error:
        error.args = storable(error.args)
        raise


class _Target(Deployer):
    def __init__(self, inner: Deployer) -> None:
        self._inner, self.supports, self.fences = inner, inner.supports, inner.fences

    async def apply(self, key: str, action: Action) -> Reply:
        with _said():
            return _believed(action, storable(await self._inner.apply(key, action)))

    async def instances(self, service: str) -> tuple[Instance, ...]:
        with _said():
            return storable(await self._inner.instances(service))


def _believed(action: Action, reply: Reply) -> Reply:
    """A reading that tells a generation above which none could be ordered has failed, and tells none."""
    told = reply.result.details.get("generation", 0)
    if action.kind is not Kind.VERIFY or not isinstance(told, int) or told == taken(told):
        return reply
    text = (
        f"The target of {action.region} tells that it has seen generation {told:,} of {action.service}, "
        f"which is not believed: {HIGHEST_TOLD:,} is the largest that is taken. Let it tell the generation "
        f"of the newest order that it took ({action.generation:,} is the newest from here), and nothing "
        "else, such as a time; set back what it remembers."
    )
    details = {name: each for name, each in reply.result.details.items() if name != "generation"}
    return Reply(progress=Progress.FAILED, result=replace(reply.result, message=text, details=details))


class _Source(MetricSource):
    def __init__(self, inner: MetricSource) -> None:
        self._inner = inner

    async def collect(self, ask: Ask) -> Reading:
        with _said():
            return storable(await self._inner.collect(ask))


class _KeepingSource(_Source):
    def __init__(self, inner: MetricSource, past: HistorySource) -> None:
        super().__init__(inner)
        self._past = past

    async def history(self, past: Past) -> tuple[Sample, ...]:
        with _said():
            return storable(await self._past.history(past))


class _Channel(Notifier):
    def __init__(self, inner: Notifier) -> None:
        self._inner = inner

    async def send(self, notice: Notice) -> None:
        with _said():
            await self._inner.send(notice)


def targets_of(find: Callable[[Region], Deployer]) -> Callable[[Region], Deployer]:
    """The deployers that `find` finds; what they answer can be stored."""
    return lambda region: target_of(find(region))


def target_of(deployer: Deployer) -> Deployer:
    """The same deployer; what it answers can be stored."""
    return _Target(deployer)


def sources_of(find: Callable[[Region], MetricSource]) -> Callable[[Region], MetricSource]:
    """The sources that `find` finds; what they tell can be stored."""

    def found(region: Region) -> MetricSource:
        source = find(region)
        past = source if keeps_history(source) else None
        return _KeepingSource(source, past) if past else _Source(source)

    return found


def channels_of(
    notifier: Notifier, channels: Mapping[str, Notifier]
) -> tuple[Notifier, Mapping[str, Notifier]]:
    """The same channels; why they take no notice can be stored."""
    return _Channel(notifier), {name: _Channel(channel) for name, channel in channels.items()}


def keeps_history(source: object) -> TypeGuard[HistorySource]:
    """Whether a source can tell of long ago."""
    return hasattr(source, "history")
