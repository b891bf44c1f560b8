"""What a signal means to the source `scrape`: what signals.yaml may say of it, and how it is read then.

The numbers that one instance gives for it are read in scrape_series.py.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from rollout.core.errors import InvalidInput, Problem
from rollout.core.signals import Direction, Signal, SignalKind, series_parts
from rollout.forms import SignalForm, read_form
from rollout.registry import Options

KIND = "scrape"  # the key in signals.yaml, and in regions.yaml

MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)]
Where = tuple[tuple[str, re.Pattern[str]], ...]  # label, and what its whole value must match; all must

_LABELS = TypeAdapter(dict[LabelName, re.Pattern[str]])
_FORMS = {
    frozenset({"bad", "total"}): SignalKind.RATIO,
    frozenset({"good", "total"}): SignalKind.RATIO,
    frozenset({"slower_than", "histogram"}): SignalKind.RATIO,
    frozenset({"histogram"}): SignalKind.DISTRIBUTION,
    frozenset({"starts"}): SignalKind.RATE,
    frozenset({"value", "across"}): SignalKind.GAUGE,
    frozenset({"done"}): SignalKind.THROUGHPUT,
    frozenset({"done", "arrived"}): SignalKind.THROUGHPUT,
}


class Selector(Options):
    """Series by metric name, and by regular expressions that the whole value of a label must match.

    A bare name stands for the metric alone.
    """

    metric: MetricName
    where: dict[LabelName, re.Pattern[str]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, written: Any) -> Any:
        return {"metric": written} if isinstance(written, str) else written


class ScrapeSignal(SignalForm):
    """How one signal is read: one of the forms below; docs/signals.md describes each.

    ratio: `bad` or `good`, and `total`; or `slower_than` (seconds, an edge of the buckets) of a `histogram`;
    distribution: a `histogram`; rate: `starts`, the gauge that says when the process started;
    gauge: `value`, `across` instances; throughput: `done`, and `arrived` where somebody counts it.
    """

    forms: ClassVar[Mapping[frozenset[str], SignalKind]] = _FORMS

    bad: Selector | None = None
    good: Selector | None = None
    total: Selector | None = None
    slower_than: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    histogram: Selector | None = None
    starts: MetricName | None = None
    value: Selector | None = None
    across: Literal["max", "sum", "mean"] | None = None
    done: Selector | None = None
    arrived: Selector | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of everything that is read."""
        selectors = (self.bad, self.good, self.total, self.value, self.done, self.arrived)
        chosen = [selector.metric for selector in selectors if selector]
        if self.histogram:
            base = self.histogram.metric
            chosen += [base, f"{base}_bucket", f"{base}_count"]
        return (*chosen, *([self.starts] if self.starts else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A signal with how it is read.

    `segment` narrows every selector of it. `key` names this signal read this way, so that what was remembered
    of another signal, or of another way of reading this one, is never continued.
    """

    signal: Signal
    spec: ScrapeSignal
    segment: Where
    key: str

    def where(self, selector: Selector) -> Where:
        """What the labels of the chosen series must match."""
        return (*selector.where.items(), *self.segment)

    @property
    def unreadable(self) -> str:
        """Why this signal cannot be read although each part of it is written well; empty when it can."""
        if self.spec.starts and self.segment:
            base, _ = series_parts(self.signal.name)
            return f"a process restarts as a whole and has no segments. Check '{base}' without segments."
        if self.spec.good and self.signal.direction is Direction.DOWN:
            return (
                "its value is what was not good (total less good), and 'direction: down' would take fewer "
                "failures for harm. Leave 'direction' out."
            )
        return ""


def meaning(signal: Signal) -> Meaning | None:
    """What signals.yaml says of `signal` for this source, or None where it says nothing.

    Raises InvalidInput naming the signal and each wrong place.
    """
    spec = read_form(signal, KIND, ScrapeSignal)
    if spec is None:
        return None
    return Meaning(signal=signal, spec=spec, segment=_segment(signal), key=_key(signal, spec))


def _segment(signal: Signal) -> Where:
    if not signal.segment:
        return ()
    try:
        return tuple(_LABELS.validate_python(dict(signal.segment)).items())
    except ValidationError as error:
        raise _refusal(signal, f"signals.{signal.name}.segment", error) from error


def _refusal(signal: Signal, place: str, error: ValidationError) -> InvalidInput:
    problems = tuple(Problem(".".join([place, *map(str, e["loc"])]), e["msg"]) for e in error.errors())
    return InvalidInput(f"Signal '{signal.name}' cannot be read by '{KIND}'.", problems)


def _key(signal: Signal, spec: ScrapeSignal) -> str:
    parts: Mapping[str, Any] = dict(sorted(signal.segment.items()))
    text = f"{signal.name}\n{spec.model_dump_json(exclude_none=True)}\n{parts}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
