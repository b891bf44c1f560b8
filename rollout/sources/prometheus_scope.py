"""Whose series are whose: of one answer, those of one service and region, with process and version."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rollout.core.errors import TransientError
from rollout.core.model import Instance
from rollout.sources.prometheus_series import Process, Series
from rollout.sources.prometheus_signals import PrometheusSignal, Selector

SHOWN = 160  # characters of a list of names


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A series and whose it is."""

    series: Series
    process: Process
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One service in one region. `versions` are those to be told; None tells all that there are.

    The engine is asked for `service` (labels and their values); `region` chooses from its answer, so that one
    answer serves every region. `version` is what stands before and behind a version in `version_label`.
    """

    service: Mapping[str, str]
    region: Mapping[str, str]
    version_label: str
    version: tuple[str, str]
    process: Sequence[str]
    lookback_s: float
    versions: frozenset[str] | None = None
    instances: Mapping[str, Instance] = field(default_factory=dict)  # by host:port

    def holds(self, series: Series) -> bool:
        """Whether a series is of this service and region."""
        return _has(series, {**self.service, **self.region})

    def chosen(self, series: Iterable[Series], metric: str) -> list[Series]:
        """The series of this service and region. Raises TransientError when there is none."""
        wanted = {"__name__": metric, **self.service}
        ours = [one for one in series if _has(one, wanted)]
        here = [one for one in ours if _has(one, self.region)]
        if not ours:
            raise TransientError(f"Prometheus has no series of {written(metric, self.service)}")
        if not here:
            places = {written("", {k: one.labels.get(k, "") for k in self.region}) for one in ours}
            raise TransientError(
                f"no series of {metric} has {written('', self.region)}; there are {_listed(places)}"
            )
        return here

    def owned(self, series: Iterable[Series], problems: list[str]) -> list[Owned]:
        """Each series with its version; those that nobody can tell the version of are left out, and said."""
        found, unknown = [], []
        for one in series:
            owner = self._owner(one)
            if owner is None:
                unknown.append(one.key)
            elif self.versions is None or owner.version in self.versions:
                found.append(owner)
        if unknown:
            problems.append(
                f"{len(unknown)} series carry no version in the label '{self.version_label}', and no "
                f"instance of the deployer has their address; they do not count: {unknown[0][:SHOWN]}"
            )
        return found

    def known_versions(self, series: Iterable[Series]) -> set[str]:
        """Every version that the series are labelled with, also those that are not to be told."""
        return {version for one in series if (version := self._labelled(one))}

    def _owner(self, series: Series) -> Owned | None:
        process = series.process(self.process)
        version = self._labelled(series)
        if version is not None:
            return Owned(series=series, process=process, version=version)
        instance = self.instances.get(series.labels.get("instance", ""))
        if instance is None or self.version_label in series.labels:
            return None
        own = series.since(instance.started_at.timestamp())  # before it, another process had the address
        return Owned(series=own, process=process, version=instance.version)

    def _labelled(self, series: Series) -> str | None:
        value = series.labels.get(self.version_label, "")
        before, behind = self.version
        fits = value.startswith(before) and value.endswith(behind) and len(value) > len(before + behind)
        return value[len(before) : len(value) - len(behind)] if fits else None


def by_address(instances: Iterable[Instance]) -> dict[str, Instance]:
    """Instances by host and port, as Prometheus writes them into the label `instance`."""
    return {urlsplit(one.url).netloc: one for one in instances if one.url}


def written(metric: str, labels: Mapping[str, str]) -> str:
    """A selector as people write it: `requests_total{job="mail"}`."""
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{metric}{{{inside}}}" if inside else metric


def narrowed(selector: Selector, series: Sequence[Series]) -> list[Series]:
    """The series that a selector chooses; none is an answer: a counter of failures may not have begun.

    Raises TransientError where no series has a label that is asked for: that is a name written wrong, and
    would otherwise read as "no failures".
    """
    for label in selector.where:
        if not any(label in one.labels for one in series):
            known = _listed({name for one in series for name in one.labels if name != "__name__"})
            raise TransientError(f"{selector.metric} has no label '{label}', but: {known}")
    return [one for one in series if selector.fits(one.labels)]


def metrics_of(spec: PrometheusSignal) -> set[str]:
    """The names of everything that one signal reads."""
    return {selector.metric for selector in spec.selectors.values()}


def _has(series: Series, labels: Mapping[str, str]) -> bool:
    return all(series.labels.get(name, "") == value for name, value in labels.items())


def _listed(names: Iterable[str]) -> str:
    return (", ".join(sorted(names)) or "none")[:SHOWN]
