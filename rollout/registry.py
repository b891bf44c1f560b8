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

from rollout.core.errors import InvalidInput, Problem, did_you_mean
from rollout.explain import explain, joined
from rollout.ports import Clock, Deployer, MetricSource, Notifier

T = TypeVar("T")


class Options(BaseModel):
    """The typed options of one plugin; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def inner(self) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
        """Plugins of the same family that this one works through: place in these options, kind, options."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every plugin is given: `directory` is the base of relative paths, a notifier has no `region`."""

    region: str
    http: httpx.AsyncClient
    clock: Clock
    directory: Path

    def deployer(self, kind: str, written: Mapping[str, Any]) -> Deployer:
        """Another deployer of the same region, for one that works through it. Raises InvalidInput.

        Plugins compose here, by name, and still do not import each other.
        """
        return DEPLOYERS.build(kind, written, self)


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
        """Check what was written. Raises InvalidInput naming `place`; for an unknown kind, the known ones."""
        if kind not in self._kinds:
            hint = did_you_mean(kind, self.kinds) or "; none is known"
            raise InvalidInput(
                f"Unknown {self.family} kind '{kind}'.",
                (Problem(joined(place, "kind"), f"unknown kind '{kind}'{hint}"),),
            )
        model = self._kinds[kind][0]
        try:
            checked = model.model_validate(dict(written))
        except ValidationError as error:
            problems = explain(error, model, joined(place, "options"))
            raise InvalidInput(f"Bad options of {self.family} '{kind}'.", problems) from error
        for where, inner, options in checked.inner():
            self.options(inner, options, joined(place, "options", where))
        return checked

    def signal_options(self, kind: str) -> type[BaseModel] | None:
        """Find what signals.yaml may say to a source: the class attribute `signal_options` of the plugin.

        Where the model has a `kind`, it is the kind of signal that the written form is for.
        """
        offered: type[BaseModel] | None = self._said(kind, "signal_options")
        return offered

    def told_region(self, kind: str) -> bool:
        """Whether every order says its region: the class attribute `told_region` of a deployer.

        Then the same options, in several regions, do not move the same instances.
        """
        return bool(self._said(kind, "told_region"))

    def _said(self, kind: str, attribute: str) -> Any:
        """What a plugin's class says of its kind, or None."""
        return getattr(self._kinds[kind][1], attribute, None) if kind in self._kinds else None

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
