"""What is measured and what is said of it: signals, samples, verdicts, judgements. Frozen, as in model.py.

What must not live here: how any of it is judged (judge/), or worded (reason.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class SignalKind(StrEnum):
    """What the numbers of a signal are, which decides the test that judges it."""

    RATIO = "ratio"  # value: events that count; exposure: all events of the interval
    RATE = "rate"  # value: events; exposure: instance-hours
    GAUGE = "gauge"  # value: a level; exposure: how many instances it sums up, 0 where it is no sum
    DISTRIBUTION = "distribution"  # a sample per bucket; value: events no slower than its edge; exposure: all
    THROUGHPUT = "throughput"  # value: work done; exposure: work that arrived, 0 where nobody counts it


class Direction(StrEnum):
    """Which way of a signal is harm."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


class BaselineKind(StrEnum):
    """What a candidate is compared with, best first."""

    BESIDE = "beside"  # instances of the version before, in the same region at the same time
    PEERS = "peers"  # regions not upgraded yet, as ratio to this one by time of day
    HISTORY = "history"  # the region's own past at the same time of day


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A named health series. `sources` says, per kind of source, how to read it.

    `segments` maps a segment to the labels that narrow it (of work scheduled far ahead, say); `segment` holds
    the labels of a signal that was narrowed so. Its name is then `errors{segment=far}`. `limit`, `limit_for`
    (seconds) and `no_data` are for checks that say nothing of their own; None: the policy's default.
    """

    name: str
    kind: SignalKind
    title: str  # as a person reads it: "failed requests"
    unit: str = ""  # of a gauge or a distribution: "s"
    direction: Direction = Direction.UP
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    segment: Mapping[str, str] = field(default_factory=dict)
    limit: float | None = None
    limit_for: float | None = None
    no_data: str | None = None  # hold | ignore


def series_name(signal: str, **labels: str) -> str:
    """`latency`, le=0.25 → `latency{le=0.25}`; labels of the name it has already come first."""
    base, _, inside = signal.rstrip("}").partition("{")
    written = ",".join([inside] * bool(inside) + [f"{key}={value}" for key, value in labels.items()])
    return f"{base}{{{written}}}" if written else base


def series_parts(name: str) -> tuple[str, dict[str, str]]:
    """`latency{segment=far,le=0.25}` → `latency` and its labels. A part without `=` is no label."""
    base, _, inside = name.strip().rstrip("}").partition("{")
    pairs = (part.partition("=") for part in inside.split(",") if "=" in part)
    return base, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number of one version in one region over one interval; `time` is the END of the interval.

    `duration_s` is the length of the interval. `instance` is set only where the number belongs to one
    instance (restarts), so that a crash loop can be told from restarts spread over many.
    """

    time: datetime
    region: str
    version: str
    signal: str
    value: float
    exposure: float = 0.0
    duration_s: float = 0.0
    instance: str = ""


class VerdictKind(StrEnum):
    """What the judge says of one check in one region. Failing to ask is an error, never one of these."""

    PASS = "pass"  # harm beyond the tolerance is ruled out
    FAIL = "fail"  # evidence of harm
    UNDECIDED = "undecided"  # not enough evidence either way; says how much more is needed
    NO_DATA = "no_data"  # nothing to judge; never good


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verdict with its numbers.

    `value` and `baseline` are in the signal's own unit (a ratio 0..1, events per instance-hour, a level);
    `limit` is what `value` may not exceed. `log_e` is the natural logarithm of the e-value against "no harm".
    `seen` is the candidate's exposure (requests, instance-hours) judged since the weight changed last, and
    `needs` says how much more is needed; `value` and `baseline` of a test are of the same time. `exposed` is
    all the candidate's exposure since the evidence began, warm-ups included.
    `guard` names the hard guard that fired, or is empty. `baseline_kind` says what it was compared with.
    `low` and `high` are the 95 % interval of candidate over baseline that holds at every look; `events` and
    `beside` are what `value` and `baseline` were computed from: (events, exposure), or nothing.
    `rests_on` says what the false-rollback promise of this check rests on: `proof`, `calibration`,
    `uncalibrated` (a forecast that acts alone only on evidence a hundred times stronger) or `none`.
    `since` is when the harm, or the lack of data, began. `edge` is that of a distribution: `value` and
    `baseline` are then the shares beyond it.
    """

    region: str
    signal: str
    kind: VerdictKind
    edge: float | None = None
    value: float | None = None
    baseline: float | None = None
    limit: float | None = None
    log_e: float = 0.0
    seen: float = 0.0
    exposed: float = 0.0
    needs: str = ""
    guard: str = ""
    baseline_kind: str = ""
    low: float | None = None
    high: float | None = None
    events: tuple[float, float] | None = None
    beside: tuple[float, float] | None = None
    rests_on: str = "none"
    since: datetime | None = None
    newest: datetime | None = None  # end of the newest interval that was judged
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the judge says of a whole rollout: every verdict, and whether the budget's threshold is crossed.

    `culprits` are the verdicts that make it a failure, worst first; empty when it is none.
    `suspected` are those whose evidence of harm is enough to hold and page and not enough to act: of checks
    that are not critical, whose comparison is not calibrated yet, or whose rise is seen where the release is
    not.
    `errors` maps a region to why its source or deployer could not be asked, and since when.
    """

    verdicts: tuple[Verdict, ...] = ()
    log_e: float = 0.0
    threshold: float = float("inf")
    culprits: tuple[Verdict, ...] = ()
    suspected: tuple[Verdict, ...] = ()
    errors: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)

    def of(self, region: str) -> tuple[Verdict, ...]:
        """The verdicts of one region."""
        return tuple(verdict for verdict in self.verdicts if verdict.region == region)
