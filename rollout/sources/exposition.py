"""Prometheus text format, read strictly: what is cut off, malformed or not such text is refused whole.

Nothing here knows HTTP or signals. Every refusal is a TransientError whose text completes the sentence
"instance a of version 2.0 …", since the next answer of the same instance may well be good.
"""

import difflib
import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from prometheus_client.parser import text_string_to_metric_families

from rollout.core.errors import TransientError

LARGEST = 2.0**53  # beyond it a float skips whole numbers, so that no count is exact
LONGEST_LINE = 16_384  # characters; the parser needs quadratic time on one line with many escaped quotes
LOOKED_THROUGH = 5_000  # names that a wrong one is compared with; it happens at every reading until mended

_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}  # of the series of a metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of the text. `timestamp` (seconds since the epoch) is set only where the line has its own."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: float | None = None

    @property
    def key(self) -> str:
        """The series as people write it: `requests_total{status="200"}`."""
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{labels}}}" if labels else self.name


@dataclass(frozen=True, slots=True)
class Exposition:
    """Everything that one instance exposes, by name. A metric that is declared and has no series is empty.

    `names` are all the names that its answer holds, also where `series` is only a part of it.
    """

    series: Mapping[str, tuple[Series, ...]] = field(default_factory=dict)
    names: Collection[str] = ()

    def named(self, metric: str) -> tuple[Series, ...] | None:
        """The series of `metric`, with or without `_total`, or None where there is no such metric at all."""
        return next((self.series[name] for name in _spellings(metric) if name in self.series), None)

    def of_version(self, label: str, version: str, metrics: Iterable[str]) -> "Exposition":
        """Only the series of `metrics` that speak for `version`: labelled so, or not labelled at all.

        Raises TransientError when they carry only labels of other versions. Labels of other metrics say
        nothing: `python_info` has a version too, and means another one.
        """
        found = {name: series for name in metrics if (series := self.named(name)) is not None}
        seen = {one.labels[label] for series in found.values() for one in series if label in one.labels}
        if seen and version not in seen:
            others = ", ".join(sorted(seen))
            raise TransientError(
                f"says that it runs version {others[:80]}, but its deployer says {version}; "
                "none of its numbers count"
            )
        return Exposition(
            {
                name: tuple(one for one in series if one.labels.get(label, version) == version)
                for name, series in found.items()
            },
            self.names,
        )

    def near(self, metric: str) -> str:
        """The names most like `metric`, best first, as the end of a sentence; empty where none is like it."""
        near = nearest(metric, self.names)
        return f"; the nearest names there: {', '.join(near)}" if near else ""


def nearest(metric: str, names: Iterable[str]) -> list[str]:
    """The names most like `metric`, best first, three at most; of very many names only some are looked at."""
    words = set(metric.split("_"))
    likely = heapq.nlargest(
        20,
        islice(names, LOOKED_THROUGH),
        key=lambda name: (len(words.intersection(name.split("_"))), name[:4] == metric[:4]),
    )
    return difflib.get_close_matches(metric, likely, n=3)


def parse(body: bytes) -> Exposition:
    """Read one whole answer. Raises TransientError saying what is wrong with it."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise TransientError(f"answered bytes that are not UTF-8, from byte {error.start} on") from error
    if not text.strip():
        raise TransientError("answered nothing")
    if not text.endswith("\n"):
        raise TransientError("answered text that ends inside a line, so it was cut off")
    if any(len(line) > LONGEST_LINE for line in text.split("\n")):
        raise TransientError(f"answered a line of more than {LONGEST_LINE} characters")
    try:
        return _parsed(text)
    except Exception as error:  # the parser says bad input with whatever its code runs into
        raise TransientError(f"answered text that is not Prometheus format: {str(error)[:80]}") from error


def _parsed(text: str) -> Exposition:
    found: dict[str, list[Series]] = {}
    for family in text_string_to_metric_families(text):
        if not family.samples:
            found.update({family.name + end: [] for end in _ENDINGS.get(family.type, ("",))})
        for sample in family.samples:
            found.setdefault(sample.name, []).append(
                Series(
                    name=sample.name,
                    labels=sample.labels,
                    value=float(sample.value),
                    timestamp=None if sample.timestamp is None else float(sample.timestamp),
                )
            )
    return Exposition({name: tuple(series) for name, series in found.items()}, found.keys())


def _spellings(metric: str) -> tuple[str, str]:
    """The parser shows a counter with `_total`, whether or not it was written so."""
    return metric, f"{metric}_total"


def checked(series: Iterable[Series], *, counts: bool) -> dict[str, Series]:
    """The series by key. Raises TransientError for the first one that is no evidence.

    That is: not a finite number, beyond `LARGEST`, below zero although it `counts`, or stated twice.
    """
    found: dict[str, Series] = {}
    for one in series:
        key = one.key
        if not math.isfinite(one.value) or (counts and one.value < 0):
            wanted = "a count" if counts else "a number"
            raise TransientError(f"exposes {key[:160]} as {one.value:g}, which is not {wanted}")
        if abs(one.value) > LARGEST:
            raise TransientError(f"exposes {key[:160]} as {one.value:g}, which is beyond 2**53")
        if key in found:
            raise TransientError(f"exposes {key[:160]} twice")
        found[key] = one
    return found
