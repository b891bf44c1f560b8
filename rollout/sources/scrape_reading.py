"""Answers of instances become samples: numbers per signal and version, over all instances.

Pure: no network and no clock. What one instance cannot say becomes a sentence about it, never a guess.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rollout.core.errors import TransientError
from rollout.core.model import Instance
from rollout.core.signals import Sample
from rollout.ports import Ask, Reading
from rollout.sources.exposition import Exposition
from rollout.sources.scrape_cursor import JITTER_S, Cursor, Remembered, Restarts
from rollout.sources.scrape_series import Weights, counters, levels, started
from rollout.sources.scrape_signals import Meaning
from rollout.sources.scrape_tally import Tally, beyond

START = "process_start_time_seconds"  # what client libraries call it

Answer = Exposition | TransientError


class Reader:
    """One reading under way: takes instance by instance, then gives the samples."""

    def __init__(self, ask: Ask, meanings: Sequence[Meaning], cursor: Cursor, version_label: str) -> None:
        self._ask = ask
        self._meanings = meanings
        self._cursor = cursor
        self._label = version_label
        self._keys = {meaning.key for meaning in meanings}
        starts = [meaning.spec.starts for meaning in meanings if meaning.spec.starts]
        self._starts = (*starts, START)
        named = [name for meaning in meanings for name in meaning.spec.metrics]
        self._metrics = tuple(dict.fromkeys((*self._starts, *named)))
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self._single: list[Sample] = []
        self._read: dict[str, Remembered] = {}
        self._problems: list[str] = []
        self.failures: list[str] = []

    def take(self, instance: Instance, answer: Answer) -> None:
        """Take in one instance. Of one that could not be asked, the restarts count that its deployer saw."""
        known = self._cursor.remembered(instance.id, instance.version, self._ask.now, self._keys)
        if isinstance(answer, TransientError):
            self._fail(instance, answer)
            self._read[instance.id] = known
            self._all_restarts(instance, None, known)
            return
        try:
            found = answer.of_version(self._label, instance.version, self._metrics)
            start = self._start(instance, found, known)
        except TransientError as untrue:
            self._fail(instance, untrue)
            return
        self._read[instance.id] = known
        self._began(instance, start, known)
        for meaning in self._meanings:
            try:
                self._take_signal(instance, meaning, found, start, known)
            except TransientError as error:
                self._problem(
                    instance, error, f" Signal {meaning.signal.name} gets nothing from it this time."
                )
        self._all_restarts(instance, found, known)

    def reading(self) -> Reading:
        """The samples in the order of the signals asked for, and what to remember."""
        versions = sorted({instance.version for instance in self._ask.instances})
        made = [
            sample
            for meaning in self._meanings
            for version in versions
            for sample in self._samples(meaning, version)
        ]
        return Reading(
            samples=(*made, *self._single),
            cursor=self._cursor.next(self._ask.now, self._read),
            problems=tuple(self._problems),
        )

    def _start(self, instance: Instance, found: Exposition, known: Remembered) -> float:
        """When the process started. An older process than the known one is another process: not evidence."""
        named = [name for name in self._starts if found.named(name)]
        start = started(named[0], found) if named else instance.started_at.timestamp()
        if known.start is not None and start < known.start - JITTER_S:
            raise TransientError(
                f"answers as a process {known.start - start:.0f} s older than the one before; "
                "several processes seem to share its address, and each needs its own"
            )
        return start

    def _began(self, instance: Instance, start: float, known: Remembered) -> None:
        before = known.start
        if not known.began(start, self._ask.now) and before is not None:
            self._problems.append(
                f"Instance {instance.id} ({instance.version}) says that it started {start - before:.0f} s "
                "later than it said before, and yet long before it answered last: its clock was set, or "
                "several processes share its address. Its counters begin anew."
            )

    def _take_signal(
        self, instance: Instance, meaning: Meaning, found: Exposition, start: float, known: Remembered
    ) -> None:
        if meaning.spec.starts:
            return
        tally = self._tallies[meaning.signal.name, instance.version]
        if meaning.spec.value:
            stood = levels(meaning, found)
            known.stamped(meaning.key, stood.stamps, self._ask.now)
            tally.stand(tuple(stood.values.values()))
            return
        raw = counters(meaning, found)
        known.stamped(meaning.key, raw.stamps, self._ask.now)
        known.measured_at(meaning.key, raw.edges)
        rises = known.increase(meaning.key, raw.values, start, self._cursor.at)
        if rises is not None and raw.value:
            # parts of one answer may be moments apart, so a difference of two can fall below zero
            values = [max(0.0, _weighed(weights, rises)) for weights in raw.value]
            tally.count(instance.id, values, _weighed(raw.exposure, rises), raw.edges)

    def _all_restarts(self, instance: Instance, found: Exposition | None, known: Remembered) -> None:
        for meaning in self._meanings:
            if meaning.spec.starts is None:
                continue
            start = None
            if found is not None:
                try:
                    start = started(meaning.spec.starts, found)
                except TransientError as error:
                    more = f" Signal {meaning.signal.name} rests on its deployer's count."
                    self._problem(instance, error, more)
            self._restarts(instance, meaning, start, known)

    def _restarts(self, instance: Instance, meaning: Meaning, start: float | None, known: Remembered) -> None:
        now, name = self._ask.now, meaning.signal.name
        old = known.restarts.get(meaning.key)
        if old is None:  # first sight of this version in this slot: whatever was before is no restart
            known.restarts[meaning.key] = Restarts(start=start, count=instance.restarts, at=now)
            return
        new, known.restarts[meaning.key] = old.since(start, instance.restarts, now)
        if start is None and not new:
            return  # not asked and nothing counted: no evidence, also not of health
        hours = (now - old.at).total_seconds() / 3600
        self._tallies[name, instance.version].count(instance.id, [float(new)], hours)
        if new:
            self._single.append(self._of(name, instance.version, float(new), instance=instance.id))

    def _samples(self, meaning: Meaning, version: str) -> Iterator[Sample]:
        name = meaning.signal.name
        tally = self._tallies[name, version]
        self._problems += [f"Signal {name} of version {version}: instance {odd}" for odd in tally.odd()]
        amounts = tally.amounts(meaning)
        largest = beyond(amounts)
        if largest is not None:
            self._problems.append(
                f"Signal {name} of version {version} adds up to {largest:g} over its instances, which "
                "is beyond 2**53; it gets nothing this time. Compare what they expose."
            )
            return
        for series, value, exposure in amounts:
            yield self._of(series, version, value, exposure)

    def _of(
        self, series: str, version: str, value: float, exposure: float = 0.0, instance: str = ""
    ) -> Sample:
        now, last = self._ask.now, self._cursor.at
        return Sample(
            time=now,
            region=self._ask.region,
            version=version,
            signal=series,
            value=value,
            exposure=exposure,
            duration_s=0.0 if last is None else (now - last).total_seconds(),
            instance=instance,
        )

    def _fail(self, instance: Instance, error: TransientError) -> None:
        self.failures.append(f"{instance.id} {error}")
        self._problem(instance, error, "")

    def _problem(self, instance: Instance, error: TransientError, more: str) -> None:
        self._problems.append(f"Instance {instance.id} ({instance.version}) {error}.{more}")


def merge(
    ask: Ask, meanings: Sequence[Meaning], cursor: Cursor, answers: Sequence[Answer], version_label: str
) -> Reading:
    """One answer per instance of `ask`, in its order, becomes a Reading.

    Raises TransientError when not one instance could be asked and no deployer counted a restart either.
    """
    reader = Reader(ask, meanings, cursor, version_label)
    for instance, answer in zip(ask.instances, answers, strict=True):
        reader.take(instance, answer)
    reading = reader.reading()
    if len(reader.failures) == len(ask.instances) and not reading.samples:
        raise TransientError(
            f"{len(reader.failures)} of {len(ask.instances)} instances of {ask.service} in {ask.region} "
            f"gave nothing; the first: {reader.failures[0]}."
        )
    return reading


def _weighed(weights: Weights, rises: Mapping[str, float]) -> float:
    return sum(times * rises[name] for name, times in weights.items())
