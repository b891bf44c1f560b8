"""The raw numbers that one instance gives for one signal, and how their increases become samples.

Differences between two readings are made in scrape_cursor.py, sums over instances in scrape_tally.py.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from rollout.core.errors import TransientError
from rollout.sources.exposition import Exposition, Series, checked
from rollout.sources.scrape_signals import Meaning, Selector, Where

MOST_EDGES = 64  # of one distribution; each is a stored sample per version and reading

Weights = Mapping[str, int]  # how often the increase of each series counts
Edges = tuple[float, ...]  # ascending, without +Inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers by series. Of counters, `value` says what adds up to each value, and `exposure` the same.

    There is one value, or, of a distribution, one for each of `edges`. `stamps` are the times, in seconds
    since the epoch, of the series that carry one.
    """

    values: Mapping[str, float]
    stamps: Mapping[str, float]
    value: tuple[Weights, ...] = ()
    exposure: Weights = field(default_factory=dict)
    edges: Edges = ()


def counters(meaning: Meaning, found: Exposition) -> Numbers:
    """The counters of a signal. Raises TransientError when they are missing or no evidence."""
    spec = meaning.spec
    if spec.histogram and spec.slower_than:
        return _slower(meaning, spec.histogram, spec.slower_than, found)
    if spec.histogram:
        return _distribution(meaning, spec.histogram, found)
    if spec.done:
        done = _counts(meaning, spec.done, found)
        arrived = _counts(meaning, spec.arrived, found) if spec.arrived else {}
        return _numbers((done, arrived), value=(_all(done),), exposure=_all(arrived))
    part = spec.bad or spec.good
    assert part is not None, "a ratio is one of three forms"
    assert spec.total is not None, "a ratio is one of three forms"
    some, total = _counts(meaning, part, found), _counts(meaning, spec.total, found)
    value = _all(some) if spec.bad else _rest(total, some)
    return _numbers((total, some), value=(value,), exposure=_all(total))


def levels(meaning: Meaning, found: Exposition) -> Numbers:
    """The values of a gauge, one or more. Raises TransientError when there is none, or one is no evidence."""
    selector = meaning.spec.value
    assert selector is not None, "only a gauge has levels"
    chosen = select(selector.metric, meaning.where(selector), found)
    if not chosen:
        raise TransientError(f"exposes no series of {selector.metric} that fits its 'where'")
    return _numbers((checked(chosen, counts=False),))


def started(metric: str, found: Exposition) -> float:
    """When the process started, in seconds since the epoch. Raises TransientError when it does not say."""
    chosen = checked(select(metric, (), found), counts=True)
    if not chosen:
        raise TransientError(f"exposes no series of {metric}")
    return max(one.value for one in chosen.values())


def select(metric: str, where: Where, found: Exposition) -> tuple[Series, ...]:
    """The chosen series; none is an answer, since a counter of failures has no series before the first one.

    Raises TransientError when there is no such metric, or none of its series has a label that is asked for:
    that is a name written wrong, and would otherwise read as "no failures".
    """
    series = found.named(metric)
    if series is None:
        raise TransientError(f"exposes no metric {metric}{found.near(metric) or '; compare its answer'}")
    for label, _ in where:
        if series and not any(label in one.labels for one in series):
            known = ", ".join(sorted({name for one in series for name in one.labels})) or "none"
            raise TransientError(f"exposes {metric} without the label '{label}', but: {known[:160]}")
    if not where:
        return series
    return tuple(
        one for one in series if all(pattern.fullmatch(one.labels.get(label, "")) for label, pattern in where)
    )


def _slower(meaning: Meaning, selector: Selector, edge: float, found: Exposition) -> Numbers:
    """All events but those no slower than `edge` seconds."""
    counts, buckets = _histogram(meaning, selector, found)
    asked, within = checked(counts, counts=True), checked(buckets.get(edge, ()), counts=True)
    if len(within) != len(asked):
        known = _written(tuple(sorted(buckets)))
        raise TransientError(
            f"exposes {selector.metric} without an edge at {edge:g}; its edges are: {known[:160]}"
        )
    return _numbers((asked, within), value=(_rest(asked, within),), exposure=_all(asked))


