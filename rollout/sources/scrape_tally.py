"""Sums over the instances of one version: what each of them gave becomes the samples of one signal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rollout.core.signals import SignalKind, series_name
from rollout.sources.exposition import LARGEST
from rollout.sources.scrape_series import Edges
from rollout.sources.scrape_signals import Meaning

Amount = tuple[str, float, float]  # the name of a series, its value, its exposure


@dataclass(slots=True)
class Counted:
    """The sums of instances that have the same edges; of anything but a distribution, of all."""

    values: list[float]
    exposure: float = 0.0
    instances: list[str] = field(default_factory=list)


class Tally:
    """What the instances of one version gave for one signal, in the order in which they were asked."""

    def __init__(self) -> None:
        self._counted: dict[Edges, Counted] = {}
        self._levels: list[float] = []
        self._stood = 0  # instances that gave a level

    def count(self, instance: str, values: Sequence[float], exposure: float, edges: Edges = ()) -> None:
        """Add what happened at one instance: one value, or one for each edge."""
        counted = self._counted.setdefault(edges, Counted([0.0] * len(values)))
        counted.values = [sum(pair) for pair in zip(counted.values, values, strict=True)]
        counted.exposure += exposure
        counted.instances.append(instance)

    def stand(self, levels: Sequence[float]) -> None:
        """Add the levels of one instance."""
        self._levels += levels
        self._stood += 1

    def odd(self) -> Iterator[str]:
        """A sentence for each instance whose edges are not those of most; what it gave counts nowhere."""
        usual = self._usual()
        for edges, counted in self._counted.items():
            for instance in counted.instances if edges != usual else ():
                yield (
                    f"{instance} has buckets up to {_shown(edges)}, and those that are counted up to "
                    f"{_shown(usual)}; counts at different edges cannot be added up, so its own are left "
                    "out. Give all instances of a version the same buckets."
                )

    def amounts(self, meaning: Meaning) -> tuple[Amount, ...]:
        """The numbers of the samples; none where no instance gave anything."""
        name = meaning.signal.name
        if self._levels:
            return ((name, *self._level(meaning.spec.across)),)
        if not self._counted:
            return ()
        edges = self._usual()
        counted = self._counted[edges]
        if meaning.spec.kind is SignalKind.DISTRIBUTION:
            return tuple(_buckets(name, edges, counted))
        return ((name, counted.values[0], counted.exposure),)

    def _usual(self) -> Edges:
        return max(self._counted, key=lambda edges: len(self._counted[edges].instances), default=())

    def _level(self, across: str | None) -> tuple[float, float]:
        if across == "sum":
            return sum(self._levels), float(self._stood)
        if across == "mean":
            return sum(self._levels) / len(self._levels), 0.0
        return max(self._levels), 0.0


def beyond(amounts: Sequence[Amount]) -> float | None:
    """The largest number when it is beyond what can be counted exactly."""
    largest = max((max(abs(value), exposure) for _, value, exposure in amounts), default=0.0)
    return largest if largest > LARGEST else None


def _buckets(name: str, edges: Edges, counted: Counted) -> Iterator[Amount]:
    """Cumulative counts. Parts of one answer may be moments apart, so that a difference of two falls."""
    upto = 0.0
    for edge, value in zip(edges, counted.values, strict=True):
        upto = min(max(upto, value), counted.exposure)
        yield series_name(name, le=repr(edge).removesuffix(".0")), upto, counted.exposure


def _shown(edges: Edges) -> str:
    """Enough of the edges to see how two lists differ."""
    return f"{', '.join(f'{edge:g}' for edge in edges)[:120]} ({len(edges)})"
