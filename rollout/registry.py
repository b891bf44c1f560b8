"""Plugins by kind: those of this package, and those that entry points bring.

Entry-point groups are `rollout.sources`, `rollout.deployers` and `rollout.notifiers`; loading the named
module is enough, since a plugin registers itself.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.core.errors import InvalidInput, Problem
from rollout.ports import Clock, Deployer, MetricSource, Notifier

T = TypeVar("T")


class Options(BaseModel):
    """The typed options of one plugin; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every plugin is given. `directory` is the base of relative paths; `region` is empty for notifiers."""

    region: str
    http: httpx.AsyncClient
    clock: Clock
    directory: Path


class Registry(Generic[T]):
    """One family of plugins. Construct a plugin as `factory(options, surroundings)`."""

    def __init__(self, family: str) -> None:
        self.family = family
        self._kinds: dict[str, tuple[type[Options], Callable[[Any, Surroundings], T]]] = {}

    def register(
        self, kind: str, options: type[Options]
    ) -> Callable[[Callable[[Any, Surroundings], T]], Callable[[Any, Surroundings], T]]:
        """Class decorator: `@SOURCES.register("scrape", ScrapeOptions)`."""

        def keep(factory: Callable[[Any, Surroundings], T]) -> Callable[[Any, Surroundings], T]:
            self._kinds[kind] = (options, factory)
            return factory

        return keep

    @property
    def kinds(self) -> tuple[str, ...]:
        """The known kinds, sorted."""
        return tuple(sorted(self._kinds))

    def options(self, kind: str, written: Mapping[str, Any], place: str = "") -> Options:
        """Check what was written. Raises InvalidInput naming `place`, and the known kinds for an unknown one."""
        if kind not in self._kinds:
            known = ", ".join(self.kinds) or "none"
            raise InvalidInput(
                f"Unknown {self.family} kind '{kind}'.",
                (Problem(f"{place}.kind".lstrip("."), f"unknown kind '{kind}'; known: {known}"),),
            )
        try:
            return self._kinds[kind][0].model_validate(dict(written))
        except ValidationError as error:
            problems = tuple(
                Problem(".".join([place, "options", *map(str, e["loc"])]).lstrip("."), e["msg"])
                for e in error.errors()
            )
            raise InvalidInput(f"Bad options of {self.family} '{kind}'.", problems) from error

    def build(self, kind: str, written: Mapping[str, Any], surroundings: Surroundings) -> T:
        """Construct the plugin. Raises InvalidInput as `options` does."""
        checked = self.options(kind, written)
        return self._kinds[kind][1](checked, surroundings)


SOURCES: Registry[MetricSource] = Registry("source")
DEPLOYERS: Registry[Deployer] = Registry("deployer")
NOTIFIERS: Registry[Notifier] = Registry("notifier")


def load_plugins() -> None:
    """Import every plugin of this package and of installed entry points, so that they register."""
    for family in ("sources", "deployers", "notifiers"):
        package = importlib.import_module(f"rollout.{family}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        for entry in entry_points(group=f"rollout.{family}"):
            entry.load()
