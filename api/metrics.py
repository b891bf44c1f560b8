"""What Prometheus reads of this process. No id of a rollout is ever a label."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from starlette.types import Scope

import rollout
from rollout.core.model import Phase

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """One registry per app, so that two apps in one process do not share numbers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = Gauge("rollout_build_info", "The running version.", ["version"], registry=self._registry)
        info.labels(rollout.__version__).set(1)
        self._rollouts = Gauge(
            "rollout_rollouts", "Stored rollouts by phase.", ["phase"], registry=self._registry
        )
        self._age = Gauge(
            "rollout_heartbeat_age_seconds",
            "Seconds since the last whole tick; NaN before the first.",
            registry=self._registry,
        )
        self._requests = Counter(
            "rollout_http_requests",
            "Answered requests by route template.",
            ["method", "route", "status"],
            registry=self._registry,
        )

    def observe(self, scope: Scope, status: int) -> None:
        """Count an answer. What no route took is one series, whatever was asked for."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()

    def text(self, counts: Mapping[Phase, int], last_tick: datetime | None, now: datetime) -> bytes:
        """Write everything in Prometheus' text format."""
        for phase in Phase:
            self._rollouts.labels(phase.value).set(counts.get(phase, 0))
        self._age.set((now - last_tick).total_seconds() if last_tick else float("nan"))
        return generate_latest(self._registry)
