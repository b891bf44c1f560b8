"""Every metric of the controller: its name, what it means, its labels and buckets.

Labels are bounded: services, regions and signals that are configured, and words of our own. An id of a
rollout, a version or a person is never one. How numbers come about is in events.py and standing.py.
"""

from dataclasses import dataclass, field

_SECOND = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_MINUTES = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
_HOURS = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 259200.0)


@dataclass(frozen=True, slots=True)
class Counted:
    """Begins anew at 0 with each start of the process; `name` ends in _total where it is read."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """A histogram of seconds; begins anew with each start of the process."""

    name: str
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = field(default=_SECOND)


@dataclass(frozen=True, slots=True)
class Level:
    """A gauge that is worked out at each scrape from what is stored, so that a restart changes nothing."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


COUNTED = (
    Counted("rollout_rollouts_ended", "Rollouts that ended, by outcome.", ("service", "outcome")),
    Counted(
        "rollout_rollbacks",
        "Regions that a decided rollback takes back, by what decided it.",
        ("service", "region", "cause"),
    ),
    Counted("rollout_holds", "Times that a rollout was held, by why.", ("service", "cause")),
    Counted("rollout_checks", "Verdicts given: one for each check, region and look.", ("verdict",)),
    Counted("rollout_source_readings", "Readings of a region.", ("service", "region")),
    Counted(
        "rollout_source_errors",
        "Readings of a region that failed, by how.",
        ("service", "region", "kind"),
    ),
    Counted("rollout_actions", "Actions that ended, by how.", ("kind", "state")),
    Counted(
        "rollout_action_retries",
        "Attempts at an action that brought no answer and are made again.",
        ("kind", "region"),
    ),
    Counted("rollout_decision_errors", "Looks at a rollout that ended in an error that nobody foresaw."),
    Counted("rollout_fenced", "Writes refused because another replica has taken the service.", ("service",)),
    Counted("rollout_heartbeat_out_failures", "Calls of the heartbeat URL that failed."),
    Counted("rollout_http_requests", "Answered requests by route template.", ("method", "route", "status")),
)

TIMED = (
    Timed("rollout_bake_seconds", "Length of bakes.", ("service", "region", "ended"), _HOURS),
    Timed("rollout_stage_seconds", "From a stage's first touched region to its end.", ("service",), _HOURS),
    Timed("rollout_time_to_detect_seconds", "From where harm began to the decision.", ("service",), _MINUTES),
    Timed(
        "rollout_time_to_rollback_seconds",
        "From the decision until every touched region was read back.",
        ("service",),
        _MINUTES,
    ),
    Timed("rollout_approval_wait_seconds", "From the question to its end.", ("service", "ended"), _HOURS),
    Timed("rollout_reconcile_lag_seconds", "How late a look at a rollout that was due began."),
    Timed("rollout_tick_seconds", "Length of whole ticks."),
    Timed("rollout_http_request_seconds", "From a request to the end of its answer.", ("method", "route")),
)

_CHECK = ("service", "region", "signal")
LEVELS = (
    Level("rollout_build_info", "The running version.", ("version",)),
    Level("rollout_rollouts", "Stored rollouts by phase.", ("phase",)),
    Level(
        "rollout_heartbeat_age_seconds",
        "Seconds since the last whole tick; before the first, since the start.",
    ),
    Level(
        "rollout_heartbeat_out_age_seconds",
        "Seconds since the heartbeat URL answered; before that, since the start.",
    ),
    Level("rollout_oldest_due_seconds", "How long the longest overdue rollout waits to be looked at."),
    Level("rollout_held_seconds", "How long the longest held rollout has been held.", ("service",)),
    Level(
        "rollout_approval_remaining_seconds",
        "Time left of the pending approval whose deadline comes first; below 0 when it has passed.",
        ("service",),
    ),
    Level("rollout_rollback_age_seconds", "Age of the oldest rollback that is under way.", ("service",)),
    Level(
        "rollout_region_unrestored",
        "1 for a region on its way back that does not answer or could not be restored.",
        ("service", "region", "phase"),
    ),
    Level("rollout_blind_rollouts", "Rollouts with a touched region that cannot be read.", ("service",)),
    Level(
        "rollout_source_blind_seconds",
        "How long a region cannot be read; 0 while it can.",
        ("service", "region"),
    ),
    Level("rollout_actions_pending", "Actions recorded and not done.", ("kind",)),
    Level("rollout_action_oldest_pending_seconds", "Age of the oldest action not done.", ("kind",)),
    Level("rollout_outbox_pending", "Actions recorded and not done, by what shares room.", ("lane",)),
    Level("rollout_outbox_oldest_seconds", "Age of the oldest action not done; 0 without any.", ("lane",)),
    Level(
        "rollout_target_silent_seconds",
        "How long the target of a pending action has not answered.",
        ("region",),
    ),
    Level("rollout_replicas", "Controllers that share the database and live, as this one saw them last."),
    Level("rollout_services_held", "Services that this controller works on."),
    Level("rollout_database_up", "1 while the database answers a scrape within 5 s, else 0."),
    Level("rollout_configuration_up", "1 while the newest configuration on disk is in use, else 0."),
    Level("rollout_emergencies_up", "1 while the record of emergencies is as it was signed, else 0."),
    Level("rollout_database_bytes", "Bytes of the database on the disk."),
    Level("rollout_database_limit_bytes", "What the database may take: ROLLOUT_DATABASE_BYTES."),
    Level("rollout_check_value", "What a check measures now, in the signal's unit.", _CHECK),
    Level("rollout_check_baseline", "What it is compared with.", _CHECK),
    Level("rollout_check_limit", "What the value may not exceed.", _CHECK),
    Level("rollout_check_verdict", "1 for the verdict that holds now, 0 for others.", (*_CHECK, "verdict")),
)
