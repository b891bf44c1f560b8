"""What a signal means to the source `scrape`, and the raw numbers that one instance gives for it.

Differences between two readings are made in scrape_cursor.py, sums over instances in scrape_reading.py.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from rollout.core.errors import InvalidInput, Problem, TransientError
from rollout.core.model import Signal, SignalKind
from rollout.registry import Options
from rollout.sources.exposition import Exposition, Series, refuse_broken

KIND = "scrape"  # the key in signals.yaml, and in regions.yaml

MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)]

_FORMS = {
    frozenset({"bad", "total"}): SignalKind.RATIO,
    frozenset({"slower_than", "histogram"}): SignalKind.RATIO,
    frozenset({"starts"}): SignalKind.RATE,
    frozenset({"value", "across"}): SignalKind.GAUGE,
}


class Selector(Options):
    """Series by metric name, and by regular expressions that the whole value of a label must match."""

    metric: MetricName
    where: dict[LabelName, re.Pattern[str]] = Field(default_factory=dict)


class ScrapeSignal(Options):
    """How one signal is read: one of four forms.

    ratio: `bad` and `total` counters, or `slower_than` (seconds, an edge of the buckets) of a `histogram`;
    rate: `starts`, the gauge that says when the process started; gauge: `value`, `across` instances.
    """

    bad: Selector | None = None
    total: Selector | None = None
    slower_than: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    histogram: MetricName | None = None
    starts: MetricName | None = None
    value: Selector | None = None
    across: Literal["max", "sum"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self._given not in _FORMS:
            forms = ", or ".join(" and ".join(sorted(form)) for form in _FORMS)
            raise ValueError(f"says {' and '.join(sorted(self._given)) or 'nothing'}; must say {forms}")
        return self

    @property
    def _given(self) -> frozenset[str]:
        return frozenset(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def kind(self) -> SignalKind:
        """The kind of signal that this form can be read for."""
        return _FORMS[self._given]

    @property
    def key(self) -> str:
        """Names this way of reading, so that what was remembered of another way is never continued."""
        return hashlib.sha256(self.model_dump_json(exclude_none=True).encode()).hexdigest()[:16]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of everything that is read."""
        chosen = [selector.metric for selector in (self.bad, self.total, self.value) if selector]
        buckets = [f"{self.histogram}_bucket", f"{self.histogram}_count"] if self.histogram else []
        return (*chosen, *buckets, *([self.starts] if self.starts else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The raw counters of a ratio. `bad` and `total` say how often each one's increase counts into which."""

    values: Mapping[str, float]
    bad: Mapping[str, int]
    total: Mapping[str, int]


def read_signal(signal: Signal) -> ScrapeSignal | None:
    """What signals.yaml says of `signal` for this source, or None where it says nothing.

    Raises InvalidInput naming the signal and each wrong place.
    """
    written = signal.sources.get(KIND)
    if written is None:
        return None
    place = f"signals.{signal.name}.{KIND}"
    try:
        spec = ScrapeSignal.model_validate(written)
    except ValidationError as error:
        problems = tuple(Problem(".".join([place, *map(str, e["loc"])]), e["msg"]) for e in error.errors())
        raise InvalidInput(f"Signal '{signal.name}' cannot be read by '{KIND}'.", problems) from error
    if spec.kind is not signal.kind:
        problem = Problem(place, f"is written for a {spec.kind}, but the signal is a {signal.kind}")
        raise InvalidInput(f"Signal '{signal.name}' cannot be read by '{KIND}'.", (problem,))
    return spec


def counters(spec: ScrapeSignal, found: Exposition, after: float | None) -> Counters:
    """The counters of a ratio. Raises TransientError when they are missing or no evidence."""
    if spec.histogram and spec.slower_than:
        asked, within = _histogram(spec.histogram, spec.slower_than, found)
        failed, fine = asked, within
    else:
        assert spec.bad is not None, "a ratio is one of two forms"
        assert spec.total is not None, "a ratio is one of two forms"
        asked, failed, fine = select(spec.total, found), select(spec.bad, found), ()
    for group in (asked, failed, fine):
        refuse_broken(group, counts=True, after=after)
    return Counters(
        values={one.key: one.value for one in (*asked, *failed, *fine)},
        bad={one.key: 1 for one in failed} | {one.key: -1 for one in fine},
        total={one.key: 1 for one in asked},
    )


def levels(selector: Selector, found: Exposition, after: float | None) -> tuple[float, ...]:
    """The values of a gauge, one or more. Raises TransientError when there is none, or one is no evidence."""
    chosen = select(selector, found)
    if not chosen:
        raise TransientError(f"exposes no series of {selector.metric} that fits its 'where'")
    refuse_broken(chosen, counts=False, after=after)
    return tuple(one.value for one in chosen)


def started(metric: str, found: Exposition) -> float:
    """When the process started, in seconds since the epoch. Raises TransientError when it does not say."""
    chosen = select(Selector(metric=metric), found)
    refuse_broken(chosen, counts=True, after=None)
    if not chosen:
        raise TransientError(f"exposes no series of {metric}")
    return max(one.value for one in chosen)


def select(selector: Selector, found: Exposition) -> tuple[Series, ...]:
    """The chosen series; none is an answer, since a counter of failures has no series before the first one.

    Raises TransientError when there is no such metric, or none of its series has a label that is asked for:
    that is a name written wrong, and would otherwise read as "no failures".
    """
    series = found.named(selector.metric)
    if series is None:
        raise TransientError(f"exposes no metric {selector.metric}; compare the name with its answer")
    for label in selector.where:
        if series and not any(label in one.labels for one in series):
            known = ", ".join(sorted({name for one in series for name in one.labels})) or "none"
            raise TransientError(f"exposes {selector.metric} without the label '{label}', but: {known[:160]}")
    return tuple(
        one
        for one in series
        if all(pattern.fullmatch(one.labels.get(label, "")) for label, pattern in selector.where.items())
    )


def _histogram(base: str, edge: float, found: Exposition) -> tuple[tuple[Series, ...], tuple[Series, ...]]:
    """The counts of all events, and of those no slower than `edge` seconds."""
    counts = select(Selector(metric=f"{base}_count"), found)
    buckets = select(Selector(metric=f"{base}_bucket"), found)
    try:
        edges = {one.key: float(one.labels["le"]) for one in buckets}
    except (KeyError, ValueError) as error:
        raise TransientError(f"exposes a bucket of {base} without a numeric 'le'") from error
    within = tuple(one for one in buckets if edges[one.key] == edge)
    if len(within) != len(counts):
        known = ", ".join(f"{each:g}" for each in sorted(set(edges.values()))) or "none"
        raise TransientError(f"exposes {base} without an edge at {edge:g}; its edges are: {known[:160]}")
    return counts, within
