"""What the controller tells of itself: metrics and traces. It decides nothing and stops no work."""

from collections.abc import Callable

import structlog

from rollout.telemetry.events import Figure, of_attempt, of_decision, of_reading
from rollout.telemetry.meters import Meters
from rollout.telemetry.onlooker import Attempted, Decided, Onlooker, Read
from rollout.telemetry.spans import Spans

__all__ = ["Attempted", "Decided", "Onlooker", "Read", "Telemetry"]

log = structlog.get_logger(__name__)


class Telemetry(Onlooker):
    """One controller's metrics and traces. An error in here is logged once and changes nothing else."""

    def __init__(self) -> None:
        self.meters, self._spans, self._failed = Meters(), Spans(), False

    def decided(self, what: Decided) -> None:
        """Count, time and trace a decision; keep its verdicts until the rollout has ended."""
        rollout = what.change.rollout
        verdicts = what.judgement.verdicts if rollout.next_due_at is not None else ()
        self._safely(lambda: self.meters.take(of_decision(what)))
        self._safely(lambda: self.meters.judged(rollout.id, rollout.release.service, verdicts))
        self._safely(lambda: self._spans.decided(what))

    def undecided(self) -> None:
        """Count it; the log has its id."""
        self.happened(Figure("rollout_decision_errors", ()))

    def fenced(self, service: str) -> None:
        """Count it."""
        self.happened(Figure("rollout_fenced", (service,)))

    def attempted(self, what: Attempted) -> None:
        """Count and trace an attempt."""
        self._safely(lambda: self.meters.take(of_attempt(what)))
        self._safely(lambda: self._spans.attempted(what))

    def read(self, what: Read) -> None:
        """Count a reading."""
        self._safely(lambda: self.meters.take(of_reading(what)))

    def ticked(self, seconds: float) -> None:
        """Time a tick."""
        self.happened(Figure("rollout_tick_seconds", (), seconds))

    def happened(self, *figures: Figure) -> None:
        """Take any observation of the catalogue."""
        self._safely(lambda: self.meters.take(figures))

    def _safely(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception:
            if not self._failed:
                log.exception("telemetry failed; work goes on without it")
            self._failed = True
