"""What a signal means to the source `prometheus`: which series it is made of, and what they add up to."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from rollout.core.signals import Signal, SignalKind
from rollout.forms import SignalForm, read_form
from rollout.registry import Options

KIND = "prometheus"  # the key in signals.yaml, and in regions.yaml

MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)]

_FORMS = {
    frozenset({"bad", "total"}): SignalKind.RATIO,
    frozenset({"histogram", "slower_than"}): SignalKind.RATIO,
    frozenset({"histogram"}): SignalKind.DISTRIBUTION,
    frozenset({"starts"}): SignalKind.RATE,
    frozenset({"restarts"}): SignalKind.RATE,
    frozenset({"value", "across"}): SignalKind.GAUGE,
    frozenset({"done"}): SignalKind.THROUGHPUT,
    frozenset({"done", "arrived"}): SignalKind.THROUGHPUT,
}


def _named(written: Any) -> Any:
    """A selector without conditions may be written as its metric alone."""
    return {"metric": written} if isinstance(written, str) else written


class _Selector(Options):
    """Series by metric name, and by regular expressions that the whole value of a label must match."""

    metric: MetricName
    where: dict[LabelName, re.Pattern[str]] = Field(default_factory=dict)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is chosen; a label that it lacks is empty, as in PromQL."""
        return all(pattern.fullmatch(labels.get(name, "")) for name, pattern in self.where.items())

    def narrowed(self, segment: Mapping[str, str]) -> "_Selector":
        """The same, of one segment only: `segment` maps labels to regular expressions."""
        more = {label: re.compile(pattern) for label, pattern in segment.items()}
        return self.model_copy(update={"where": {**self.where, **more}})


Selector = Annotated[_Selector, BeforeValidator(_named)]


class PrometheusSignal(SignalForm):
    """How one signal is read: one form for each kind of signal, two for a ratio and for a rate.

    ratio: `bad` and `total` counters, or `slower_than` (an edge of its buckets) of a classic `histogram`;
    distribution: `histogram` alone; rate: `starts`, the gauge that says when a process started, or
    `restarts`, a counter of restarts, told apart `by` a label; gauge: `value`, `across` its series;
    throughput: `done`, and `arrived` where that is counted.
    """

    forms: ClassVar[Mapping[frozenset[str], SignalKind]] = _FORMS

    bad: Selector | None = None
    total: Selector | None = None
    histogram: Selector | None = None
    slower_than: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    starts: Selector | None = None
    restarts: Selector | None = None
    by: LabelName = "instance"
    value: Selector | None = None
    across: Literal["max", "sum", "mean"] | None = None
    done: Selector | None = None
    arrived: Selector | None = None

    @property
    def selectors(self) -> dict[str, _Selector]:
        """Every selector by the key it was written under; of a histogram, the selector of its buckets."""
        found = {name: one for name in self.given if isinstance(one := getattr(self, name), _Selector)}
        if self.histogram is not None:
            buckets = self.histogram.model_copy(update={"metric": f"{self.histogram.metric}_bucket"})
            found["histogram"] = buckets
        return found


def read_signal(signal: Signal) -> PrometheusSignal | None:
    """What signals.yaml says of `signal` for this source, narrowed to its segment; None: nothing.

    Raises InvalidInput naming the signal and each wrong place.
    """
    spec = read_form(signal, KIND, PrometheusSignal)
    if spec is None or not signal.segment:
        return spec
    chosen = {name: getattr(spec, name) for name in spec.selectors}
    return spec.model_copy(update={name: one.narrowed(signal.segment) for name, one in chosen.items()})