def _distribution(meaning: Meaning, selector: Selector, found: Exposition) -> Numbers:
    """The events up to each edge. Without any series yet there are no edges, and that is an answer."""
    counts, buckets = _histogram(meaning, selector, found)
    edges = tuple(sorted(edge for edge in buckets if edge < math.inf))
    if counts and not 0 < len(edges) <= MOST_EDGES:
        raise TransientError(
            f"exposes {selector.metric} with {len(edges)} edges, and from 1 to {MOST_EDGES} are read; give "
            "it other buckets, or judge the share beyond one edge by 'slower_than'"
        )
    asked = checked(counts, counts=True)
    by_edge = {edge: checked(buckets[edge], counts=True) for edge in sorted(buckets)}
    _refuse_uneven(selector.metric, by_edge, len(asked))
    upto = [by_edge[edge] for edge in edges]
    return _numbers((asked, *upto), value=tuple(map(_all, upto)), exposure=_all(asked), edges=edges)


def _histogram(
    meaning: Meaning, selector: Selector, found: Exposition
) -> tuple[tuple[Series, ...], Mapping[float, list[Series]]]:
    """The counts of all events, and the buckets by edge."""
    base, where = selector.metric, meaning.where(selector)
    if any("quantile" in one.labels for one in found.named(base) or ()):
        raise TransientError(
            f"exposes {base} as a summary; the quantiles of several instances or intervals cannot be put "
            "together, so nothing is read of it; expose a histogram"
        )
    if found.named(f"{base}_bucket") is None:
        raise TransientError(f"exposes no histogram {base}{found.near(f'{base}_bucket')}")
    buckets: dict[float, list[Series]] = defaultdict(list)
    for one in select(f"{base}_bucket", where, found):
        buckets[_edge(base, one)].append(one)
    return select(f"{base}_count", where, found), buckets


def _edge(base: str, bucket: Series) -> float:
    try:
        edge = float(bucket.labels["le"])
    except (KeyError, ValueError) as error:
        raise TransientError(f"exposes a bucket of {base} without a numeric 'le'") from error
    if math.isnan(edge) or edge == -math.inf:
        raise TransientError(f"exposes a bucket of {base} without a numeric 'le'")
    return edge


def _refuse_uneven(base: str, by_edge: Mapping[float, Mapping[str, Series]], histograms: int) -> None:
    """Every histogram of the metric has every edge, and a bucket holds all that the one before it holds."""
    before, below = 0.0, -math.inf
    for edge, series in by_edge.items():
        if len(series) != histograms:
            raise TransientError(
                f"exposes {base} {histograms} times by its labels, and an edge at {edge:.15g} "
                f"{len(series)} times; all need the same edges"
            )
        count = sum(one.value for one in series.values())
        if count < before:
            raise TransientError(
                f"exposes {base} with {before:.15g} events up to {below:.15g}, and {count:.15g} up to "
                f"{edge:.15g}; a bucket must count everything up to its edge"
            )
        before, below = count, edge


def _counts(meaning: Meaning, selector: Selector, found: Exposition) -> dict[str, Series]:
    return checked(select(selector.metric, meaning.where(selector), found), counts=True)


def _numbers(
    groups: tuple[Mapping[str, Series], ...],
    *,
    value: tuple[Weights, ...] = (),
    exposure: Weights | None = None,
    edges: Edges = (),
) -> Numbers:
    series = {key: one for group in groups for key, one in group.items()}
    return Numbers(
        values={key: one.value for key, one in series.items()},
        stamps={key: one.timestamp for key, one in series.items() if one.timestamp is not None},
        value=value,
        exposure=exposure or {},
        edges=edges,
    )


def _all(series: Mapping[str, Series]) -> Weights:
    return dict.fromkeys(series, 1)


def _rest(total: Mapping[str, Series], part: Mapping[str, Series]) -> Weights:
    """Everything but `part`, which may be series of `total`, or stand beside it."""
    return {key: (key in total) - (key in part) for key in {**total, **part}}


def _written(edges: Edges) -> str:
    return ", ".join(f"{edge:g}" for edge in edges) or "none"
