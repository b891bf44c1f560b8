"""Keeps what is counted and timed, and writes everything in Prometheus' text format.

The only home of prometheus_client here; which metrics there are is in catalogue.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

import rollout
from rollout.core.model import ActionState, Kind, Outcome, Region, Service
from rollout.core.signals import Verdict, VerdictKind
from rollout.telemetry.catalogue import COUNTED, LEVELS, TIMED
from rollout.telemetry.events import CAUSES, Figure
from rollout.telemetry.standing import Value, of_verdicts


class _Checks(NamedTuple):
    """What the judge said last of one rollout."""

    service: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class _Gauges:
    """Gauges of one scrape, as the library wants to be given them. The last of equal labels counts."""

    values: Sequence[Value] = field(default=())

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Every gauge of the catalogue, also those without a value now."""
        known: dict[str, dict[tuple[str, ...], float]] = {level.name: {} for level in LEVELS}
        for value in self.values:
            known[value.metric][value.labels] = value.value
        for level in LEVELS:
            family = GaugeMetricFamily(level.name, level.says, labels=level.labels)
            for labels, number in known[level.name].items():
                family.add_metric(labels, number)
            yield family


@dataclass(frozen=True, slots=True)
class _Counted:
    """Counters and histograms without the time at which each began: that would double the series."""

    registry: CollectorRegistry

    def collect(self) -> Iterable[Metric]:
        """Every family as the library has it, less those samples."""
        for family in self.registry.collect():
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family


class Meters:
    """One registry for each controller, so that two in one process do not share numbers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._counters = {c.name: Counter(c.name, c.says, c.labels, registry=self._registry) for c in COUNTED}
        self._histograms = {
            t.name: Histogram(t.name, t.says, t.labels, buckets=t.buckets, registry=self._registry)
            for t in TIMED
        }
        self._checks: dict[str, _Checks] = {}

    def take(self, figures: Iterable[Figure]) -> None:
        """Count and time what happened."""
        for one in figures:
            if one.metric in self._counters:
                counter = self._counters[one.metric]
                (counter.labels(*one.labels) if one.labels else counter).inc(one.value)
            else:
                histogram = self._histograms[one.metric]
                (histogram.labels(*one.labels) if one.labels else histogram).observe(one.value)

    def judged(self, rollout_id: str, service: str, verdicts: Sequence[Verdict]) -> None:
        """Keep what the judge says of a rollout now; nothing: forget it."""
        if verdicts:
            self._checks[rollout_id] = _Checks(service, verdicts)
        else:
            self._checks.pop(rollout_id, None)

    def only(self, rollout_ids: Iterable[str]) -> None:
        """Forget the checks of every other rollout: those have ended."""
        keep = set(rollout_ids)
        self._checks = {id_: found for id_, found in self._checks.items() if id_ in keep}

    def prime(self, services: Iterable[Service], regions: Sequence[Region]) -> None:
        """Begin counters at 0: what appears with its first event is no increase to whoever reads."""
        for service in services:
            for outcome in Outcome:
                self._counters["rollout_rollouts_ended"].labels(service.name, outcome)
            for region in (r for r in regions if not service.regions or r.name in service.regions):
                for cause in CAUSES:
                    self._counters["rollout_rollbacks"].labels(service.name, region.name, cause)
                for kind in ("timeout", "transient", "refused", "unforeseen"):
                    self._counters["rollout_source_errors"].labels(service.name, region.name, kind)
        for kind in VerdictKind:
            self._counters["rollout_checks"].labels(kind)
        for action in Kind:
            for state in (ActionState.SUCCEEDED, ActionState.FAILED):
                self._counters["rollout_actions"].labels(action, state)
            for region in regions:
                self._counters["rollout_action_retries"].labels(action, region.name)

    def text(self, values: Iterable[Value]) -> bytes:
        """Everything in Prometheus' text format; `values` are the levels of this scrape."""
        checks = (
            value
            for _, found in sorted(self._checks.items())  # ids sort by time: the newer rollout wins
            for value in of_verdicts(found.service, found.verdicts)
        )
        version = Value("rollout_build_info", (rollout.__version__,), 1.0)
        gauges = _Gauges((version, *values, *checks))
        return generate_latest(_Counted(self._registry)) + generate_latest(gauges)
