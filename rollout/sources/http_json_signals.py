"""What a signal means to the source `http_json`: where in an answer its numbers are, and what they count."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from rollout.core.errors import InvalidInput, Problem
from rollout.core.signals import Signal, SignalKind
from rollout.forms import SignalForm, read_form
from rollout.sources.http_json_path import JsonPath

KIND = "http_json"  # the key in signals.yaml, and in regions.yaml
FIELDS = ("service", "region", "version", "signal", "start", "end")

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_FORMS: dict[frozenset[str], SignalKind] = {
    frozenset({"bad", "total"}): SignalKind.RATIO,
    frozenset({"events", "hours"}): SignalKind.RATE,
    frozenset({"value"}): SignalKind.GAUGE,
    frozenset({"buckets"}): SignalKind.DISTRIBUTION,
    frozenset({"done"}): SignalKind.THROUGHPUT,
    frozenset({"done", "arrived"}): SignalKind.THROUGHPUT,
}
_SLOTS = ("bad", "total", "events", "hours", "value", "buckets", "done", "arrived")


def _url(value: str) -> str:
    rest = _FIELD.sub("", value)
    if set("{}") & set(rest):
        raise ValueError(
            f"'{value}' may have {', '.join(f'{{{name}}}' for name in FIELDS)} in braces, no more"
        )
    if _FIELD.search(value.partition("://")[2].partition("/")[0]):
        raise ValueError(f"'{value}' has a field in its host; fields come after it")
    return value


UrlTemplate = Annotated[str, Field(pattern=r"^https?://[^\s#@]+$", max_length=2000), AfterValidator(_url)]
BodyTemplate = Annotated[str, Field(min_length=1, max_length=20_000)]


class HttpJsonSignal(SignalForm):
    """How one signal is read: one form for each kind of signal, as paths from a row of the answer.

    ratio: `bad`, `total`; rate: `events`, `hours`; gauge: `value`; throughput: `done`, `arrived`;
    distribution: `buckets`, an object of upper edges with cumulative counts, `+Inf` among them.
    `counts`: `interval`, what happened in the time asked for, or `total`, counters that only rise.
    """

    forms: ClassVar[Mapping[frozenset[str], SignalKind]] = _FORMS

    url: UrlTemplate | None = None
    body: BodyTemplate | None = None
    rows: JsonPath = "$"
    version: JsonPath | None = None
    instance: JsonPath | None = None
    time: JsonPath | None = None
    started: JsonPath | None = None
    counts: Literal["interval", "total"] = "interval"
    bad: JsonPath | None = None
    total: JsonPath | None = None
    events: JsonPath | None = None
    hours: JsonPath | None = None
    value: JsonPath | None = None
    buckets: JsonPath | None = None
    done: JsonPath | None = None
    arrived: JsonPath | None = None

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if self.started and self.counts != "total":
            raise ValueError("'started' is for counters; add 'counts: total', or leave it out")
        if self.value and self.counts == "total":
            raise ValueError("a level is no counter; leave 'counts' out")
        return self

    @property
    def slots(self) -> dict[str, str]:
        """Every path to numbers, by the key that it was written under."""
        return {name: path for name in _SLOTS if (path := getattr(self, name)) is not None}

    @property
    def counters(self) -> bool:
        """Whether its numbers are differenced between readings."""
        return self.counts == "total"


def read_signal(signal: Signal) -> HttpJsonSignal | None:
    """What signals.yaml says of `signal` for this source; None: nothing.

    Raises InvalidInput naming the signal and each wrong place, also for a segment, which no path narrows.
    """
    spec = read_form(signal, KIND, HttpJsonSignal)
    if spec is not None and signal.segment:
        place = f"signals.{signal.name}.{KIND}"
        problem = Problem(
            place, "segments are for series with labels; write a signal of its own for this part"
        )
        raise InvalidInput(f"Signal '{signal.name}' cannot be read by '{KIND}'.", (problem,))
    return spec


def fields_in(text: str) -> set[str]:
    """The fields that a template has."""
    return set(_FIELD.findall(text))


def filled_url(template: str, values: Mapping[str, str]) -> str:
    """A template of a URL with its fields quoted, so that no value can become another path or parameter."""
    return _FIELD.sub(lambda match: quote(values[match[1]], safe=""), template)


def filled_body(template: str, values: Mapping[str, str]) -> str:
    """A template of a body with its fields escaped as in JSON strings; other braces stay as they are."""
    return _FIELD.sub(lambda match: json.dumps(values[match[1]], ensure_ascii=False)[1:-1], template)
