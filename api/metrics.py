"""What each request leaves: a line in the log and two numbers; and what /metrics answers.

No query string, header or body is ever written; the ids in a path are.
"""

from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.types import Scope

from rollout.bootstrap import Controller
from rollout.core.errors import RolloutError
from rollout.telemetry import Telemetry
from rollout.telemetry.events import Figure
from rollout.telemetry.scrape import scrape
from rollout.telemetry.standing import Value

log = structlog.get_logger("api.access")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})


class Answered:
    """Told of every answer: counts and times it, and writes one line. What no route took is one series."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, scope: Scope, status: int, seconds: float) -> None:
        """Take one answer that ended after `seconds`."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._telemetry.happened(
            Figure("rollout_http_requests", (method, route, str(status))),
            Figure("rollout_http_request_seconds", (method, route), seconds),
        )
        say = log.warning if status >= 500 else log.debug if is_probe(scope) else log.info
        say("request", **_names(scope), status=status, duration_s=round(seconds, 4))


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    """Whether a machine asks every few seconds, so that nobody wants to read of it."""
    return scope.get("path") in _PROBES


def _names(scope: Scope) -> dict[str, str]:
    """Who asked for what, as far as it is known."""
    token = scope.get("state", {}).get("token")
    known = {
        "method": scope["method"],
        "path": scope["path"],
        "client": (scope.get("client") or ("",))[0],
        "actor": token.name if token else "",
        **path_names(getattr(scope.get("route"), "path", ""), scope.get("path_params", {})),
    }
    return {name: value for name, value in known.items() if value}


def path_names(route: str, params: MutableMapping[str, Any]) -> dict[str, str]:
    """The rollout or the service that a path names."""
    if "/rollouts/{" in route and "id" in params:
        return {"rollout_id": str(params["id"])}
    name = params.get("name")
    return {"service": str(name)} if name and "/services/{" in route else {}


async def text(controller: Controller) -> bytes:
    """Everything that Prometheus reads of this controller."""
    now, beacon = controller.clock.now(), controller.beacon
    quiet = controller.heartbeat.quiet_since
    vital = [
        Value("rollout_heartbeat_age_seconds", (), (now - quiet).total_seconds() if quiet else _NAN),
        Value("rollout_configuration_up", (), float(not controller.heartbeat.reload_error)),
        Value("rollout_replicas", (), controller.reconciler.replicas),
        Value("rollout_services_held", (), len(controller.reconciler.held)),
        Value("rollout_database_limit_bytes", (), controller.settings.database_bytes),
    ]
    if controller.emergencies is not None:
        vital.append(Value("rollout_emergencies_up", (), float(not controller.emergencies.trouble)))
    if beacon is not None:
        silent = (now - (beacon.called_at or beacon.began_at)).total_seconds()
        vital.append(Value("rollout_heartbeat_out_age_seconds", (), silent))
    try:
        regions = tuple(controller.files.current.regions.values())
    except RolloutError:
        regions = ()
    return await scrape(controller.telemetry.meters, controller.store, regions, now, vital)


_NAN = float("nan")
