"""The numbers that one process of the sample mail service shows; every series names its version and slot."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from rollout.demo.mail_queue import Owner

EDGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WHOSE = ("version", "slot")


class Meters:
    """Only what users ask for (/send) is counted as a request, not probes and scrapes."""

    def __init__(self, owner: Owner, started_at: float) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types it not
        self._registry = CollectorRegistry()
        whose = (owner.version, owner.slot)
        self._requests = Counter(
            "mail_http_requests_total", "Answered sends by status.", (*WHOSE, "code"), registry=self._registry
        )
        self._whose = whose
        self._duration = Histogram(
            "mail_http_request_duration_seconds",
            "Time to answer a send.",
            WHOSE,
            buckets=EDGES_S,
            registry=self._registry,
        ).labels(*whose)
        self.accepted = self._counter("mail_sends_accepted_total", "Sends taken into the queue.")
        self.delivered = self._counter("mail_sends_delivered_total", "Sends delivered.")
        self.late = self._counter("mail_sends_late_total", "Sends unfinished beyond the limit, once each.")
        self.depth = self._gauge("mail_queue_depth", "Unfinished sends.")
        self.oldest = self._gauge(
            "mail_oldest_unfinished_send_age_seconds",
            "Age of the oldest unfinished send, 0 when there is none.",
        )
        self._gauge("process_start_time_seconds", "Start of this process, seconds since 1970.").set(
            started_at
        )
        self._requests.labels(*whose, "202")  # a series that exists from the start loses no first count

    def answered(self, code: int, took_s: float) -> None:
        """Count one answered send."""
        self._requests.labels(*self._whose, str(code)).inc()
        self._duration.observe(took_s)

    def text(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, title: str) -> Counter:
        return Counter(name, title, WHOSE, registry=self._registry).labels(*self._whose)

    def _gauge(self, name: str, title: str) -> Gauge:
        return Gauge(name, title, WHOSE, registry=self._registry).labels(*self._whose)
